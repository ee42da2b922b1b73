//! A killed coordinator costs no committed round.

use rewind_job::JobState;

use crate::cluster::Cluster;

#[test]
fn a_running_job_goes_on_after_its_last_commit_in_a_new_generation() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 3);
    cluster.restart();
    assert_eq!(cluster.reason(&job), "waiting for workers: 0 of 2 are idle: the coordinator was restarted");
    cluster.join(1);
    cluster.join(2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 1), (2, 1, 1), (2, 2, 2)]);
}

#[test]
fn a_job_whose_rounds_are_all_committed_only_measures_again() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 4);
    cluster.restart();
    cluster.join(1);
    cluster.join(2);
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
