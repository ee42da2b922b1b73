//! Checkpoints that cannot be used, and who was missing when a gang broke.

use rewind_job::{JobState, LastCollective, WorkerCommand, WorkerEvent};

use crate::cluster::{Cluster, worker};

#[test]
fn a_job_goes_back_to_the_round_before_an_altered_checkpoint_and_its_report_says_so() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 2);
    cluster.finds_altered(1, 0, 2);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1)]);
    assert!(
        cluster.recorded(&job, "the checkpoint of round 2 of pretrained cannot be used; the job goes back to round 1")
    );
    // The next gang is told, and hence the report.
    cluster.workers.get_mut(&worker(1)).expect("lives").inbox.retain(|c| matches!(c, WorkerCommand::Abort { .. }));
    cluster.all_obey();
    let assignment = cluster.workers[&worker(1)].assignment.clone().expect("a new generation");
    assert!(assignment.warnings[0].contains("cannot be used"), "{:?}", assignment.warnings);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 2), (2, 1, 2), (2, 2, 2)]);
}

#[test]
fn rounds_that_were_let_go_cannot_be_gone_back_to() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    // Round 1 of the first step is released when the second step has committed.
    cluster.work_until(&job, 3);
    assert!(cluster.stored.jobs[&job].manifests[0].shards.is_empty());
    cluster.finds_altered(1, 0, 2);
    assert!(cluster.manifests(&job).is_empty());
    assert!(
        cluster.recorded(&job, "the checkpoint of round 2 of pretrained cannot be used; the job begins anew"),
        "the round that is altered is named, not the first that is gone"
    );
    assert!(cluster.stored.head(&job).warnings[0].contains("round 2 of pretrained"));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn rounds_that_follow_an_altered_one_never_happened_either() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 4);
    // Both ranks find it, one after the other.
    cluster.finds_altered(1, 2, 1);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 1)]);
    cluster.finds_altered(2, 2, 1);
    assert!(cluster.changed_nothing());
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job)[2..], [(2, 1, 2), (2, 2, 2)]);
}

#[test]
fn some_altered_rounds_begin_anew_each_time() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    for _ in 0..4 {
        cluster.work_until(&job, 1);
        cluster.all_obey();
        cluster.finds_altered(1, 0, 1);
        assert!(cluster.manifests(&job).is_empty());
    }
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished, "that is no failure of the work");
    assert_eq!(cluster.stored.head(&job).warnings.len(), 4);
}

#[test]
fn a_checkpoint_that_the_job_does_not_have_fails_it() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 1);
    cluster.finds_altered(1, 7, 7);
    assert_eq!((cluster.state(&job), cluster.reason(&job)), (JobState::Failed, "worker-1: altered".into()));
}

#[test]
fn a_discarded_round_survives_no_coordinator() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 2);
    cluster.finds_altered(1, 0, 2);
    cluster.restart();
    cluster.come_back(1);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job)[0].0, 0);
    assert!(cluster.stored.head(&job).warnings[0].contains("goes back to round 1"));
}

#[test]
fn the_rank_that_was_missing_is_named_and_taken_last() {
    let mut cluster = Cluster::of(3);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    let (id, generation) = cluster.place(1);
    cluster.fails(1, "waited for its peers", true);
    for (number, sequence) in [(1, 57), (2, 56)] {
        let last = LastCollective { sequence, operation: "all-reduce".into(), ended: sequence == 56 };
        let me = cluster.workers.get_mut(&worker(number)).expect("lives");
        me.inbox.clear();
        me.assignment = None;
        cluster.says(number, WorkerEvent::Left { job: id.clone(), generation, last: Some(last) });
    }
    assert!(cluster.recorded(&job, "flight recorders: rank 1 (worker-2) was missing from all-reduce 57"));
}

#[test]
fn who_was_missing_is_not_added_to_a_job_that_has_finished_since() {
    let mut cluster = Cluster::of(4);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    let (id, generation) = cluster.place(1);
    cluster.fails(1, "waited for its peers", true);
    for number in [1, 2] {
        let me = cluster.workers.get_mut(&worker(number)).expect("lives");
        me.inbox.clear();
        me.assignment = None;
    }
    cluster.work_through_waits();
    assert_eq!(cluster.state(&job), JobState::Finished, "the other two have done it");
    for (number, sequence) in [(1, 57), (2, 56)] {
        let last = LastCollective { sequence, operation: "all-reduce".into(), ended: sequence == 56 };
        cluster.says(number, WorkerEvent::Left { job: id.clone(), generation, last: Some(last) });
    }
    assert!(!cluster.recorded(&job, "flight recorders"), "its certificate would be another one from now on");
}

#[test]
fn a_store_that_loses_every_checkpoint_fails_the_job_in_the_end() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    for attempt in 1..=5 {
        cluster.work_until(&job, 1);
        assert_eq!(cluster.state(&job), JobState::Running, "attempt {attempt}");
        cluster.finds_altered(1, 0, 1);
    }
    assert_eq!(cluster.state(&job), JobState::Failed);
    assert!(cluster.reason(&job).starts_with("5 checkpoints could not be used, and no new round between them"));
    cluster.resume(&job);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished, "once the store is mended");
}
