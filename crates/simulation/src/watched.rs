//! The simulated store as one coordinator reaches it: it may be cut off, and every write that lands is seen.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::Duration,
};

use rewind_job::Term;
use rewind_state::{Entry, Leader, SimulatedStore, StateStore, StoreError, Version, Write};

use crate::plants::Plant;

/// A transaction that landed.
#[derive(Clone, Debug)]
pub struct Landed {
    pub replica: usize,
    pub term: Term,
    pub leader: Option<Leader>,
    pub writes: Vec<Write>,
}

/// What all coordinators of a simulation have written.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Landed>>>);

impl Log {
    pub fn take(&self) -> Vec<Landed> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, landed: Landed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(landed);
    }
}

pub struct Watched {
    pub replica: usize,
    pub store: Arc<SimulatedStore>,
    pub reachable: Arc<AtomicBool>,
    pub log: Log,
    pub plant: Option<Plant>,
}

impl Watched {
    fn reach(&self) -> Result<&SimulatedStore, StoreError> {
        if self.reachable.load(Ordering::Relaxed) {
            Ok(&self.store)
        } else {
            Err(StoreError::Unavailable("the simulation cut it off".into()))
        }
    }

    fn write_once(&self, term: Term, writes: &[Write]) -> Result<(), StoreError> {
        let store = self.reach()?;
        let leader = store.leader()?;
        let mut as_term = term;
        let mut writes = writes.to_vec();
        if self.plant == Some(Plant::CommitWithoutFencing) {
            as_term = leader.as_ref().map_or(term, |leader| leader.term);
            for write in &mut writes {
                write.expected = store.read(&write.key)?.map(|(_, version)| version);
            }
        }
        let before = store.writes();
        let outcome = store.write(as_term, &writes);
        // A write whose answer was lost has landed all the same; one that was repeated has not landed again.
        if store.writes() > before {
            self.log.push(Landed { replica: self.replica, term, leader, writes });
        }
        outcome
    }
}

impl StateStore for Watched {
    fn write(&self, term: Term, writes: &[Write]) -> Result<(), StoreError> {
        self.write_once(term, writes)?;
        if self.plant == Some(Plant::DoubleCommit) {
            let again: Vec<Write> = writes
                .iter()
                .filter(|write| write.key.starts_with("manifest/") && write.expected.is_none())
                .map(|write| Write { expected: Some(1), ..write.clone() })
                .collect();
            if !again.is_empty() {
                self.write_once(term, &again)?;
            }
        }
        Ok(())
    }

    fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        self.reach()?.read(key)
    }

    fn page(&self, prefix: &str, after: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.reach()?.page(prefix, after)?;
        if self.plant == Some(Plant::ForgottenTask) && prefix.starts_with("task/") {
            for (_, value, _) in &mut entries {
                if let Ok(mut record) = serde_json::from_slice::<serde_json::Value>(value) {
                    record["output"] = serde_json::Value::Null;
                    *value = record.to_string().into_bytes();
                }
            }
        }
        if self.plant == Some(Plant::NewLeaderDissolvesGangs) && prefix.starts_with("head/") {
            for (_, value, _) in &mut entries {
                if let Ok(mut head) = serde_json::from_slice::<serde_json::Value>(value)
                    && head["state"] == "running"
                    && !head["gang"].is_null()
                {
                    head["state"] = "preparing".into();
                    *value = head.to_string().into_bytes();
                }
            }
        }
        Ok(entries)
    }

    fn campaign(&self, address: &str, lease: Duration) -> Result<Leader, StoreError> {
        self.reach()?.campaign(address, lease)
    }

    fn leader(&self) -> Result<Option<Leader>, StoreError> {
        self.reach()?.leader()
    }

    fn renew(&self, term: Term) -> Result<(), StoreError> {
        self.reach()?.renew(term)
    }

    fn resign(&self, term: Term) -> Result<(), StoreError> {
        self.reach()?.resign(term)
    }

    fn watch_leader(&self) -> Result<Receiver<()>, StoreError> {
        self.reach()?.watch_leader()
    }
}
