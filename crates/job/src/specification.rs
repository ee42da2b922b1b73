//! What a user asks for: a TOML file, checked whole before anything starts.
//!
//! Every table refuses unknown keys; every refusal names its field.

mod beginning;
mod check;
mod collect;
mod synthetic;
mod train_predictor;

use std::{path::PathBuf, time::Duration};

pub use beginning::{Initialisation, Objective};
pub use check::SpecificationError;
pub use collect::{
    Collect, CollectUnlearning, HistoryData, HistoryPack, NetworkRecipe, SkippedNetwork, UnlearningRecipe,
};
use serde::{Deserialize, Serialize};
pub use synthetic::{Synthetic, SyntheticTask};
pub use train_predictor::{
    Direction, HeldOut, HistoryKind, HistorySource, PredictorArchitecture, PredictorLoss, TrainPredictor,
};

use crate::{Digest, WorldSize};

/// One job: a model, its data, and the steps to run on a gang of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Specification {
    /// Shown in lists and reports.
    pub name: String,
    /// Everything random in the job follows from it: initial weights, order of samples.
    #[serde(default)]
    pub seed: u64,
    /// Of waiting jobs the highest comes first.
    #[serde(default)]
    pub priority: Priority,
    /// A job that has not ended this long after its submission fails: `90m`, `2h 30m`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    pub deadline: Option<Duration>,
    #[serde(default)]
    pub fleet: Fleet,
    #[serde(default)]
    pub checkpoints: Checkpoints,
    /// Left out where nothing is trained but networks of a job's own: collecting histories, training a predictor.
    #[serde(default)]
    pub model: Model,
    /// Likewise.
    #[serde(default)]
    pub data: Data,
    #[serde(rename = "step", default)]
    pub steps: Vec<Step>,
    /// JSON log of the search that found this specification's settings; shown in the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_log: Option<PathBuf>,
}

/// Which job goes first. A job that waits rises by one level an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

/// Which workers the job wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Fleet {
    pub world_size: WorldSize,
    /// With fewer workers than `world-size`, but at least so many, the job goes on after `grace`, sharded anew.
    /// The bits of training depend on the number of workers. Without it the job waits for `world-size` workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<WorldSize>,
    /// How long a job waits for all of its workers before it takes fewer.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Compute threads a worker. Part of what fixes the bits of training.
    pub threads: u32,
}

impl Fleet {
    /// The fewest workers that the job runs on.
    pub fn fewest(&self) -> WorldSize {
        self.at_least.unwrap_or(self.world_size)
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self { world_size: WorldSize(1), at_least: None, grace: Duration::from_secs(30), threads: 1 }
    }
}

/// Which rounds' checkpoints stay. A step's result, and the round that would be its result now, always do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Checkpoints {
    /// The last rounds of the present step; an altered checkpoint is answered by going back to the one before it.
    pub keep: u32,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { keep: 2 }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Model {
    pub architecture: Architecture,
    #[serde(default = "ten")]
    pub classes: u32,
    /// Pixels of an image: channels, height, width.
    #[serde(default = "digit_shape")]
    pub image: [u32; 3],
    /// Trained weights to start from (safetensors): a file, or `sha256:…` in the artifact store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Source>,
}

impl Default for Model {
    fn default() -> Self {
        Self { architecture: Architecture::Mlp, classes: ten(), image: digit_shape(), weights: None }
    }
}

fn ten() -> u32 {
    10
}

fn digit_shape() -> [u32; 3] {
    [1, 28, 28]
}

/// The networks that `rewind-models` builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Residual network with BatchNorm, about 100 thousand parameters on digits.
    ResidualSmall,
    /// Two hidden layers, no normalisation.
    Mlp,
    /// LeNet-5 with ReLU (LeCun et al., 1998).
    Lenet,
    /// Plain 3×3 convolutions with BatchNorm (after VGG; Simonyan and Zisserman, 2015).
    VggSmall,
    /// Depthwise separable convolutions with BatchNorm (after MobileNet; Howard et al., 2017).
    DepthwiseSmall,
    /// As `residual-small` without normalisation: its convolutions have biases.
    ResidualPlainSmall,
    /// Two blocks of attention over patches (after ViT; Dosovitskiy et al., 2021), about 70 thousand parameters.
    TransformerSmall,
    /// Convolutions down and up again with skip connections (after U-Net; Ronneberger et al., 2015); gives images.
    UnetSmall,
}

impl Architecture {
    pub const ALL: [Self; 8] = [
        Self::ResidualSmall,
        Self::Mlp,
        Self::Lenet,
        Self::VggSmall,
        Self::DepthwiseSmall,
        Self::ResidualPlainSmall,
        Self::TransformerSmall,
        Self::UnetSmall,
    ];

    /// As specifications spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResidualSmall => "residual-small",
            Self::Mlp => "mlp",
            Self::Lenet => "lenet",
            Self::VggSmall => "vgg-small",
            Self::DepthwiseSmall => "depthwise-small",
            Self::ResidualPlainSmall => "residual-plain-small",
            Self::TransformerSmall => "transformer-small",
            Self::UnetSmall => "unet-small",
        }
    }

    /// Whether it answers an image with an image of the same size, rather than with one number a class.
    pub fn gives_images(self) -> bool {
        self == Self::UnetSmall
    }
}

/// A file, or an artifact by its digest (`sha256:…`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Source {
    File(PathBuf),
    Artifact(Digest),
}

impl From<String> for Source {
    fn from(text: String) -> Self {
        match text.strip_prefix("sha256:") {
            Some(digest) => Self::Artifact(Digest(digest.to_owned())),
            None => Self::File(text.into()),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        match source {
            Source::File(path) => path.display().to_string(),
            Source::Artifact(digest) => format!("sha256:{digest}"),
        }
    }
}

/// The samples, and which of them must be forgotten.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Data {
    /// Labelled samples that are split into training and held-out parts.
    /// Without it only `forget = { files = … }` is possible, and what needs other data is null in the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<IdxFiles>,
    /// How the pool is split; required with a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    #[serde(default, skip_serializing_if = "Forget::is_nothing")]
    pub forget: Forget,
}

/// Images and labels in the IDX format (unsigned bytes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdxFiles {
    pub images: PathBuf,
    pub labels: PathBuf,
}

/// Sizes of the parts of the pool; stratified by label, drawn once by `seed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Split {
    #[serde(default)]
    pub seed: u64,
    pub train: u32,
    /// Read once, at the end.
    pub test: u32,
    /// Every choice reads this part alone.
    pub validation: u32,
    /// Held-out samples of the membership-inference attack.
    pub attack: u32,
}

/// Where the forget data `D_f` comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Forget {
    /// The job forgets nothing; not written.
    #[default]
    #[serde(skip)]
    Nothing,
    /// A share of the training samples gets a wrong label (uniform among the others); they are `D_f`.
    LabelNoise { share: f64, seed: u64 },
    /// A share of the training samples (BadNets; Gu et al., 2017) gets a line along the left edge and the target label,
    /// which none of them had; they are `D_f`.
    Backdoor(Backdoor),
    /// A random share of the training samples.
    Random { share: f64, seed: u64 },
    /// All training samples of one class.
    Class { label: u32 },
    /// Samples of their own.
    Files(IdxFiles),
}

/// Which samples are poisoned, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Backdoor {
    /// Of all training samples; they are drawn from those with another label than the target.
    pub share: f64,
    pub seed: u64,
    /// The target.
    pub label: u32,
    /// Columns that the line takes.
    #[serde(default = "two")]
    pub width: u32,
    /// Its brightness: 255 is white, for digits on black; the paper's is black, 0, on photographs.
    #[serde(default = "white")]
    pub value: u8,
}

fn two() -> u32 {
    2
}

fn white() -> u8 {
    255
}

impl Forget {
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

/// One thing to run, and the name under which later steps and the report know its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StepTable", into = "StepTable")]
pub struct Step {
    pub name: String,
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Train on all of the training data, labels as given to the job (wrong ones included).
    Pretrain(Training),
    /// Train on the remaining data `D_r` alone: the reference (gold standard).
    Retrain(Training),
    Unlearn(Unlearn),
    Evaluate(Evaluate),
    /// Make histories: many small tasks, each on one worker. Such a job has no other step.
    Collect(Collect),
    /// Train a predictor on histories. Such a job has no other step.
    TrainPredictor(TrainPredictor),
}

/// How a step is written in TOML: its name, and exactly one table of what to do.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StepTable {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pretrain: Option<Training>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retrain: Option<Training>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unlearn: Option<Unlearn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evaluate: Option<Evaluate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collect: Option<Collect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    train_predictor: Option<TrainPredictor>,
}

impl TryFrom<StepTable> for Step {
    type Error = String;

    fn try_from(table: StepTable) -> Result<Self, String> {
        let StepTable { name, pretrain, retrain, unlearn, evaluate, collect, train_predictor } = table;
        let mut actions: Vec<Action> = [
            pretrain.map(Action::Pretrain),
            retrain.map(Action::Retrain),
            unlearn.map(Action::Unlearn),
            evaluate.map(Action::Evaluate),
            collect.map(Action::Collect),
            train_predictor.map(Action::TrainPredictor),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (actions.pop(), actions.is_empty()) {
            (Some(action), true) => Ok(Self { name, action }),
            _ => Err(format!(
                "step `{name}` needs exactly one of the tables pretrain, retrain, unlearn, evaluate, collect, \
                 train-predictor"
            )),
        }
    }
}

impl From<Step> for StepTable {
    fn from(step: Step) -> Self {
        let mut table = Self {
            name: step.name,
            pretrain: None,
            retrain: None,
            unlearn: None,
            evaluate: None,
            collect: None,
            train_predictor: None,
        };
        match step.action {
            Action::Pretrain(t) => table.pretrain = Some(t),
            Action::Retrain(t) => table.retrain = Some(t),
            Action::Unlearn(u) => table.unlearn = Some(u),
            Action::Evaluate(e) => table.evaluate = Some(e),
            Action::Collect(c) => table.collect = Some(c),
            Action::TrainPredictor(t) => table.train_predictor = Some(t),
        }
        table
    }
}

/// Ordinary training from fresh weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Training {
    pub epochs: u32,
    /// Samples a step over all workers together.
    pub batch_size: u32,
    pub optimiser: Optimiser,
    #[serde(default)]
    pub schedule: Schedule,
    #[serde(default)]
    pub batch_norm: BatchNormPolicy,
    /// Jump ahead now and then, to need fewer epochs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nowcast: Option<Nowcast>,
}

/// Every so many epochs the weights jump to where a predictor sees them `horizon` epochs later (WNN; Jang et al., ICML
/// 2023). The optimiser's state and the schedule go on as if nothing had happened. There is no jump after the last epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Nowcast {
    /// A predictor that looks ahead: a file (safetensors), or `sha256:…`.
    pub predictor: Source,
    /// Epochs from jump to jump.
    #[serde(default = "five")]
    pub every: u32,
    /// Epochs that a jump looks ahead (`U`).
    #[serde(default = "five")]
    pub horizon: u32,
    /// The newest epochs that the predictor reads (`K`), all of them since the last jump.
    #[serde(default = "five")]
    pub snapshots: u32,
    /// Factor on the predicted change.
    #[serde(default = "one")]
    pub scale: f64,
}

impl Nowcast {
    fn wanted(&self, field: &'static str) -> WantedPredictor<'_> {
        let Self { predictor, snapshots, horizon, .. } = self;
        WantedPredictor {
            field,
            source: predictor,
            snapshots: *snapshots,
            horizon: *horizon,
            direction: Direction::Future,
        }
    }
}

fn five() -> u32 {
    5
}

/// Update rules; symbols and defaults of torch.optim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Optimiser {
    Sgd(Sgd),
    /// Weight decay is added to the gradient.
    Adam(Adam),
    /// Weight decay is decoupled (Loshchilov and Hutter, 2019).
    Adamw(Adam),
}

impl Optimiser {
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(o) => o.learning_rate,
            Self::Adam(o) | Self::Adamw(o) => o.learning_rate,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sgd {
    pub learning_rate: f64,
    #[serde(default)]
    pub momentum: f64,
    #[serde(default)]
    pub weight_decay: f64,
    #[serde(default)]
    pub nesterov: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adam {
    pub learning_rate: f64,
    #[serde(default = "beta1")]
    pub beta1: f64,
    #[serde(default = "beta2")]
    pub beta2: f64,
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    #[serde(default)]
    pub weight_decay: f64,
}

fn beta1() -> f64 {
    0.9
}

fn beta2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-8
}

/// Factor on the learning rate over a step's optimiser steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Schedule {
    #[default]
    Constant,
    /// Falls along half a cosine to zero (Loshchilov and Hutter, 2017).
    Cosine,
    /// Multiplied by `factor` after each of these epochs.
    Milestones { epochs: Vec<u32>, factor: f64 },
    /// `then`, times a line that rises to 1 over the first `epochs` (Goyal et al., 2017).
    WarmUp { epochs: u32, then: Box<Schedule> },
}

/// What happens to BatchNorm's running statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNormPolicy {
    /// Inference mode throughout; scale, shift and statistics stay as they are (as published).
    Frozen,
    /// Local batch statistics; running ones averaged over the ranks by sample count after each epoch.
    #[default]
    Train,
    /// Inference mode while training forward; statistics taken anew on `D_f` after each round.
    Recompute,
    /// As `train` while training forward; statistics taken anew on `D_f` after each round.
    TrainRecompute,
}

impl BatchNormPolicy {
    /// Whether forward training normalises by the batch's statistics.
    pub fn trains(self) -> bool {
        matches!(self, Self::Train | Self::TrainRecompute)
    }

    /// Whether the statistics are taken anew on `D_f` after each round.
    pub fn recomputes(self) -> bool {
        matches!(self, Self::Recompute | Self::TrainRecompute)
    }
}

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
}

fn recompute() -> BatchNormPolicy {
    BatchNormPolicy::Recompute
}

/// The unlearning methods, all forget-only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Method {
    Rewinding(Rewinding),
    TaskVector(TaskVector),
    /// Gradient ascent on `D_f`; a round is one epoch.
    NegGrad {},
}

impl Method {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rewinding(_) => "rewinding",
            Self::TaskVector(_) => "task-vector",
            Self::NegGrad {} => "neg-grad",
        }
    }

    pub fn trajectory(&self) -> Option<&Trajectory> {
        match self {
            Self::Rewinding(m) => Some(&m.trajectory),
            Self::TaskVector(m) => Some(&m.trajectory),
            Self::NegGrad {} => None,
        }
    }
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

/// When to stop. The first rule that fires ends the step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stop {
    /// At most this many rounds.
    pub rounds: u32,
    /// Stop at the first round with `UA = 100 − accuracy on D_f` of at least this, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ua_at_least: Option<f64>,
    /// Stop when validation accuracy is more than this many points below the best seen, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utility_budget: Option<f64>,
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
}

/// Measures earlier steps on data that no choice has read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Evaluate {
    /// Names of earlier steps; without it all earlier ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Vec<String>>,
}

/// A predictor that a step uses.
#[derive(Clone, Copy, Debug)]
pub struct WantedPredictor<'a> {
    /// Within the step's table.
    pub field: &'static str,
    pub source: &'a Source,
    pub snapshots: u32,
    pub horizon: u32,
    pub direction: Direction,
}

impl Step {
    /// The predictor that the step uses, if it does.
    pub fn predictor(&self) -> Option<WantedPredictor<'_>> {
        match &self.action {
            Action::Pretrain(training) => {
                training.nowcast.as_ref().map(|nowcast| nowcast.wanted("pretrain.nowcast.predictor"))
            }
            Action::Retrain(training) => {
                training.nowcast.as_ref().map(|nowcast| nowcast.wanted("retrain.nowcast.predictor"))
            }
            Action::Unlearn(Unlearn { method: Method::Rewinding(rewinding), .. }) => Some(WantedPredictor {
                field: "unlearn.method.rewinding.predictor",
                source: &rewinding.predictor,
                snapshots: rewinding.trajectory.snapshots,
                horizon: rewinding.horizon,
                direction: Direction::Past,
            }),
            _ => None,
        }
    }

    /// The same, to change it.
    fn predictor_mut(&mut self) -> Option<&mut Source> {
        match &mut self.action {
            Action::Pretrain(training) | Action::Retrain(training) => {
                training.nowcast.as_mut().map(|nowcast| &mut nowcast.predictor)
            }
            Action::Unlearn(Unlearn { method: Method::Rewinding(rewinding), .. }) => Some(&mut rewinding.predictor),
            _ => None,
        }
    }
}

impl Specification {
    /// Artifacts that the job reads.
    pub fn artifacts(&self) -> impl Iterator<Item = &Digest> {
        let predictors = self.steps.iter().filter_map(Step::predictor).map(|wanted| wanted.source);
        let sources = self.model.weights.iter().chain(predictors).filter_map(|source| match source {
            Source::Artifact(digest) => Some(digest),
            Source::File(_) => None,
        });
        let histories = self.train_predictor().into_iter().flat_map(|(_, predictor)| &predictor.histories);
        sources.chain(histories.filter_map(|source| match source {
            HistorySource::Artifact(digest) => Some(digest),
            HistorySource::Job(_) => None,
        }))
    }

    /// What a job that trains a predictor learns from, and its step's name.
    pub fn train_predictor(&self) -> Option<(&str, &TrainPredictor)> {
        self.steps.iter().find_map(|step| match &step.action {
            Action::TrainPredictor(predictor) => Some((step.name.as_str(), predictor)),
            _ => None,
        })
    }

    /// What a job that makes histories collects.
    pub fn collect(&self) -> Option<&Collect> {
        self.steps.iter().find_map(|step| match &step.action {
            Action::Collect(collect) => Some(collect),
            _ => None,
        })
    }
}
