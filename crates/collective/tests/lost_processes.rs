//! Real processes: one is killed or stopped in the middle of a series, the others find out and go on without it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rewind_collective::{
    CancelSignal, Collective, CollectiveError, Outcome, ProcessGroup, abandoned_groups, unfinished_abandoned_groups,
};
use rustix::process::Signal;
use support::{AMPLE, PeerProcess, Place, StoreServer, eventually};
use tch::{Device, Kind, Tensor};

fn ones() -> Tensor {
    Tensor::ones([100_000], (Kind::Float, Device::Cpu))
}

/// All-reduces until it fails, counting what went well.
fn reduce_until_error(group: &mut ProcessGroup, done: &AtomicU64) -> CollectiveError {
    loop {
        let tensor = ones();
        if let Err(error) = group.all_reduce(&tensor) {
            return error;
        }
        let world = f64::from(group.world_size().0);
        assert_eq!(tensor.max().double_value(&[]), world);
        done.fetch_add(1, Ordering::SeqCst);
    }
}

/// The other processes run this: in each place all-reduces until an error, in the last place one only.
#[test]
#[ignore = "the other tests start it as a process of its own"]
fn peer() {
    let Some((store, places)) = PeerProcess::assignment() else {
        return;
    };
    tch::set_num_threads(1);
    let (last, earlier) = places.split_last().unwrap();
    for place in earlier {
        let mut group = place.join(store.clone(), AMPLE).unwrap();
        let error = reduce_until_error(&mut group, &AtomicU64::new(0));
        assert!(matches!(error, CollectiveError::PeerLost { .. }), "{error:?}");
    }
    let mut group = last.join(store, AMPLE).unwrap();
    if last.prefix.ends_with("/last") {
        let tensor = ones();
        group.all_reduce(&tensor).unwrap();
        assert_eq!(tensor.sum(Kind::Double).double_value(&[]), 200_000.);
    } else {
        reduce_until_error(&mut group, &AtomicU64::new(0));
    }
}

/// Sends the signal once the series runs.
fn signal_in_the_middle(done: &AtomicU64, peer: &PeerProcess, signal: Signal) -> Instant {
    eventually("the series runs", || done.load(Ordering::SeqCst) >= 20);
    let sent = Instant::now();
    peer.signal(signal);
    sent
}

fn the_ended_group_refuses_every_call(group: &mut ProcessGroup) {
    let started = Instant::now();
    let is_refused = |result: Result<(), CollectiveError>| {
        assert!(matches!(result, Err(CollectiveError::GroupEnded { .. })), "{result:?}");
    };
    is_refused(group.barrier());
    is_refused(group.all_reduce(&ones()));
    is_refused(group.all_gather(&ones()).map(drop));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn survivors_of_a_killed_peer_get_an_error_at_once_and_form_a_new_group() {
    let store = StoreServer::start();
    let survivor = PeerProcess::start(&store, &[Place::new(1, 3, "killed/1"), Place::new(1, 2, "killed/2/last")]);
    let victim = PeerProcess::start(&store, &[Place::new(2, 3, "killed/1")]);
    let mut group = Place::new(0, 3, "killed/1").join(store.store.clone(), AMPLE).unwrap();

    let done = AtomicU64::new(0);
    let (error, found_out, sent) = thread::scope(|scope| {
        let killer = scope.spawn(|| signal_in_the_middle(&done, &victim, Signal::KILL));
        let error = reduce_until_error(&mut group, &done);
        let found_out = Instant::now();
        (error, found_out, killer.join().unwrap())
    });
    println!("killed peer: error after {:?}: {error}", found_out.duration_since(sent));
    assert!(matches!(error, CollectiveError::PeerLost { .. }), "{error:?}");
    assert!(found_out.duration_since(sent) < Duration::from_secs(5));
    assert_eq!(group.recent().last().unwrap().outcome, Outcome::Failed(error));
    the_ended_group_refuses_every_call(&mut group);

    let started = Instant::now();
    let mut group = Place::new(0, 2, "killed/2/last").join(store.store.clone(), AMPLE).unwrap();
    println!("new group of two in {:?}", started.elapsed());
    let tensor = ones();
    group.all_reduce(&tensor).unwrap();
    assert_eq!(tensor.sum(Kind::Double).double_value(&[]), 200_000.);
    survivor.wait_for_success();
}

#[test]
fn a_stopped_peer_is_an_error_at_the_deadline() {
    let store = StoreServer::start();
    let deadline = Duration::from_secs(3);
    let peer = PeerProcess::start(&store, &[Place::new(1, 2, "stopped/1")]);
    let mut group = Place::new(0, 2, "stopped/1").join(store.store.clone(), deadline).unwrap();

    let done = AtomicU64::new(0);
    let before = abandoned_groups();
    let (error, took) = thread::scope(|scope| {
        let stopper = scope.spawn(|| signal_in_the_middle(&done, &peer, Signal::STOP));
        let error = reduce_until_error(&mut group, &done);
        (error, stopper.join().unwrap().elapsed())
    });
    assert!(matches!(error, CollectiveError::DeadlineExceeded { .. }), "{error:?}");
    assert!(took < deadline + Duration::from_secs(1), "{took:?}");
    let record = group.recent().pop().unwrap();
    assert!(record.took.unwrap() >= deadline);
    assert!(abandoned_groups() > before);
    the_ended_group_refuses_every_call(&mut group);

    // The stopped peer is still there when the next generation forms.
    let successor = PeerProcess::start(&store, &[Place::new(1, 2, "stopped/2/last")]);
    let mut group = Place::new(0, 2, "stopped/2/last").join(store.store.clone(), AMPLE).unwrap();
    group.all_reduce(&ones()).unwrap();
    successor.wait_for_success();
    eventually("the abandoned group ended", || unfinished_abandoned_groups() == 0);
}

#[test]
fn a_cancelled_rank_leaves_a_stopped_peer_at_once() {
    let store = StoreServer::start();
    let cancel = CancelSignal::new();
    let peer = PeerProcess::start(&store, &[Place::new(1, 2, "cancelled/1")]);
    let mut options = Place::new(0, 2, "cancelled/1").options(store.store.clone(), AMPLE);
    options.cancel = cancel.clone();
    let mut group = ProcessGroup::connect(options).unwrap();

    let done = AtomicU64::new(0);
    let (error, took) = thread::scope(|scope| {
        let coordinator = scope.spawn(|| {
            signal_in_the_middle(&done, &peer, Signal::STOP);
            thread::sleep(Duration::from_millis(200));
            let cancelled = Instant::now();
            cancel.cancel();
            cancelled
        });
        let error = reduce_until_error(&mut group, &done);
        let found_out = Instant::now();
        (error, found_out.duration_since(coordinator.join().unwrap()))
    });
    println!("cancelled: error after {took:?}");
    assert!(matches!(error, CollectiveError::Cancelled { .. }), "{error:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    the_ended_group_refuses_every_call(&mut group);

    // Long before Gloo's own timeout of a minute: the abort ends what is in flight.
    let started = Instant::now();
    eventually("the abandoned group ended", || unfinished_abandoned_groups() == 0);
    println!("abandoned group ended after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20));

    let successor = PeerProcess::start(&store, &[Place::new(1, 2, "cancelled/2/last")]);
    let mut group = Place::new(0, 2, "cancelled/2/last").join(store.store.clone(), AMPLE).unwrap();
    group.all_reduce(&ones()).unwrap();
    successor.wait_for_success();
}

#[test]
fn the_peers_of_a_cancelled_rank_find_out_at_once() {
    let store = StoreServer::start();
    let cancel = CancelSignal::new();
    // The peer asserts that it lost this rank.
    let peer = PeerProcess::start(&store, &[Place::new(1, 2, "left/1"), Place::new(1, 2, "left/2/last")]);
    let mut options = Place::new(0, 2, "left/1").options(store.store.clone(), AMPLE);
    options.cancel = cancel.clone();
    let mut group = ProcessGroup::connect(options).unwrap();
    for _ in 0..5 {
        group.all_reduce(&ones()).unwrap();
    }
    cancel.cancel();
    let error = group.all_reduce(&ones()).unwrap_err();
    assert!(matches!(error, CollectiveError::Cancelled { .. }), "{error:?}");

    let started = Instant::now();
    let mut group = Place::new(0, 2, "left/2/last").join(store.store.clone(), AMPLE).unwrap();
    println!("both ranks met again after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20));
    group.all_reduce(&ones()).unwrap();
    peer.wait_for_success();
}

/// `cargo test -p rewind-collective --test lost_processes latency -- --ignored --nocapture`
#[test]
#[ignore = "prints a measurement"]
fn latency_of_two_processes() {
    tch::set_num_threads(1);
    let store = StoreServer::start();
    let _peer = PeerProcess::start(&store, &[Place::new(1, 2, "latency/1")]);
    let mut group = Place::new(0, 2, "latency/1").join(store.store.clone(), AMPLE).unwrap();
    let mut times: Vec<Duration> = (0..500)
        .map(|_| {
            let tensor = ones();
            let started = Instant::now();
            group.all_reduce(&tensor).unwrap();
            started.elapsed()
        })
        .collect();
    times.sort();
    println!("all-reduce of 100,000 floats: median {:?}, 95th percentile {:?}", times[250], times[475]);
}
