//! Weights and checkpoints at rest: content-addressed safetensors.

mod shard;
mod store;
mod tensors;
mod weights;

use std::path::PathBuf;

use rewind_job::Digest;

pub use shard::{Shard, assemble};
pub use store::{ArtifactStore, SharedDirectory, digest_of};
pub use tensors::check_header;
pub use weights::{Buffers, read_weights, write_weights};

/// Why an artifact cannot be stored or used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("failed to {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("artifact {0} is not in the store")]
    Missing(Digest),
    #[error("artifact {digest} was altered: {} hashes to {found}", path.display())]
    Altered { digest: Digest, found: Digest, path: PathBuf },
    #[error("`{0}` is not a SHA-256 in hexadecimal")]
    BadDigest(String),
    #[error("not a valid safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    #[error("tensor `{tensor}` {problem}")]
    Tensor { tensor: String, problem: String },
    #[error("a checkpoint's shards do not fit together: {0}")]
    Shards(String),
}
