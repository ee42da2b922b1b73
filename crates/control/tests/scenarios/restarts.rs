//! A killed coordinator costs no committed round.

use std::time::Duration;

use rewind_job::{JobState, Timeouts, WorkerCommand};

use crate::cluster::{Cluster, worker};

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
    assert_eq!(cluster.reason(&waiting), "needs 2 workers, 0 idle");
    assert_eq!(cluster.control.job_of("").0, "job-4");
}

#[test]
fn a_member_that_missed_a_commit_is_told_of_it_and_of_nothing_that_it_knows() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 2);
    cluster.obey(1);
    // Worker 1 has heard of round 2, worker 2 has not.
    cluster.restart();
    cluster.come_back(1);
    let heard = |cluster: &Cluster, number| {
        let inbox = cluster.workers[&worker(number)].inbox.iter();
        let heard = inbox.map(|command| match command {
            WorkerCommand::Begin { .. } => (0, 0),
            WorkerCommand::Committed { manifest, .. } => (manifest.step.0, manifest.round.0),
            other => panic!("{other:?}"),
        });
        heard.collect::<Vec<_>>()
    };
    assert_eq!(heard(&cluster, 1), [(0, 0)]);
    cluster.come_back(2);
    assert_eq!(heard(&cluster, 2), [(0, 0), (0, 2)]);
    cluster.all_work();
    assert_eq!((cluster.state(&job), cluster.status(&job).generation.0), (JobState::Finished, 1));
}

#[test]
fn a_member_that_never_heard_it_may_begin_hears_it_now() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.obey(1);
    cluster.obey(2);
    assert_eq!(cluster.state(&job), JobState::Running);
    cluster.restart();
    cluster.come_back(1);
    cluster.come_back(2);
    cluster.all_work();
    assert_eq!((cluster.state(&job), cluster.status(&job).generation.0), (JobState::Finished, 1));
}

#[test]
fn a_round_whose_shards_reached_different_coordinators_is_committed_once() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.work(1);
    cluster.restart();
    cluster.come_back(1);
    cluster.come_back(2);
    cluster.all_obey();
    cluster.work(2);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1)]);
    // It was said to both, and may be said a third time.
    let me = cluster.place(1);
    cluster.durable(1, 0, 1);
    assert_eq!((cluster.manifests(&job).len(), me), (1, cluster.place(1)));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn who_comes_back_with_older_work_is_told_to_leave_it_and_costs_its_gang() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.all_obey();
    let old = cluster.workers[&worker(2)].assignment.clone();
    // Worker 2 is cut off: another takes its place, until it is expected again under its name.
    cluster.lose(1);
    cluster.join(1);
    cluster.all_obey();
    assert_eq!(cluster.status(&job).generation.0, 2);
    cluster.workers.get_mut(&worker(2)).expect("lives").assignment = old;
    cluster.restart();
    cluster.come_back(1);
    cluster.come_back(2);
    assert_eq!(
        cluster.workers[&worker(2)].inbox.back().map(|command| matches!(
            command,
            WorkerCommand::Abort { generation, .. } if generation.0 == 1
        )),
        Some(true)
    );
    assert!(cluster.reason(&job).contains("worker-2 began a new session"), "{}", cluster.reason(&job));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_worker_that_nobody_expects_leaves_what_it_has_and_is_idle() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.all_obey();
    cluster.cancel(&job);
    cluster.restart();
    cluster.come_back(1);
    assert_eq!(cluster.aborted(), [(worker(1), "generation 1 of job-1 is over".into())]);
    let next = cluster.submit(1);
    assert_eq!(cluster.state(&next), JobState::Waiting, "it has not left yet");
    cluster.all_obey();
    assert_eq!(cluster.state(&next), JobState::Running);
}

#[test]
fn a_member_that_had_left_a_gang_that_measures_is_not_missed() {
    // Worker 2 has done its part; it is idle, or has other work.
    for has_other_work in [false, true] {
        let mut cluster = Cluster::of(2);
        let job = cluster.submit(2);
        cluster.work_until(&job, 4);
        cluster.all_obey();
        cluster.work(2);
        let other = has_other_work.then(|| {
            let other = cluster.submit(1);
            cluster.all_obey();
            other
        });
        cluster.restart();
        cluster.come_back(2);
        cluster.come_back(1);
        assert_eq!(cluster.state(&job), JobState::Running);
        cluster.all_obey();
        cluster.work(1);
        assert_eq!((cluster.state(&job), cluster.status(&job).generation.0), (JobState::Finished, 1));
        // Nobody waits for worker 2 to leave what it had left.
        cluster.pass(Timeouts::default().soft_abort * 2, &[1, 2]);
        cluster.all_work();
        assert_eq!(cluster.control.workers(), [worker(1), worker(2)]);
        if let Some(other) = other {
            assert_eq!((cluster.state(&other), cluster.status(&other).generation.0), (JobState::Finished, 1));
        }
    }
}

#[test]
fn coordinators_may_follow_one_another_faster_than_workers_come_back() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    for _ in 0..5 {
        cluster.restart();
        cluster.come_back(1);
        cluster.pass(Duration::from_secs(4), &[1]);
    }
    cluster.come_back(2);
    cluster.all_work();
    assert_eq!((cluster.state(&job), cluster.status(&job).generation.0), (JobState::Finished, 1));
}

#[test]
fn a_session_that_breaks_and_begins_again_before_it_was_missed_costs_nothing() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.all_obey();
    cluster.reconnect(2);
    cluster.all_work();
    assert_eq!((cluster.state(&job), cluster.status(&job).generation.0), (JobState::Finished, 1));
}
