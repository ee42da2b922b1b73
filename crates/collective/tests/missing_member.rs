//! A world in which somebody is missing, or whose store fails, is an error value.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rewind_collective::{
    Backend, CancelSignal, Collective, CollectiveError, GroupOptions, InMemoryStore, Operation, ProcessGroup,
    RendezvousStore, StoreError, abandoned_groups, unfinished_abandoned_groups,
};
use rewind_job::{Rank, WorldSize};
use support::{AMPLE, Place, eventually};

fn error_of(result: Result<ProcessGroup, CollectiveError>) -> CollectiveError {
    match result {
        Ok(_) => panic!("the group formed"),
        Err(error) => error,
    }
}

#[test]
fn forming_ends_at_the_deadline_when_a_rank_does_not_come() {
    let store: Arc<dyn RendezvousStore> = Arc::new(InMemoryStore::new());
    let deadline = Duration::from_millis(700);
    let before = abandoned_groups();
    // Ranks 0 and 1 of three.
    thread::scope(|scope| {
        for rank in 0..2 {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                let started = Instant::now();
                let error = error_of(Place::new(rank, 3, "job-1/1").join(store, deadline));
                let took = started.elapsed();
                let CollectiveError::DeadlineExceeded { operation: Operation::Form, waiting_for: Some(key), .. } =
                    &error
                else {
                    panic!("{error:?}");
                };
                assert!(key.starts_with("job-1/1/"), "{key}");
                assert!(error.ends_the_group());
                assert!(took >= deadline && took < deadline * 2, "{took:?}");
            });
        }
    });
    assert!(abandoned_groups() >= before + 2);
    eventually("the abandoned groups ended", || unfinished_abandoned_groups() == 0);

    // The same process and store, under the prefix of the next generation.
    thread::scope(|scope| {
        for rank in 0..2 {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                let mut group = Place::new(rank, 2, "job-1/2").join(store, AMPLE).unwrap();
                group.barrier().unwrap();
            });
        }
    });
}

#[test]
fn forming_ends_at_once_when_it_is_cancelled() {
    let cancel = CancelSignal::new();
    let mut options = Place::new(0, 2, "cancelled/1").options(Arc::new(InMemoryStore::new()), AMPLE);
    options.cancel = cancel.clone();
    let waiting = thread::spawn(move || error_of(ProcessGroup::connect(options)));
    thread::sleep(Duration::from_millis(100));
    let cancelled = Instant::now();
    cancel.cancel();
    let error = waiting.join().unwrap();
    assert!(cancelled.elapsed() < Duration::from_millis(500), "{:?}", cancelled.elapsed());
    assert!(matches!(error, CollectiveError::Cancelled { .. }), "{error:?}");
}

#[test]
fn an_address_of_another_machine_is_refused_by_name() {
    let mut options = Place::new(0, 1, "elsewhere/1").options(Arc::new(InMemoryStore::new()), AMPLE);
    options.backend = Backend::Gloo { bind_address: "192.0.2.1".to_owned() };
    let error = error_of(ProcessGroup::connect(options));
    assert!(matches!(error, CollectiveError::Rendezvous { .. }), "{error:?}");
    assert!(error.to_string().contains("192.0.2.1"), "{error}");
}

#[test]
fn a_rank_outside_its_world_is_refused() {
    let options = GroupOptions::loopback(Rank(2), WorldSize(2), Arc::new(InMemoryStore::new()), "outside/1", AMPLE);
    assert_eq!(
        error_of(ProcessGroup::connect(options)),
        CollectiveError::NoSuchRank { rank: Rank(2), world_size: WorldSize(2) }
    );
}

#[test]
fn ranks_that_would_connect_by_different_backends_are_told_so_at_once() {
    let store: Arc<dyn RendezvousStore> = Arc::new(InMemoryStore::new());
    let cancel = CancelSignal::new();
    let mut first = Place::new(0, 2, "apart/1").options(Arc::clone(&store), AMPLE);
    first.cancel = cancel.clone();
    let waiting = thread::spawn(move || error_of(ProcessGroup::connect(first)));
    let mut second = Place::new(1, 2, "apart/1").options(store, AMPLE);
    second.backend = Backend::Nccl;
    let error = error_of(ProcessGroup::connect(second)).to_string();
    assert!(error.contains("rank 0 connects by gloo, rank 1 by nccl"), "{error}");
    cancel.cancel();
    waiting.join().unwrap();
}

/// A store that cannot be reached, or whose code is broken.
struct BrokenStore {
    panics: bool,
}

impl BrokenStore {
    fn fail<T>(&self) -> Result<T, StoreError> {
        assert!(!self.panics, "a mistake in the store");
        Err(StoreError::Unavailable { detail: "the coordinator is away".to_owned() })
    }
}

impl RendezvousStore for BrokenStore {
    fn set(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        self.fail()
    }
    fn get(&self, _: &str, _: Duration) -> Result<Vec<u8>, StoreError> {
        self.fail()
    }
    fn add(&self, _: &str, _: i64) -> Result<i64, StoreError> {
        self.fail()
    }
    fn check(&self, _: &str) -> Result<bool, StoreError> {
        self.fail()
    }
    fn delete(&self, _: &str) -> Result<bool, StoreError> {
        self.fail()
    }
    fn compare_set(&self, _: &str, _: &[u8], _: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.fail()
    }
}

#[test]
fn a_store_that_fails_or_panics_is_an_error_that_says_so() {
    for (panics, expected) in [(false, "the coordinator is away"), (true, "the rendezvous store panicked")] {
        let store = Arc::new(BrokenStore { panics });
        let error = error_of(Place::new(0, 2, "broken/1").join(store, AMPLE));
        assert!(matches!(error, CollectiveError::Rendezvous { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
