//! The unlearning methods, one file each in `methods`, and the loop they share.
//!
//! Every method runs on the same sharded data path: parameters are whole on each rank for forward and backward;
//! gradients are reduced to their owner; optimiser state and trajectory live on the owner's shard alone; the
//! parameters are gathered again.

mod affine_map;
mod augment;
mod batch_norm;
mod gang;
pub mod histories;
mod judged;
mod learner;
mod ledger;
mod line;
mod measure;
mod meter;
mod methods;
mod movable;
mod objective;
mod optimiser;
mod predictor_training;
mod principal_plane;
mod relearning;
mod rounds;
mod samples;
mod schedule;
mod stop;
mod windows;

pub use affine_map::AffineMap;
pub use augment::{Distortion, augment as augment_images};
pub use batch_norm::recompute as recompute_batch_norm;
pub use gang::Gang;
pub use judged::{Judged, JudgedAnswers, measure_weights};
pub use learner::{Batch, Criterion, Descent, Learner, Pass, PassMode, load_weights};
pub use ledger::Ledger;
pub use line::on_the_line;
pub use measure::{Predictions, accuracy, confidences, predictions};
pub use meter::Meter;
pub use methods::{Materials, RandomLabels, RoundMethod, Training, draw_extra_row, method_for};
pub use optimiser::ShardOptimiser;
pub use predictor_training::{Course, PredictorLearner, load_trainee, train_predictor};
pub use principal_plane::{Places, PrincipalPlane, places};
pub use relearning::{Sparing, relearn};
pub use rounds::{Commit, Finished, StepRun, run_rounds};
pub use samples::LabelledSamples;
pub use schedule::{Moment, factor as rate_factor};
pub use stop::{select_round, stop_reason};
pub use windows::add_windows;

/// Why a step could not go on.
#[derive(Debug, thiserror::Error)]
pub enum UnlearningError {
    #[error("failed to act together: {0}")]
    Collective(#[from] rewind_collective::CollectiveError),
    #[error("{0}")]
    Predictor(#[from] rewind_predictor::PredictorError),
    #[error("{0}")]
    Artifact(#[from] rewind_artifacts::ArtifactError),
    #[error("libtorch failed: {0}")]
    Torch(#[from] tch::TchError),
    #[error("failed to commit: {0}")]
    Commit(String),
    #[error("told to stop: {0}")]
    Stopped(String),
    #[error("{0}")]
    TooFewSamples(String),
    /// A training that came to nothing: its weights or its losses are not finite.
    #[error("the training diverged: {0}")]
    Diverged(String),
}

impl UnlearningError {
    /// A lost peer is worth another generation; bad input is not.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Collective(_) | Self::Artifact(_) | Self::Commit(_) | Self::Stopped(_))
    }
}
