use std::f64::consts::PI;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rewind_job::{Digest, OperationType};
use serde::{Deserialize, Serialize};
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor, no_grad};

use crate::validation::{fits, moving, validate};
use crate::{
    Architecture, Card, Direction, History, Loss, Network, Networks, Predictor, PredictorError, Training, Validation,
    Window,
};

/// How the networks for one number of snapshots are trained: by Adam with a cosine to zero.
///
/// The error is taken in the unit in which the network answers: weights for `paper`, as published; drift scales an
/// epoch for `equivariant`, so that no tensor and no horizon drowns the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    pub architecture: Architecture,
    /// `K`.
    pub snapshots: usize,
    /// `U`; the published networks take exactly one.
    pub horizons: Vec<u32>,
    #[serde(default)]
    pub direction: Direction,
    /// Passes over all coordinates of the histories.
    pub epochs: u32,
    /// Coordinates an optimiser step.
    pub batch_size: usize,
    /// At the start.
    pub learning_rate: f64,
    #[serde(default)]
    pub loss: Loss,
    /// Keep the `equivariant` network linear in the drift: its non-linear head stays zero. It knows less of single
    /// coordinates and is the better one at unlearning, because small drifts are not blown up.
    #[serde(default)]
    pub linear: bool,
    /// Weight of the squared distance between the linear coefficients of different epochs and
    /// their mean: 0 leaves each epoch its own, a large one makes it a Task Vector with a learned λ.
    #[serde(default)]
    pub smoothing: f64,
    pub penalties: Penalties,
    pub seed: u64,
}

/// The non-linear head of the `equivariant` network.
pub(crate) const HEAD: &str = "head.kernel";
/// Coefficients of the differences, `[powers or conditions, snapshots − 1]`.
const LINEAR: &str = "linear.kernel";

/// L1 penalties. In the published networks they are on the explicit Dense layers of the streams alone, three a stream
/// in `paper` and two in `wnn`: the layers within `A(h)` and the last one have none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Penalties {
    pub kernel: f64,
    pub bias: f64,
}

/// A predictor for one number of snapshots, and how well it does on histories that it was not trained on.
#[derive(Debug)]
pub struct TrainedPredictor {
    pub predictor: Predictor,
    /// Empty without validation histories. The predictor's card has it too.
    pub validation: Validation,
}

impl Recipe {
    /// As published, apart from what the paper leaves open: epochs, batch, learning rate.
    pub fn paper(snapshots: usize, horizon: u32) -> Self {
        Self {
            architecture: Architecture::Paper,
            snapshots,
            horizons: vec![horizon],
            direction: Direction::Past,
            epochs: 20,
            batch_size: 4096,
            learning_rate: 1e-3,
            loss: Loss::L1,
            linear: false,
            smoothing: 0.0,
            penalties: Penalties { kernel: 1e-6, bias: 0.1 },
            seed: 0,
        }
    }

    /// Our own: it needs no penalties, having no biases and few parameters.
    pub fn equivariant(snapshots: usize, horizons: &[u32]) -> Self {
        Self {
            architecture: Architecture::Equivariant,
            snapshots,
            horizons: horizons.to_vec(),
            direction: Direction::Past,
            epochs: 20,
            batch_size: 4096,
            learning_rate: 5e-3,
            loss: Loss::L1,
            linear: false,
            smoothing: 0.0,
            penalties: Penalties { kernel: 0.0, bias: 0.0 },
            seed: 0,
        }
    }

    /// # Errors
    /// Names the first field with an impossible value.
    pub fn check(&self) -> Result<(), PredictorError> {
        let mut distinct = self.horizons.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let single = self.architecture.reads_horizon() || self.horizons.len() == 1;
        let ahead = self.architecture != Architecture::Wnn || self.direction == Direction::Future;
        let penalty = |penalty: f64| penalty.is_finite() && penalty >= 0.0;
        let linear = !self.linear || self.architecture == Architecture::Equivariant;
        let rules = [
            (linear, "linear", "is a choice of the equivariant network"),
            (self.snapshots >= 2, "snapshots", "must be at least 2"),
            (!self.horizons.is_empty() && self.horizons.iter().all(|&u| u > 0), "horizons", "must be at least 1 each"),
            (distinct.len() == self.horizons.len(), "horizons", "must differ"),
            (single, "horizons", "must be exactly one for a published network, which cannot read it"),
            (ahead, "direction", "must be future for wnn"),
            (self.epochs > 0, "epochs", "must be at least 1"),
            (self.batch_size > 0, "batch-size", "must be at least 1"),
            (self.learning_rate.is_finite() && self.learning_rate > 0.0, "learning-rate", "must be above 0"),
            (penalty(self.smoothing), "smoothing", "must not be below 0"),
            (penalty(self.penalties.kernel) && penalty(self.penalties.bias), "penalties", "must not be below 0"),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, field, reason)) => Err(PredictorError::Recipe { field, reason }),
            None => Ok(()),
        }
    }
}

/// Trains one network an operation type on the windows of `histories` with the recipe's snapshots and horizons, and
/// measures them on those of `validation`, which training never sees. On the CPU.
///
/// The same recipe and histories give the same bits on the same kind of machine with the same number of threads.
///
/// # Errors
/// An impossible recipe; no moving tensor of an operation type and horizon in `histories`.
pub fn train(
    recipe: &Recipe,
    histories: &[History],
    validation: &[History],
) -> Result<TrainedPredictor, PredictorError> {
    recipe.check()?;
    let Recipe { architecture, snapshots, .. } = *recipe;
    let card = Card::new(recipe, None);
    let mut networks = Networks::new(architecture, snapshots, card, |operation| {
        let mut draw = ChaCha8Rng::seed_from_u64(recipe.seed);
        draw.set_stream(operation as u64);
        let network = Network::initial(architecture, snapshots, &mut draw);
        let examples = recipe
            .horizons
            .iter()
            .map(|&horizon| {
                let mut examples = Examples::gather(&network, histories, operation, snapshots, horizon);
                if examples.coordinates() == 0 {
                    return Err(PredictorError::NoHistory { operation, snapshots, horizon });
                }
                examples.weights = &examples.weights / examples.weights.mean(Kind::Float);
                Ok(examples)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(fit(network, recipe, &examples, &mut draw))
    })?;
    let validation_histories = digests(validation)?;
    let validation = validate(&networks, &fits(&networks, histories)?, validation);
    networks.card.training = Some(Training {
        recipe: recipe.clone(),
        histories: digests(histories)?,
        validation_histories,
        validation: validation.clone(),
    });
    Ok(TrainedPredictor { predictor: Predictor::new(networks), validation })
}

/// What one network sees of one horizon.
#[derive(Debug)]
pub(crate) struct Examples {
    pub(crate) horizon: u32,
    /// `[coordinates, inputs]`
    pub(crate) inputs: Tensor,
    /// In the network's unit, `[coordinates]`.
    pub(crate) targets: Tensor,
    /// `[coordinates]`
    pub(crate) weights: Tensor,
}

impl Examples {
    /// Of tensors that move.
    pub(crate) fn gather(
        network: &Network,
        histories: &[History],
        operation: OperationType,
        snapshots: usize,
        horizon: u32,
    ) -> Self {
        let windows: Vec<&Window> = moving(histories, snapshots, horizon)
            .filter(|window| window.operation == operation && !network.is_still(window.scale) && window.weight > 0.0)
            .collect();
        let all = |of: &dyn Fn(&Window) -> Tensor| {
            // Of nothing there is nothing to join.
            let parts: Vec<_> = windows.iter().map(|window| of(window)).collect();
            if parts.is_empty() { Tensor::zeros([0], (Kind::Float, Device::Cpu)) } else { Tensor::cat(&parts, 0) }
        };
        Self {
            horizon,
            inputs: all(&|window| network.input(&window.snapshots, &window.statistics())),
            targets: all(&|window| {
                let unit = network.unit(&window.snapshots, window.scale, horizon);
                &window.residual / unit.clamp_min(f64::from(f32::MIN_POSITIVE))
            }),
            // Where a coordinate has no unit of its own, there is nothing to learn from it.
            weights: all(&|window| {
                let unit = network.unit(&window.snapshots, window.scale, horizon);
                window.residual.full_like(window.weight) * unit.gt(0.0).to_kind(Kind::Float)
            }),
        }
    }

    pub(crate) fn coordinates(&self) -> i64 {
        self.targets.size()[0]
    }

    /// The same examples in another order.
    pub(crate) fn shuffled(&self, draw: &mut ChaCha8Rng) -> Self {
        let mut order: Vec<i64> = (0..self.coordinates()).collect();
        order.shuffle(draw);
        let order = Tensor::from_slice(&order);
        Self {
            horizon: self.horizon,
            inputs: self.inputs.index_select(0, &order),
            targets: self.targets.index_select(0, &order),
            weights: self.weights.index_select(0, &order),
        }
    }
}

/// Minimises `mean(weight · |network(input) − target|)` plus the penalties. Every batch has one horizon.
fn fit(network: Network, recipe: &Recipe, examples: &[Examples], draw: &mut ChaCha8Rng) -> Network {
    let store = nn::VarStore::new(Device::Cpu);
    let network = network.map(|parameter| {
        let name = store.len().to_string();
        store.root().add(&name, parameter.shallow_clone(), true)
    });
    let mut optimiser =
        nn::Adam::default().build(&store, recipe.learning_rate).expect("Adam accepts a positive learning rate");

    let keep_linear = || {
        for (_, head) in network.parameters().iter().filter(|(name, _)| recipe.linear && name == HEAD) {
            let _ = no_grad(|| head.shallow_clone().zero_());
        }
    };
    keep_linear();
    let batch_size = recipe.batch_size as i64;
    let batches = |examples: &Examples| (examples.coordinates() + batch_size - 1) / batch_size;
    let steps = i64::from(recipe.epochs) * examples.iter().map(batches).sum::<i64>();
    let mut step = 0;
    for _ in 0..recipe.epochs {
        let shuffled: Vec<_> = examples.iter().map(|of_horizon| of_horizon.shuffled(draw)).collect();
        let mut order: Vec<(&Examples, i64)> = shuffled
            .iter()
            .flat_map(|of_horizon| (0..batches(of_horizon)).map(move |batch| (of_horizon, batch * batch_size)))
            .collect();
        order.shuffle(draw);
        for (of_horizon, start) in order {
            optimiser.set_lr(recipe.learning_rate * 0.5 * (1.0 + (PI * step as f64 / steps as f64).cos()));
            let len = batch_size.min(of_horizon.coordinates() - start);
            let batch = |tensor: &Tensor| tensor.narrow(0, start, len);
            let answer = network.forward(&batch(&of_horizon.inputs), of_horizon.horizon); // [batch]
            let distance = answer - batch(&of_horizon.targets);
            let error = match recipe.loss {
                Loss::L1 => distance.abs(),
                Loss::L2 => distance.square(),
            } * batch(&of_horizon.weights);
            optimiser.backward_step(&(error.mean(Kind::Float) + penalty(&network, recipe)));
            keep_linear();
            step += 1;
        }
    }
    network.map(|parameter| parameter.detach().copy())
}

pub(crate) fn penalty(network: &Network, recipe: &Recipe) -> Tensor {
    let penalties = recipe.penalties;
    let mut sum = Tensor::zeros([], (Kind::Float, Device::Cpu));
    for (name, parameter) in network.parameters() {
        if recipe.smoothing > 0.0 && name == LINEAR {
            let mean = parameter.mean_dim(1, true, Kind::Float); // [powers, 1]
            sum += (parameter - mean).square().sum(Kind::Float) * recipe.smoothing;
        }
        let (layer, kind) = name.rsplit_once('.').expect("parameters are named layer.kind");
        let factor = if kind == "bias" { penalties.bias } else { penalties.kernel };
        let explicit = layer != "out" && !layer.contains(".a_");
        if factor > 0.0 && explicit {
            sum += parameter.abs().sum(Kind::Float) * factor;
        }
    }
    sum
}

fn digests(histories: &[History]) -> Result<Vec<Digest>, PredictorError> {
    histories.iter().map(History::digest).collect()
}
