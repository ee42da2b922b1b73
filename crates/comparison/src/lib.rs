//! Methods under one protocol, and predictors on families left out: what is asked, and what was found. Pure: jobs are
//! written and reports are read here, but nothing is submitted.

#[cfg(test)]
mod benchmarks;
mod figures;
mod interval;
mod likelihood;
mod plan;
pub mod predictors;
mod probes;

use rewind_job::{
    ActivationReport, JobId, LandscapeReport, LikelihoodRatio, Measured, SPECIFICATION_FORMAT, check_format,
};
use serde::{Deserialize, Serialize};

pub use figures::{Figure, METRICS, Metric, cells, csv, figures, mean, mean_over, merit};
pub use interval::Interval;
pub use likelihood::{Answers, likelihood};
pub use plan::{ChooseBy, Comparison, PRETRAINED, Plan, RETRAIN, Start, Try, step_name};
pub use probes::Network;

/// A comparison, and everything that was found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Compared {
    /// What its words mean: [`COMPARED_FORMAT`], or 1, which version 0.1 did not write.
    #[serde(default = "rewind_job::first_format")]
    pub format: u32,
    pub comparison: Comparison,
    /// One a training seed.
    pub references: Vec<References>,
    /// In the comparison's order.
    pub methods: Vec<MethodResult>,
    /// Closer measurements (`probes`), one entry a training seed; empty where none were asked for.
    #[serde(default)]
    pub probed: Vec<Probed>,
    /// Of `pretrained`, `retrain` and each method, by name; empty where the comparison has no shadow seeds.
    #[serde(default)]
    pub likelihood: Vec<Likelihood>,
    /// Of the first training seed.
    #[serde(default)]
    pub landscape: Option<LandscapeReport>,
}

/// The form of what is found by comparisons of this version; older ones are read, too. Settings and methods' names are
/// those of specifications of the same format.
pub const COMPARED_FORMAT: u32 = SPECIFICATION_FORMAT;

impl Compared {
    /// Reads what comparisons found, in the words of this version.
    ///
    /// # Errors
    /// It is nothing of the kind, or of a later format.
    pub fn read_all(json: &str) -> Result<Vec<Self>, String> {
        let mut all: Vec<Self> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        for compared in &mut all {
            check_format(compared.format, COMPARED_FORMAT).map_err(|problem| format!("format: {problem}"))?;
            if compared.format == COMPARED_FORMAT {
                continue;
            }
            for tried in compared.methods.iter_mut().flat_map(|method| &mut method.tries) {
                tried.unlearn.upgrade_from(compared.format).map_err(|refusal| refusal.to_string())?;
                tried.measured.say_in_present_words();
            }
            let runs = compared.methods.iter_mut().flat_map(|method| &mut method.runs).map(|run| &mut run.measured);
            let probed = compared.probed.iter_mut().flat_map(|probed| &mut probed.networks);
            runs.chain(probed).for_each(Measured::say_in_present_words);
            compared.format = COMPARED_FORMAT;
        }
        Ok(all)
    }
}

/// The networks of one training seed, measured more closely.
#[derive(Debug, Serialize, Deserialize)]
pub struct Probed {
    pub training_seed: u64,
    pub job: JobId,
    /// `pretrained`, `retrain`, and each method's network of the first unlearning seed, by name: `distance`, `line`,
    /// `relearning` and `confidences` are filled.
    pub networks: Vec<Measured>,
    /// Of the first training seed.
    pub activation: Option<ActivationReport>,
}

/// What the likelihood-ratio attack finds of one contestant.
#[derive(Debug, Serialize, Deserialize)]
pub struct Likelihood {
    pub name: String,
    pub attack: LikelihoodRatio,
}

/// The model and its reference, of one training seed.
#[derive(Debug, Serialize, Deserialize)]
pub struct References {
    pub training_seed: u64,
    pub job: JobId,
    pub pretrained: Measured,
    /// None where nothing remains to train on.
    pub retrain: Option<Measured>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct MethodResult {
    pub name: String,
    pub group: String,
    pub tries: Vec<Tried>,
    /// Among the tries.
    pub chosen: usize,
    pub runs: Vec<MethodRun>,
}

/// A setting on the search seed, measured on validation data.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tried {
    pub setting: String,
    pub unlearn: rewind_job::Unlearn,
    pub measured: Measured,
    /// The rule that ended it.
    pub rule: String,
    /// What it is chosen by: smaller is better. Null where what was asked for was not forgotten.
    pub merit: Option<f64>,
}

/// The chosen setting on one pair of seeds, measured on test data.
#[derive(Debug, Serialize, Deserialize)]
pub struct MethodRun {
    pub training_seed: u64,
    pub unlearning_seed: u64,
    pub job: JobId,
    pub rule: String,
    pub measured: Measured,
}
