//! NCCL between processes with a GPU each: a peer that falls silent is an error in time, and the process goes on.
//! A dead peer of the same machine is as silent as a frozen one: it is the coordinator who says that it is lost.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "../../collective/tests/support/mod.rs"]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rewind_collective::{
    Backend, CancelSignal, Collective, CollectiveError, GroupOptions, ProcessGroup, RendezvousStore, cuda,
    unfinished_abandoned_groups,
};
use rustix::process::Signal;
use support::{AMPLE, PeerProcess, Place, StoreServer, eventually};
use tch::{Device, Kind, Tensor};

/// A test of two GPUs says so where there are fewer.
fn has_two_gpus() -> bool {
    let found = cuda::open().map_or(0, cuda::Cuda::devices);
    if found < 2 {
        println!("not run: needs two GPUs, and there are {found}");
    }
    found >= 2
}

fn options(place: &Place, store: Arc<dyn RendezvousStore>, deadline: Duration) -> GroupOptions {
    let device = Device::Cuda(place.rank as usize);
    GroupOptions { backend: Backend::Nccl, device, ..place.options(store, deadline) }
}

fn reduce(group: &mut ProcessGroup) -> Result<(), CollectiveError> {
    let tensor = Tensor::ones([100_000], (Kind::Float, group.device()));
    group.all_reduce(&tensor)?;
    assert_eq!(tensor.max().double_value(&[]), f64::from(group.world_size().0));
    Ok(())
}

fn reduce_until_error(group: &mut ProcessGroup, done: &AtomicU64) -> CollectiveError {
    loop {
        if let Err(error) = reduce(group) {
            return error;
        }
        done.fetch_add(1, Ordering::SeqCst);
    }
}

/// The other process runs this: in a place that ends in /last one all-reduce, in the others until they fail.
#[test]
#[ignore = "the other tests start it as a process of its own"]
fn peer() {
    let Some((store, places)) = PeerProcess::assignment() else {
        return;
    };
    for place in places {
        let mut group = ProcessGroup::connect(options(&place, store.clone(), AMPLE)).unwrap();
        if place.prefix.ends_with("/last") {
            reduce(&mut group).unwrap();
        } else {
            reduce_until_error(&mut group, &AtomicU64::new(0));
        }
    }
}

fn a_new_group_forms(store: &StoreServer, prefix: &str) {
    let successor = PeerProcess::start(store, &[Place::new(1, 2, prefix)]);
    let mut group = ProcessGroup::connect(options(&Place::new(0, 2, prefix), store.store.clone(), AMPLE)).unwrap();
    reduce(&mut group).unwrap();
    successor.wait_for_success();
    eventually("the abandoned group ended", || unfinished_abandoned_groups() == 0);
}

fn silenced_by(signal: Signal, generation: &str) {
    if !has_two_gpus() {
        return;
    }
    let store = StoreServer::start();
    let deadline = Duration::from_secs(3);
    let first = format!("{generation}/1");
    let peer = PeerProcess::start(&store, &[Place::new(1, 2, &first)]);
    let place = Place::new(0, 2, &first);
    let mut group = ProcessGroup::connect(options(&place, store.store.clone(), Duration::from_secs(30))).unwrap();
    // Meeting for the first time takes NCCL seconds; calls do not.
    group.set_deadline(deadline);
    let done = AtomicU64::new(0);
    let (error, took) = thread::scope(|scope| {
        let silencer = scope.spawn(|| {
            eventually("the series runs", || done.load(Ordering::SeqCst) >= 20);
            peer.signal(signal);
            Instant::now()
        });
        let error = reduce_until_error(&mut group, &done);
        (error, silencer.join().unwrap().elapsed())
    });
    println!("{signal:?}: error after {took:?}: {error}");
    assert!(matches!(error, CollectiveError::DeadlineExceeded { .. } | CollectiveError::PeerLost { .. }), "{error}");
    assert!(took < deadline + Duration::from_secs(1), "{took:?}");
    a_new_group_forms(&store, &format!("{generation}/2/last"));
}

#[test]
fn a_frozen_peer_is_an_error_at_the_deadline_and_the_next_generation_forms() {
    silenced_by(Signal::STOP, "frozen");
}

#[test]
fn a_killed_peer_is_an_error_by_the_deadline_and_the_next_generation_forms() {
    silenced_by(Signal::KILL, "killed");
}

#[test]
fn a_member_that_does_not_come_is_an_error_at_the_deadline_and_leaves_nothing_behind() {
    if cuda::open().is_err() {
        println!("not run: needs a GPU");
        return;
    }
    let store = StoreServer::start();
    let place = Place::new(0, 2, "missing/1");
    let started = Instant::now();
    let deadline = Duration::from_secs(2);
    let Err(error) = ProcessGroup::connect(options(&place, store.store.clone(), deadline)) else {
        panic!("nobody else came")
    };
    assert!(matches!(error, CollectiveError::DeadlineExceeded { .. }), "{error}");
    assert!(started.elapsed() < 2 * deadline);
    eventually("the abandoned group ended", || unfinished_abandoned_groups() == 0);
}

#[test]
fn a_cancelled_rank_leaves_a_frozen_peer_at_once() {
    if !has_two_gpus() {
        return;
    }
    let store = StoreServer::start();
    let cancel = CancelSignal::new();
    let peer = PeerProcess::start(&store, &[Place::new(1, 2, "cancelled/1")]);
    let place = Place::new(0, 2, "cancelled/1");
    let options = GroupOptions { cancel: cancel.clone(), ..options(&place, store.store.clone(), AMPLE) };
    let mut group = ProcessGroup::connect(options).unwrap();
    let done = AtomicU64::new(0);
    let (error, took) = thread::scope(|scope| {
        let coordinator = scope.spawn(|| {
            eventually("the series runs", || done.load(Ordering::SeqCst) >= 20);
            peer.signal(Signal::STOP);
            thread::sleep(Duration::from_millis(200));
            cancel.cancel();
            Instant::now()
        });
        let error = reduce_until_error(&mut group, &done);
        (error, coordinator.join().unwrap().elapsed())
    });
    assert!(matches!(error, CollectiveError::Cancelled { .. }), "{error}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    a_new_group_forms(&store, "cancelled/2/last");
}
