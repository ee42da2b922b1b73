//! Unlearning: methods, trajectories, when to stop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Augment, BatchNormPolicy, Enough, Method, Optimiser, Schedule, Source};

/// Rounds of a method that start from an earlier step's weights, or from `model.weights`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Unlearn {
    /// Name of an earlier step; without it the weights in `model.weights`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub method: Method,
    pub forward: Forward,
    pub stop: Stop,
    #[serde(default)]
    pub roll_back: RollBack,
    /// From which change on the network counts as damaged.
    #[serde(default, skip_serializing_if = "DamageLimits::are_default")]
    pub damage: DamageLimits,
}

/// Changes that a network may take without being called damaged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DamageLimits {
    /// Points by which validation accuracy may fall.
    pub validation_accuracy: f64,
    /// Without validation data: points by which the share of the most answered class on the forget data may rise. Above
    /// it, and where more than four of five answers are that class, the network is damaged.
    pub most_answered: f64,
    /// Without validation data: the highest mean cross-entropy on the forget data, in nats. Networks that forgot and still
    /// work stay below 11 in all protocols of the small benchmark; logits that explode go to hundreds.
    pub forget_loss: f64,
    /// Times that the root mean square of the weights, and of BatchNorm's statistics, may grow.
    pub growth: f64,
}

impl Default for DamageLimits {
    fn default() -> Self {
        Self { validation_accuracy: 5.0, most_answered: 50.0, forget_loss: 30.0, growth: 100.0 }
    }
}

impl DamageLimits {
    fn are_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The optimiser that the method drives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Forward {
    pub optimiser: Optimiser,
    pub batch_size: u32,
    #[serde(default = "recompute")]
    pub batch_norm: BatchNormPolicy,
    /// Change the images as they are met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<Augment>,
    /// Counted in rounds, of which `stop.rounds` are all there are: the passes of one round share its place. Rewinding
    /// and Task Vectors, whose rounds train several epochs, count these instead, over all rounds.
    #[serde(default, skip_serializing_if = "is_constant")]
    pub schedule: Schedule,
}

impl Forward {
    /// As little as can be said: inference mode, statistics taken anew after each round, no augmentation, a constant
    /// rate.
    pub fn with(optimiser: Optimiser, batch_size: u32) -> Self {
        Self { optimiser, batch_size, batch_norm: recompute(), augment: None, schedule: Schedule::Constant }
    }
}

fn recompute() -> BatchNormPolicy {
    BatchNormPolicy::Recompute
}

fn is_constant(schedule: &Schedule) -> bool {
    *schedule == Schedule::Constant
}

/// `θ_i ← Φ_0,i + scale · InvWNN(W_i, dW_i)` (paper, algorithm 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rewinding {
    /// Predictor file (safetensors), or `sha256:…`.
    pub predictor: Source,
    /// How many epochs before `Φ_0` the prediction looks (`U`).
    #[serde(default = "horizon")]
    pub horizon: u32,
    /// Factor on the predicted residual; 1 as published.
    #[serde(default = "one")]
    pub scale: f64,
    #[serde(default)]
    pub trajectory: Trajectory,
}

fn horizon() -> u32 {
    3
}

fn one() -> f64 {
    1.0
}

/// `θ ← Φ_0 − λ (Φ_{K-1} − Φ_0)` (Ilharco et al., 2023, iterated in rounds).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TaskVector {
    pub lambda: Lambda,
    #[serde(default)]
    pub trajectory: Trajectory,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number, or a table of convolution, fully-connected and bias")]
pub enum Lambda {
    One(f64),
    PerOperation(LambdaPerOperation),
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LambdaPerOperation {
    pub convolution: LambdaOfType,
    pub fully_connected: LambdaOfType,
    pub bias: LambdaOfType,
}

/// λ for the tensors of one operation type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number, or three: for the first, the middle and the last third of the network")]
pub enum LambdaOfType {
    All(f64),
    /// By the tensor's place in the network.
    Thirds([f64; 3]),
}

impl LambdaOfType {
    /// λ in this third of the network: 0, 1 or 2.
    pub fn of_third(&self, third: usize) -> f64 {
        match self {
            Self::All(lambda) => *lambda,
            Self::Thirds(lambdas) => lambdas[third],
        }
    }
}

/// What one round records (paper, algorithm 1): warm-up epochs, then `K` times a snapshot and an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Trajectory {
    /// `K`.
    pub snapshots: u32,
    /// `W`: epochs before the first snapshot.
    pub warm_up_epochs: u32,
    pub last_epoch: LastEpoch,
    pub optimiser_state: OptimiserState,
}

impl Default for Trajectory {
    fn default() -> Self {
        Self { snapshots: 5, warm_up_epochs: 0, last_epoch: LastEpoch::Skip, optimiser_state: OptimiserState::Keep }
    }
}

/// The epoch after the last snapshot changes nothing but the optimiser's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastEpoch {
    Skip,
    /// Train it, as the authors do.
    Paper,
}

/// The optimiser's state from round to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimiserState {
    /// As published.
    Keep,
    Reset,
}

/// When to stop. The first rule that fires ends the step. None of them reads test data or a retrained model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stop {
    /// At most this many rounds.
    pub rounds: u32,
    /// Whether the step ends when all that it waits for is reached, or one of it.
    #[serde(default, skip_serializing_if = "is_all")]
    pub enough: Enough,
    /// Stop at the first round with `UA = 100 − accuracy on D_f` of at least this, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ua_at_least: Option<f64>,
    /// Stop at the first round in which at most so many percent of `D_f` get the label that they were trained with:
    /// where they are poisoned, the backdoor's success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forget_accuracy_at_most: Option<f64>,
    /// Stop at the first round in which confidences on `D_f` are like those on validation data: the two-sample
    /// Kolmogorov–Smirnov test gives at least this probability. Where a whole class is forgotten, and its held-out samples
    /// lie apart, `D_f` is compared with those of the validation part: then the rule asks whether members of the class can
    /// be told from strangers of the same class, and not whether the class is known still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like_unseen: Option<f64>,
    /// Stop at the first round in which confidence tells `D_f` from validation data with at most this area under the
    /// curve; 0.5 is guessing. Of a whole class as in `like_unseen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership_auc_at_most: Option<f64>,
    /// Stop after the round in which the step has run so long: `90s`, `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    pub wall_time: Option<Duration>,
    /// Stop when validation accuracy is more than this many points below the best seen, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utility_budget: Option<f64>,
    /// Where `ua-at-least` or `forget-accuracy-at-most` has fired, shorten the last round's change to what is needed, by
    /// so many bisections: measured each time, nothing is trained.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bisections: u32,
}

fn is_all(enough: &Enough) -> bool {
    *enough == Enough::All
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Stop {
    /// After so many rounds, whatever comes.
    pub fn after(rounds: u32) -> Self {
        Self { rounds, ..Self::default() }
    }
}

/// Which round's weights become the step's result. It selects weights only; nothing is trained anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RollBack {
    /// The last round's.
    #[default]
    None,
    /// Those with the best validation accuracy; of equal ones those with the lower validation loss.
    BestValidation,
    /// Those with the lowest validation loss.
    BestValidationLoss,
    /// Those whose error on `D_f` is the nearest to the error, after the last round, on the validation samples of
    /// `D_f`'s classes: as wrong on `D_f` as on samples of its kind that were never seen. Of equal ones the earliest
    /// (SCRUB+R; Kurmanji et al., 2023, and their code). `D_f` must have its true labels. The paper wants a validation
    /// set with the distribution of `D_f`; its code, as this, takes all validation samples of the classes that occur in
    /// `D_f`.
    HoldOutForgetError,
    /// The same by all validation data, whatever its classes, and of equal ones the latest: what version 0.1 called
    /// `hold-out-forget-error`. It is no published rule.
    HoldOutErrorOfAll,
}
