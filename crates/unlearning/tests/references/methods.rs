//! Every method for five rounds or several epochs, on a network with BatchNorm and on one without: weights and
//! BatchNorm's statistics after each round, to 1e-6.

use std::collections::BTreeMap;

use rewind_artifacts::Shard;
use rewind_collective::{CancelSignal, Solo};
use rewind_job::{
    Architecture, BatchNormPolicy, Forward, Group, Layout, Method, RollBack, Round, RoundRecord, ShardPlan,
    StepOutcome, Stop, WorldSize,
};
use rewind_predictor::{Architecture as Form, Direction, Predictor};
use rewind_unlearning::{
    Commit, Gang, LabelledSamples, Learner, Materials, RoundMethod, StepRun, Training, UnlearningError, method_for,
    run_rounds,
};
use serde_json::json;
use tch::Tensor;

use crate::{
    drawing::SEED,
    drawn::{with_draws, with_order},
    networks::{CLASSES, input_of, network, positions, samples},
    predictors::{large_predictor, name_of},
    reference::{Answer, Case, compare_with_reference, expect_nothing, near},
    table::{Row, rows},
};

/// Of weights, and of statistics beside 1 or their own size: both sides compute in float32, in orders of their own.
const TOLERANCE: f64 = 1e-6;
/// Of a sound run's numbers.
const LARGEST: f64 = 10.0;
pub const BATCH: usize = 8;
/// Under which the learner draws.
pub const PURPOSE: &str = "unlearning";

/// The samples of both sides.
struct Data {
    forget: LabelledSamples,
    remaining: LabelledSamples,
}

/// A row, understood.
enum Wanted {
    Method(Method),
    /// On the remaining data, from the same weights.
    Training(rewind_job::Training),
}

/// All that a row's run needs.
struct Setting {
    wanted: Wanted,
    forward: Forward,
    network: Architecture,
    rounds: u32,
    data: Data,
    predictor: Option<Predictor>,
}

impl Setting {
    fn of(row: &Row) -> Self {
        let mut recipe = row.forward.clone();
        recipe["epochs"] = json!(row.rounds);
        let nowcasting = &row.method["nowcasting"];
        if let Some(every) = nowcasting["every"].as_u64() {
            recipe["nowcast"] = json!({"predictor": "p.safetensors", "every": every, "snapshots": every});
        }
        let wanted = if row.method.get("retrain").is_some() || nowcasting.is_object() {
            Wanted::Training(serde_json::from_value(recipe).expect(row.name))
        } else {
            Wanted::Method(serde_json::from_value(row.method.clone()).expect(row.name))
        };
        let forward: Forward = serde_json::from_value(row.forward.clone()).expect(row.name);
        let predictor = match &wanted {
            Wanted::Method(Method::Rewinding(settings)) => {
                let snapshots = settings.trajectory.snapshots as usize;
                Some(large_predictor(Form::Paper, Direction::Past, snapshots, settings.horizon))
            }
            Wanted::Training(rewind_job::Training { nowcast: Some(wanted), .. }) => {
                let snapshots = wanted.snapshots as usize;
                Some(large_predictor(Form::Wnn, Direction::Future, snapshots, wanted.horizon))
            }
            _ => None,
        };
        // The last batch is smaller.
        let data = Data { forget: samples("forget", 22), remaining: samples("remaining", 30) };
        Self { wanted, forward, network: row.network, rounds: row.rounds, data, predictor }
    }

    fn reads_remaining(&self) -> bool {
        match &self.wanted {
            Wanted::Method(method) => method.group() == Group::RetainUsing,
            Wanted::Training(_) => true,
        }
    }

    /// What statistics are taken anew on.
    fn statistics_of(&self) -> &LabelledSamples {
        if self.reads_remaining() { &self.data.remaining } else { &self.data.forget }
    }

    fn policy(&self) -> BatchNormPolicy {
        self.forward.batch_norm
    }

    fn case(&self, row: &Row) -> Case {
        let network = network(self.network);
        let name = if self.network == Architecture::Mlp { "mlp" } else { "vgg-small" };
        let asked = json!({
            "network": name, "classes": CLASSES, "method": row.method, "forward": row.forward, "rounds": self.rounds,
        });
        let Data { forget, remaining } = &self.data;
        let recompute = rewind_datasets::order(0, "batch-norm", 0, self.statistics_of().len());
        let mut case = Case::new("method", row.name, asked)
            .with("forget.images", forget.images())
            .with("forget.labels", forget.labels())
            .with("remaining.images", remaining.images())
            .with("remaining.labels", remaining.labels())
            .with("order.recompute", &positions(&recompute));
        case = input_of(case, &network);
        if let Some(predictor) = &self.predictor {
            // The name of its file means nothing to the reference.
            if let Some(settings) =
                case.asked["method"].get_mut("rewinding").and_then(|settings| settings.as_object_mut())
            {
                settings.remove("predictor");
            }
            let snapshots = predictor.snapshots().next().expect("has some");
            let networks = predictor.for_snapshots(snapshots).expect("has these");
            for operation in rewind_job::OperationType::ALL {
                for (name, tensor) in networks.of(operation).parameters() {
                    let name = name_of(predictor.architecture(), name);
                    case = case.with(format!("predictor.{}.{name}", operation.name()), tensor);
                }
            }
        }
        match &self.wanted {
            Wanted::Method(method) => {
                if matches!(method, Method::BoundaryExpand {}) {
                    case = with_extra_row(case, network.layout());
                }
                with_draws(case, method, self.rounds, [forget, remaining], network.layout())
            }
            Wanted::Training(_) => {
                (0..self.rounds).fold(case, |case, epoch| with_order(case, epoch as usize, epoch, remaining.len()))
            }
        }
    }

    /// Every round's weights and statistics by name, as the loop of every step leaves them.
    ///
    /// # Errors
    /// A run that diverges: it makes rounding larger, and compares nothing.
    fn run(&self) -> Result<Vec<BTreeMap<String, Tensor>>, String> {
        let original = || network(self.network);
        let layout = original().layout().clone();
        let plan = ShardPlan::balanced(&layout, WorldSize(1));
        let gang = Gang::new(Box::new(Solo::new()), layout.clone(), plan);
        let optimiser = self.forward.optimiser.clone();
        let mut learner = Learner::new(original(), gang, optimiser, SEED, PURPOSE, CancelSignal::new())
            .with_batch_norm(self.policy());
        let mut rounds: Box<dyn RoundMethod> = match &self.wanted {
            Wanted::Method(method) => {
                let materials = Materials {
                    forget: &self.data.forget,
                    remaining: self.reads_remaining().then_some(&self.data.remaining),
                    predictor: self.predictor.as_ref(),
                    classes: CLASSES,
                    forgotten_class: None,
                };
                method_for(method, &self.forward, self.rounds, &materials, &original).expect("is a method")
            }
            Wanted::Training(recipe) => Box::new(
                Training::new(recipe, &self.data.remaining, 0.0, self.predictor.as_ref()).expect("is a recipe"),
            ),
        };
        let run = StepRun {
            stop: Stop::after(self.rounds),
            roll_back: RollBack::None,
            recompute: self.policy().recomputes().then_some((self.statistics_of(), BATCH)),
            forget: &self.data.forget,
            validation: None,
            unseen: None,
            watched: &[],
        };
        let mut kept = Kept(Vec::new());
        run_rounds(&mut learner, &mut *rounds, &run, Vec::new(), &mut kept).expect("runs");
        if kept.0.len() < self.rounds as usize {
            return Err(format!("diverges in round {}", kept.0.len()));
        }
        let states: Vec<_> = kept.0.iter().map(|shard| state(shard, &layout)).collect();
        for (name, tensor) in &states[states.len() - 1] {
            let size = tensor.abs().max().double_value(&[]);
            if size > LARGEST {
                return Err(format!("{name} becomes {size}"));
            }
        }
        Ok(states)
    }
}

/// Keeps the state after each round.
struct Kept(Vec<Shard>);

impl Commit for Kept {
    fn commit(
        &mut self,
        shard: Shard,
        _: &RoundRecord,
        _: Round,
        _: Option<&StepOutcome>,
    ) -> Result<(), UnlearningError> {
        self.0.push(shard);
        Ok(())
    }

    fn progress(&mut self, _: &RoundRecord, _: f64) {}
}

fn state(shard: &Shard, layout: &Layout) -> BTreeMap<String, Tensor> {
    let flat = Tensor::from_slice(&shard.weights);
    let weights = layout.segments.iter().map(|segment| {
        let tensor = flat.narrow(0, segment.offset as i64, segment.len() as i64).view(&segment.shape[..]);
        (format!("weights.{}", segment.name), tensor)
    });
    let buffers = shard
        .buffers
        .iter()
        .map(|(name, (shape, values))| (format!("buffers.{name}"), Tensor::from_slice(values).view(&shape[..])));
    weights.chain(buffers).collect()
}

fn with_extra_row(case: Case, layout: &Layout) -> Case {
    let last = layout.segments.iter().rev().find(|segment| segment.shape.len() == 2);
    let row = rewind_unlearning::draw_extra_row(SEED, last.expect("a last layer").shape[1]);
    let (weight, bias) = (row.narrow(0, 0, row.size()[0] - 1).unsqueeze(0), row.narrow(0, -1, 1));
    case.with("extra.weight", &weight).with("extra.bias", &bias)
}

fn compare(ours: &[BTreeMap<String, Tensor>], answer: &Answer) -> Result<(), String> {
    for (round, state) in (1..).zip(ours) {
        // A coordinate at the mask's threshold falls on either side by rounding alone.
        if answer.figures[format!("round.{round}")]["gap"].as_f64().is_some_and(|gap| gap < 1e-5) {
            return Err(format!("in round {round} two coordinates are at the mask's threshold: take another case"));
        }
        for (name, found) in state {
            let name = format!("round.{round}.{name}");
            let expected = answer.tensor(&name)?;
            let size = expected.abs().max().double_value(&[]);
            near(&name, found, expected, TOLERANCE * size.max(1.0))?;
        }
    }
    Ok(())
}

fn check(network: Architecture, part: usize) {
    tch::set_num_threads(1);
    let mut wrong = Vec::new();
    for row in rows().into_iter().filter(|row| row.network == network).skip(part).step_by(PARTS) {
        let setting = Setting::of(&row);
        match setting.run() {
            Ok(ours) => wrong.extend(compare_with_reference(&setting.case(&row), |answer| compare(&ours, answer))),
            Err(problem) => wrong.push(format!("{}: {problem}", row.name)),
        }
    }
    expect_nothing(&wrong);
}

/// Those with BatchNorm are many: two tests run beside each other.
const PARTS: usize = 2;

#[test]
fn every_method_agrees_with_its_reference_on_a_network_with_batch_norm() {
    check(Architecture::VggSmall, 0);
}

#[test]
fn every_other_method_agrees_with_its_reference_on_a_network_with_batch_norm() {
    check(Architecture::VggSmall, 1);
}

#[test]
fn every_method_agrees_with_its_reference_on_a_network_without_batch_norm() {
    check(Architecture::Mlp, 0);
    check(Architecture::Mlp, 1);
}
