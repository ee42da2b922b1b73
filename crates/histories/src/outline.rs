use std::{collections::BTreeSet, ops::Range};

use rewind_job::OperationType;
use serde::{Deserialize, Serialize};

use crate::{HistoryError, Kind, Provenance, Sample};

/// All about a run but its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Outline {
    pub provenance: Provenance,
    /// How the kept coordinates were chosen.
    pub sample: Sample,
    /// In the order of the network's flat coordinates.
    pub tensors: Vec<KeptTensor>,
    /// In the order of time.
    pub snapshots: Vec<Moment>,
}

/// A trainable tensor, and how many of its coordinates are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KeptTensor {
    pub name: String,
    pub operation: OperationType,
    pub shape: Vec<i64>,
    /// From 1 to all of them. Fewer than all: which ones is told by their positions.
    pub kept: usize,
}

/// When a snapshot was taken, and how well the network did then. Nothing where it was not measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Moment {
    pub phase: Phase,
    /// Epochs trained in this phase before; 0 is the state that the phase begins with.
    pub epoch: u32,
    /// On what is trained on, without the data to forget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<Measure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Measure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forget: Option<Measure>,
}

/// What the network trains on. Phases follow one another in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// An ordinary training.
    Training,
    /// `D_r`.
    Remaining,
    /// `D_r ∪ D_f`.
    Both,
    /// `D_f` alone.
    Forward,
}

impl Phase {
    pub const ALL: [Self; 4] = [Self::Training, Self::Remaining, Self::Both, Self::Forward];

    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Remaining => "remaining",
            Self::Both => "both",
            Self::Forward => "forward",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Measure {
    /// Mean over the samples.
    pub loss: f64,
    /// In percent; none where there are no classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

impl Moment {
    /// A moment at which nothing was measured.
    pub fn new(phase: Phase, epoch: u32) -> Self {
        Self { phase, epoch, train: None, held_out: None, forget: None }
    }

    /// The three measures with their names, measured or not.
    pub fn measures(&self) -> [(&'static str, Option<Measure>); 3] {
        [("train", self.train), ("held-out", self.held_out), ("forget", self.forget)]
    }
}

impl KeptTensor {
    /// Coordinates of the whole tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_sampled(&self) -> bool {
        self.kept < self.len()
    }
}

impl Outline {
    /// Kept coordinates of all tensors together: the length of a snapshot.
    pub fn kept(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.kept).sum()
    }

    /// Where a tensor's kept coordinates lie in a snapshot.
    ///
    /// # Panics
    /// There is no such tensor.
    pub fn range(&self, tensor: usize) -> Range<usize> {
        let start = self.tensors[..tensor].iter().map(|tensor| tensor.kept).sum();
        start..start + self.tensors[tensor].kept
    }

    /// The snapshots of a phase, which may be none.
    pub fn during(&self, phase: Phase) -> Range<usize> {
        let start = self.snapshots.partition_point(|moment| moment.phase < phase);
        start..self.snapshots.partition_point(|moment| moment.phase <= phase)
    }

    /// Kept coordinates of the sampled tensors: how many positions there are.
    pub(crate) fn sampled(&self) -> usize {
        self.tensors.iter().filter(|tensor| tensor.is_sampled()).map(|tensor| tensor.kept).sum()
    }

    /// # Errors
    /// Names the field and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), HistoryError> {
        self.provenance.check()?;
        if self.sample.bound() == Some(0) {
            return Err(HistoryError::run("sample", "keeps no coordinate"));
        }
        if self.tensors.is_empty() {
            return Err(HistoryError::run("tensors", "there are none"));
        }
        let mut names = BTreeSet::new();
        for (index, tensor) in self.tensors.iter().enumerate() {
            let refuse =
                |field: &str, problem: String| Err(HistoryError::run(format!("tensors[{index}].{field}"), problem));
            let name = &tensor.name;
            if name.is_empty() || !names.insert(name) {
                return refuse("name", format!("`{name}` is empty or there already"));
            }
            let sides = &tensor.shape;
            let len = sides.iter().try_fold(1i64, |len, &side| len.checked_mul(side).filter(|_| side >= 1));
            let Some(len) = len.and_then(|len| u32::try_from(len).ok()).map(|len| len as usize) else {
                return refuse("shape", format!("{sides:?} of `{name}` is empty, or too large"));
            };
            let kept = self.sample.bound().map_or(len, |bound| bound.min(len));
            if tensor.kept != kept {
                return refuse("kept", format!("{} of {len} coordinates, but the sample's are {kept}", tensor.kept));
            }
        }
        self.check_moments()
    }

    fn check_moments(&self) -> Result<(), HistoryError> {
        if self.snapshots.len() < 2 {
            return Err(HistoryError::run("snapshots", format!("{}, but two are needed", self.snapshots.len())));
        }
        let is_training = self.provenance.kind == Kind::Training;
        let mut last: Option<&Moment> = None;
        for (index, moment) in self.snapshots.iter().enumerate() {
            let refuse =
                |field: &str, problem: String| Err(HistoryError::run(format!("snapshots[{index}].{field}"), problem));
            let (phase, epoch) = (moment.phase, moment.epoch);
            if is_training != (phase == Phase::Training) {
                let (kind, phase) = (self.provenance.kind.name(), phase.name());
                return refuse("phase", format!("`{phase}` is no phase of a run of kind `{kind}`"));
            }
            if let Some(last) = last {
                if phase < last.phase {
                    return refuse("phase", format!("`{}` comes after `{}`", phase.name(), last.phase.name()));
                }
                if phase == last.phase && epoch <= last.epoch {
                    return refuse("epoch", format!("{epoch} does not come after {}", last.epoch));
                }
            }
            last = Some(moment);
            for (name, measure) in moment.measures() {
                let Some(Measure { loss, accuracy }) = measure else { continue };
                if !loss.is_finite() {
                    return refuse(name, format!("a loss of {loss}"));
                }
                if let Some(accuracy) = accuracy.filter(|accuracy| !(0.0..=100.0).contains(accuracy)) {
                    return refuse(name, format!("an accuracy of {accuracy} %"));
                }
            }
        }
        Ok(())
    }
}
