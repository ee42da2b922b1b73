//! A collective that a test may interrupt in the middle of a call.

use rewind_collective::{Collective, CollectiveError, OperationRecord};
use rewind_job::{Rank, WorldSize};
use rewind_telemetry::fail_point;
use tch::{Device, Tensor};

/// Passes every call on, past its fail point.
pub struct Watched(pub Box<dyn Collective>);

impl Collective for Watched {
    fn rank(&self) -> Rank {
        self.0.rank()
    }

    fn world_size(&self) -> WorldSize {
        self.0.world_size()
    }

    fn device(&self) -> Device {
        self.0.device()
    }

    fn all_reduce(&mut self, tensor: &Tensor) -> Result<(), CollectiveError> {
        self.0.all_reduce(tensor)
    }

    fn reduce_scatter(&mut self, input: &Tensor) -> Result<Tensor, CollectiveError> {
        fail_point("training");
        self.0.reduce_scatter(input)
    }

    fn all_gather(&mut self, shard: &Tensor) -> Result<Tensor, CollectiveError> {
        fail_point("gather");
        self.0.all_gather(shard)
    }

    fn broadcast(&mut self, tensor: &Tensor, root: Rank) -> Result<(), CollectiveError> {
        self.0.broadcast(tensor, root)
    }

    fn barrier(&mut self) -> Result<(), CollectiveError> {
        self.0.barrier()
    }

    fn bytes_moved(&self) -> u64 {
        self.0.bytes_moved()
    }

    fn recent(&self) -> Vec<OperationRecord> {
        self.0.recent()
    }
}
