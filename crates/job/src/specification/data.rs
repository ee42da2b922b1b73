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
    pub pool: Option<Pool>,
    /// How the pool is split; required with a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    #[serde(default, skip_serializing_if = "Forget::is_nothing")]
    pub forget: Forget,
}

/// Where the labelled samples of a job lie.
///
/// The data sets in folders say which samples are for training and which for testing: `train` of the split is then taken
/// from the former, the other parts from the latter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PoolTable", into = "PoolTable")]
pub enum Pool {
    /// `{ images = "…", labels = "…" }`.
    Idx(IdxFiles),
    /// The folder of CIFAR-10's binary version (Krizhevsky, 2009): data_batch_1.bin … data_batch_5.bin, test_batch.bin.
    Cifar10(PathBuf),
    /// The folder of CIFAR-100's binary version: train.bin, test.bin; labels are the fine ones.
    Cifar100(PathBuf),
    /// The folder of TinyImageNet (Le and Yang, 2015): wnids.txt, train, val; classes are numbered in the order of their
    /// sorted names, `val` is the test part.
    TinyImagenet(PathBuf),
}

/// How a pool is written in TOML: two files, or exactly one folder.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PoolTable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cifar10: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cifar100: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tiny_imagenet: Option<PathBuf>,
}

impl TryFrom<PoolTable> for Pool {
    type Error = String;

    fn try_from(table: PoolTable) -> Result<Self, String> {
        let PoolTable { images, labels, cifar10, cifar100, tiny_imagenet } = table;
        match (images, labels, cifar10, cifar100, tiny_imagenet) {
            (Some(images), Some(labels), None, None, None) => Ok(Self::Idx(IdxFiles { images, labels })),
            (Some(_), None, None, None, None) => Err("missing field `labels`".into()),
            (None, Some(_), None, None, None) => Err("missing field `images`".into()),
            (None, None, Some(folder), None, None) => Ok(Self::Cifar10(folder)),
            (None, None, None, Some(folder), None) => Ok(Self::Cifar100(folder)),
            (None, None, None, None, Some(folder)) => Ok(Self::TinyImagenet(folder)),
            _ => Err("needs images and labels, or exactly one of cifar10, cifar100, tiny-imagenet".into()),
        }
    }
}

impl From<Pool> for PoolTable {
    fn from(pool: Pool) -> Self {
        match pool {
            Pool::Idx(IdxFiles { images, labels }) => {
                Self { images: Some(images), labels: Some(labels), ..Self::default() }
            }
            Pool::Cifar10(folder) => Self { cifar10: Some(folder), ..Self::default() },
            Pool::Cifar100(folder) => Self { cifar100: Some(folder), ..Self::default() },
            Pool::TinyImagenet(folder) => Self { tiny_imagenet: Some(folder), ..Self::default() },
        }
    }
}

impl Pool {
    /// The folder, of sources that are one, and the field that names it.
    pub fn folder(&self) -> Option<(&'static str, &PathBuf)> {
        match self {
            Self::Idx(_) => None,
            Self::Cifar10(folder) => Some(("data.pool.cifar10", folder)),
            Self::Cifar100(folder) => Some(("data.pool.cifar100", folder)),
            Self::TinyImagenet(folder) => Some(("data.pool.tiny-imagenet", folder)),
        }
    }

    /// Files that must lie in the folder, by their path in it. TinyImageNet's images are found by what is there.
    pub fn files_in_folder(&self) -> &'static [&'static str] {
        match self {
            Self::Idx(_) => &[],
            Self::Cifar10(_) => &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
                "test_batch.bin",
            ],
            Self::Cifar100(_) => &["train.bin", "test.bin"],
            Self::TinyImagenet(_) => &["wnids.txt", "val/val_annotations.txt"],
        }
    }

    /// The field to blame where labels are wrong.
    pub fn labels_field(&self) -> &'static str {
        self.folder().map_or("data.pool.labels", |(field, _)| field)
    }

    /// The field to blame where images are wrong.
    pub fn images_field(&self) -> &'static str {
        self.folder().map_or("data.pool.images", |(field, _)| field)
    }

    /// Visits every path that the table names, with its field.
    pub(super) fn for_each_path(&mut self, visit: &mut dyn FnMut(&str, &mut PathBuf)) {
        match self {
            Self::Idx(files) => {
                visit("data.pool.images", &mut files.images);
                visit("data.pool.labels", &mut files.labels);
            }
            Self::Cifar10(folder) => visit("data.pool.cifar10", folder),
            Self::Cifar100(folder) => visit("data.pool.cifar100", folder),
            Self::TinyImagenet(folder) => visit("data.pool.tiny-imagenet", folder),
        }
    }
}

/// Images and labels in the IDX format (unsigned bytes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdxFiles {
    pub images: PathBuf,
    pub labels: PathBuf,
}

/// Sizes of the parts of the pool; stratified by label, drawn once by `seed`. Where the pool is a data set with training
/// and test samples of its own, `train` is drawn from its training samples, and the other parts from its test samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Split {
    #[serde(default, deserialize_with = "super::seed::seed")]
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
    LabelNoise {
        share: f64,
        #[serde(deserialize_with = "super::seed::seed")]
        seed: u64,
    },
    /// A share of the training samples (BadNets; Gu et al., 2017) gets a line along the left edge and the target label,
    /// which none of them had; they are `D_f`.
    Backdoor(Backdoor),
    /// A random share of the training samples.
    Random {
        share: f64,
        #[serde(deserialize_with = "super::seed::seed")]
        seed: u64,
    },
    /// All training samples of one class.
    Class(ForgottenClass),
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
    #[serde(deserialize_with = "super::seed::seed")]
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

/// A class that is forgotten whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ForgottenClass {
    pub label: u32,
    #[serde(default)]
    pub held_out: HeldOutClass,
}

/// Where the held-out samples of a forgotten class belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldOutClass {
    /// They leave test, validation and attack data, as published: accuracy on them is a figure of its own, and no choice
    /// rewards a network for knowing the class still.
    #[default]
    Apart,
    /// They stay, as in version 0.1.
    Kept,
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
            Self::Class(_) | Self::Everything | Self::Files(_) | Self::Nothing => {}
        }
        self
    }

    /// The class whose held-out samples leave test, validation and attack data.
    pub fn class_apart(&self) -> Option<u32> {
        match self {
            Self::Class(ForgottenClass { label, held_out: HeldOutClass::Apart }) => Some(*label),
            _ => None,
        }
    }

    /// Whether some training samples are not forgotten: `D_r` is there.
    pub fn leaves_some(&self) -> bool {
        !matches!(self, Self::Everything | Self::Files(_))
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}
