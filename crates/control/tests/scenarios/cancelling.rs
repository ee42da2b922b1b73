//! A job can be cancelled in every state.

use rewind_job::JobState;

use crate::cluster::Cluster;

fn assert_cancelled(cluster: &mut Cluster, job: &rewind_job::JobId, aborted: usize) {
    cluster.cancel(job);
    assert_eq!(cluster.state(job), JobState::Cancelled);
    assert_eq!(cluster.reason(job), "cancelled by the user");
    assert_eq!(cluster.aborted().len(), aborted);
    cluster.all_work();
    // Its workers are free, and it stays cancelled.
    let next = cluster.submit(2);
    cluster.join(1);
    cluster.join(2);
    cluster.all_work();
    assert_eq!((cluster.state(job), cluster.state(&next)), (JobState::Cancelled, JobState::Finished));
}

#[test]
fn while_it_waits() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(2);
    assert_cancelled(&mut cluster, &job, 0);
}

#[test]
fn while_it_prepares() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.obey(1);
    assert_cancelled(&mut cluster, &job, 2);
}

#[test]
fn while_it_runs() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 3);
    assert_cancelled(&mut cluster, &job, 2);
}

#[test]
fn while_its_gang_leaves() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.lose(1);
    assert_cancelled(&mut cluster, &job, 0);
}

#[test]
fn a_job_that_is_over_stays_as_it_is() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_work();
    cluster.cancel(&job);
    assert!(cluster.commands.is_empty());
    assert_eq!(cluster.state(&job), JobState::Finished);
    cluster.cancel(&"job-99".into());
    cluster.cancel(&"".into());
    assert!(cluster.commands.is_empty());
}
