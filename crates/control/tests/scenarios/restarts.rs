//! A killed coordinator costs no committed round.

use rewind_job::{JobState, Timeouts};

use crate::cluster::Cluster;

#[test]
fn a_running_gang_goes_on_with_a_new_coordinator_as_if_nothing_had_happened() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 3);
    cluster.restart();
    assert_eq!(cluster.state(&job), JobState::Running);
    cluster.come_back(1);
    cluster.come_back(2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 1), (2, 1, 1), (2, 2, 1)], "one generation");
}

#[test]
fn what_was_sent_and_not_committed_is_said_again() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.all_obey();
    cluster.work(1);
    cluster.restart();
    cluster.come_back(1);
    cluster.come_back(2);
    cluster.work(2);
    assert_eq!(cluster.manifests(&job).len(), 2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.status(&job).generation.0, 1);
}

#[test]
fn a_member_that_does_not_come_back_is_lost_after_the_time_of_detection() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.restart();
    cluster.come_back(1);
    cluster.pass(Timeouts::default().detection, &[1]);
    assert_eq!(cluster.state(&job), JobState::Running);
    cluster.pass(Timeouts::default().heartbeat, &[1]);
    assert!(cluster.reason(&job).contains("worker-2 was silent"), "{}", cluster.reason(&job));
    cluster.join(2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job)[1..], [(0, 2, 2), (2, 1, 2), (2, 2, 2)]);
}

#[test]
fn a_member_that_comes_back_without_its_work_costs_a_generation() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.restart();
    cluster.come_back(1);
    cluster.join(2);
    assert!(cluster.reason(&job).contains("worker-2 began a new session"), "{}", cluster.reason(&job));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_gang_that_prepared_is_made_anew() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.obey(1);
    cluster.restart();
    assert!(cluster.reason(&job).ends_with("the coordinator changed while it prepared"));
    assert!(cluster.control.workers().is_empty());
    cluster.join(1);
    cluster.join(2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_job_whose_rounds_are_all_committed_only_measures() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 4);
    cluster.restart();
    cluster.come_back(1);
    cluster.come_back(2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job).len(), 4);
}

#[test]
fn waiting_and_finished_jobs_stay_as_they_are() {
    let mut cluster = Cluster::of(1);
    let finished = cluster.submit(1);
    cluster.all_work();
    let waiting = cluster.submit(2);
    let cancelled = cluster.submit(2);
    cluster.cancel(&cancelled);
    cluster.restart();
    assert_eq!(cluster.state(&finished), JobState::Finished);
    assert_eq!(cluster.state(&cancelled), JobState::Cancelled);
    assert_eq!(cluster.reason(&waiting), "waiting for workers: 0 of 2 are idle");
    assert_eq!(cluster.control.next_job().0, "job-4");
}
