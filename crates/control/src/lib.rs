//! What happens next: one pure state machine. No IO, no clock, no async: time is an argument.
//!
//! [`Control::handle`] takes what happened and returns what must be done, in order: what must be stored comes before
//! what is sent. Every command is safe to repeat.

mod admission;
mod attach;
mod control;
mod fleet;
mod gang;
mod job;
mod post_mortem;
mod retention;
mod tasks;

use std::time::Duration;

pub use control::Control;
pub use fleet::{Duty, LossReason};
pub use job::{Change, Impossible, JobHead, StoredGang, StoredJob, TaskRecord};
use rewind_job::{Digest, Generation, JobId, Specification, WorkerCommand, WorkerEvent, WorkerId};

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

impl Now {
    /// The time since `earlier`; none when that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    pub fn after(self, time: Duration) -> Self {
        Self(self.0 + time.as_millis() as u64)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A checked specification; its job is [`Control::job_of`] the submission. What was submitted before under the
    /// same name, unless that is empty, is not submitted again.
    Submitted {
        submission: String,
        specification: Box<Specification>,
    },
    CancelWanted(JobId),
    /// Stop after the round under way, and wait to be resumed.
    PauseWanted(JobId),
    /// A paused or failed job is to go on after its last committed round.
    ResumeWanted(JobId),
    /// A worker said something. Its session begins with `Joined`.
    Said(WorkerId, WorkerEvent),
    /// A worker sent what is no message, or one that makes no sense: its job fails rather than loop.
    Unreadable(WorkerId, String),
    /// A worker's session broke.
    SessionEnded(WorkerId),
    /// [`Command::Delete`] has ended: these are gone, or stay because they were written again.
    Deleted(Vec<Digest>),
    /// Time passed.
    Tick,
}

impl Event {
    /// A submission without a name.
    pub fn submitted(specification: Specification) -> Self {
        Self::Submitted { submission: String::new(), specification: Box::new(specification) }
    }
}

/// What must be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Stored whole or not at all, before anything that follows.
    Store(Vec<Change>),
    Send(WorkerId, WorkerCommand),
    CloseSession(WorkerId),
    /// The job's status or events changed: tell who watches.
    Publish(JobId),
    /// Nobody meets under this or an older generation any more.
    DropRendezvous(JobId, Generation),
    /// Delete these artifacts unless they were written after their deletion was decided; then say
    /// [`Event::Deleted`], also when it failed.
    Delete(Vec<(Digest, Now)>),
    /// Something to count.
    Count(Count),
}

/// Changes of one transaction: stores take 128 writes at once (etcd's default).
const CHANGES_AT_ONCE: usize = 40;

/// Stores changes that need not happen together, some at a time.
fn store_in_pieces(changes: Vec<Change>) -> Vec<Command> {
    changes.chunks(CHANGES_AT_ONCE).map(|piece| Command::Store(piece.to_vec())).collect()
}

/// What is worth counting, beside what can be seen from jobs and workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    Committed,
    GenerationStarted,
    Lost(LossReason),
    StaleMessage,
    TaskStarted,
    TaskDone,
    TaskPreempted,
    CheckpointDiscarded,
    FewerWorkers,
    Reattached,
    Drained,
    DeadlinePassed,
}
