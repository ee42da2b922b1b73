//! Histories made for unlearning, collected in this process: what the predictor learns from.
//!
//! One small network each: it trains on `D_r`; then `D_f` comes in for `U` epochs; then it trains forward on `D_f`
//! alone while `K` snapshots are recorded. The answer to find is where its weights would be without `D_f`.

use rewind_collective::{CancelSignal, Solo};
use rewind_job::{Adam, Architecture, Optimiser, Schedule, Sgd, ShardPlan, WorldSize};
use rewind_models::Network;
use rewind_predictor::{History, Sample};
use rewind_unlearning::{Descent, Gang, LabelledSamples, Learner, Pass, PassMode, UnlearningError, accuracy};

/// What the weights are to be rewound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The weights before `D_f` came in.
    Before,
    /// The weights of a twin that trained the same `U` epochs on `D_r` alone.
    Twin,
}

/// How one history is made.
#[derive(Clone, Debug)]
pub struct HistoryRecipe {
    pub architecture: Architecture,
    pub seed: u64,
    /// Of training on `D_r`, then on `D_r ∪ D_f`.
    pub pretraining: Optimiser,
    pub batch_size: usize,
    pub epochs_before: u32,
    /// `U`: epochs on `D_r ∪ D_f`.
    pub horizon: u32,
    pub forward: Optimiser,
    pub forward_batch_size: usize,
    /// Largest `K` recorded.
    pub snapshots: u32,
    pub target: Target,
    /// Coordinates kept of each tensor.
    pub kept: usize,
}

/// What was recorded, and what the network knew when forward training began.
pub struct Recorded {
    /// One window a tensor and a number of snapshots.
    pub history: History,
    /// Share of `D_f` that was learned, in percent.
    pub forget_accuracy: f64,
}

/// Adam with torch's other defaults.
pub fn adam(learning_rate: f64) -> Optimiser {
    Optimiser::Adam(Adam { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 })
}

/// SGD with momentum 0.9.
pub fn sgd(learning_rate: f64) -> Optimiser {
    Optimiser::Sgd(Sgd { learning_rate, momentum: 0.9, weight_decay: 0.0, nesterov: false })
}

/// Makes one history; `cut_to` are the numbers of snapshots `K` to cut it to.
pub fn collect(
    recipe: &HistoryRecipe,
    classes: u32,
    remaining: &LabelledSamples,
    forget: &LabelledSamples,
    cut_to: &[usize],
    cancel: &CancelSignal,
) -> Result<Recorded, UnlearningError> {
    let both = remaining.with(forget);
    let mut learner = learner(recipe, classes, remaining, recipe.pretraining.clone(), cancel);
    let pass = |batch_size| Pass {
        batch_size,
        descent: Descent::Down,
        mode: PassMode::BatchStatistics,
        schedule: Schedule::Constant,
        epochs: 1,
    };
    let pretraining = pass(recipe.batch_size);
    for _ in 0..recipe.epochs_before {
        learner.epoch(remaining, &pretraining)?;
    }
    let before = learner.to_shard()?;
    let target = match recipe.target {
        Target::Before => learner.network.flat().copy(),
        Target::Twin => {
            for _ in 0..recipe.horizon {
                learner.epoch(remaining, &pretraining)?;
            }
            let twin = learner.network.flat().copy();
            learner.restore(&before);
            twin
        }
    };
    for _ in 0..recipe.horizon {
        learner.epoch(&both, &pretraining)?;
    }
    let trained = learner.to_shard()?;
    let mut forward = self::learner(recipe, classes, remaining, recipe.forward.clone(), cancel);
    forward.load_weights(&trained);
    let forget_accuracy = accuracy(&forward.network, &mut forward.gang, forget)?;
    let mut snapshots = Vec::new();
    for k in 0..recipe.snapshots {
        snapshots.push(forward.network.flat().copy());
        if k + 1 < recipe.snapshots {
            forward.epoch(forget, &pass(recipe.forward_batch_size))?;
        }
    }
    let mut history = History::default();
    let sample = Sample::AtMost { coordinates: recipe.kept, seed: recipe.seed };
    for &k in cut_to {
        let layout = forward.gang.layout();
        history.record(layout, &snapshots[..k], &target, recipe.horizon, sample)?;
    }
    Ok(Recorded { history, forget_accuracy })
}

fn learner(
    recipe: &HistoryRecipe,
    classes: u32,
    data: &LabelledSamples,
    optimiser: Optimiser,
    cancel: &CancelSignal,
) -> Learner {
    let network = Network::build(recipe.architecture, classes, data.shape(), recipe.seed);
    let layout = network.layout().clone();
    let plan = ShardPlan::balanced(&layout, WorldSize(1));
    let gang = Gang::new(Box::new(Solo::new()), layout, plan);
    Learner::new(network, gang, optimiser, recipe.seed, "history", cancel.clone())
}
