//! Predictors: which histories they learn from, and how.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Architecture, SpecificationError,
    check::{check_positive, require},
};
use crate::{Digest, JobId};

/// Train a predictor on recorded histories, data parallel over the job's workers. Such a job has no other step; its
/// result is the predictor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrainPredictor {
    /// Finished jobs that made histories (`job-3`), and histories or packs of them by digest (`sha256:…`). At
    /// submission a job becomes the packs that it made.
    pub histories: Vec<HistorySource>,
    /// Only histories of these kinds.
    #[serde(default = "unlearning")]
    pub kinds: Vec<HistoryKind>,
    /// Histories that are not trained on: validation measures on them, and chooses the epoch.
    #[serde(default)]
    pub held_out: HeldOut,
    /// Histories that nothing at all is chosen by: the result is measured on them. Without any, on those held out.
    #[serde(default, skip_serializing_if = "HeldOut::is_empty")]
    pub test: HeldOut,
    #[serde(default)]
    pub architecture: PredictorArchitecture,
    /// Numbers of snapshots (`K`) that it is to serve: networks of their own each.
    #[serde(default = "fifteen")]
    pub snapshots: Vec<u32>,
    /// Horizons (`U`) of the windows that are cut from the histories.
    pub horizons: Vec<u32>,
    /// Whether it looks back, to unlearn, or ahead, to pretrain in fewer epochs.
    #[serde(default, skip_serializing_if = "Direction::is_past")]
    pub direction: Direction,
    #[serde(default)]
    pub loss: PredictorLoss,
    /// Keep the network linear in the drift of a coordinate.
    #[serde(default)]
    pub linear: bool,
    /// How much the coefficients of different epochs are held together.
    #[serde(default)]
    pub smoothing: f64,
    /// Passes over all coordinates, at most.
    #[serde(default = "twenty")]
    pub epochs: u32,
    /// Ends after so many epochs without a lower validation error; the best one is the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// Coordinates a step, over all workers, of the largest set.
    #[serde(default = "batch_4096")]
    pub batch_size: u32,
    /// At the start; falls to zero along a cosine.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// Histories for unlearning whose network knew less of its forget data (percent) have nothing to rewind, and are
    /// left out.
    #[serde(default = "fifty")]
    pub learned: f64,
    /// It was asked for in format 1, whose `paper` and `wnn` were other networks than the published ones. Set by
    /// [`Specification::upgrade`](super::Specification::upgrade); such a job does not go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
}

/// Where histories come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum HistorySource {
    Job(JobId),
    /// A history, or a pack of histories.
    Artifact(Digest),
}

impl From<String> for HistorySource {
    fn from(text: String) -> Self {
        match text.strip_prefix("sha256:") {
            Some(digest) => Self::Artifact(Digest(digest.to_owned())),
            None => Self::Job(JobId(text)),
        }
    }
}

impl From<HistorySource> for String {
    fn from(source: HistorySource) -> Self {
        match source {
            HistorySource::Job(job) => job.0,
            HistorySource::Artifact(digest) => format!("sha256:{digest}"),
        }
    }
}

/// What a history shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistoryKind {
    /// An ordinary training, as published: the answer lies within it.
    Training,
    /// The answer is where the weights were before the forget data came in.
    Unlearning,
}

/// A history is held out if any of these lists names what it was made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HeldOut {
    pub architectures: Vec<Architecture>,
    /// Names of data sets, as `rewind histories list` shows them.
    pub data: Vec<String>,
    /// `sgd`, `adam` or `adamw`, of forward training.
    pub optimisers: Vec<String>,
}

impl HeldOut {
    pub fn is_empty(&self) -> bool {
        let Self { architectures, data, optimisers } = self;
        architectures.is_empty() && data.is_empty() && optimisers.is_empty()
    }
}

/// Which network a predictor holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PredictorArchitecture {
    /// InvWNN as published: two streams, 62,609 parameters at `K = 15`, blind to scale.
    Paper,
    /// Our own: reads differences in units of the tensor's drift scale; still, shift, scale and odd by construction.
    #[default]
    Equivariant,
    /// Linear in a tensor's coordinates, with coefficients that depend on how far the whole tensor moves beside the size
    /// of its weights; still and odd, and scales with the tensor.
    Conditioned,
    /// As `equivariant`, but not odd: it may answer a drift and its mirror image differently. To learn what oddness is
    /// worth.
    Lopsided,
    /// WNN, the forward predecessor, as published: two streams, 9,425 parameters at `K = 5`; each coordinate in units
    /// of its own range.
    Wnn,
}

/// Where a predictor looks from the snapshots that it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// `U` epochs before the oldest: where the weights came from.
    #[default]
    Past,
    /// `U` epochs after the newest: where they will go (nowcasting).
    Future,
}

impl Direction {
    pub fn is_past(&self) -> bool {
        *self == Self::Past
    }
}

/// What a predictor's training makes small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PredictorLoss {
    /// As published: answers become medians. Where most drift is noise they saturate: small drifts are answered
    /// strongly, large ones weakly.
    #[default]
    L1,
    /// Answers become means, close to linear in the drift.
    L2,
}

fn unlearning() -> Vec<HistoryKind> {
    vec![HistoryKind::Unlearning]
}

fn fifteen() -> Vec<u32> {
    vec![15]
}

fn twenty() -> u32 {
    20
}

fn batch_4096() -> u32 {
    4096
}

fn learning_rate() -> f64 {
    5e-3
}

fn fifty() -> f64 {
    50.0
}

/// Rules of descent that `held-out.optimisers` may name.
const RULES: [&str; 3] = ["sgd", "adam", "adamw"];

impl TrainPredictor {
    /// Refuses networks that version 0.1 meant by a published name.
    ///
    /// # Errors
    /// Names the field, below `at`.
    pub fn check_architecture(&self, at: &str) -> Result<(), SpecificationError> {
        let problem = format!(
            "`{}` of version 0.1 is another network than the published one, which this version trains: submit it again \
             with `format = 2`",
            self.architecture
        );
        require(!self.superseded, format!("{at}.architecture"), problem)
    }

    pub(super) fn check(&self, at: &str) -> Result<(), SpecificationError> {
        self.check_architecture(at)?;
        let at = |field: &str| format!("{at}.{field}");
        let differ = |values: &[u32]| values.iter().collect::<BTreeSet<_>>().len() == values.len();
        let equivariant = self.architecture == PredictorArchitecture::Equivariant;
        require(!self.histories.is_empty(), at("histories"), "needs at least one job or digest")?;
        require(!self.kinds.is_empty(), at("kinds"), "needs at least one kind")?;
        require(!self.snapshots.is_empty() && differ(&self.snapshots), at("snapshots"), "must be there, and differ")?;
        let in_range = self.snapshots.iter().all(|k| (2..=1000).contains(k));
        require(in_range, at("snapshots"), "must be from 2 to 1000 each")?;
        require(!self.horizons.is_empty() && differ(&self.horizons), at("horizons"), "must be there, and differ")?;
        require(self.horizons.iter().all(|&u| u > 0), at("horizons"), "must be at least 1 each")?;
        let readable = self.architecture.reads_horizon() || self.horizons.len() == 1;
        require(readable, at("horizons"), "must be exactly one for a published network, which cannot read it")?;
        let ahead = self.direction == Direction::Future;
        require(
            self.architecture != PredictorArchitecture::Wnn || ahead,
            at("direction"),
            "must be \"future\" for wnn",
        )?;
        let trainings = self.kinds == [HistoryKind::Training];
        require(!ahead || trainings, at("kinds"), "must be [\"training\"] for a predictor that looks ahead")?;
        require(!self.linear || equivariant, at("linear"), "is a choice of the equivariant network")?;
        let smoothing = self.smoothing.is_finite() && self.smoothing >= 0.0;
        require(smoothing, at("smoothing"), "must not be below 0")?;
        require((1..=100_000).contains(&self.epochs), at("epochs"), "must be from 1 to 100000")?;
        require(self.patience != Some(0), at("patience"), "must be at least 1")?;
        let holds_out = !self.held_out.is_empty();
        require(self.patience.is_none() || holds_out, at("patience"), "needs histories to measure on (held-out)")?;
        for (lists, field) in [(&self.held_out, "held-out.optimisers"), (&self.test, "test.optimisers")] {
            let known = lists.optimisers.iter().all(|rule| RULES.contains(&rule.as_str()));
            require(known, at(field), format!("must be of {}", RULES.join(", ")))?;
        }
        require(self.batch_size > 0, at("batch-size"), "must be at least 1")?;
        check_positive(self.learning_rate, at("learning-rate"))?;
        require((0.0..=100.0).contains(&self.learned), at("learned"), "must be a percentage")
    }
}

impl PredictorArchitecture {
    /// The published networks answer for the one horizon that they were trained for.
    pub fn reads_horizon(self) -> bool {
        !matches!(self, Self::Paper | Self::Wnn)
    }

    /// As specifications spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Equivariant => "equivariant",
            Self::Conditioned => "conditioned",
            Self::Lopsided => "lopsided",
            Self::Wnn => "wnn",
        }
    }
}

impl std::fmt::Display for PredictorArchitecture {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
