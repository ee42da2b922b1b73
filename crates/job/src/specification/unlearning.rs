//! Unlearning: methods, trajectories, when to stop.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Augment, BatchNormPolicy, Optimiser, Source};

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
}

/// The optimiser that the method drives on `D_f`.
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
}

fn recompute() -> BatchNormPolicy {
    BatchNormPolicy::Recompute
}

/// The unlearning methods. Where nothing else is said a round is one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Method {
    Rewinding(Rewinding),
    TaskVector(TaskVector),
    /// Gradient ascent on `D_f`.
    NegGrad {},
    /// Training on `D_f` with labels drawn uniformly from all classes, anew in each epoch.
    RandomLabel {},
    Salun(Salun),
    BoundaryShrink(BoundaryShrink),
    /// Training on `D_f` with one class more, which all of it gets; that class's logit is not part of the result
    /// (Boundary Expanding; Chen et al., 2023).
    BoundaryExpand {},
    WeightNoise(WeightNoise),
    /// Training on `D_r`.
    FineTune {},
    Fisher(Fisher),
    Scrub(Scrub),
}

/// What a method reads to unlearn: reports keep the groups apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `D_f` alone.
    ForgetOnly,
    /// `D_r` as well.
    RetainUsing,
}

impl Group {
    pub fn name(self) -> &'static str {
        match self {
            Self::ForgetOnly => "forget-only",
            Self::RetainUsing => "retain-using",
        }
    }
}

impl Method {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rewinding(_) => "rewinding",
            Self::TaskVector(_) => "task-vector",
            Self::NegGrad {} => "neg-grad",
            Self::RandomLabel {} => "random-label",
            Self::Salun(_) => "salun",
            Self::BoundaryShrink(_) => "boundary-shrink",
            Self::BoundaryExpand {} => "boundary-expand",
            Self::WeightNoise(_) => "weight-noise",
            Self::FineTune {} => "fine-tune",
            Self::Fisher(_) => "fisher",
            Self::Scrub(_) => "scrub",
        }
    }

    pub fn group(&self) -> Group {
        match self {
            Self::FineTune {} | Self::Fisher(_) | Self::Scrub(_) => Group::RetainUsing,
            Self::Rewinding(_)
            | Self::TaskVector(_)
            | Self::NegGrad {}
            | Self::RandomLabel {}
            | Self::Salun(_)
            | Self::BoundaryShrink(_)
            | Self::BoundaryExpand {}
            | Self::WeightNoise(_) => Group::ForgetOnly,
        }
    }

    pub fn trajectory(&self) -> Option<&Trajectory> {
        match self {
            Self::Rewinding(m) => Some(&m.trajectory),
            Self::TaskVector(m) => Some(&m.trajectory),
            _ => None,
        }
    }
}

/// Random labels, and only the coordinates move that matter most to `D_f`: the top share by |Σ gradient of the
/// cross-entropy on `D_f`| at the start (Fan et al., 2024, equation 3).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Salun {
    #[serde(default = "half")]
    pub share: f64,
}

/// Training on `D_f` with the labels that the model gives to `x + step · sign(∇ₓ CE)`: the nearest wrong class
/// (Boundary Shrink; Chen et al., 2023).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BoundaryShrink {
    /// Images are from 0 to 1.
    #[serde(default = "tenth")]
    pub step: f64,
}

/// A round adds N(0, sigma²) to the top share of coordinates by |Σ gradient of the cross-entropy on `D_f`|.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WeightNoise {
    pub sigma: f64,
    #[serde(default = "half")]
    pub share: f64,
}

/// A round adds N(0, alpha · min(1/F, clamp)) to each coordinate, where F is the mean over `D_r` of its squared
/// per-sample gradient (Golatkar et al., 2020).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fisher {
    pub alpha: f64,
    #[serde(default = "thousand")]
    pub clamp: f64,
    /// Of `D_r`, drawn: F is their mean. Without it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
}

/// A round is, first, an epoch on `D_f` that makes KL(teacher‖student) larger, and then one on `D_r` that makes
/// `gamma`·CE + `alpha`·KL smaller; the teacher is the model as it was (Kurmanji et al., 2023).
/// SCRUB+R is this with `roll-back = "hold-out-forget-error"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scrub {
    /// Rounds that begin with the epoch on `D_f`.
    #[serde(default = "two")]
    pub ascent_rounds: u32,
    #[serde(default = "most")]
    pub gamma: f64,
    #[serde(default = "half")]
    pub alpha: f64,
    /// Of both networks' answers in the KL, which is multiplied by its square.
    #[serde(default = "four")]
    pub temperature: f64,
}

fn tenth() -> f64 {
    0.1
}

fn half() -> f64 {
    0.5
}

fn most() -> f64 {
    0.99
}

fn two() -> u32 {
    2
}

fn four() -> f64 {
    4.0
}

fn thousand() -> f64 {
    1000.0
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
    /// Stop at the first round with `UA = 100 − accuracy on D_f` of at least this, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ua_at_least: Option<f64>,
    /// Stop at the first round in which at most so many percent of `D_f` get the label that they were trained with:
    /// where they are poisoned, the backdoor's success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forget_accuracy_at_most: Option<f64>,
    /// Stop at the first round in which confidences on `D_f` are like those on validation data: the two-sample
    /// Kolmogorov–Smirnov test gives at least this probability. Where a whole class is forgotten, and its held-out samples
    /// lie apart, those of the validation part take the place of validation data: what Retrain, which knows nothing of the
    /// class, answers alike in both is what the rule waits for. That the class is forgotten it does not say.
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

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Stop {
    /// After so many rounds, whatever comes.
    pub fn after(rounds: u32) -> Self {
        Self { rounds, ..Self::default() }
    }

    /// UA that is wanted, in percent, if any is.
    pub fn wanted_ua(&self) -> Option<f64> {
        let from_accuracy = self.forget_accuracy_at_most.map(|accuracy| 100.0 - accuracy);
        [self.ua_at_least, from_accuracy].into_iter().flatten().reduce(f64::min)
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
    /// Those whose error on `D_f` is the nearest to the error on validation data after the last round: as wrong on `D_f`
    /// as on samples never seen (SCRUB+R; Kurmanji et al., 2023). Of equal ones the latest.
    HoldOutForgetError,
}
