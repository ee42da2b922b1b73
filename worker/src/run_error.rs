//! Why work ended without a result, and whether another try is worth it.

use rewind_artifacts::ArtifactError;
use rewind_collective::CollectiveError;
use rewind_job::Digest;
use rewind_unlearning::UnlearningError;

use crate::{inputs::InputError, link::Ended};

/// Why an assignment ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Input(#[from] InputError),
    #[error("{0}")]
    Ended(#[from] Ended),
    #[error("{0}")]
    Unlearning(#[from] UnlearningError),
    #[error("failed to form the gang: {0}")]
    Collective(#[from] CollectiveError),
    #[error("{0}")]
    Artifact(#[from] ArtifactError),
    /// What the coordinator deals is not what there is.
    #[error("the plan deals {dealt} tiles to {ranks} ranks: rank {rank} of {world} has a model of {tiles} tiles")]
    Plan { dealt: usize, ranks: u32, rank: u32, world: u32, tiles: usize },
    #[error("failed to record a history: {0}")]
    History(String),
    /// libtorch ends what it cannot do with a panic; the worker goes on.
    #[error("the computation failed: {0}")]
    Panicked(String),
    /// The job asks too much of the device, now and again.
    #[error("{device} ran out of memory; a smaller batch-size or `--trajectory host` takes less: {text}")]
    OutOfMemory { device: String, text: String },
    /// The device or its driver failed: this process can do nothing with it any more.
    #[error("{device} failed: {text}")]
    BrokenDevice { device: String, text: String },
}

impl RunError {
    /// A lost peer is worth another generation; bad input is not.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Input(InputError::Bad(_))
            | Self::Plan { .. }
            | Self::Panicked(_)
            | Self::OutOfMemory { .. }
            | Self::History(_) => false,
            Self::BrokenDevice { .. }
            | Self::Input(InputError::Away(_))
            | Self::Ended(_)
            | Self::Collective(_)
            | Self::Artifact(_) => true,
            Self::Unlearning(error) => error.is_retryable(),
        }
    }

    /// The same, told apart where libtorch speaks of the device.
    pub fn told_of(self, device: &str) -> Self {
        let (device, text) = (device.to_owned(), self.to_string());
        // What libtorch's allocator says, and what the libraries beside it say of their own memory.
        let full = [
            "CUDA out of memory",
            "CUDA error: out of memory",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "CUDNN_STATUS_ALLOC_FAILED",
        ];
        if let Some(text) = full.iter().find_map(|word| said_from(word, &text)) {
            return Self::OutOfMemory { device, text };
        }
        // The work's fault, and the same the next time.
        if text.contains("no kernel image is available") {
            return self;
        }
        // What `c10::AcceleratorError` says: after it every call fails.
        let broken = ["CUDA error:", "_STATUS_EXECUTION_FAILED", "_STATUS_INTERNAL_ERROR"];
        match broken.iter().find_map(|word| said_from(word, &text)) {
            Some(text) => Self::BrokenDevice { device, text },
            None => self,
        }
    }

    /// Checkpoints that cannot be used.
    pub fn bad_checkpoints(&self) -> Vec<Digest> {
        match self {
            Self::Artifact(ArtifactError::Altered { digest, .. } | ArtifactError::Missing(digest)) => {
                vec![digest.clone()]
            }
            _ => Vec::new(),
        }
    }
}

/// What libtorch says from this word on, without its list of stack frames; none where it does not say it.
fn said_from(word: &str, text: &str) -> Option<String> {
    let said = &text[text.find(word)?..];
    let frames = ["\\nException raised from", "\nException raised from"];
    let end = frames.iter().filter_map(|frames| said.find(frames)).min();
    Some(said[..end.unwrap_or(said.len())].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> RunError {
        RunError::Panicked(text.to_owned()).told_of("NVIDIA H200")
    }

    #[test]
    fn what_libtorch_says_of_a_device_is_told_apart_without_its_stack() {
        let full = told(
            "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA out of memory. Tried to allocate 2 GiB.\\nException raised from malloc at x:1\\nframe #0\")",
        );
        let RunError::OutOfMemory { device, text } = &full else { panic!("{full}") };
        assert_eq!(device, "NVIDIA H200");
        assert_eq!(text, "CUDA out of memory. Tried to allocate 2 GiB.");
        assert!(!full.is_retryable(), "the next try would end the same way");

        let broken = told("CUDA error: an illegal memory access was encountered\nException raised from query");
        assert!(
            matches!(&broken, RunError::BrokenDevice { text, .. } if text.ends_with("was encountered")),
            "{broken}"
        );
        assert!(broken.is_retryable(), "another process can");

        assert!(matches!(told("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), RunError::OutOfMemory { .. }));
        assert!(matches!(told("CUDNN_STATUS_NOT_SUPPORTED"), RunError::Panicked(_)), "another try is no better");
        assert!(matches!(told("index out of range"), RunError::Panicked(_)));
    }
}
