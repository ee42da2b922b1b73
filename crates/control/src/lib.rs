//! What happens next: one pure state machine. No IO, no clock, no async: time is an argument.
//!
//! [`Control::handle`] takes what happened and returns what must be done, in order: what must be stored comes before
//! what is sent. Every command is safe to repeat.

mod control;
mod fleet;
mod gang;
mod job;

pub use control::Control;
pub use job::{Change, JobHead, StoredJob};

use rewind_job::{Generation, JobId, Specification, WorkerCommand, WorkerEvent, WorkerId};

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A checked specification; its job is [`Control::next_job`].
    Submitted(Box<Specification>),
    CancelWanted(JobId),
    /// A worker said something. Its session begins with `Joined`.
    Said(WorkerId, WorkerEvent),
    /// A worker sent what is no message, or one that makes no sense: its job fails rather than loop.
    Unreadable(WorkerId, String),
    /// A worker's session broke.
    SessionEnded(WorkerId),
    /// Time passed.
    Tick,
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
}
