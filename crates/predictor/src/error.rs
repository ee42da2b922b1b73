use std::path::PathBuf;

use rewind_job::{OperationType, shortened};

/// What can go wrong in this crate. Nothing here is worth a retry: files and arguments stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum PredictorError {
    #[error("failed to read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("not a readable safetensors file: {}", shortened(.0.to_string()))]
    Format(#[from] safetensors::SafeTensorError),
    #[error("metadata key `{key}` is missing")]
    MissingMetadata { key: &'static str },
    #[error("metadata key `{key}` is not understood: {}", shortened(reason.clone()))]
    BadMetadata { key: &'static str, reason: String },
    #[error(
        "the networks for {snapshots} snapshots have no `differences` and no `training`: version 0.1 converted them, and \
         read `paper` with the wrong sign; convert the .h5 files again (rewind predictor convert)"
    )]
    ConvertAgain { snapshots: usize },
    #[error(
        "the networks for {snapshots} snapshots have no `differences`: they are of version 0.1, whose `wnn` was not the \
         published network; train them again"
    )]
    TrainAgain { snapshots: usize },
    #[error("tensor `{name}` is missing")]
    MissingTensor { name: String },
    #[error("tensor `{}` belongs to no network of this file", shortened(name.clone()))]
    UnknownTensor { name: String },
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    TensorShape { name: String, found: Vec<i64>, expected: Vec<i64> },
    #[error("tensor `{name}` has element type {found}, expected {expected}")]
    TensorType { name: String, found: String, expected: &'static str },
    #[error("tensor `{name}` has shape {shape:?}, which no tensor can have")]
    ImpossibleShape { name: String, shape: Vec<usize> },
    #[error("tensor `{name}` holds values that are not finite")]
    NotFinite { name: String },

    #[error("no network for {snapshots} snapshots; this predictor has networks for {available:?}")]
    NoNetwork { snapshots: usize, available: Vec<usize> },
    #[error("horizon {asked} is outside of what the networks for {snapshots} snapshots were trained for: {trained:?}")]
    Horizon { asked: u32, snapshots: usize, trained: Vec<u32> },
    #[error("the networks for {snapshots} snapshots do not look into the {asked:?}")]
    Direction { snapshots: usize, asked: rewind_job::Direction },
    #[error("predictors of different architectures cannot share a file")]
    MixedArchitectures,
    #[error("both predictors have networks for {snapshots} snapshots")]
    SameSnapshots { snapshots: usize },

    #[error("a snapshot of this shard holds {expected} float32 values, found {found_type} of shape {found:?}")]
    Snapshot { expected: usize, found: Vec<i64>, found_type: String },
    #[error("needs at least {needed} snapshots, {recorded} recorded")]
    TooFewSnapshots { needed: usize, recorded: usize },
    #[error("the tile grid needs {expected} partial sums, found {found}")]
    PartialSums { expected: usize, found: usize },
    #[error("no statistics for segment {segment}: {found} given")]
    Statistics { segment: usize, found: usize },

    #[error("recipe: {field} {reason}")]
    Recipe { field: &'static str, reason: &'static str },
    #[error("window {index}: {reason}")]
    Window { index: usize, reason: String },
    #[error(
        "no moving {} tensor with {snapshots} snapshots and horizon {horizon} in the training histories",
        operation.name()
    )]
    NoHistory { operation: OperationType, snapshots: usize, horizon: u32 },
}
