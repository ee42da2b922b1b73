//! Weights and checkpoints at rest: content-addressed safetensors, in a directory or in S3.

mod confidences;
#[cfg(any(test, feature = "conformance"))]
mod conformance;
mod s3;
mod shard;
mod shared_directory;
mod store;
mod tensors;
mod weights;

use std::path::PathBuf;

use rewind_job::{Digest, shortened};

pub use confidences::{Confidence, read_confidences, write_confidences};
#[cfg(any(test, feature = "conformance"))]
pub use conformance::{Mishaps, conformance};
pub use s3::S3;
pub use shard::{Shard, assemble};
pub use shared_directory::SharedDirectory;
pub use store::{ArtifactStore, Stored, digest_of, open};
pub use tensors::{open_safetensors, read_header};
pub use weights::{Buffers, read_weights, write_weights};

/// Why an artifact cannot be stored or used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("failed to {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("failed to {action} {object} at {endpoint}: {problem} ({})", advice(*.retryable))]
    Remote { action: &'static str, object: String, endpoint: String, problem: String, retryable: bool },
    #[error("`{location}` cannot hold artifacts: {problem}")]
    Location { location: String, problem: String },
    #[error("artifact {0} is not in the store")]
    Missing(Digest),
    #[error("artifact {digest} was altered: {place} hashes to {found}")]
    Altered { digest: Digest, found: Digest, place: String },
    #[error("`{0}` is not a SHA-256 in hexadecimal")]
    BadDigest(String),
    #[error("not a valid safetensors file: {}", shortened(.0.to_string()))]
    Safetensors(#[from] safetensors::SafeTensorError),
    #[error("tensor `{}` {}", shortened(tensor.clone()), shortened(problem.clone()))]
    Tensor { tensor: String, problem: String },
    #[error("a checkpoint's shards do not fit together: {}", shortened(.0.clone()))]
    Shards(String),
}

impl ArtifactError {
    /// Whether the same call may succeed later, with nobody doing anything about it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Remote { retryable: true, .. })
    }
}

fn advice(retryable: bool) -> &'static str {
    if retryable { "worth a retry" } else { "a retry does not help" }
}
