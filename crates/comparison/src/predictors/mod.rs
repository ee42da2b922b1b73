//! Predictors beside what is simpler: errors on families that were left out, and quality of unlearning.

mod errors;
mod unlearning;

use rewind_job::{Direction, PredictorReport};

pub use errors::{Cells, ErrorRow, Errors, METHODS, RIVALS, cells, is_lowest, is_surely_lowest};
pub use unlearning::{Trained, UnlearningRow, check_protocol, expand_protocol, scale_factors, unlearning_rows};

/// Everything that was found.
#[derive(Debug)]
pub struct Evaluation {
    /// The specification's name.
    pub name: String,
    /// The name that the predictor's rows bear.
    pub architecture: &'static str,
    pub direction: Direction,
    /// Seeds of training, and of unlearning.
    pub seeds: usize,
    /// Names of the protocols in which it unlearned.
    pub protocols: Vec<String>,
    pub families: Vec<String>,
    pub errors: Vec<ErrorRow>,
    pub unlearning: Vec<UnlearningRow>,
    /// Of the first seed, one a family that was left out.
    pub reports: Vec<(String, PredictorReport)>,
}
