//! A round is finished, or it never happened; at most one commit a round.

use rewind_job::{Digest, Generation, JobId, JobState, Rank, Round, StepIndex, WorkerEvent};

use crate::cluster::{Cluster, round_done};

fn running(world: u32) -> (Cluster, JobId) {
    let mut cluster = Cluster::of(world);
    let job = cluster.submit(world);
    cluster.all_obey();
    assert_eq!(cluster.state(&job), JobState::Running);
    (cluster, job)
}

#[test]
fn a_round_commits_when_every_shard_is_durable() {
    let (mut cluster, job) = running(3);
    cluster.durable(1, 0, 1);
    cluster.durable(3, 0, 1);
    assert!(cluster.manifests(&job).is_empty());
    cluster.durable(2, 0, 1);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1)]);
    assert_eq!(cluster.status(&job).committed, Some((StepIndex(0), Round(1))));
}

#[test]
fn a_repeated_message_commits_nothing_again() {
    let (mut cluster, job) = running(2);
    for _ in 0..3 {
        cluster.durable(1, 0, 1);
    }
    assert!(cluster.manifests(&job).is_empty());
    for _ in 0..3 {
        cluster.durable(2, 0, 1);
        cluster.durable(1, 0, 1);
    }
    assert_eq!(cluster.manifests(&job), [(0, 1, 1)]);
    assert_eq!(cluster.state(&job), JobState::Running);
}

#[test]
fn a_fast_rank_may_be_one_round_ahead() {
    let (mut cluster, job) = running(2);
    cluster.durable(1, 0, 1);
    cluster.durable(1, 0, 2);
    assert!(cluster.manifests(&job).is_empty());
    cluster.durable(2, 0, 1);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1)]);
    cluster.durable(2, 0, 2);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 1)]);
}

#[test]
fn a_round_that_does_not_follow_is_refused() {
    for (step, round) in [(0, 2), (1, 1), (2, 1), (9, 1), (0, 0)] {
        let (mut cluster, job) = running(1);
        cluster.durable(1, step, round);
        assert_eq!(cluster.state(&job), JobState::Failed, "round {round} of step {step}");
        assert!(cluster.reason(&job).contains("does not follow the last committed round"));
        assert!(cluster.manifests(&job).is_empty());
    }
}

#[test]
fn ranks_that_drift_apart_are_stopped() {
    let (mut cluster, job) = running(2);
    for round in 1..=3 {
        cluster.durable(1, 0, round);
    }
    assert_eq!(cluster.reason(&job), "the workers are not at the same round");
}

#[test]
fn ranks_that_disagree_about_the_outcome_are_stopped() {
    let (mut cluster, job) = running(2);
    let (id, generation) = cluster.place(1);
    cluster.durable(1, 0, 1);
    let mut other = round_done(0, 1);
    other.outcome = round_done(0, 2).outcome;
    cluster.says(2, WorkerEvent::ShardDurable { job: id, generation, rank: Rank(1), round: Box::new(other) });
    assert_eq!(cluster.reason(&job), "the workers disagree on round 1 of pretrained");
    assert!(cluster.manifests(&job).is_empty());
}

#[test]
fn a_report_before_the_last_commit_is_refused() {
    let (mut cluster, job) = running(1);
    cluster.work_until(&job, 3);
    let (id, generation) = cluster.place(1);
    let report = Digest("ab".into());
    cluster.says(1, WorkerEvent::Finished { job: id, generation, report, weights: Vec::new(), verdict: None });
    assert_eq!(cluster.state(&job), JobState::Failed);
    assert_eq!(cluster.reason(&job), "a report came before all rounds were committed");
}

#[test]
fn messages_of_another_generation_or_job_change_nothing() {
    let (mut cluster, job) = running(2);
    cluster.work_until(&job, 1);
    cluster.all_obey();
    let (id, generation) = cluster.place(1);
    let stale = Generation(generation.0 + 1);
    for (job, generation) in
        [(id.clone(), stale), (id, Generation(0)), ("job-07".into(), generation), ("".into(), generation)]
    {
        for round in [round_done(0, 2), round_done(2, 1)] {
            let (job, round) = (job.clone(), Box::new(round));
            cluster.says(1, WorkerEvent::ShardDurable { job, generation, rank: Rank(0), round });
            assert!(cluster.changed_nothing());
        }
        cluster.says(1, WorkerEvent::Left { job: job.clone(), generation, last: None });
        assert!(cluster.changed_nothing());
    }
    assert_eq!(cluster.manifests(&job), [(0, 1, 1)]);
}

#[test]
fn a_worker_outside_the_gang_changes_nothing() {
    let (mut cluster, job) = running(2);
    cluster.join(3);
    let (id, generation) = cluster.place(1);
    for rank in [Rank(0), Rank(1)] {
        let round = Box::new(round_done(0, 1));
        cluster.says(3, WorkerEvent::ShardDurable { job: id.clone(), generation, rank, round });
        assert!(cluster.changed_nothing());
    }
    cluster.says(3, WorkerEvent::Left { job: id, generation, last: None });
    assert!(cluster.changed_nothing());
    assert_eq!(cluster.state(&job), JobState::Running);
}
