//! The samples of a job, and which of them must be forgotten.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    /// All training samples: the network is to be as if it had learned nothing. Nothing remains.
    Everything,
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
    /// The same, drawn by another seed; what is not drawn stays.
    pub fn with_seed(mut self, drawn_by: u64) -> Self {
        match &mut self {
            Self::LabelNoise { seed, .. } | Self::Random { seed, .. } => *seed = drawn_by,
            Self::Backdoor(backdoor) => backdoor.seed = drawn_by,
            Self::Class { .. } | Self::Everything | Self::Files(_) | Self::Nothing => {}
        }
        self
    }

    /// Whether some training samples are not forgotten: `D_r` is there.
    pub fn leaves_some(&self) -> bool {
        !matches!(self, Self::Everything | Self::Files(_))
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}
