//! Ranks acting together: sums, gathers and broadcasts that end, one way or the other.
//!
//! Every call has a deadline, and a lost peer is an error value. After an error that says so
//! ([`CollectiveError::ends_the_group`]) the group is gone: form a new one under a new prefix and load committed
//! weights into fresh buffers, because work that was abandoned may still write into the tensors it was given.
//!
//! Traffic between ranks is neither encrypted nor authenticated: the network is the boundary.

use std::time::Duration;

use rewind_job::{Rank, WorldSize};
use tch::{Device, Tensor};

mod abandon;
mod cancel;
pub mod cuda;
mod extension;
mod forming;
mod process_group;
mod recorder;
mod shim;
mod solo;
mod store;
mod tensors;

pub use abandon::{abandoned_groups, unfinished_abandoned_groups};
pub use cancel::CancelSignal;
pub use process_group::{Backend, GroupOptions, ProcessGroup};
pub use recorder::{FlightRecorder, OperationRecord, Outcome};
pub use solo::Solo;
pub use store::{InMemoryStore, RendezvousStore, StoreError};

/// A rank's place in a group of ranks that act together.
///
/// All ranks make the same calls in the same order with the same shapes and kinds. This is not checked across ranks:
/// Gloo ends a process that is sent more bytes than it expects. Tensors are contiguous, on the rank's device, and of kind
/// float32, float64 or int64. Gradients do not flow through a collective.
pub trait Collective: Send {
    fn rank(&self) -> Rank;

    fn world_size(&self) -> WorldSize;

    /// Where this rank's tensors are.
    fn device(&self) -> Device;

    /// Replaces `tensor` by its sum over the ranks, the same bits on every rank.
    ///
    /// After an error the content of `tensor` is unspecified.
    fn all_reduce(&mut self, tensor: &Tensor) -> Result<(), CollectiveError>;

    /// Sums `input` over the ranks and returns this rank's slice of the sum.
    ///
    /// `input` is `[world * n]`, the result `[n]`.
    fn reduce_scatter(&mut self, input: &Tensor) -> Result<Tensor, CollectiveError>;

    /// Returns the shards of all ranks in rank order.
    ///
    /// `shard` is `[n]`, the result `[world * n]`.
    fn all_gather(&mut self, shard: &Tensor) -> Result<Tensor, CollectiveError>;

    /// Replaces `tensor` by the one of `root`.
    ///
    /// After an error the content of `tensor` is unspecified.
    fn broadcast(&mut self, tensor: &Tensor, root: Rank) -> Result<(), CollectiveError>;

    /// Returns when every rank has called it.
    fn barrier(&mut self) -> Result<(), CollectiveError>;

    /// Bytes this rank has sent in operations that ended well, by the formula of a ring.
    ///
    /// With `w` ranks and a tensor of `B` bytes: all-reduce `2 (w - 1) B / w`; reduce-scatter half of that, and over Gloo
    /// the same, for there it is an all-reduce of which the rank keeps a slice; all-gather of a shard of `B` bytes `(w - 1) B`; broadcast `B` on
    /// every rank but the last of the ring, the one before the root; barrier nothing.
    fn bytes_moved(&self) -> u64;

    /// The latest operations of this rank, oldest first: to be logged when a group fails.
    ///
    /// Comparing the sequence numbers of all ranks names the one that stayed behind.
    fn recent(&self) -> Vec<OperationRecord>;
}

/// What ranks do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Form,
    AllReduce,
    ReduceScatter,
    AllGather,
    Broadcast,
    Barrier,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => "forming the group",
            Self::AllReduce => "all-reduce",
            Self::ReduceScatter => "reduce-scatter",
            Self::AllGather => "all-gather",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
        })
    }
}

/// Why ranks did not act together. `sequence` counts the operations of a group, from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectiveError {
    #[error("rank {rank} lost a peer in {operation} (operation {sequence}): {detail}")]
    PeerLost { rank: Rank, operation: Operation, sequence: u64, detail: String },
    #[error(
        "rank {rank} waited {deadline:?} for its peers in {operation} (operation {sequence}){}",
        waiting_for.as_ref().map(|key| format!("; nobody has set {key}")).unwrap_or_default()
    )]
    DeadlineExceeded {
        rank: Rank,
        operation: Operation,
        sequence: u64,
        deadline: Duration,
        /// The rendezvous key that was missing, where a peer did not come at all.
        waiting_for: Option<String>,
    },
    #[error("{operation} (operation {sequence}) of rank {rank} was cancelled")]
    Cancelled { rank: Rank, operation: Operation, sequence: u64 },
    #[error("rank {rank} of {world_size} failed to meet its peers under {prefix}: {detail}")]
    Rendezvous { rank: Rank, world_size: WorldSize, prefix: String, detail: String },
    #[error("the group of rank {rank} ended before this {operation}: {cause}")]
    GroupEnded { rank: Rank, operation: Operation, cause: String },
    #[error("rank {rank} failed in {operation} (operation {sequence}): {detail}")]
    Backend { rank: Rank, operation: Operation, sequence: u64, detail: String },
    #[error("{operation} needs a tensor of shape {expected}, found {found:?}")]
    WrongShape { operation: Operation, expected: String, found: Vec<i64> },
    #[error("{operation} needs a tensor that is {expected}, found {found}")]
    WrongTensor { operation: Operation, expected: &'static str, found: String },
    #[error("{operation} needs a tensor on {expected:?}, found one on {found:?}")]
    WrongDevice { operation: Operation, expected: Device, found: Device },
    #[error("rank {rank} is not in a world of {world_size}")]
    NoSuchRank { rank: Rank, world_size: WorldSize },
}

impl CollectiveError {
    /// Whether the group is gone and only a new one, of a new generation, can go on.
    ///
    /// The others are mistakes of the caller, found before anything was sent.
    pub fn ends_the_group(&self) -> bool {
        !matches!(
            self,
            Self::WrongShape { .. } | Self::WrongTensor { .. } | Self::WrongDevice { .. } | Self::NoSuchRank { .. }
        )
    }
}
