//! What is told wherever a distance to Retrain is told.

use rewind_job::Report;

use crate::commands::compare::Compared;

/// Where Retrain began, beside the network before unlearning: its distance hangs on it.
#[derive(Clone, Copy)]
pub enum RetrainsStart {
    NoRetrain,
    /// Both drew their first weights by the same seed.
    Same,
    /// The network was given.
    Unknown,
}

impl RetrainsStart {
    pub fn of_job(report: &Report) -> Self {
        match (&report.pretrained, &report.retrain) {
            (_, None) => Self::NoRetrain,
            (Some(_), Some(_)) => Self::Same,
            (None, Some(_)) => Self::Unknown,
        }
    }

    /// A comparison trains both references itself, by the same seed.
    pub fn of_comparison(compared: &Compared) -> Self {
        let has_retrain = compared.references.iter().any(|of| of.retrain.is_some());
        if has_retrain { Self::Same } else { Self::NoRetrain }
    }

    /// What a distance to or from Retrain means.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoRetrain => "",
            Self::Same => {
                " Retrain started from the same initial weights as the network before unlearning, and parted from it on \
                 the way: its distance would be larger from other initial weights."
            }
            Self::Unknown => {
                " Retrain started from initial weights drawn by the job’s seed; which ones the network before unlearning \
                 had, is not known here, and its distance hangs on that."
            }
        }
    }
}
