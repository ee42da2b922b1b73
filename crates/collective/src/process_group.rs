use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rewind_job::{Rank, WorldSize};
use tch::{Device, Kind, Tensor, no_grad};

use crate::abandon::abandon;
use crate::forming::form;
use crate::recorder::FlightRecorder;
use crate::shim::{Failure, Group, Work};
use crate::store::RendezvousStore;
use crate::tensors::{check, check_flat, check_slices};
use crate::{CancelSignal, Collective, CollectiveError, Operation, OperationRecord};

/// How long an operation is polled without sleeping. The peer may need the core.
const SPIN: Duration = Duration::from_micros(20);
/// How long who leaves a whole group waits for its peers.
const LONGEST_GOODBYE: Duration = Duration::from_secs(5);
const SHORTEST_SLEEP: Duration = Duration::from_micros(50);
const LONGEST_SLEEP: Duration = Duration::from_micros(200);

/// By what the ranks of a group are connected; the same on all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// TCP. Tensors on a GPU take the way through the host's memory.
    Gloo {
        /// Address or host name on which this rank listens for its peers, and under which they reach it.
        bind_address: String,
    },
    /// NVIDIA's NCCL, for tensors on GPUs: a device a rank. See [`crate::cuda`].
    Nccl,
}

impl Backend {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Gloo { .. } => "gloo",
            Self::Nccl => "nccl",
        }
    }
}

/// What a rank needs to join a group.
#[derive(Clone)]
pub struct GroupOptions {
    pub rank: Rank,
    pub world_size: WorldSize,
    pub backend: Backend,
    /// Where the tensors are that this rank brings.
    pub device: Device,
    pub store: Arc<dyn RendezvousStore>,
    /// Goes before every key; never used twice in one store: job and generation.
    pub prefix: String,
    /// Bounds forming the group, and then every call.
    pub deadline: Duration,
    pub cancel: CancelSignal,
    /// Where this rank's calls are recorded; the caller keeps a clone, to read it when the group is gone.
    pub recorder: FlightRecorder,
}

impl GroupOptions {
    /// Options of a rank on the CPU that listens on the loopback address only.
    pub fn loopback(
        rank: Rank,
        world_size: WorldSize,
        store: Arc<dyn RendezvousStore>,
        prefix: impl Into<String>,
        deadline: Duration,
    ) -> Self {
        Self {
            rank,
            world_size,
            backend: Backend::Gloo { bind_address: "127.0.0.1".to_owned() },
            device: Device::Cpu,
            store,
            prefix: prefix.into(),
            deadline,
            cancel: CancelSignal::new(),
            recorder: FlightRecorder::default(),
        }
    }
}

/// Ranks of several processes, connected by Gloo or NCCL.
pub struct ProcessGroup {
    rank: Rank,
    world_size: WorldSize,
    device: Device,
    is_nccl: bool,
    deadline: Duration,
    cancel: CancelSignal,
    membership: Membership,
    recorder: FlightRecorder,
}

enum Membership {
    Joined(Group),
    /// Why the group ended.
    Ended(String),
}

impl ProcessGroup {
    /// Waits for all ranks of the world and connects to them.
    ///
    /// # Errors
    /// `Rendezvous` when the store fails, a peer cannot be reached or NCCL cannot run here, `DeadlineExceeded` when a peer
    /// does not come, `Cancelled`, `NoSuchRank`; `PeerLost` when one is lost at once.
    pub fn connect(options: GroupOptions) -> Result<Self, CollectiveError> {
        let GroupOptions { rank, world_size, deadline, cancel, device, .. } = options.clone();
        let is_nccl = options.backend == Backend::Nccl;
        if rank.0 >= world_size.0 {
            return Err(CollectiveError::NoSuchRank { rank, world_size });
        }
        let started = Instant::now();
        let recorder = options.recorder.clone();
        recorder.begin(Operation::Form, 0);
        let formed = form(options, started);
        recorder.end(&formed.as_ref().map(drop).map_err(Clone::clone), 0);
        let group = formed?;
        let membership = Membership::Joined(group);
        let mut formed = Self { rank, world_size, device, is_nccl, deadline, cancel, membership, recorder };
        // A group has formed when every rank says so; this also warms the connections up.
        formed.barrier_since(started)?;
        Ok(formed)
    }

    /// Bounds every later call.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Starts an operation and waits until it ends, its deadline passes or it is cancelled.
    fn run(
        &mut self,
        operation: Operation,
        bytes: u64,
        sent: u64,
        started: Instant,
        start: impl FnOnce(&Group) -> Result<Work, Failure>,
    ) -> Result<(), CollectiveError> {
        let group = match &self.membership {
            Membership::Joined(group) => group,
            Membership::Ended(cause) => {
                return Err(CollectiveError::GroupEnded { rank: self.rank, operation, cause: cause.clone() });
            }
        };
        let sequence = self.recorder.begin(operation, bytes);
        let (work, end) = if self.cancel.is_cancelled() {
            (None, Err(Interruption::Cancelled))
        } else {
            match start(group) {
                Ok(work) => {
                    let end = wait(&work, started, self.deadline, &self.cancel);
                    (Some(work), end)
                }
                Err(failure) => (None, Err(Interruption::Failed(failure))),
            }
        };
        let result = end.map_err(|interruption| interruption.into_error(self.rank, operation, sequence, self.deadline));
        self.recorder.end(&result, sent);
        if let Err(error) = &result {
            self.abandon(error.to_string(), work);
        }
        result
    }

    /// Leaves the group: its peers see the connections close, and what is in flight keeps its tensors until it ends.
    fn abandon(&mut self, cause: String, work: Option<Work>) {
        let membership = std::mem::replace(&mut self.membership, Membership::Ended(cause));
        if let Membership::Joined(group) = membership {
            abandon(move || {
                // Where the abort fails, the drop waits for the backend's timeout.
                let _ = group.abort();
                drop(group);
                drop(work);
            });
        }
    }

    fn barrier_since(&mut self, started: Instant) -> Result<(), CollectiveError> {
        if !self.is_nccl {
            return self.run(Operation::Barrier, 0, 0, started, Group::barrier);
        }
        // NCCL's own barrier waits without a deadline.
        let one = Tensor::ones([1], (Kind::Float, self.device));
        self.run(Operation::Barrier, 0, 0, started, |group| group.all_reduce(&one))
    }

    /// The tensor as the backend takes it: Gloo's lie in the host's memory.
    fn staged(&self, tensor: &Tensor) -> Tensor {
        let tensor = tensor.detach();
        if self.is_nccl { tensor } else { tensor.to_device(Device::Cpu) }
    }

    /// Copies back what the backend has changed, where it worked on a copy.
    fn unstage(&self, staged: &Tensor, tensor: &Tensor) {
        if staged.device() != tensor.device() {
            no_grad(|| tensor.shallow_clone().copy_(staged));
        }
    }

    /// `(w - 1) bytes / w`: what a rank sends to sum or to spread `bytes` around a ring.
    fn ring_share(&self, bytes: u64) -> u64 {
        let world = u64::from(self.world_size.0);
        bytes * (world - 1) / world
    }
}

/// Who leaves a whole group says goodbye, where nobody waits for it long: NCCL aborts what is merely dropped.
impl Drop for ProcessGroup {
    fn drop(&mut self) {
        let ended = Membership::Ended("it was left".to_owned());
        if let Membership::Joined(group) = std::mem::replace(&mut self.membership, ended)
            && self.is_nccl
        {
            let (done, left) = mpsc::channel::<()>();
            let goodbye = thread::Builder::new().name("leaving-group".to_owned()).spawn(move || {
                group.shut_down();
                drop(group);
                drop(done);
            });
            if goodbye.is_ok() {
                let _ = left.recv_timeout(LONGEST_GOODBYE);
            }
        }
    }
}

impl Collective for ProcessGroup {
    fn rank(&self) -> Rank {
        self.rank
    }

    fn world_size(&self) -> WorldSize {
        self.world_size
    }

    fn device(&self) -> Device {
        self.device
    }

    fn all_reduce(&mut self, tensor: &Tensor) -> Result<(), CollectiveError> {
        let bytes = check(Operation::AllReduce, tensor, self.device)?;
        let sent = self.ring_share(2 * bytes);
        let staged = self.staged(tensor);
        self.run(Operation::AllReduce, bytes, sent, Instant::now(), |group| group.all_reduce(&staged))?;
        self.unstage(&staged, tensor);
        Ok(())
    }

    fn reduce_scatter(&mut self, input: &Tensor) -> Result<Tensor, CollectiveError> {
        let (bytes, length) = check_slices(Operation::ReduceScatter, input, self.device, self.world_size)?;
        if self.is_nccl {
            let slice = Tensor::empty([length], (input.kind(), self.device));
            let (sent, input) = (self.ring_share(bytes), input.detach());
            self.run(Operation::ReduceScatter, bytes, sent, Instant::now(), |group| {
                group.reduce_scatter(&slice, &input)
            })?;
            return Ok(slice);
        }
        let sum = input.detach().to_device(Device::Cpu);
        let sum = if input.device() == Device::Cpu { sum.copy() } else { sum };
        let sent = self.ring_share(2 * bytes);
        // Gloo's own reduce-scatter costs more than an all-reduce.
        self.run(Operation::ReduceScatter, bytes, sent, Instant::now(), |group| group.all_reduce(&sum))?;
        Ok(sum.narrow(0, i64::from(self.rank.0) * length, length).copy().to_device(self.device))
    }

    fn all_gather(&mut self, shard: &Tensor) -> Result<Tensor, CollectiveError> {
        let bytes = check_flat(Operation::AllGather, shard, self.device)?;
        let world = self.world_size.0;
        let shard = self.staged(shard);
        let output = Tensor::empty([i64::from(world) * shard.size()[0]], (shard.kind(), shard.device()));
        let sent = u64::from(world - 1) * bytes;
        self.run(Operation::AllGather, bytes, sent, Instant::now(), |group| group.all_gather(&output, &shard))?;
        Ok(output.to_device(self.device))
    }

    fn broadcast(&mut self, tensor: &Tensor, root: Rank) -> Result<(), CollectiveError> {
        let bytes = check(Operation::Broadcast, tensor, self.device)?;
        let world_size = self.world_size;
        if root.0 >= world_size.0 {
            return Err(CollectiveError::NoSuchRank { rank: root, world_size });
        }
        let is_last = (self.rank.0 + 1) % world_size.0 == root.0;
        let sent = if is_last { 0 } else { bytes };
        let staged = self.staged(tensor);
        self.run(Operation::Broadcast, bytes, sent, Instant::now(), |group| group.broadcast(&staged, root))?;
        self.unstage(&staged, tensor);
        Ok(())
    }

    fn barrier(&mut self) -> Result<(), CollectiveError> {
        self.barrier_since(Instant::now())
    }

    fn bytes_moved(&self) -> u64 {
        self.recorder.bytes_moved()
    }

    fn recent(&self) -> Vec<OperationRecord> {
        self.recorder.recent()
    }
}

/// Why an operation did not end well.
enum Interruption {
    Cancelled,
    DeadlineExceeded,
    Failed(Failure),
}

impl Interruption {
    fn into_error(self, rank: Rank, operation: Operation, sequence: u64, deadline: Duration) -> CollectiveError {
        match self {
            Self::Cancelled => CollectiveError::Cancelled { rank, operation, sequence },
            Self::DeadlineExceeded => {
                CollectiveError::DeadlineExceeded { rank, operation, sequence, deadline, waiting_for: None }
            }
            Self::Failed(failure) if failure.is_connection => {
                CollectiveError::PeerLost { rank, operation, sequence, detail: failure.message }
            }
            Self::Failed(failure) => CollectiveError::Backend { rank, operation, sequence, detail: failure.message },
        }
    }
}

/// Polls `work` beside the deadline and the cancel signal.
fn wait(work: &Work, started: Instant, deadline: Duration, cancel: &CancelSignal) -> Result<(), Interruption> {
    let spinning = Instant::now();
    let mut sleep = SHORTEST_SLEEP;
    loop {
        if work.poll().map_err(Interruption::Failed)? {
            return Ok(());
        }
        if cancel.is_cancelled() {
            return Err(Interruption::Cancelled);
        }
        if started.elapsed() >= deadline {
            return Err(Interruption::DeadlineExceeded);
        }
        if spinning.elapsed() < SPIN {
            thread::yield_now();
        } else {
            thread::sleep(sleep);
            sleep = (sleep * 2).min(LONGEST_SLEEP);
        }
    }
}
