//! A state store in memory, for simulations: its clock is the simulation's, and it can be away.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use rewind_job::Term;

use crate::{Entry, Leader, PAGE, StateStore, StoreError, Version, Write, check_size, first_conflict, happened};

/// Simulates a replicated store. Nothing is durable; time is what [`SimulatedStore::pass`] makes it.
#[derive(Default)]
pub struct SimulatedStore {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    now: Duration,
    values: BTreeMap<String, (Vec<u8>, Version)>,
    term: u64,
    leader: Option<(Leader, Duration, Duration)>,
    watchers: Vec<Sender<()>>,
    away: bool,
    lost_answers: u32,
    writes: u64,
}

impl Inside {
    fn present(&mut self) -> Option<Leader> {
        if self.leader.as_ref().is_some_and(|(_, _, until)| *until < self.now) {
            self.change_leader(None);
        }
        self.leader.as_ref().map(|(leader, ..)| leader.clone())
    }

    fn change_leader(&mut self, leader: Option<(Leader, Duration, Duration)>) {
        self.leader = leader;
        self.watchers.retain(|watcher| watcher.send(()).is_ok());
    }

    fn require(&mut self, term: Term) -> Result<(), StoreError> {
        match self.present() {
            Some(leader) if leader.term == term => Ok(()),
            _ => Err(StoreError::Deposed(term)),
        }
    }
}

impl SimulatedStore {
    pub fn pass(&self, time: Duration) {
        self.lock().now += time;
    }

    /// While it is away every call fails and nothing changes; leases go on running out, but end only when it is back.
    pub fn set_away(&self, away: bool) {
        self.lock().away = away;
    }

    pub fn is_away(&self) -> bool {
        self.lock().away
    }

    /// The next writes happen, and their answers are lost.
    pub fn lose_answers(&self, writes: u32) {
        self.lock().lost_answers = writes;
    }

    /// Transactions that changed something, so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// All that is stored, for checks: works while the store is away.
    pub fn contents(&self) -> Vec<Entry> {
        let inside = self.lock();
        inside.values.iter().map(|(key, (value, version))| (key.clone(), value.clone(), *version)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self) -> Result<MutexGuard<'_, Inside>, StoreError> {
        let inside = self.lock();
        if inside.away { Err(StoreError::Unavailable("the simulation took it away".into())) } else { Ok(inside) }
    }
}

impl StateStore for SimulatedStore {
    fn write(&self, term: Term, writes: &[Write]) -> Result<(), StoreError> {
        check_size(writes)?;
        let mut inside = self.reach()?;
        inside.require(term)?;
        if let Some(write) = first_conflict(writes, |key| inside.values.get(key).map(|(_, version)| *version)) {
            let done = happened(writes, |key| inside.values.get(key).cloned());
            return if done { Ok(()) } else { Err(StoreError::Conflict(write.key.clone())) };
        }
        for write in writes {
            match &write.value {
                Some(value) => {
                    let entry = inside.values.entry(write.key.clone()).or_insert((Vec::new(), 0));
                    *entry = (value.clone(), entry.1 + 1);
                }
                None => drop(inside.values.remove(&write.key)),
            }
        }
        inside.writes += 1;
        if inside.lost_answers > 0 {
            inside.lost_answers -= 1;
            return Err(StoreError::Unavailable("the simulation lost its answer".into()));
        }
        Ok(())
    }

    fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
        Ok(self.reach()?.values.get(key).cloned())
    }

    fn page(&self, prefix: &str, after: &str) -> Result<Vec<Entry>, StoreError> {
        let inside = self.reach()?;
        let from = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let from = inside.values.range::<str, _>((from, Bound::Unbounded));
        let found = from.take_while(|(key, _)| key.starts_with(prefix)).take(PAGE);
        Ok(found.map(|(key, (value, version))| (key.clone(), value.clone(), *version)).collect())
    }

    fn campaign(&self, address: &str, lease: Duration) -> Result<Leader, StoreError> {
        let mut inside = self.reach()?;
        if let Some(leader) = inside.present() {
            return Ok(leader);
        }
        inside.term += 1;
        let leader = Leader { address: address.to_owned(), term: Term(inside.term) };
        let until = inside.now + lease;
        inside.change_leader(Some((leader.clone(), lease, until)));
        Ok(leader)
    }

    fn leader(&self) -> Result<Option<Leader>, StoreError> {
        Ok(self.reach()?.present())
    }

    fn renew(&self, term: Term) -> Result<(), StoreError> {
        let mut inside = self.reach()?;
        inside.require(term)?;
        let now = inside.now;
        if let Some((_, lease, until)) = &mut inside.leader {
            *until = now + *lease;
        }
        Ok(())
    }

    fn resign(&self, term: Term) -> Result<(), StoreError> {
        let mut inside = self.reach()?;
        if inside.require(term).is_ok() {
            inside.change_leader(None);
        }
        Ok(())
    }

    fn watch_leader(&self) -> Result<Receiver<()>, StoreError> {
        let (watcher, changes) = mpsc::channel();
        self.reach()?.watchers.push(watcher);
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn it_is_a_state_store() {
        let store = SimulatedStore::default();
        conformance(&store, Duration::from_secs(3), &|time| store.pass(time));
    }

    #[test]
    fn a_write_whose_answer_was_lost_happened_once() {
        let store = SimulatedStore::default();
        let term = store.campaign("one", Duration::from_secs(3)).expect("campaigns").term;
        store.lose_answers(1);
        let writes = [Write { key: "a".into(), value: Some(b"1".to_vec()), expected: None }];
        assert!(matches!(store.write(term, &writes), Err(StoreError::Unavailable(_))));
        store.write(term, &writes).expect("the same again");
        assert_eq!(store.read("a").expect("reads"), Some((b"1".to_vec(), 1)));
        assert_eq!(store.writes(), 1);
    }

    #[test]
    fn away_means_away() {
        let store = SimulatedStore::default();
        let term = store.campaign("one", Duration::from_secs(3)).expect("campaigns").term;
        store.set_away(true);
        assert!(matches!(store.renew(term), Err(StoreError::Unavailable(_))));
        store.set_away(false);
        store.renew(term).expect("a short outage ends no lease");
    }
}
