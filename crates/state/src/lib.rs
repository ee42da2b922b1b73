//! Where decisions are stored: small values under versioned keys, written by one leader at a time.
//!
//! Every implementation passes [`conformance`]; its calls block for a bounded time and are made by one thread that may
//! wait.

mod conformance;
mod embedded;
mod etcd;
#[cfg(feature = "etcd-process")]
pub mod etcd_process;
mod simulated;

use std::{sync::mpsc::Receiver, time::Duration};

pub use conformance::conformance;
pub use embedded::EmbeddedStore;
pub use etcd::{EtcdOptions, EtcdStore, EtcdTls};
use rewind_job::Term;
pub use simulated::SimulatedStore;

/// Counts the writes to one key, from 1. A key that was deleted begins anew.
pub type Version = u64;

/// Bytes of the largest value: what a store of small values takes (etcd refuses a request above 1.5 MiB).
pub const LARGEST_VALUE: usize = 1 << 20;

/// Entries that are read at once: few enough that a page of the largest values is a message that comes soon.
pub const PAGE: usize = 128;

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    /// None deletes the key.
    pub value: Option<Vec<u8>>,
    /// The version that must be there now; none: the key must be new.
    pub expected: Option<Version>,
}

/// A key, its value and its version.
pub type Entry = (String, Vec<u8>, Version);

/// Who leads, and where they are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// As the leader gave it to [`StateStore::campaign`].
    pub address: String,
    pub term: Term,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written.
    #[error("`{0}` in the state store is not of the version that was expected")]
    Conflict(String),
    /// Nothing was written.
    #[error("term {0} is over: another coordinator leads, or nobody does")]
    Deposed(Term),
    /// It may have been written or not; try the same again.
    #[error("the state store is away: {0}")]
    Unavailable(String),
    #[error("the state store {0} is in use by another coordinator")]
    InUse(String),
    #[error("the state store failed: {0}")]
    Failed(String),
    #[error(
        "`{key}` in the state store is not readable: {problem}; nothing was changed: start the version that wrote it, or \
         restore the store from a backup"
    )]
    Unreadable { key: String, problem: String },
    #[error("`{key}` has {bytes} bytes, and a value of the state store has at most {LARGEST_VALUE}")]
    TooLarge { key: String, bytes: usize },
}

/// A store of decisions.
pub trait StateStore: Send + Sync {
    /// Writes all or nothing, durably, and only while `term` leads (the fencing token).
    ///
    /// The same call may be repeated after [`StoreError::Unavailable`]: writes that did happen are recognised by their
    /// versions and values, and count as done.
    ///
    /// # Errors
    /// [`StoreError::Deposed`], [`StoreError::Conflict`] and [`StoreError::TooLarge`]: nothing is written.
    fn write(&self, term: Term, writes: &[Write]) -> Result<(), StoreError>;

    fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError>;

    /// Keys that begin with `prefix` and come after `after`, in order: at most [`PAGE`] of them, none at the end.
    fn page(&self, prefix: &str, after: &str) -> Result<Vec<Entry>, StoreError>;

    /// All keys that begin with `prefix`, in order.
    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut found: Vec<Entry> = Vec::new();
        loop {
            let after = found.last().map_or("", |(key, ..)| key);
            let page = self.page(prefix, after)?;
            if page.is_empty() {
                return Ok(found);
            }
            found.extend(page);
        }
    }

    /// Takes the lead for `lease` if nobody has it, and says who leads now. Terms grow from leader to leader.
    fn campaign(&self, address: &str, lease: Duration) -> Result<Leader, StoreError>;

    /// Who leads, if anybody does.
    fn leader(&self) -> Result<Option<Leader>, StoreError>;

    /// Keeps the lead for another lease.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] when the term is over.
    fn renew(&self, term: Term) -> Result<(), StoreError>;

    /// Gives up the lead. A term that is over is no error.
    fn resign(&self, term: Term) -> Result<(), StoreError>;

    /// Says something whenever the leader may have changed, from now on; several changes may be one.
    /// When the channel closes, watch again.
    fn watch_leader(&self) -> Result<Receiver<()>, StoreError>;
}

/// The first write whose key is not as expected, given the versions that are there now.
fn first_conflict(writes: &[Write], version: impl Fn(&str) -> Option<Version>) -> Option<&Write> {
    writes.iter().find(|write| version(&write.key) != write.expected)
}

/// Refuses what no store takes.
fn check_size(writes: &[Write]) -> Result<(), StoreError> {
    let bytes = |write: &Write| write.value.as_ref().map_or(0, Vec::len);
    match writes.iter().find(|write| bytes(write) > LARGEST_VALUE) {
        Some(write) => Err(StoreError::TooLarge { key: write.key.clone(), bytes: bytes(write) }),
        None => Ok(()),
    }
}

/// Whether every write has happened already: a repeated call, whose first answer was lost.
fn happened(writes: &[Write], read: impl Fn(&str) -> Option<(Vec<u8>, Version)>) -> bool {
    writes.iter().all(|write| match (&write.value, read(&write.key)) {
        (Some(wanted), Some((value, version))) => {
            &value == wanted && version == write.expected.map_or(1, |expected| expected + 1)
        }
        (None, None) => true,
        _ => false,
    })
}
