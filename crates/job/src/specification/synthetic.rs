//! Samples that are drawn rather than read.

use serde::{Deserialize, Serialize};

use super::{SpecificationError, check::require};

/// A task of labelled grey images, as many of each class: a function of these fields alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Synthetic {
    pub task: SyntheticTask,
    pub classes: u32,
    /// Height and width of an image in pixels.
    pub side: u32,
    pub samples: u32,
    #[serde(default, deserialize_with = "super::seed::seed")]
    pub seed: u64,
}

/// What the class of an image decides; all else varies from sample to sample, and every pixel has some noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyntheticTask {
    /// A bright spot: where it lies, on a circle around the middle.
    Blobs,
    /// Parallel stripes: their direction.
    Stripes,
    /// A filled or hollow figure: which one.
    Shapes,
    /// A small spot on one of several spirals around the middle: which spiral.
    Spirals,
}

impl SyntheticTask {
    pub const ALL: [Self; 4] = [Self::Blobs, Self::Stripes, Self::Shapes, Self::Spirals];

    /// The most classes that can be told apart.
    pub fn most_classes(self) -> u32 {
        match self {
            Self::Blobs | Self::Stripes | Self::Shapes => 10,
            Self::Spirals => 4,
        }
    }
}

impl Synthetic {
    /// Refuses impossible values; `at` is the field's name.
    ///
    /// # Errors
    /// The first one found.
    pub fn check(&self, at: &str) -> Result<(), SpecificationError> {
        let most = self.task.most_classes();
        let problem = format!("must be from 2 to {most} for this task");
        require((2..=most).contains(&self.classes), format!("{at}.classes"), problem)?;
        require((8..=256).contains(&self.side), format!("{at}.side"), "must be from 8 to 256")?;
        require(
            (self.classes..=1_000_000).contains(&self.samples),
            format!("{at}.samples"),
            "must be from one a class to 1000000",
        )
    }
}
