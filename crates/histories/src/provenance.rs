use rewind_job::{Digest, Optimiser, Schedule};
use serde::{Deserialize, Serialize};

use crate::{HistoryError, record::is_digest};

/// What was trained, on what, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Provenance {
    pub kind: Kind,
    /// As specifications spell it: `residual-small`.
    pub architecture: String,
    pub data: DataSet,
    /// Outputs of the network; 0 where they are not classes.
    pub classes: u32,
    pub loss: Loss,
    /// How the weights were drawn: `kaiming-uniform`.
    pub initialisation: String,
    /// Of initialisation and of the order of samples.
    pub seed: u64,
    pub samples: Samples,
    /// Share of the training samples whose labels are wrong, 0 to 1.
    pub wrong_labels: f64,
    /// Of the process that trained; bits depend on it.
    pub threads: u32,
    /// Of the phases `training`, `remaining` and `both`.
    pub training: Descent,
    /// Of the phase `forward`; of unlearning alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Descent>,
}

/// What the run shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An ordinary training, as published.
    Training,
    /// A training on the remaining data, that goes on with the data to forget, and then forward on these alone.
    Unlearning,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Training, Self::Unlearning];

    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Unlearning => "unlearning",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Cross-entropy over the classes.
    Classification,
    /// Mean squared error of the noise.
    Denoising,
}

impl Loss {
    pub fn name(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Denoising => "denoising",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataSet {
    pub name: String,
    /// SHA-256 of its files.
    pub digest: Digest,
}

/// Numbers of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Samples {
    /// Trained on, without those to forget.
    pub remaining: u64,
    /// To forget; 0 in an ordinary training.
    pub forget: u64,
    /// Never trained on.
    pub held_out: u64,
}

/// One rule of descent: the whole optimiser, and what goes with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Descent {
    pub optimiser: Optimiser,
    #[serde(default)]
    pub schedule: Schedule,
    pub batch_size: u32,
}

impl Descent {
    /// As specifications spell it: `sgd`, `adam`, `adamw`.
    pub fn rule(&self) -> &'static str {
        match self.optimiser {
            Optimiser::Sgd(_) => "sgd",
            Optimiser::Adam(_) => "adam",
            Optimiser::Adamw(_) => "adamw",
        }
    }

    fn check(&self, field: &str) -> Result<(), HistoryError> {
        let numbers = match &self.optimiser {
            Optimiser::Sgd(o) => vec![o.learning_rate, o.momentum, o.weight_decay],
            Optimiser::Adam(o) => vec![o.learning_rate, o.beta1, o.beta2, o.epsilon, o.weight_decay],
            Optimiser::Adamw(o) => vec![o.learning_rate, o.beta1, o.beta2, o.epsilon, o.weight_decay],
        };
        if let Some(number) = numbers.into_iter().find(|number| !number.is_finite()) {
            return Err(HistoryError::run(format!("{field}.optimiser"), format!("{number} is not finite")));
        }
        if let Schedule::Milestones { factor, .. } = self.schedule
            && !factor.is_finite()
        {
            return Err(HistoryError::run(format!("{field}.schedule"), format!("factor {factor} is not finite")));
        }
        if self.batch_size == 0 {
            return Err(HistoryError::run(format!("{field}.batch-size"), "must be at least 1"));
        }
        Ok(())
    }
}

impl Provenance {
    /// # Errors
    /// Names the field and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), HistoryError> {
        let refuse = |field: &str, problem: &str| Err(HistoryError::run(format!("provenance.{field}"), problem));
        for (field, text) in [
            ("architecture", &self.architecture),
            ("data.name", &self.data.name),
            ("initialisation", &self.initialisation),
        ] {
            if text.is_empty() || text.chars().any(char::is_control) {
                return refuse(field, "must be a word, on one line");
            }
        }
        let digest = &self.data.digest;
        if !is_digest(digest) {
            return refuse("data.digest", &format!("`{digest}` is not a SHA-256 in hexadecimal"));
        }
        if self.loss == Loss::Classification && self.classes == 0 {
            return refuse("classes", "must be at least 1 for classification");
        }
        if !(0.0..=1.0).contains(&self.wrong_labels) {
            return refuse("wrong-labels", &format!("{} is no share from 0 to 1", self.wrong_labels));
        }
        if self.threads == 0 {
            return refuse("threads", "must be at least 1");
        }
        if self.forward.is_some() != (self.kind == Kind::Unlearning) {
            return refuse("forward", "is there for unlearning, and for that alone");
        }
        self.training.check("provenance.training")?;
        self.forward.iter().try_for_each(|forward| forward.check("provenance.forward"))
    }
}
