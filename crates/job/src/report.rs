//! What a finished job says. `report.json` is this structure; the page is drawn from it.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    BackdoorSuccess, Digest, Group, JobEvent, Judgement, LossAttack, Round, RoundRecord, Specification, Verdict,
    WorldSize,
};

/// Why a step ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopReason {
    /// The name of the rule in the specification's `stop`, or `diverged`.
    pub rule: String,
    /// `UA 99.1 reached the wanted 98.0`.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What its fields mean: [`REPORT_FORMAT`] in reports that this version makes; 1, which is not written, in those of
    /// version 0.1.
    #[serde(
        default = "crate::first_format",
        skip_serializing_if = "is_first_format",
        deserialize_with = "known_format"
    )]
    pub format: u32,
    /// Version of the program that made it.
    pub version: String,
    /// The commit that this program was built from; version 0.1 did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    pub job: String,
    pub world_size: WorldSize,
    pub specification: Specification,
    pub data: DataSummary,
    /// Where the work was done; bits are compared only between equal machines.
    pub machine: Machine,
    pub pretrained: Option<Measured>,
    /// The reference: trained on the remaining data alone.
    pub retrain: Option<Measured>,
    /// One entry an unlearning step, in the specification's order.
    #[serde(deserialize_with = "in_present_words")]
    pub methods: Vec<Measured>,
    /// The rule that ended each unlearning step.
    pub stop: Vec<StepStop>,
    /// Share of the test accuracy that Retrain gains over the pretrained weights, by method, in percent.
    pub recovered: Vec<Recovered>,
    /// Restarts and other decisions of the coordinator. Filled in when the report is fetched.
    #[serde(default)]
    pub events: Vec<JobEvent>,
    /// What a reader must know to trust the figures.
    pub warnings: Vec<String>,
    /// What a job that trains a predictor made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictor: Option<PredictorReport>,
    /// `evaluate.activation-maps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationReport>,
    /// `evaluate.landscape`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landscape: Option<LandscapeReport>,
    /// The artifact with the [`SampleRecord`](crate::SampleRecord), where every round took note of what was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Digest>,
    /// The search that found the settings (`search-log` of the specification).
    pub search: Option<serde_json::Value>,
}

/// The form of reports that this version writes; it reads older ones, too.
///
/// | format | since | what changed |
/// |---|---|---|
/// | 1 | 0.1.0 | was not written down |
/// | 2 | 0.2.0 | `commit`; the specification is of format 2, and so are the methods' names |
/// | 3 | 0.3.0 | what a round measured stands in its `scores`; verdicts |
pub const REPORT_FORMAT: u32 = 3;

fn in_present_words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Measured>, D::Error> {
    let mut methods = Vec::<Measured>::deserialize(deserializer)?;
    methods.iter_mut().for_each(Measured::say_in_present_words);
    Ok(methods)
}

fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let format = u32::deserialize(deserializer)?;
    match crate::check_format(format, REPORT_FORMAT) {
        Ok(()) => Ok(format),
        Err(problem) => Err(serde::de::Error::custom(format!("format: {problem}"))),
    }
}

/// How the warning begins that a report has where another version had begun the job: nothing of a replay can be held
/// against it.
pub const BEGUN_BY_ANOTHER_VERSION: &str = "It was begun by another version";

fn is_first_format(format: &u32) -> bool {
    *format == 1
}

impl Report {
    /// The worst verdict of its unlearning steps; none where nothing was unlearned, or version 0.2 made it.
    pub fn verdict(&self) -> Option<Verdict> {
        self.methods.iter().filter_map(|measured| Some(measured.judgement.as_ref()?.verdict)).max()
    }

    /// Every network that was measured: the pretrained one, Retrain, and one an unlearning step.
    pub fn measured(&self) -> impl Iterator<Item = &Measured> {
        self.pretrained.iter().chain(&self.retrain).chain(&self.methods)
    }
}

/// A trained predictor, measured on histories that were held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictorReport {
    /// The step's name.
    pub name: String,
    pub weights: Digest,
    /// Histories that gave windows: trained on, and measured on.
    pub histories: u64,
    pub held_out: u64,
    /// Histories that gave none: of another kind, with too few snapshots, or with nothing learned to rewind.
    #[serde(default)]
    pub left_out: u64,
    /// Of all histories that gave windows.
    #[serde(default)]
    pub families: Families,
    pub selected: Round,
    pub stop: StopReason,
    /// One an epoch, with the mean of the predictor's errors ([`Figure::PREDICTOR_ERROR`](crate::Figure::PREDICTOR_ERROR)).
    pub rounds: Vec<RoundRecord>,
    /// One an operation type, number of snapshots and horizon; empty if nothing was held out.
    pub errors: Vec<PredictorError>,
    /// Likewise.
    #[serde(default)]
    pub readings: Vec<PredictorReading>,
    /// What the Task Vectors would take back: λ fitted on the histories trained on.
    #[serde(default)]
    pub fits: Vec<FittedRivals>,
}

/// What histories were made of; names in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Families {
    pub architectures: BTreeSet<String>,
    pub data: BTreeSet<String>,
    /// Of forward training.
    pub optimisers: BTreeSet<String>,
}

/// L1 errors on held-out histories, relative to no change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictorError {
    /// `K`.
    pub snapshots: u32,
    /// `U`.
    pub horizon: u32,
    pub operation: crate::OperationType,
    pub coordinates: u64,
    pub predictor: f64,
    pub linear_extrapolation: f64,
    /// λ fitted on the histories trained on: one for all operation types, and one for this.
    pub task_vector: FittedLambda,
    pub task_vector_per_operation: FittedLambda,
    /// Error with λ fitted per operation type and third of the network's depth, on the histories trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_vector_per_layer: Option<f64>,
    /// Error with a λ for each tensor fitted on what is measured: no Task Vector can be better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<f64>,
}

impl PredictorError {
    /// The lowest error of what is simpler: no change, linear extrapolation and the fitted Task Vectors.
    pub fn best_rival(&self) -> f64 {
        let fitted = self.task_vector.error.min(self.task_vector_per_operation.error);
        let layers = self.task_vector_per_layer.unwrap_or(f64::INFINITY);
        fitted.min(layers).min(self.linear_extrapolation).min(1.0)
    }
}

/// λ of Task Vectors for one operation type, number of snapshots and horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedRivals {
    /// `K`.
    pub snapshots: u32,
    /// `U`.
    pub horizon: u32,
    pub operation: crate::OperationType,
    /// The same for all operation types.
    pub one: f64,
    pub per_operation: f64,
    /// First, middle and last third of the network.
    pub per_layer: [f64; 3],
}

/// How a trained network reads held-out trajectories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictorReading {
    /// `K`.
    pub snapshots: u32,
    /// `U`.
    pub horizon: u32,
    pub operation: crate::OperationType,
    /// `∂ residual / ∂ Φ_k` for a coordinate at rest, oldest snapshot first.
    pub jacobian: Vec<f64>,
    /// Residual of a coordinate that rests at 0.5: anything but 0 is a false signal.
    pub resting: f64,
    /// Between true and predicted residuals.
    pub correlation: f64,
    /// Some true and predicted residuals, in units of their tensors' drift scales.
    pub points: Vec<[f64; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedLambda {
    pub lambda: f64,
    pub error: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStop {
    pub name: String,
    pub rule: String,
    pub text: String,
    pub selected: Round,
    pub rounds: Round,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovered {
    pub name: String,
    /// For the selected round.
    pub percent: f64,
    /// For the best round on test data: an *oracle* figure, not one a user could have chosen.
    pub oracle_percent: f64,
}

/// One step's result. Accuracies in percent; null where the data to measure it is not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The step's name.
    pub name: String,
    /// The method's name: `pretrain`, `retrain`, `rewinding`, …
    pub method: String,
    /// `forget-only` or `retain-using`.
    pub group: String,
    /// Accuracy on the remaining data.
    pub ra: Option<f64>,
    /// 100 − accuracy on the forget data.
    pub ua: Option<f64>,
    /// Accuracy on the forget data with the labels that its samples really have; null where those are the same.
    #[serde(default)]
    pub clean: Option<f64>,
    /// Accuracy on test data.
    pub ta: Option<f64>,
    /// Mean cross-entropy on the forget data and on test data, in nats.
    #[serde(default)]
    pub forget_loss: Option<f64>,
    #[serde(default)]
    pub test_loss: Option<f64>,
    /// Accuracy on validation data, which choices may read.
    #[serde(default)]
    pub va: Option<f64>,
    /// Where a whole class is forgotten and has left test data: accuracy on its samples of the test part. The aim is
    /// Retrain's value, which is 0 or near it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten_class_accuracy: Option<f64>,
    /// Where a backdoor is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backdoor: Option<BackdoorSuccess>,
    /// Share of the forget data that the attack "SVC, confidence" calls non-member (SalUn's definition).
    pub mia: Option<f64>,
    /// Balanced accuracy of that attack on held-out members and non-members; near 50 it says nothing.
    pub mia_attack_accuracy: Option<f64>,
    /// The attack "logistic, loss"; null where there are no held-out samples for attacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_attack: Option<LossAttack>,
    /// Mean distance of RA, UA, TA and MIA from Retrain's.
    pub average_gap: Option<f64>,
    pub seconds: f64,
    pub forget_epochs: f64,
    pub bytes_moved: u64,
    /// The round whose weights were measured.
    pub selected: Round,
    pub weights: Digest,
    /// How an unlearning step ended; version 0.2 did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Judgement>,
    /// Euclidean distance from the network before unlearning (`evaluate.line`). Retrain starts from the same initial weights
    /// as that network, where both are trained in one job: its distance would be larger from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<LinePoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relearning: Option<Relearned>,
    /// The artifact with the confidence in each sample: see [`CONFIDENCES`](crate::CONFIDENCES).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidences: Option<Digest>,
    /// Round 0 is the start.
    pub curve: Vec<CurvePoint>,
    pub rounds: Vec<RoundRecord>,
}

impl Measured {
    /// What version 0.1 called `salun` and `random-label` read the forget data alone, which tells it from what bears these
    /// names now.
    pub fn say_in_present_words(&mut self) {
        if self.group == Group::ForgetOnly.name() && matches!(self.method.as_str(), "salun" | "random-label") {
            self.method += "-forget-only";
        }
    }
}

/// Measured after the step had ended, on data no choice has read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    pub round: Round,
    pub forget_accuracy: f64,
    /// On the forget data, with the labels that its samples really have; null where those are the same.
    #[serde(default)]
    pub clean_accuracy: Option<f64>,
    pub test_accuracy: Option<f64>,
    /// On test samples of the forgotten class, which have left test data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten_class_accuracy: Option<f64>,
    /// [`BackdoorSuccess::held_out`](crate::BackdoorSuccess::held_out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backdoor_held_out: Option<f64>,
    /// Mean cross-entropy, in nats.
    #[serde(default)]
    pub forget_loss: Option<f64>,
    #[serde(default)]
    pub test_loss: Option<f64>,
}

/// On the straight line from the network before unlearning (share 0) to the step's weights (share 1). Losses are mean
/// cross-entropies in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinePoint {
    pub share: f64,
    pub forget_loss: f64,
    pub forget_accuracy: f64,
    pub test_loss: Option<f64>,
    pub test_accuracy: Option<f64>,
}

/// Accuracy on forget data that the probe does not train on (labels that were trained with, percent), before the first
/// epoch of relearning and after each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Relearned {
    /// Trained on `D_r` alone.
    pub from_remaining: Vec<f64>,
    /// Trained on `D_r` and a few samples of `D_f`; empty if that was not asked for.
    pub from_some: Vec<f64>,
}

/// What networks look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActivationReport {
    pub samples: Vec<Pictured>,
    /// One entry a step.
    pub steps: Vec<StepMaps>,
}

/// A sample as the network sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pictured {
    pub id: u32,
    /// The label that was trained with, and the one that the sample really has.
    pub label: u32,
    pub truth: u32,
    /// Channels, height, width.
    pub shape: [u32; 3],
    /// From 0 to 255, channel by channel, row by row.
    pub pixels: Vec<u8>,
}

/// A step's maps, one a sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepMaps {
    pub name: String,
    pub maps: Vec<ActivationMap>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActivationMap {
    /// The class with the largest logit.
    pub answer: u32,
    /// Probability of the label that was trained with.
    pub probability: f64,
    /// Height and width of the map: those of the last convolution.
    pub shape: [u32; 2],
    /// From 0 to 255 (the largest value of this map), row by row; all 0 where nothing speaks for the label.
    pub values: Vec<u8>,
}

/// Accuracies on the plane of the first two principal components of all rounds' weights. A point of the plane is
/// `mean + x · first + y · second` with components of length 1: distances in the plane are distances of weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LandscapeReport {
    /// Share of the variance of all rounds' weights that each component explains.
    pub explained: [f64; 2],
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    /// Percent, by `y`, then by `x`. Test accuracy is null where test data must stay unread.
    pub forget_accuracy: Vec<Vec<f64>>,
    pub test_accuracy: Option<Vec<Vec<f64>>>,
    pub paths: Vec<LandscapePath>,
}

/// A step's rounds on the plane, the start first; steps without rounds are a point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LandscapePath {
    pub name: String,
    pub points: Vec<[f64; 2]>,
    /// Among the points: the weights that are the step's result.
    pub selected: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataSummary {
    pub forget: u64,
    pub remaining: Option<u64>,
    pub test: Option<u64>,
    pub validation: Option<u64>,
    pub attack: Option<u64>,
    /// Samples of a forgotten class that have left test, validation and attack data; they are in none of the three
    /// figures above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_apart: Option<ClassApart>,
    /// Test samples of other classes than the backdoor's target, which are read once more with the trigger on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered: Option<u64>,
    /// SHA-256 of each file that was read.
    pub files: Vec<(String, Digest)>,
}

/// Held-out samples of a forgotten class, by the part that they were drawn for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassApart {
    pub label: u32,
    /// Accuracy on the class is measured on these.
    pub test: u64,
    /// The rules `like-unseen` and `membership-auc-at-most` compare the forget data with these.
    pub validation: u64,
    /// The attack "logistic, loss" tells the forget data from these.
    pub attack: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub threads: u32,
    pub libtorch: String,
    /// `AVX512` or `AVX2`: libtorch chooses its kernels by it.
    pub cpu_capability: String,
    /// `cpu`, or the GPU's name.
    pub device: String,
}
