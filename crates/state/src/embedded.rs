//! The state store in one file, for one coordinator at a time. Only this file knows redb.

use std::{
    ops::Bound,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use rewind_job::Term;

use crate::{Entry, Leader, PAGE, StateStore, StoreError, Version, Write, check_size, first_conflict, happened};

const TABLE: TableDefinition<&str, (Version, &[u8])> = TableDefinition::new("state");
const TERMS: TableDefinition<&str, u64> = TableDefinition::new("terms");
const TERM: &str = "term";

/// One process has the file open at a time, so the lead is that process's: its lease needs no storing, its term does.
pub struct EmbeddedStore {
    database: Database,
    lead: Mutex<Lead>,
}

#[derive(Default)]
struct Lead {
    leader: Option<(Leader, Duration, Instant)>,
    watchers: Vec<Sender<()>>,
}

impl Lead {
    fn set(&mut self, leader: Option<(Leader, Duration, Instant)>) {
        self.leader = leader;
        self.watchers.retain(|watcher| watcher.send(()).is_ok());
    }

    /// Drops a lead whose lease has passed.
    fn present(&mut self) -> Option<Leader> {
        if self.leader.as_ref().is_some_and(|(_, lease, since)| since.elapsed() > *lease) {
            self.set(None);
        }
        self.leader.as_ref().map(|(leader, ..)| leader.clone())
    }

    fn require(&mut self, term: Term) -> Result<(), StoreError> {
        match self.present() {
            Some(leader) if leader.term == term => Ok(()),
            _ => Err(StoreError::Deposed(term)),
        }
    }
}

impl EmbeddedStore {
    /// Opens the store, and makes it when there is none.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.display().to_string()),
            other => StoreError::Failed(format!("{}: {other}", path.display())),
        })?;
        let transaction = database.begin_write().map_err(failed)?;
        transaction.open_table(TABLE).map_err(failed)?;
        transaction.open_table(TERMS).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Self { database, lead: Mutex::default() })
    }

    fn lead(&self) -> MutexGuard<'_, Lead> {
        self.lead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_term(&self) -> Result<Term, StoreError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        let term = {
            let mut terms = transaction.open_table(TERMS).map_err(failed)?;
            let term = terms.get(TERM).map_err(failed)?.map_or(0, |term| term.value()) + 1;
            terms.insert(TERM, term).map_err(failed)?;
            term
        };
        transaction.commit().map_err(failed)?;
        Ok(Term(term))
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

impl StateStore for EmbeddedStore {
    fn write(&self, term: Term, writes: &[Write]) -> Result<(), StoreError> {
        check_size(writes)?;
        let mut lead = self.lead();
        lead.require(term)?;
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut table = transaction.open_table(TABLE).map_err(failed)?;
            let mut found = Vec::new();
            for write in writes {
                let entry = table.get(&*write.key).map_err(failed)?;
                found.push(entry.map(|entry| (entry.value().1.to_vec(), entry.value().0)));
            }
            let at =
                |key: &str| found[writes.iter().position(|write| write.key == key).expect("it is one of them")].clone();
            if let Some(write) = first_conflict(writes, |key| at(key).map(|(_, version)| version)) {
                // Dropping the transaction undoes nothing: nothing was written.
                return if happened(writes, at) { Ok(()) } else { Err(StoreError::Conflict(write.key.clone())) };
            }
            for (write, found) in writes.iter().zip(found) {
                match &write.value {
                    Some(value) => {
                        let version = found.map_or(1, |(_, version)| version + 1);
                        table.insert(&*write.key, (version, &value[..])).map_err(failed)?;
                    }
                    None => drop(table.remove(&*write.key).map_err(failed)?),
                }
            }
        }
        transaction.commit().map_err(failed)
    }

    fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(TABLE).map_err(failed)?;
        let entry = table.get(key).map_err(failed)?;
        Ok(entry.map(|entry| {
            let (version, value) = entry.value();
            (value.to_vec(), version)
        }))
    }

    fn page(&self, prefix: &str, after: &str) -> Result<Vec<Entry>, StoreError> {
        let table = self.database.begin_read().map_err(failed)?.open_table(TABLE).map_err(failed)?;
        let mut found = Vec::new();
        let from = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        for entry in table.range::<&str>((from, Bound::Unbounded)).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            if !key.value().starts_with(prefix) || found.len() == PAGE {
                break;
            }
            let (version, bytes) = value.value();
            found.push((key.value().to_owned(), bytes.to_vec(), version));
        }
        Ok(found)
    }

    fn campaign(&self, address: &str, lease: Duration) -> Result<Leader, StoreError> {
        let mut lead = self.lead();
        if let Some(leader) = lead.present() {
            return Ok(leader);
        }
        let leader = Leader { address: address.to_owned(), term: self.next_term()? };
        lead.set(Some((leader.clone(), lease, Instant::now())));
        Ok(leader)
    }

    fn leader(&self) -> Result<Option<Leader>, StoreError> {
        Ok(self.lead().present())
    }

    fn renew(&self, term: Term) -> Result<(), StoreError> {
        let mut lead = self.lead();
        lead.require(term)?;
        if let Some((_, _, since)) = &mut lead.leader {
            *since = Instant::now();
        }
        Ok(())
    }

    fn resign(&self, term: Term) -> Result<(), StoreError> {
        let mut lead = self.lead();
        if lead.require(term).is_ok() {
            lead.set(None);
        }
        Ok(())
    }

    fn watch_leader(&self) -> Result<Receiver<()>, StoreError> {
        let (watcher, changes) = mpsc::channel();
        self.lead().watchers.push(watcher);
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn it_is_a_state_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(&folder.path().join("state.redb")).expect("opens");
        conformance(&store, Duration::from_secs(2), &std::thread::sleep);
    }

    #[test]
    fn what_was_written_is_there_after_a_restart_and_terms_go_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let lease = Duration::from_secs(60);
        let write = Write { key: "a".into(), value: Some(b"1".to_vec()), expected: None };
        let before = {
            let store = EmbeddedStore::open(&path).expect("opens");
            let leader = store.campaign("one", lease).expect("campaigns");
            store.write(leader.term, &[write]).expect("writes");
            leader.term
        };
        let store = EmbeddedStore::open(&path).expect("opens");
        assert_eq!(store.read("a").expect("reads"), Some((b"1".to_vec(), 1)));
        assert!(store.campaign("two", lease).expect("campaigns").term > before);
    }

    #[test]
    fn one_coordinator_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.redb");
        let _first = EmbeddedStore::open(&path).expect("opens");
        assert!(matches!(EmbeddedStore::open(&path), Err(StoreError::InUse(_))));
    }
}
