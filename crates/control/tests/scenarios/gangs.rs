//! Gangs are whole or absent, first come first served.

use rewind_control::Event;
use rewind_job::{Failure, JobState, Layout, Rank, Segment, WorkerEvent};

use crate::cluster::{Cluster, layout, specification, worker};

#[test]
fn a_job_runs_to_its_report() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 1), (2, 1, 1), (2, 2, 1)]);
    for text in ["submitted", "assigned to worker-1, worker-2", "runs on 2 workers", "pretrained ended", "all steps"] {
        assert!(cluster.recorded(&job, text), "{text}");
    }
}

#[test]
fn a_job_waits_for_its_whole_gang() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(2);
    assert_eq!(cluster.reason(&job), "needs 2 workers, 1 idle");
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Waiting);
    cluster.join(2);
    assert_eq!(cluster.state(&job), JobState::Preparing);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn jobs_are_served_in_the_order_of_their_submission() {
    let mut cluster = Cluster::of(2);
    let first = cluster.submit(2);
    let second = cluster.submit(2);
    let third = cluster.submit(1);
    assert_eq!(cluster.reason(&second), "needs 2 workers, 0 idle");
    assert_eq!(cluster.reason(&third), "waiting behind job-2");
    cluster.work_until(&first, 4);
    assert_eq!(cluster.state(&second), JobState::Waiting);
    cluster.all_work();
    for job in [&first, &second, &third] {
        assert_eq!(cluster.state(job), JobState::Finished);
    }
}

#[test]
fn a_job_too_large_for_the_fleet_does_not_hold_up_the_others() {
    let mut cluster = Cluster::of(2);
    let large = cluster.submit(3);
    let small = cluster.submit(1);
    assert_eq!(cluster.state(&small), JobState::Preparing);
    assert_eq!(cluster.reason(&large), "needs 3 workers, 1 idle");
    cluster.join(3);
    // Now it is next, and no small job overtakes it.
    let late = cluster.submit(1);
    assert_eq!(cluster.reason(&late), "waiting behind job-1");
    cluster.all_work();
    for job in [&large, &small, &late] {
        assert_eq!(cluster.state(job), JobState::Finished);
    }
}

#[test]
fn two_jobs_run_side_by_side() {
    let mut cluster = Cluster::of(3);
    let (one, two) = (cluster.submit(2), cluster.submit(1));
    assert_eq!((cluster.state(&one), cluster.state(&two)), (JobState::Preparing, JobState::Preparing));
    cluster.all_work();
    assert_eq!((cluster.state(&one), cluster.state(&two)), (JobState::Finished, JobState::Finished));
}

#[test]
fn all_ranks_begin_with_one_plan_when_the_last_is_prepared() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.obey(1);
    assert_eq!(cluster.state(&job), JobState::Preparing);
    assert!(cluster.workers[&worker(1)].inbox.is_empty());
    cluster.obey(2);
    assert_eq!(cluster.state(&job), JobState::Running);
    assert_eq!(cluster.workers[&worker(1)].inbox, cluster.workers[&worker(2)].inbox);
    assert_eq!(cluster.workers[&worker(1)].inbox.len(), 1);
}

#[test]
fn different_models_are_refused() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.obey(1);
    let generation = cluster.status(&job).generation;
    let other = Layout::new([("weight".into(), vec![3, 3])]);
    cluster.says(2, WorkerEvent::Prepared { job: job.clone(), generation, rank: Rank(1), layout: other });
    assert_eq!(cluster.state(&job), JobState::Failed);
    assert_eq!(cluster.reason(&job), "the workers built different models from the same specification");
    assert_eq!(cluster.aborted().len(), 2);
}

#[test]
fn an_impossible_layout_is_refused() {
    let impossible = |change: &dyn Fn(&mut Segment)| {
        let mut cluster = Cluster::of(1);
        let job = cluster.submit(1);
        let generation = cluster.status(&job).generation;
        let mut layout = layout();
        change(&mut layout.segments[0]);
        cluster.says(1, WorkerEvent::Prepared { job: job.clone(), generation, rank: Rank(0), layout });
        assert_eq!(cluster.state(&job), JobState::Failed);
        cluster.reason(&job)
    };
    assert!(impossible(&|s| s.shape = vec![-1, 4]).ends_with("impossible: weight has shape [-1, 4]"));
    assert!(impossible(&|s| s.shape = vec![i64::MAX, 2]).contains("weight has shape"));
    assert!(impossible(&|s| s.shape = vec![1 << 40]).contains("weight has shape"));
    assert!(impossible(&|s| s.offset = 5).contains("weight begins at 5 instead of 0"));
}

#[test]
fn a_member_that_leaves_while_it_prepares_frees_the_others() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.obey(1);
    let generation = cluster.status(&job).generation;
    cluster.says(2, WorkerEvent::Left { job: job.clone(), generation, last: None });
    assert_eq!(cluster.reason(&job), "needs 2 workers, 1 idle: worker-2 left while it prepared");
    cluster.workers.get_mut(&worker(2)).expect("lives").inbox.clear();
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_rank_that_is_done_early_is_free_before_the_report() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 4);
    cluster.all_obey();
    cluster.work(2);
    let next = cluster.submit(1);
    assert_eq!(cluster.state(&next), JobState::Preparing);
    // It has no more say in the first job.
    let failure = Failure { reason: "late".into(), retryable: true, bad_checkpoints: Vec::new() };
    let generation = cluster.status(&job).generation;
    cluster.says(2, WorkerEvent::Failed { job: job.clone(), generation, rank: Rank(1), failure });
    assert_eq!(cluster.state(&job), JobState::Running);
    // Its loss is no loss to the first job.
    cluster.lose(2);
    assert_eq!(cluster.state(&job), JobState::Running);
    assert!(cluster.reason(&next).contains("worker-2 was lost while it prepared"));
    cluster.all_work();
    assert_eq!((cluster.state(&job), cluster.state(&next)), (JobState::Finished, JobState::Finished));
}

#[test]
fn a_message_that_cannot_be_read_fails_the_job_and_ends_the_session() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.handle(Event::Unreadable(worker(2), "`record_json` is not valid".into()));
    assert_eq!(cluster.state(&job), JobState::Failed);
    assert_eq!(cluster.reason(&job), "worker-2 sent a message that cannot be read: `record_json` is not valid");
    assert_eq!(cluster.aborted().len(), 1);
    assert_eq!(cluster.control.workers(), [worker(1)]);
}

#[test]
fn what_a_job_waits_for_is_shown_as_it_changes_and_recorded_once() {
    let mut cluster = Cluster::new();
    let job = cluster.submit(3);
    for number in 1..=2 {
        cluster.join(number);
        assert_eq!(cluster.reason(&job), format!("needs 3 workers, {number} idle"));
    }
    for _ in 0..20 {
        cluster.lose(2);
        cluster.join(2);
    }
    let events = cluster.control.events_after(&job, 0);
    let waits = events.iter().filter(|event| event.text.starts_with("needs 3 workers")).count();
    assert_eq!(waits, 1, "{events:?}");
}

#[test]
fn what_is_submitted_again_under_the_same_name_is_one_job() {
    let mut cluster = Cluster::of(1);
    let submitted =
        |name: &str| Event::Submitted { submission: name.into(), specification: Box::new(specification(1)) };
    cluster.handle(submitted("mine"));
    cluster.all_work();
    cluster.restart();
    cluster.handle(submitted("mine"));
    assert!(cluster.changed_nothing());
    assert_eq!(
        (cluster.control.job_of("mine").0.as_str(), cluster.control.job_of("other").0.as_str()),
        ("job-1", "job-2")
    );
    cluster.handle(submitted(""));
    cluster.handle(submitted(""));
    assert_eq!(cluster.control.jobs().len(), 3, "without a name each is a job");
}
