//! The unlearning methods by name, and the settings of all but rewinding and Task Vectors.

use serde::{Deserialize, Serialize};

use super::{Rewinding, TaskVector, Trajectory};

/// The unlearning methods. Where nothing else is said a round is one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Method {
    Rewinding(Rewinding),
    TaskVector(TaskVector),
    /// Gradient ascent on `D_f`.
    NegGrad {},
    RandomLabel(RandomLabel),
    RandomLabelForgetOnly(RandomLabelForgetOnly),
    Salun(Salun),
    SalunForgetOnly(SalunForgetOnly),
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
            Self::RandomLabel(_) => "random-label",
            Self::RandomLabelForgetOnly(_) => "random-label-forget-only",
            Self::Salun(_) => "salun",
            Self::SalunForgetOnly(_) => "salun-forget-only",
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
            Self::RandomLabel(_) | Self::Salun(_) | Self::FineTune {} | Self::Fisher(_) | Self::Scrub(_) => {
                Group::RetainUsing
            }
            Self::Rewinding(_)
            | Self::TaskVector(_)
            | Self::NegGrad {}
            | Self::RandomLabelForgetOnly(_)
            | Self::SalunForgetOnly(_)
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

    /// Whether it takes steps of the optimiser: others do not read `forward.optimiser`.
    pub fn trains(&self) -> bool {
        !matches!(self, Self::WeightNoise(_) | Self::Fisher(_))
    }
}

/// When random labels are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelsDrawn {
    /// Anew in each epoch (SalUn's code).
    #[default]
    EachEpoch,
    /// Once: each sample keeps its label (Amnesiac; Graves et al., 2021).
    Once,
}

/// How an epoch of random labels meets `D_r`, whose samples have their own labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemainingPass {
    /// A pass over `D_f`, then one over `D_r` (SalUn's code for CIFAR-10 and SVHN).
    #[default]
    After,
    /// One pass over both in one order: batches have samples of either (SalUn's code for CIFAR-100 and TinyImageNet).
    Mixed,
}

/// An epoch trains on `D_f` with random labels, and on `D_r` with its own, as SalUn's public code does it (Fan et al.,
/// 2024); the defaults are its form for CIFAR-10. Amnesiac (Graves et al., 2021) is this with `wrong-only = true`,
/// `labels = "once"` and `remaining = "mixed"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RandomLabel {
    /// Never the sample's own label.
    pub wrong_only: bool,
    pub labels: LabelsDrawn,
    pub remaining: RemainingPass,
}

/// As [`RandomLabel`] without the pass over `D_r`: a variant that reads `D_f` alone, and no published form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RandomLabelForgetOnly {
    /// Never the sample's own label.
    pub wrong_only: bool,
    pub labels: LabelsDrawn,
}

/// [`RandomLabel`], and only the coordinates move that matter most to `D_f`: the top share by |Σ gradient of the
/// cross-entropy on `D_f`| at the start (Fan et al., 2024, equation 3). The others keep their bits: momentum and weight
/// decay are masked as well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Salun {
    /// Of the coordinates that may move, rounded down.
    pub share: f64,
    /// Never the sample's own label.
    pub wrong_only: bool,
    pub labels: LabelsDrawn,
    pub remaining: RemainingPass,
}

impl Default for Salun {
    fn default() -> Self {
        let RandomLabel { wrong_only, labels, remaining } = RandomLabel::default();
        Self { share: half(), wrong_only, labels, remaining }
    }
}

/// As [`Salun`] without the pass over `D_r`: a variant that reads `D_f` alone, and no published form.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SalunForgetOnly {
    /// Of the coordinates that may move, rounded down.
    pub share: f64,
    /// Never the sample's own label.
    pub wrong_only: bool,
    pub labels: LabelsDrawn,
}

impl Default for SalunForgetOnly {
    fn default() -> Self {
        let RandomLabelForgetOnly { wrong_only, labels } = RandomLabelForgetOnly::default();
        Self { share: half(), wrong_only, labels }
    }
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

/// A round adds noise to each coordinate, the more the less `D_r` needs it. One round is the published form.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fisher {
    /// Must be said, but in format 1, whose only form was `clamped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<FisherForm>,
    pub alpha: f64,
    /// Of the form `clamped` alone; 1000 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamp: Option<f64>,
    /// Of `D_r`, drawn: F is their mean. Without it all, as published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
}

impl Fisher {
    /// Most that 1/F counts in the form `clamped`.
    pub fn largest_inverse(&self) -> f64 {
        self.clamp.unwrap_or(1000.0)
    }
}

/// What the Fisher information F of a coordinate is, and how its noise follows from it. Gradients are of single samples
/// of `D_r`, in inference mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FisherForm {
    /// F is the mean of squared gradients with the true labels; the noise's standard deviation is min(√(α/F), 0.001),
    /// and ten times that on the last layer (the public code of SalUn; Fan et al., 2024).
    Empirical,
    /// F is the mean of squared gradients over all labels, each weighted by the model's own probability of it. The
    /// variance is α·min(1/(F + 1e-8), 1000), at most 100·α on the last layer; then its mean over the inputs of each
    /// unit; then ten times that on the last layer and where a tensor has one dimension (norms and biases). Where a
    /// whole class is forgotten, its row of the last layer is drawn anew: mean 0, variance 0.001 (Golatkar et al.,
    /// 2020, and their public code).
    Expected,
    /// F as in `empirical`, variance α·min(1/F, `clamp`): what version 0.1 did. It is ours, and no published form.
    Clamped,
}

/// A round is, first, an epoch on `D_f` that makes KL(teacher‖student) larger, and then one on `D_r` that makes
/// `gamma`·CE + `alpha`·KL smaller; the teacher is the model as it was, in inference mode (Kurmanji et al., 2023,
/// algorithm 1).
///
/// What is not said is taken from the authors' membership experiments: γ 1, α 0.5, T 4, three rounds with ascent. To
/// that set belong `stop.rounds` 5, SGD with rate 5e-4, momentum 0.9 and weight decay 5e-4, the schedule `{ milestones
/// = { epochs = [3, 5], factor = 0.1 } }` and the BatchNorm policy `train`. Their large-scale set is γ 0.99, α 0.001, T
/// 4, two rounds with ascent of three, batches of 32 of `D_f` and 128 of `D_r`. SCRUB+R is this with `roll-back =
/// "hold-out-forget-error"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Scrub {
    /// Rounds that begin with the epoch on `D_f`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ascent_rounds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Of both networks' answers in the KL, which is multiplied by its square.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Samples a step on `D_f`, over all workers together: with the size of `D_f` it sets the number of ascent steps.
    /// Without it `forward.batch-size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget_batch_size: Option<u32>,
    /// Samples a step on `D_r`. Without it `forward.batch-size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_batch_size: Option<u32>,
}

impl Scrub {
    pub fn ascent_rounds(&self) -> u32 {
        self.ascent_rounds.unwrap_or(3)
    }

    pub fn gamma(&self) -> f64 {
        self.gamma.unwrap_or(1.0)
    }

    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(0.5)
    }

    pub fn temperature(&self) -> f64 {
        self.temperature.unwrap_or(4.0)
    }
}

impl Method {
    /// Says what was left out and has a default, so that whoever reads the specification sees it.
    pub(super) fn say_defaults(&mut self) {
        if let Self::Scrub(scrub) = self {
            *scrub = Scrub {
                ascent_rounds: Some(scrub.ascent_rounds()),
                gamma: Some(scrub.gamma()),
                alpha: Some(scrub.alpha()),
                temperature: Some(scrub.temperature()),
                ..*scrub
            };
        }
    }
}

fn tenth() -> f64 {
    0.1
}

fn half() -> f64 {
    0.5
}
