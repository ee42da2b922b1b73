use rewind_job::{Rank, WorldSize};
use tch::{Device, Tensor};

use crate::recorder::FlightRecorder;
use crate::tensors::{check, check_flat};
use crate::{Collective, CollectiveError, Operation, OperationRecord};

/// A world of one rank, which asks of its tensors what a larger world asks.
#[derive(Debug)]
pub struct Solo {
    device: Device,
    recorder: FlightRecorder,
}

impl Default for Solo {
    fn default() -> Self {
        Self::on(Device::Cpu)
    }
}

impl Solo {
    pub fn new() -> Self {
        Self::default()
    }

    /// With its tensors on `device`.
    pub fn on(device: Device) -> Self {
        Self { device, recorder: FlightRecorder::default() }
    }

    fn record(&mut self, operation: Operation, bytes: u64) {
        self.recorder.begin(operation, bytes);
        self.recorder.end(&Ok(()), 0);
    }
}

impl Collective for Solo {
    fn rank(&self) -> Rank {
        Rank(0)
    }

    fn world_size(&self) -> WorldSize {
        WorldSize(1)
    }

    fn device(&self) -> Device {
        self.device
    }

    fn all_reduce(&mut self, tensor: &Tensor) -> Result<(), CollectiveError> {
        let bytes = check(Operation::AllReduce, tensor, self.device)?;
        self.record(Operation::AllReduce, bytes);
        Ok(())
    }

    fn reduce_scatter(&mut self, input: &Tensor) -> Result<Tensor, CollectiveError> {
        let bytes = check_flat(Operation::ReduceScatter, input, self.device)?;
        self.record(Operation::ReduceScatter, bytes);
        Ok(input.detach().copy())
    }

    fn all_gather(&mut self, shard: &Tensor) -> Result<Tensor, CollectiveError> {
        let bytes = check_flat(Operation::AllGather, shard, self.device)?;
        self.record(Operation::AllGather, bytes);
        Ok(shard.detach().copy())
    }

    fn broadcast(&mut self, tensor: &Tensor, root: Rank) -> Result<(), CollectiveError> {
        let bytes = check(Operation::Broadcast, tensor, self.device)?;
        if root != Rank(0) {
            return Err(CollectiveError::NoSuchRank { rank: root, world_size: WorldSize(1) });
        }
        self.record(Operation::Broadcast, bytes);
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), CollectiveError> {
        self.record(Operation::Barrier, 0);
        Ok(())
    }

    fn bytes_moved(&self) -> u64 {
        self.recorder.bytes_moved()
    }

    fn recent(&self) -> Vec<OperationRecord> {
        self.recorder.recent()
    }
}
