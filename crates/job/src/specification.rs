//! What a user asks for: a TOML file, checked whole before anything starts.
//!
//! Every table refuses unknown keys; every refusal names its field.

mod beginning;
mod check;
mod check_methods;
mod check_training;
mod collect;
mod data;
mod evaluation;
mod format;
mod goal;
mod methods;
mod seed;
mod synthetic;
mod train_predictor;
mod training;
mod unlearning;

use std::{path::PathBuf, time::Duration};

pub use beginning::{Initialisation, Objective};
pub use check::SpecificationError;
pub use collect::{
    Collect, CollectUnlearning, HistoryData, HistoryPack, NetworkRecipe, SkippedNetwork, UnlearningRecipe,
};
pub use data::{Backdoor, Data, Forget, ForgottenClass, HeldOutClass, IdxFiles, Pool, Split};
pub use evaluation::{ActivationMaps, Evaluate, Landscape, Line, MeasuredOn, Relearning};
pub use format::SPECIFICATION_FORMAT;
pub use goal::{Enough, Goal, GoalRule};
pub use methods::{
    BoundaryShrink, Fisher, FisherForm, Group, LabelsDrawn, Method, RandomLabel, RandomLabelForgetOnly, RemainingPass,
    Salun, SalunForgetOnly, Scrub, WeightNoise,
};
pub use seed::LARGEST_SEED;
use serde::{Deserialize, Serialize};
pub use synthetic::{Synthetic, SyntheticTask};
pub use train_predictor::{
    Direction, HeldOut, HistoryKind, HistorySource, PredictorArchitecture, PredictorLoss, TrainPredictor,
};
pub use training::{Adam, Adamw, Augment, BatchNormPolicy, Nowcast, Optimiser, Schedule, Sgd, Start, Training};
pub use unlearning::{
    DamageLimits, Forward, Lambda, LambdaOfType, LambdaPerOperation, LastEpoch, OptimiserState, Rewinding, RollBack,
    Stop, TaskVector, Trajectory, Unlearn,
};

use crate::{DeviceKind, Digest, Verdict, WorldSize};

/// One job: a model, its data, and the steps to run on a gang of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", remote = "Self")]
pub struct Specification {
    /// What its words mean: [`SPECIFICATION_FORMAT`] once it is read. Without one it means what version 0.1 meant.
    #[serde(default = "crate::first_format")]
    pub format: u32,
    /// Shown in lists and reports.
    pub name: String,
    /// Everything random in the job follows from it: initial weights, order of samples.
    #[serde(default, deserialize_with = "seed::seed")]
    pub seed: u64,
    /// Of waiting jobs the highest comes first.
    #[serde(default)]
    pub priority: Priority,
    /// A job that has not ended this long after its submission fails: `90m`, `2h 30m`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    pub deadline: Option<Duration>,
    /// Verdicts with which `submit --watch` and `watch` fail; without it all but `forgot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_if: Option<Vec<Verdict>>,
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
    /// Workers of this kind alone: `cpu` or `cuda`. Left out, those of which the fleet has most, and of as many of both
    /// those with GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceKind>,
}

impl Fleet {
    /// The fewest workers that the job runs on.
    pub fn fewest(&self) -> WorldSize {
        self.at_least.unwrap_or(self.world_size)
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self { world_size: WorldSize(1), at_least: None, grace: Duration::from_secs(30), threads: 1, device: None }
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
    /// The network's first operation: a part of its forward pass, not of its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Normalise>,
    /// Next, images are resized to squares of so many pixels: bilinear, where pixel `i` covers `i` to `i + 1` and a
    /// smaller image is not smoothed first (TensorFlow's `image.resize`, PyTorch's `interpolate` without aligned corners).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<u32>,
    /// How fresh weights are drawn. Left out, as PyTorch or the network's authors draw them.
    #[serde(default, skip_serializing_if = "Initialisation::is_torch")]
    pub initialisation: Initialisation,
}

/// Pixels, from 0 to 1, become `(pixel − mean) / std`, channel by channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Normalise {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            architecture: Architecture::Mlp,
            classes: ten(),
            image: digit_shape(),
            weights: None,
            normalise: None,
            resize: None,
            initialisation: Initialisation::Torch,
        }
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
    /// ResNet-18 with a 3×3 stem and without max-pooling, for small images (He et al., 2016), 11 million parameters.
    Resnet18,
    /// ResNet-18 as the authors of InvWNN built it in Keras (Jang et al., 2025): a 7×7 stem without pooling, biases
    /// everywhere, maps of 34, 17 and 9 places a side for images of 32 pixels; 11 million parameters.
    Resnet18Keras,
    /// Pyramid Vision Transformer v2, size b0 (Wang et al., 2022), 3.4 million parameters.
    PvtV2B0,
    /// ConvNeXt-T (Liu et al., 2022), 28 million parameters.
    ConvnextTiny,
}

impl Architecture {
    /// Those that train in seconds on a processor.
    pub const SMALL: [Self; 8] = [
        Self::ResidualSmall,
        Self::Mlp,
        Self::Lenet,
        Self::VggSmall,
        Self::DepthwiseSmall,
        Self::ResidualPlainSmall,
        Self::TransformerSmall,
        Self::UnetSmall,
    ];

    /// Those of the papers' own experiments.
    pub const LARGE: [Self; 4] = [Self::Resnet18, Self::Resnet18Keras, Self::PvtV2B0, Self::ConvnextTiny];

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
            Self::Resnet18 => "resnet18",
            Self::Resnet18Keras => "resnet18-keras",
            Self::PvtV2B0 => "pvt-v2-b0",
            Self::ConvnextTiny => "convnext-tiny",
        }
    }

    /// Whether it answers an image with an image of the same size, rather than with one number a class.
    pub fn gives_images(self) -> bool {
        self == Self::UnetSmall
    }

    /// Whether its last convolution has a map of the image that class activation maps can be made of.
    pub fn has_maps(self) -> bool {
        matches!(
            self,
            Self::ResidualSmall
                | Self::Lenet
                | Self::VggSmall
                | Self::DepthwiseSmall
                | Self::ResidualPlainSmall
                | Self::Resnet18
                | Self::Resnet18Keras
                | Self::ConvnextTiny
        )
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
    /// Weights that were made elsewhere, to unlearn from or to evaluate.
    Given(Given),
    Evaluate(Evaluate),
    /// Make histories: many small tasks, each on one worker. Such a job has no other step.
    Collect(Collect),
    /// Train a predictor on histories. Such a job has no other step.
    TrainPredictor(TrainPredictor),
}

/// Trained weights (safetensors) of the job's model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Given {
    /// A file, or `sha256:…` in the artifact store.
    pub weights: Source,
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
    given: Option<Given>,
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
        let StepTable { name, pretrain, retrain, unlearn, given, evaluate, collect, train_predictor } = table;
        let mut actions: Vec<Action> = [
            pretrain.map(Action::Pretrain),
            retrain.map(Action::Retrain),
            unlearn.map(Action::Unlearn),
            given.map(Action::Given),
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
                "step `{name}` needs exactly one of the tables pretrain, retrain, unlearn, given, evaluate, collect, \
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
            given: None,
            evaluate: None,
            collect: None,
            train_predictor: None,
        };
        match step.action {
            Action::Pretrain(t) => table.pretrain = Some(t),
            Action::Retrain(t) => table.retrain = Some(t),
            Action::Unlearn(u) => table.unlearn = Some(u),
            Action::Given(g) => table.given = Some(g),
            Action::Evaluate(e) => table.evaluate = Some(e),
            Action::Collect(c) => table.collect = Some(c),
            Action::TrainPredictor(t) => table.train_predictor = Some(t),
        }
        table
    }
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
    /// The weights that a training begins with, and their field within the step's table.
    pub fn start(&self) -> Option<(&'static str, &Start)> {
        match &self.action {
            Action::Pretrain(training) => Some(("pretrain.start.weights", training.start.as_ref()?)),
            Action::Retrain(training) => Some(("retrain.start.weights", training.start.as_ref()?)),
            _ => None,
        }
    }

    /// The same, to change it.
    fn start_mut(&mut self) -> Option<&mut Start> {
        match &mut self.action {
            Action::Pretrain(training) | Action::Retrain(training) => training.start.as_mut(),
            _ => None,
        }
    }

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
        let given = self.steps.iter().filter_map(|step| match &step.action {
            Action::Given(given) => Some(&given.weights),
            _ => None,
        });
        let starts = self.steps.iter().filter_map(Step::start).map(|(_, start)| &start.weights);
        let sources = self.model.weights.iter().chain(predictors).chain(given).chain(starts);
        let sources = sources.filter_map(|source| match source {
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
