//! Workers that are to end: their work goes on without them from the next commit on, and they get no more.

use std::time::Duration;

use rewind_control::{Command, Count};
use rewind_job::{JobState, WorkerCommand};

use crate::cluster::{Cluster, worker};

fn is_let_go(cluster: &Cluster, number: u32) -> bool {
    cluster.commands.contains(&Command::Send(worker(number), WorkerCommand::Shutdown))
}

#[test]
fn an_idle_worker_is_let_go_at_once_and_gets_no_more_work() {
    let mut cluster = Cluster::of(1);
    cluster.drain(1);
    assert!(is_let_go(&cluster, 1));
    let (gang, tasks) = (cluster.submit(1), cluster.submit_histories(1));
    assert_eq!((cluster.state(&gang), cluster.state(&tasks)), (JobState::Waiting, JobState::Waiting));
    assert_eq!(cluster.reason(&gang), "needs 1 worker, 0 idle");
    cluster.all_obey();
    assert!(cluster.control.workers().is_empty());
}

#[test]
fn a_gang_goes_on_without_it_from_the_next_commit_on_and_loses_nothing() {
    let mut cluster = Cluster::of(3);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.drain(1);
    assert!(cluster.recorded(&job, "worker-1 is to end: the gang dissolves after the round under way"));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 1), (2, 1, 2), (2, 2, 2)], "no round is done twice");
    assert_eq!(cluster.control.workers(), [worker(2), worker(3)]);
}

#[test]
fn a_gang_that_does_not_commit_in_time_dissolves_all_the_same() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(1);
    cluster.all_obey();
    cluster.drain(1);
    cluster.pass(Duration::from_secs(15), &[1, 2]);
    assert_eq!(cluster.status(&job).generation.0, 1);
    cluster.pass(Duration::from_secs(1), &[1, 2]);
    assert!(cluster.recorded(&job, "generation 2: assigned to worker-2"));
    cluster.obey(1);
    assert!(is_let_go(&cluster, 1));
}

#[test]
fn a_gang_that_prepares_is_made_anew_at_once() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(1);
    cluster.drain(1);
    assert!(cluster.recorded(&job, "generation 2: assigned to worker-2"));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_task_is_given_up_and_done_by_another() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit_histories(1);
    cluster.all_obey();
    cluster.drain(1);
    assert!(cluster.recorded(&job, "task 0 is open again: worker-1 is to end"));
    cluster.obey(1);
    assert!(is_let_go(&cluster, 1));
    cluster.join(2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_worker_that_leaves_already_is_let_go_when_it_has_left() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.all_obey();
    cluster.cancel(&job);
    cluster.drain(1);
    assert!(!is_let_go(&cluster, 1));
    cluster.obey(1);
    assert!(is_let_go(&cluster, 1));
}

#[test]
fn saying_it_twice_changes_nothing() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.drain(1);
    assert!(cluster.commands.contains(&Command::Count(Count::Drained)));
    cluster.drain(1);
    assert!(cluster.commands.is_empty());
}

#[test]
fn it_is_said_again_to_a_new_coordinator() {
    let mut cluster = Cluster::of(3);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.all_obey();
    cluster.drain(1);
    cluster.restart();
    (1..=3).for_each(|number| cluster.come_back(number));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 1), (2, 1, 2), (2, 2, 2)]);
    assert_eq!(cluster.control.workers(), [worker(2), worker(3)]);
}

#[test]
fn a_pause_that_is_taken_back_does_not_keep_it() {
    let mut cluster = Cluster::of(3);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.all_obey();
    cluster.drain(1);
    cluster.pause(&job);
    cluster.resume(&job);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 1), (2, 1, 2), (2, 2, 2)]);
    assert_eq!(cluster.control.workers(), [worker(2), worker(3)]);
}

#[test]
fn a_pause_is_stronger_and_the_worker_is_let_go_with_it() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 1);
    cluster.pause(&job);
    cluster.drain(1);
    cluster.all_work();
    assert_eq!((cluster.state(&job), cluster.manifests(&job).len()), (JobState::Paused, 2));
    assert!(cluster.control.workers().is_empty());
}
