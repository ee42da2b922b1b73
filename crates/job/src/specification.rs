//! What a user asks for: a TOML file, checked whole before anything starts.
//!
//! Every table refuses unknown keys; every refusal names its field.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

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
    #[serde(default)]
    pub fleet: Fleet,
    pub model: Model,
    pub data: Data,
    #[serde(rename = "step", default)]
    pub steps: Vec<Step>,
    /// JSON log of the search that found this specification's settings; shown in the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_log: Option<PathBuf>,
}

/// Which workers the job wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Fleet {
    pub world_size: WorldSize,
    /// Compute threads a worker. Part of what fixes the bits of training.
    pub threads: u32,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { world_size: WorldSize(1), threads: 1 }
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
}

impl Architecture {
    pub const ALL: [Self; 5] = [Self::ResidualSmall, Self::Mlp, Self::Lenet, Self::VggSmall, Self::DepthwiseSmall];
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Data {
    /// Labelled samples that are split into training and held-out parts.
    /// Without it only `forget = { files = … }` is possible, and what needs other data is null in the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<IdxFiles>,
    /// How the pool is split; required with a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Forget {
    /// A share of the training samples gets a wrong label (uniform among the others); they are `D_f`.
    LabelNoise { share: f64, seed: u64 },
    /// A random share of the training samples.
    Random { share: f64, seed: u64 },
    /// All training samples of one class.
    Class { label: u32 },
    /// Samples of their own.
    Files(IdxFiles),
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
}

impl TryFrom<StepTable> for Step {
    type Error = String;

    fn try_from(table: StepTable) -> Result<Self, String> {
        let StepTable { name, pretrain, retrain, unlearn, evaluate } = table;
        let mut actions: Vec<Action> = [
            pretrain.map(Action::Pretrain),
            retrain.map(Action::Retrain),
            unlearn.map(Action::Unlearn),
            evaluate.map(Action::Evaluate),
        ]
        .into_iter()
        .flatten()
        .collect();
        match (actions.pop(), actions.is_empty()) {
            (Some(action), true) => Ok(Self { name, action }),
            _ => Err(format!("step `{name}` needs exactly one of the tables pretrain, retrain, unlearn, evaluate")),
        }
    }
}

impl From<Step> for StepTable {
    fn from(step: Step) -> Self {
        let mut table = Self { name: step.name, pretrain: None, retrain: None, unlearn: None, evaluate: None };
        match step.action {
            Action::Pretrain(t) => table.pretrain = Some(t),
            Action::Retrain(t) => table.retrain = Some(t),
            Action::Unlearn(u) => table.unlearn = Some(u),
            Action::Evaluate(e) => table.evaluate = Some(e),
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
    pub convolution: f64,
    pub fully_connected: f64,
    pub bias: f64,
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

/// Why a specification is refused: the field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecificationError {
    pub field: String,
    pub problem: String,
}

impl SpecificationError {
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl Specification {
    /// Reads and checks a specification. Relative paths are taken from `folder`.
    ///
    /// # Errors
    /// Names the field and what is wrong with it. Files are not opened here.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, SpecificationError> {
        let document = toml::Deserializer::parse(text)
            .map_err(|error| SpecificationError::new("specification", error.to_string().trim().to_owned()))?;
        let mut specification: Self = serde_path_to_error::deserialize(document).map_err(|error| {
            let field = error.path().to_string();
            SpecificationError::new(
                if field == "." { "specification".to_owned() } else { field },
                error.into_inner().message().to_owned(),
            )
        })?;
        specification.for_each_path(|_, path| *path = folder.join(&*path));
        specification.check()?;
        Ok(specification)
    }

    /// The specification as TOML; [`Self::parse`] reads it back.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a specification is made of tables, strings and numbers")
    }

    /// Every file the specification names, with the field that names it.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let mut files = Vec::new();
        self.clone().for_each_path(|field, path| files.push((field.to_owned(), path.clone())));
        files
    }

    fn for_each_path(&mut self, mut visit: impl FnMut(&str, &mut PathBuf)) {
        if let Some(Source::File(path)) = &mut self.model.weights {
            visit("model.weights", path);
        }
        if let Some(pool) = &mut self.data.pool {
            visit("data.pool.images", &mut pool.images);
            visit("data.pool.labels", &mut pool.labels);
        }
        if let Forget::Files(files) = &mut self.data.forget {
            visit("data.forget.files.images", &mut files.images);
            visit("data.forget.files.labels", &mut files.labels);
        }
        for (index, step) in self.steps.iter_mut().enumerate() {
            if let Action::Unlearn(Unlearn { method: Method::Rewinding(rewinding), .. }) = &mut step.action
                && let Source::File(path) = &mut rewinding.predictor
            {
                visit(&format!("step[{index}].unlearn.method.rewinding.predictor"), path);
            }
        }
        if let Some(path) = &mut self.search_log {
            visit("search-log", path);
        }
    }

    /// Refuses impossible values.
    ///
    /// # Errors
    /// The first one found.
    pub fn check(&self) -> Result<(), SpecificationError> {
        require(!self.name.trim().is_empty(), "name", "must not be empty")?;
        require((1..=4096).contains(&self.fleet.world_size.0), "fleet.world-size", "must be from 1 to 4096")?;
        require((1..=1024).contains(&self.fleet.threads), "fleet.threads", "must be from 1 to 1024")?;
        require((2..=256).contains(&self.model.classes), "model.classes", "must be from 2 to 256: labels are bytes")?;
        require(matches!(self.model.image[0], 1 | 3), "model.image", "must have 1 or 3 channels")?;
        require(
            self.model.image[1..].iter().all(|side| (8..=1024).contains(side)),
            "model.image",
            "height and width must be from 8 to 1024",
        )?;
        self.check_data()?;
        require(!self.steps.is_empty(), "step", "at least one step is needed")?;
        let mut earlier = BTreeSet::new();
        let (mut pretrained, mut retrained) = (false, false);
        for (index, step) in self.steps.iter().enumerate() {
            let at = |field: &str| format!("step[{index}].{field}");
            require(!step.name.trim().is_empty(), at("name"), "must not be empty")?;
            require(
                !earlier.contains(step.name.as_str()),
                at("name"),
                format!("`{}` is the name of an earlier step", step.name),
            )?;
            match &step.action {
                Action::Pretrain(training) => {
                    require(self.data.pool.is_some(), at("pretrain"), "needs data.pool")?;
                    require(!std::mem::replace(&mut pretrained, true), at("pretrain"), "there is one already")?;
                    check_training(training, &at("pretrain"))?;
                }
                Action::Retrain(training) => {
                    require(self.data.pool.is_some(), at("retrain"), "needs data.pool")?;
                    require(!std::mem::replace(&mut retrained, true), at("retrain"), "there is one already")?;
                    require(
                        !matches!(self.data.forget, Forget::Files(_)),
                        at("retrain"),
                        "needs forget data that is part of data.pool",
                    )?;
                    check_training(training, &at("retrain"))?;
                }
                Action::Unlearn(unlearn) => self.check_unlearn(unlearn, &earlier, &at("unlearn"))?,
                Action::Evaluate(evaluate) => {
                    for name in evaluate.of.iter().flatten() {
                        require(
                            earlier.contains(name.as_str()),
                            at("evaluate.of"),
                            format!("`{name}` is not the name of an earlier step that makes weights"),
                        )?;
                    }
                    continue;
                }
            }
            earlier.insert(step.name.as_str());
        }
        Ok(())
    }

    fn check_data(&self) -> Result<(), SpecificationError> {
        require(
            self.data.pool.is_some() == self.data.split.is_some(),
            "data.split",
            "data.pool and data.split go together",
        )?;
        if let Some(split) = &self.data.split {
            require(split.train > 0, "data.split.train", "must be at least 1")?;
            require(split.validation > 0, "data.split.validation", "must be at least 1")?;
            require(split.test > 0, "data.split.test", "must be at least 1")?;
            require(
                split.attack == 0 || split.attack >= 4,
                "data.split.attack",
                "must be 0 (no membership attack), or at least 4",
            )?;
        }
        match &self.data.forget {
            Forget::LabelNoise { share, .. } => check_share(*share, "data.forget.label-noise.share")?,
            Forget::Random { share, .. } => check_share(*share, "data.forget.random.share")?,
            Forget::Class { label } => {
                require(*label < self.model.classes, "data.forget.class.label", "must be less than model.classes")?;
            }
            Forget::Files(_) => return Ok(()),
        }
        require(self.data.pool.is_some(), "data.forget", "needs data.pool, or forget data in files of its own")
    }

    fn check_unlearn(&self, unlearn: &Unlearn, earlier: &BTreeSet<&str>, at: &str) -> Result<(), SpecificationError> {
        let at = |field: &str| format!("{at}.{field}");
        match &unlearn.from {
            Some(name) => require(
                earlier.contains(name.as_str()),
                at("from"),
                format!("`{name}` is not the name of an earlier step that makes weights"),
            )?,
            None => require(
                self.model.weights.is_some(),
                at("from"),
                "name an earlier step, or give trained weights in model.weights",
            )?,
        }
        check_optimiser(&unlearn.forward.optimiser, &at("forward.optimiser"))?;
        require(unlearn.forward.batch_size > 0, at("forward.batch-size"), "must be at least 1")?;
        if let Some(trajectory) = unlearn.method.trajectory() {
            let field = at(&format!("method.{}.trajectory.snapshots", unlearn.method.name()));
            require((2..=1000).contains(&trajectory.snapshots), field, "must be from 2 to 1000")?;
            let field = at(&format!("method.{}.trajectory.warm-up-epochs", unlearn.method.name()));
            require(trajectory.warm_up_epochs <= 1000, field, "must be at most 1000")?;
        }
        match &unlearn.method {
            Method::Rewinding(m) => {
                require(m.horizon > 0, at("method.rewinding.horizon"), "must be at least 1")?;
                check_positive(m.scale, at("method.rewinding.scale"))?;
            }
            Method::TaskVector(TaskVector { lambda: Lambda::One(lambda), .. }) => {
                check_finite(*lambda, at("method.task-vector.lambda"))?;
            }
            Method::TaskVector(TaskVector { lambda: Lambda::PerOperation(l), .. }) => {
                for (name, value) in
                    [("convolution", l.convolution), ("fully-connected", l.fully_connected), ("bias", l.bias)]
                {
                    check_finite(value, at(&format!("method.task-vector.lambda.{name}")))?;
                }
            }
            Method::NegGrad {} => {}
        }
        require(unlearn.stop.rounds > 0, at("stop.rounds"), "must be at least 1")?;
        if let Some(ua) = unlearn.stop.ua_at_least {
            require((0.0..=100.0).contains(&ua), at("stop.ua-at-least"), "must be a percentage")?;
        }
        if let Some(budget) = unlearn.stop.utility_budget {
            require((0.0..=100.0).contains(&budget), at("stop.utility-budget"), "must be from 0 to 100 points")?;
            require(self.data.split.is_some(), at("stop.utility-budget"), "needs validation data (data.split)")?;
        }
        if unlearn.roll_back == RollBack::BestValidation {
            require(self.data.split.is_some(), at("roll-back"), "best-validation needs validation data (data.split)")?;
        }
        Ok(())
    }

    /// The index of the step with this name.
    pub fn step_named(&self, name: &str) -> Option<crate::StepIndex> {
        self.steps.iter().position(|step| step.name == name).map(|index| crate::StepIndex(index as u32))
    }
}

fn require(holds: bool, field: impl Into<String>, problem: impl Into<String>) -> Result<(), SpecificationError> {
    if holds { Ok(()) } else { Err(SpecificationError::new(field, problem)) }
}

fn check_share(share: f64, field: &str) -> Result<(), SpecificationError> {
    require(share > 0.0 && share < 1.0, field, "must be between 0 and 1, both excluded")
}

fn check_positive(value: f64, field: String) -> Result<(), SpecificationError> {
    require(value.is_finite() && value > 0.0, field, "must be greater than 0")
}

fn check_finite(value: f64, field: String) -> Result<(), SpecificationError> {
    require(value.is_finite(), field, "must be a finite number")
}

fn check_training(training: &Training, at: &str) -> Result<(), SpecificationError> {
    require(training.epochs > 0, format!("{at}.epochs"), "must be at least 1")?;
    require(training.batch_size > 0, format!("{at}.batch-size"), "must be at least 1")?;
    require(
        !training.batch_norm.recomputes(),
        format!("{at}.batch-norm"),
        "recompute and train-recompute are policies of unlearning",
    )?;
    if let Schedule::Milestones { epochs, factor } = &training.schedule {
        check_positive(*factor, format!("{at}.schedule.milestones.factor"))?;
        require(epochs.is_sorted(), format!("{at}.schedule.milestones.epochs"), "must be in ascending order")?;
    }
    check_optimiser(&training.optimiser, &format!("{at}.optimiser"))
}

fn check_optimiser(optimiser: &Optimiser, at: &str) -> Result<(), SpecificationError> {
    let unit =
        |value: f64, field: String| require((0.0..1.0).contains(&value), field, "must be at least 0 and less than 1");
    let (name, weight_decay) = match optimiser {
        Optimiser::Sgd(o) => {
            unit(o.momentum, format!("{at}.sgd.momentum"))?;
            require(!o.nesterov || o.momentum > 0.0, format!("{at}.sgd.nesterov"), "needs momentum")?;
            ("sgd", o.weight_decay)
        }
        Optimiser::Adam(o) | Optimiser::Adamw(o) => {
            let name = if matches!(optimiser, Optimiser::Adam(_)) { "adam" } else { "adamw" };
            unit(o.beta1, format!("{at}.{name}.beta1"))?;
            unit(o.beta2, format!("{at}.{name}.beta2"))?;
            check_positive(o.epsilon, format!("{at}.{name}.epsilon"))?;
            (name, o.weight_decay)
        }
    };
    check_positive(optimiser.learning_rate(), format!("{at}.{name}.learning-rate"))?;
    require(weight_decay.is_finite() && weight_decay >= 0.0, format!("{at}.{name}.weight-decay"), "must be at least 0")
}
