//! Losses are told at once, and cost at most what is not committed.

use std::time::Duration;

use rewind_job::{JobState, Timeouts, WorkerEvent};

use crate::cluster::{Cluster, worker};

#[test]
fn a_lost_worker_dissolves_its_gang_and_the_job_goes_on_from_the_last_commit() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.all_obey();
    cluster.work(2);
    cluster.lose(1);
    let reason = "worker-1 was lost in round 2 of pretrained";
    assert_eq!(cluster.aborted(), [(worker(2), reason.to_owned())]);
    assert_eq!(cluster.reason(&job), format!("needs 2 workers, 0 idle: {reason}"));
    cluster.all_obey();
    assert_eq!(cluster.reason(&job), format!("needs 2 workers, 1 idle: {reason}"));
    cluster.join(1);
    assert!(cluster.recorded(&job, "assigned to worker-1, worker-2, goes on after round 1 of pretrained"));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 2), (2, 1, 2), (2, 2, 2)]);
    assert!(cluster.recorded(&job, reason));
}

#[test]
fn another_worker_takes_the_place_of_a_lost_one() {
    let mut cluster = Cluster::of(3);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.lose(1);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job).last(), Some(&(2, 2, 2)));
}

#[test]
fn a_silent_worker_is_lost_after_the_time_of_detection() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.pass(Timeouts::default().detection, &[1]);
    assert_eq!(cluster.state(&job), JobState::Running);
    cluster.pass(Timeouts::default().heartbeat, &[1]);
    assert!(cluster.reason(&job).contains("worker-2 was silent for more than 5s in round 1 of pretrained"));
    assert_eq!(cluster.aborted().len(), 1);
    assert_eq!(cluster.control.workers(), [worker(1)]);
}

#[test]
fn a_coordinator_that_stood_still_blames_nobody() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.pass(Duration::from_secs(1), &[1, 2]);
    cluster.now.0 += 60_000;
    cluster.pass(Duration::from_secs(1), &[]);
    assert_eq!(cluster.state(&job), JobState::Running);
    assert_eq!(cluster.control.workers().len(), 2);
}

#[test]
fn a_worker_that_does_not_leave_in_time_is_sent_away() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.lose(1);
    // Worker 2 beats on, but does not answer.
    cluster.pass(Timeouts::default().soft_abort, &[2]);
    assert_eq!(cluster.control.workers(), [worker(2)]);
    cluster.pass(Timeouts::default().heartbeat, &[2]);
    assert!(cluster.control.workers().is_empty());
    assert!(cluster.reason(&job).ends_with("worker-1 was lost in round 1 of pretrained"));
    cluster.join(1);
    cluster.join(2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_worker_that_comes_back_before_its_loss_was_seen_begins_anew() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.join(1);
    assert!(cluster.reason(&job).ends_with("worker-1 began a new session in round 2 of pretrained"));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.status(&job).generation.0, 2);
}

#[test]
fn a_failure_worth_another_try_gets_one() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.fails(1, "all-reduce: the peer closed the connection", true);
    assert!(cluster.reason(&job).ends_with("worker-1: all-reduce: the peer closed the connection"));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.status(&job).generation.0, 2);
}

#[test]
fn the_cause_is_named_even_when_its_effect_was_felt_first() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.fails(1, "the peer closed the connection", true);
    cluster.lose(2);
    assert!(cluster.reason(&job).ends_with(": worker-2 was lost in round 1 of pretrained"), "{}", cluster.reason(&job));
}

#[test]
fn a_failure_that_would_come_again_ends_the_job() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.fails(2, "model.weights: tensor `fc.weight` is not in the file", false);
    assert_eq!(cluster.state(&job), JobState::Failed);
    assert_eq!(cluster.reason(&job), "worker-2: model.weights: tensor `fc.weight` is not in the file");
    assert_eq!(cluster.aborted().len(), 2);
    cluster.all_work();
    let next = cluster.submit(2);
    assert_eq!(cluster.state(&next), JobState::Preparing);
}

#[test]
fn generations_that_commit_nothing_are_counted_and_end_the_job() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    for _ in 0..4 {
        cluster.all_obey();
        cluster.fails(1, "the disk is full", true);
        cluster.all_obey();
        cluster.pass(Duration::from_secs(9), &[1]);
    }
    assert!(!cluster.state(&job).is_final());
    // A commit begins the count anew.
    cluster.all_obey();
    cluster.work(1);
    for _ in 0..4 {
        cluster.all_obey();
        cluster.fails(1, "the disk is full", true);
        cluster.all_obey();
        cluster.pass(Duration::from_secs(9), &[1]);
    }
    assert!(!cluster.state(&job).is_final());
    cluster.all_obey();
    cluster.fails(1, "the disk is full", true);
    assert_eq!(cluster.state(&job), JobState::Failed);
    let reason = "5 generations failed without a committed round; the last one: worker-1: the disk is full";
    assert_eq!(cluster.reason(&job), reason);
}

#[test]
fn a_rank_that_leaves_before_its_work_is_done_is_not_waited_for() {
    for number in [1, 2] {
        let mut cluster = Cluster::of(2);
        let job = cluster.submit(2);
        cluster.work_until(&job, 1);
        let (id, generation) = cluster.place(number);
        cluster.says(number, WorkerEvent::Left { job: id, generation, last: None });
        let wanted = format!("worker-{number} left in round 2 of pretrained");
        assert!(cluster.reason(&job).ends_with(&wanted));
        cluster.workers.get_mut(&worker(number)).expect("lives").inbox.clear();
        cluster.all_work();
        assert_eq!(cluster.state(&job), JobState::Finished);
    }
}

#[test]
fn a_reason_without_end_is_cut_off_where_it_is_stored() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.all_obey();
    cluster.fails(1, &"ü".repeat(1 << 20), false);
    let reason = cluster.reason(&job);
    assert!(reason.starts_with("worker-1: üüü") && reason.ends_with("… (2097162 bytes)"), "{} bytes", reason.len());
    assert!(reason.len() < 10_000);
    let longest = cluster.stored.jobs[&job].events.iter().map(|event| event.text.len()).max();
    assert!(longest < Some(10_000));
}
