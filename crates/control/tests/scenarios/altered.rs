//! Checkpoints that cannot be used, those that are let go, and who was missing when a gang broke.

use std::time::Duration;

use rewind_control::{Command, Event};
use rewind_job::{Digest, Failure, JobState, LastCollective, Rank, WorkerCommand, WorkerEvent};

use crate::cluster::{Cluster, worker};

fn finds_altered(cluster: &mut Cluster, number: u32, step: u32, round: u32) {
    let (job, generation) = cluster.place(number);
    let bad_checkpoints = vec![Digest(format!("shard of {step}/{round}"))];
    let failure = Failure { reason: "altered".into(), retryable: true, bad_checkpoints };
    cluster.says(number, WorkerEvent::Failed { job, generation, rank: Rank(0), failure });
}

#[test]
fn a_job_goes_back_to_the_round_before_an_altered_checkpoint_and_its_report_says_so() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 2);
    finds_altered(&mut cluster, 1, 0, 2);
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
    finds_altered(&mut cluster, 1, 0, 2);
    assert!(cluster.manifests(&job).is_empty());
    assert!(cluster.recorded(&job, "the job begins anew"));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn what_is_let_go_is_deleted_after_the_time_of_retention_unless_it_is_needed_again() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 3);
    let doomed = Digest("shard of 0/1".into());
    assert!(cluster.stored.doomed.contains_key(&doomed));
    cluster.pass(Duration::from_secs(59), &[1]);
    assert!(!cluster.deletions().contains(&doomed));
    cluster.pass(Duration::from_secs(3), &[1]);
    assert!(cluster.deletions().contains(&doomed));
    cluster.handle(Event::Deleted(doomed.clone()));
    assert!(!cluster.stored.doomed.contains_key(&doomed));

    // Another job commits the same bytes: they are needed again.
    cluster.all_work();
    let again = cluster.submit(1);
    cluster.work_until(&again, 2);
    cluster.pass(Duration::from_secs(70), &[1]);
    assert!(!cluster.deletions()[1..].contains(&Digest("shard of 0/2".into())), "{:?}", cluster.deletions());
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
fn one_transaction_never_grows_beyond_what_a_store_takes() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    for command in &cluster.commands {
        if let Command::Store(changes) = command {
            assert!(changes.len() <= 40);
        }
    }
}
