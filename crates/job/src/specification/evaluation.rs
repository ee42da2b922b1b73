//! What is measured when a step has ended.

use serde::{Deserialize, Serialize};

use super::{
    Optimiser, SpecificationError,
    check::{check_optimiser, require},
};

/// Measures earlier steps on data that no choice has read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Evaluate {
    /// Names of earlier steps; without it all earlier ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Vec<String>>,
    #[serde(default)]
    pub read: MeasuredOn,
    /// Keep the confidence in each training and test sample: what a likelihood-ratio attack is made of.
    #[serde(default, skip_serializing_if = "is_false")]
    pub confidences: bool,
    /// How fast does what was forgotten come back?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relearning: Option<Relearning>,
    /// How far are the weights from where they began, and what lies between?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<Line>,
    /// What does the network look at?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_maps: Option<ActivationMaps>,
    /// The plane in which the weights moved most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landscape: Option<Landscape>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Which held-out samples an evaluation reads, beside those of the membership attack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasuredOn {
    /// Test data and validation data.
    #[default]
    Test,
    /// Validation data alone: of a search, that must leave test data unread.
    Validation,
}

/// The relearning probe: each step's weights are trained on `D_r` alone, and once more on `D_r` with a few samples of
/// `D_f`; after each epoch accuracy on those of `D_f` that neither training reads is measured (labels that were trained
/// with). The step's own weights stay as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Relearning {
    pub epochs: u32,
    pub batch_size: u32,
    pub optimiser: Optimiser,
    /// Samples of `D_f` that the second training reads, drawn by the job's seed; 0: there is no second training.
    #[serde(default)]
    pub forget_samples: u32,
}

/// Loss and accuracy on the straight line from the weights of `from` (share 0) to the step's own (share 1). BatchNorm's
/// statistics lie on the line, too. Steps that train in one job start from the same initial weights: what is measured
/// between a pretrained network and Retrain are two trainings that parted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Line {
    /// Name of an earlier step, the network before unlearning.
    pub from: String,
    /// On the line, both ends included; 0: the distance alone.
    #[serde(default)]
    pub points: u32,
}

/// Gradient-weighted class activation maps (Selvaraju et al., 2017) of the last convolution, for some samples of `D_f`
/// and the label that they were trained with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ActivationMaps {
    /// Drawn by the job's seed.
    pub samples: u32,
}

/// Test accuracy and accuracy on `D_f` on the plane of the first two principal components of all rounds' weights, and each
/// step's path. BatchNorm's statistics are taken anew on `D_f` at each point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Landscape {
    /// A side of the grid.
    pub points: u32,
    /// At most so many samples of `D_f`, and of test data, are measured at each point; drawn by the job's seed.
    #[serde(default = "five_hundred")]
    pub samples: u32,
}

fn five_hundred() -> u32 {
    500
}

impl Evaluate {
    /// Refuses impossible values.
    pub(super) fn check(&self, at: &str) -> Result<(), SpecificationError> {
        let at = |field: &str| format!("{at}.{field}");
        if let Some(relearning) = &self.relearning {
            require((1..=1000).contains(&relearning.epochs), at("relearning.epochs"), "must be from 1 to 1000")?;
            require(relearning.batch_size > 0, at("relearning.batch-size"), "must be at least 1")?;
            check_optimiser(&relearning.optimiser, &at("relearning.optimiser"))?;
        }
        if let Some(line) = &self.line {
            let fits = line.points == 0 || (2..=1000).contains(&line.points);
            require(fits, at("line.points"), "must be 0, or from 2 to 1000")?;
        }
        if let Some(maps) = &self.activation_maps {
            require((1..=100).contains(&maps.samples), at("activation-maps.samples"), "must be from 1 to 100")?;
        }
        if let Some(landscape) = &self.landscape {
            require((3..=201).contains(&landscape.points), at("landscape.points"), "must be from 3 to 201")?;
            require(landscape.samples > 0, at("landscape.samples"), "must be at least 1")?;
        }
        Ok(())
    }
}
