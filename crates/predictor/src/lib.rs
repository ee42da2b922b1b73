//! The heart of the method: the trajectory of a shard, the networks that read it, and the rewinding of its weights.
//!
//! Source: "Learning to Rewind via Iterative Prediction of Past Weights for Practical Unlearning", Jang, Kim, Youn,
//! AAAI 2025. One round of its algorithm 1, as this crate sees it:
//!
//! ```text
//! trajectory.record(Φ_0) … record(Φ_{K-1})        the shard's weights, one epoch on D_f apart
//! partial_sums(trajectory) → gathered → statistics how every tensor moves
//! rewind(trajectory, predictor, statistics, U, factor) θ_i = Φ_0,i + factor · InvWNN(W_i, dW_i)
//! ```
//!
//! Everything works tile by tile, with shapes that the tile alone decides: the same recorded trajectory gives the same
//! bits however the tiles are dealt to ranks.

mod error;
mod history;
mod network;
mod predictor;
mod reading;
mod rewind;
mod statistics;
mod tensors_at_rest;
mod trainee;
mod training;
mod trajectory;
mod validation;

pub use error::PredictorError;
pub use history::{History, Sample, Window};
pub use network::{Differences, Network};
pub use predictor::{Card, Networks, Predictor, Training};
pub use reading::{Reading, readings};
pub use rewind::{linear_extrapolation, nowcast, persistence, rewind, task_vector};
pub use rewind_job::{Direction, PredictorArchitecture as Architecture, PredictorLoss as Loss};
pub use statistics::{SUMS, Statistics, partial_sums, place, statistics, third};
pub use trainee::{Share, Trainee, join};
pub use training::{Penalties, Recipe, TrainedPredictor, train};
pub use trajectory::{SnapshotsIn, Trajectory, TrajectoryTile};
pub use validation::{Fit, FittedLayers, FittedTaskVector, Validation, ValidationRow, fit_lambda, fits, validate};
