//! Where BatchNorm is frozen nothing moves it: no method, no training, no momentum, decay, noise or predictor, on any
//! number of ranks, nor after a resumption. Elsewhere scale and shift train, and LayerNorm always does.

mod at_rest;
mod gang;

use std::ops::Range;

use rewind_collective::CancelSignal;
use rewind_job::{
    Architecture, BatchNormPolicy, BoundaryShrink, Fisher, FisherForm, Forward, Group, Lambda, Method, Optimiser,
    RandomLabel, RandomLabelForgetOnly, Rewinding, Salun, SalunForgetOnly, Schedule, Scrub, Sgd, Source, TaskVector,
    Trajectory, WeightNoise,
};
use rewind_models::Network;
use rewind_predictor::Predictor;
use rewind_unlearning::{Gang, LabelledSamples, Learner, Materials, RoundMethod, Training, method_for};
use tch::{Device, Kind, Tensor};

const PREDICTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../predictors/conditioned.safetensors");

fn network_on(device: Device, architecture: Architecture) -> Network {
    Network::build_on(device, architecture, 4, [1, 8, 8], 3)
}

/// Four blurred classes of bars; `phase` makes other samples of them.
fn samples(count: i64, phase: f64) -> LabelledSamples {
    let labels = Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(4);
    let noise = (Tensor::arange(count * 64, (Kind::Float, Device::Cpu)) * 0.7 + phase).sin().view([count, 1, 8, 8]);
    let rows = Tensor::arange(8, (Kind::Int64, Device::Cpu)).floor_divide_scalar(2).view([1, 1, 8, 1]);
    let bars = rows.eq_tensor(&labels.view([-1, 1, 1, 1])).to_kind(Kind::Float).expand([count, 1, 8, 8], false);
    LabelledSamples::new(bars + noise * 0.2, labels)
}

/// Momentum and weight decay both move what has no gradient.
fn momentum() -> Optimiser {
    Optimiser::Sgd(Sgd { learning_rate: 0.05, momentum: 0.9, weight_decay: 0.01, nesterov: false })
}

/// Every method; rewinding with a trained predictor.
fn methods() -> Vec<Method> {
    let trajectory = Trajectory { snapshots: 5, ..Trajectory::default() };
    let fisher = |form| Method::Fisher(Fisher { form: Some(form), alpha: 1e-4, clamp: None, samples: Some(5) });
    vec![
        Method::Rewinding(Rewinding {
            predictor: Source::File(PREDICTOR.into()),
            horizon: 8,
            scale: 0.5,
            trajectory: trajectory.clone(),
        }),
        Method::TaskVector(TaskVector { lambda: Lambda::One(0.5), trajectory }),
        Method::NegGrad {},
        Method::RandomLabel(RandomLabel::default()),
        Method::RandomLabelForgetOnly(RandomLabelForgetOnly::default()),
        Method::Salun(Salun::default()),
        Method::SalunForgetOnly(SalunForgetOnly::default()),
        Method::BoundaryShrink(BoundaryShrink { step: 0.1 }),
        Method::BoundaryExpand {},
        Method::WeightNoise(WeightNoise { sigma: 0.01, share: 0.5 }),
        Method::FineTune {},
        fisher(FisherForm::Clamped),
        fisher(FisherForm::Empirical),
        fisher(FisherForm::Expected),
        Method::Scrub(Scrub::default()),
    ]
}

/// A learner whose BatchNorms are not as they were drawn: what stays is told from what is made anew.
fn learner(gang: Gang, architecture: Architecture, policy: BatchNormPolicy) -> Learner {
    let network = network_on(gang.device(), architecture);
    for (name, mut buffer) in network.buffers() {
        let value = if name.ends_with("running_mean") { 0.02 } else { 0.9 };
        let _ = tch::no_grad(|| buffer.fill_(value));
    }
    for range in network.batch_norm_coordinates() {
        let mut place = network.flat().narrow(0, range.start as i64, range.len() as i64);
        let wavy = (Tensor::arange(range.len() as i64, (Kind::Float, network.device())) * 0.37).sin() * 0.1;
        let _ = tch::no_grad(|| place.g_add_(&wavy));
    }
    Learner::new(network, gang, momentum(), 5, "unlearning", CancelSignal::new()).with_batch_norm(policy)
}

fn run(learner: &mut Learner, method: &Method, policy: BatchNormPolicy, rounds: u32) {
    let (forget, remaining) = (samples(22, 0.0), samples(30, 1.0));
    let device = learner.gang.device();
    let predictor = Predictor::load(PREDICTOR).expect("is shipped").on(device);
    let forward = Forward { batch_norm: policy, ..Forward::with(momentum(), 8) };
    let remaining = (method.group() == Group::RetainUsing).then_some(&remaining);
    let materials = Materials { remaining, predictor: Some(&predictor), ..Materials::forget_only(&forget, 4) };
    let original = || network_on(device, Architecture::DepthwiseSmall);
    let mut method = method_for(method, &forward, rounds, &materials, &original).expect("fits");
    for _ in 0..rounds {
        method.round(learner).expect("runs");
    }
}

fn bits(learner: &Learner) -> Vec<u32> {
    Vec::<f32>::try_from(learner.network.flat()).expect("float32").into_iter().map(f32::to_bits).collect()
}

fn buffers(learner: &Learner) -> Vec<Vec<f32>> {
    let values = |tensor: Tensor| Vec::try_from(tensor).expect("float32");
    learner.network.buffers().into_iter().map(|(_, tensor)| values(tensor)).collect()
}

/// How many of these coordinates differ, and how many of the others.
fn moved(before: &[u32], after: &[u32], of: &[Range<usize>]) -> (usize, usize) {
    let differ: Vec<usize> = (0..before.len()).filter(|&at| before[at] != after[at]).collect();
    let within = differ.iter().filter(|&at| of.iter().any(|range| range.contains(at))).count();
    (within, differ.len() - within)
}

/// Of each method: coordinates of BatchNorm that moved, others that moved, whether statistics did, whether the
/// optimiser's state of BatchNorm is anything but 0; and the weights.
type Outcome = (String, usize, usize, bool, bool, Vec<u32>);

fn three_rounds(gang: Gang, policy: BatchNormPolicy, resumes: bool) -> Vec<Outcome> {
    let mut gang = Some(gang);
    let of = |method: &Method| {
        let mut first = learner(gang.take().expect("was given back"), Architecture::DepthwiseSmall, policy);
        let norms = first.network.batch_norm_coordinates();
        let (before, statistics) = (bits(&first), buffers(&first));
        run(&mut first, method, policy, 1);
        if resumes {
            let state = at_rest::whole_state(&mut first);
            first = learner(first.into_gang(), Architecture::DepthwiseSmall, policy);
            first.restore(&state);
        }
        run(&mut first, method, policy, 2);
        let (within, others) = moved(&before, &bits(&first), &norms);
        let state = at_rest::whole_state(&mut first);
        let is_moving = norms.iter().any(|range| state.optimiser["momentum"][range.clone()].iter().any(|&v| v != 0.0));
        let outcome =
            (method.name().to_owned(), within, others, statistics != buffers(&first), is_moving, bits(&first));
        gang = Some(first.into_gang());
        outcome
    };
    methods().iter().map(of).collect()
}

#[test]
fn no_method_moves_a_bit_of_frozen_batch_norm_and_resumed_ones_end_in_the_same_bits() {
    tch::set_num_threads(1);
    let layout = network_on(Device::Cpu, Architecture::DepthwiseSmall).layout().clone();
    for world in [1, 2] {
        let frozen = gang::on_every_rank(world, &layout, |gang| three_rounds(gang, BatchNormPolicy::Frozen, false));
        let resumed = gang::on_every_rank(world, &layout, |gang| three_rounds(gang, BatchNormPolicy::Frozen, true));
        assert_eq!(frozen, resumed, "{world}");
        for (name, within, others, statistics, is_moving, _) in frozen.iter().flatten() {
            assert_eq!((*within, *statistics, *is_moving), (0, false, false), "{name} on {world}");
            assert!(*others > 100, "{name} moves {others} others");
        }
        let inference =
            gang::on_every_rank(world, &layout, |gang| three_rounds(gang, BatchNormPolicy::Inference, false));
        for (name, within, _, statistics, _, _) in inference.iter().flatten() {
            assert!(*within > 100 && !statistics, "{name}: inference mode trains {within} scales and shifts");
        }
    }
}

/// An ordinary training under a policy: coordinates of norms that moved, and others; whether statistics did.
fn trained(gang: Gang, architecture: Architecture, policy: BatchNormPolicy) -> (usize, usize, bool) {
    let mut learner = learner(gang, architecture, policy);
    let recipe = rewind_job::Training {
        start: None,
        epochs: 2,
        batch_size: 8,
        optimiser: momentum(),
        schedule: Schedule::Constant,
        batch_norm: policy,
        augment: None,
        nowcast: None,
    };
    let data = samples(30, 1.0);
    let is_norm = |name: &str| name.contains("norm") || name.contains("ln");
    let norms: Vec<Range<usize>> = match architecture {
        Architecture::TransformerSmall => {
            let segments = learner.gang.layout().segments.iter().filter(|segment| is_norm(&segment.name));
            segments.map(|segment| segment.offset..segment.offset + segment.len()).collect()
        }
        _ => learner.network.batch_norm_coordinates(),
    };
    assert!(!norms.is_empty(), "{architecture:?} has norms");
    let (before, statistics) = (bits(&learner), buffers(&learner));
    let mut training = Training::new(&recipe, &data, 0.0, None).expect("needs no predictor");
    for _ in 0..2 {
        training.round(&mut learner).expect("trains");
    }
    let (within, others) = moved(&before, &bits(&learner), &norms);
    (within, others, statistics != buffers(&learner))
}

#[test]
fn an_ordinary_training_leaves_frozen_batch_norm_as_it_is_and_trains_layer_norm() {
    tch::set_num_threads(1);
    let of = |world, architecture, policy| {
        let layout = network_on(Device::Cpu, architecture).layout().clone();
        gang::on_every_rank(world, &layout, move |gang| trained(gang, architecture, policy)).swap_remove(0)
    };
    for world in [1, 2] {
        let (within, others, statistics) = of(world, Architecture::DepthwiseSmall, BatchNormPolicy::Frozen);
        assert!(within == 0 && others > 1000 && !statistics, "{within} {others}");
        let (within, _, statistics) = of(world, Architecture::DepthwiseSmall, BatchNormPolicy::Train);
        assert!(within > 100 && statistics, "{within}");
        let (within, ..) = of(world, Architecture::TransformerSmall, BatchNormPolicy::Frozen);
        assert!(within > 100, "LayerNorm trains: {within}");
    }
}

/// What trajectories record where BatchNorm is frozen, and the statistics of all tensors beside those of a whole one.
fn recorded(gang: Gang) -> (usize, usize, usize) {
    let mut learner = learner(gang, Architecture::DepthwiseSmall, BatchNormPolicy::Frozen);
    let mut part = learner.trajectory();
    let mut whole = rewind_predictor::Trajectory::new(learner.gang.layout(), learner.gang.tiles());
    for _ in 0..3 {
        part.record(&learner.recorded_weights()).expect("records");
        whole.record(&learner.gang.shard(learner.network.flat())).expect("records");
        run(&mut learner, &Method::NegGrad {}, BatchNormPolicy::Frozen, 1);
    }
    let [of_part, of_whole] = [&part, &whole].map(|trajectory| learner.gang.statistics(trajectory).expect("sums"));
    let norms = learner.network.batch_norm_coordinates();
    for (segment, (part, whole)) in learner.gang.layout().segments.iter().zip(of_part.iter().zip(&of_whole)) {
        if norms.iter().any(|range| range.start == segment.offset) {
            assert_eq!((part.scale, whole.scale), (0.0, 0.0), "{} did not move", segment.name);
        } else {
            assert!(part == whole && part.scale > 0.0, "{}: {part:?} and {whole:?}", segment.name);
        }
    }
    let own = learner.gang.range();
    let still = norms.iter().flat_map(Clone::clone).filter(|at| own.contains(at)).count();
    (part.coordinates(), own.len(), still)
}

#[test]
fn trajectories_record_what_may_move_and_nothing_else() {
    tch::set_num_threads(1);
    let layout = network_on(Device::Cpu, Architecture::DepthwiseSmall).layout().clone();
    for world in [1, 2, 3] {
        for (recorded, own, still) in gang::on_every_rank(world, &layout, recorded) {
            assert!(still > 0 && recorded == own - still, "{recorded} of {own}, of which {still} stay");
        }
    }
}

/// SalUn's mask: chosen coordinates, those that may move, and chosen ones of BatchNorm.
fn chosen(gang: Gang) -> (usize, usize, usize) {
    let mut learner = learner(gang, Architecture::DepthwiseSmall, BatchNormPolicy::Frozen);
    let salun = Method::SalunForgetOnly(SalunForgetOnly { share: 0.1, ..SalunForgetOnly::default() });
    run(&mut learner, &salun, BatchNormPolicy::Frozen, 1);
    let norms = learner.network.batch_norm_coordinates();
    let mask = at_rest::whole_state(&mut learner).optimiser["snapshot.0"].clone();
    let of_norms = norms.iter().flat_map(Clone::clone).filter(|&at| mask[at] == 1.0).count();
    let still: usize = norms.iter().map(ExactSizeIterator::len).sum();
    (mask.iter().filter(|&&chosen| chosen == 1.0).count(), mask.len() - still, of_norms)
}

#[test]
fn a_mask_takes_its_share_of_what_may_move() {
    tch::set_num_threads(1);
    let layout = network_on(Device::Cpu, Architecture::DepthwiseSmall).layout().clone();
    for world in [1, 2] {
        let (chosen, movable, of_norms) = gang::on_every_rank(world, &layout, chosen).swap_remove(0);
        assert_eq!((chosen, of_norms), (movable / 10, 0));
    }
}
