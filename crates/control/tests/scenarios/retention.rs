//! Which checkpoints are kept, and what becomes of the others.

use std::time::Duration;

use rewind_control::{Change, Command, Event};
use rewind_job::{Digest, JobId, JobState, Timeouts};

use crate::cluster::{Cluster, specification, worker};

/// The committed rounds whose checkpoints are there.
fn kept(cluster: &Cluster, job: &JobId) -> Vec<(u32, u32)> {
    let manifests = cluster.stored.jobs[job].manifests.iter();
    manifests.filter(|m| !m.shards.is_empty()).map(|m| (m.step.0, m.round.0)).collect()
}

fn shard(step: u32, round: u32) -> Digest {
    Digest(format!("shard of {step}/{round}"))
}

/// Nobody evaluates what the last step makes, and its last round is the best.
fn without_curve(keep: u32) -> rewind_job::Specification {
    let mut specification = specification(1);
    specification.checkpoints.keep = keep;
    specification.steps.truncate(3);
    specification
}

fn submit(cluster: &mut Cluster, specification: rewind_job::Specification) -> JobId {
    let job = cluster.control.job_of("");
    cluster.handle(Event::submitted(specification));
    job
}

#[test]
fn the_last_rounds_of_the_present_step_and_the_results_of_all_are_kept() {
    for (keep, after_two, after_three) in
        [(1, vec![(0, 2)], vec![(0, 2), (2, 1)]), (2, vec![(0, 1), (0, 2)], vec![(0, 2), (2, 1)])]
    {
        let mut cluster = Cluster::of(1);
        let job = submit(&mut cluster, without_curve(keep));
        cluster.work_until(&job, 2);
        assert_eq!(kept(&cluster, &job), after_two, "keep {keep}");
        cluster.work_until(&job, 3);
        assert_eq!(kept(&cluster, &job), after_three, "keep {keep}");
    }
}

#[test]
fn every_round_of_an_unlearning_step_that_is_evaluated_is_kept() {
    let mut evaluated = specification(1);
    evaluated.checkpoints.keep = 1;
    let mut cluster = Cluster::of(1);
    let job = submit(&mut cluster, evaluated);
    cluster.work_until(&job, 4);
    assert_eq!(kept(&cluster, &job), [(0, 2), (2, 1), (2, 2)]);
}

#[test]
fn a_job_that_is_over_lets_all_its_rounds_go() {
    for cancelled in [true, false] {
        let mut cluster = Cluster::of(1);
        let job = cluster.submit(1);
        cluster.work_until(&job, 4);
        if cancelled {
            cluster.cancel(&job);
        }
        cluster.all_work();
        assert_eq!(cluster.state(&job), if cancelled { JobState::Cancelled } else { JobState::Finished });
        assert!(kept(&cluster, &job).is_empty());
        assert_eq!(cluster.manifests(&job).len(), 4, "that they were committed stays known");
        let doomed: Vec<Digest> = cluster.stored.doomed.keys().cloned().collect();
        assert_eq!(doomed, [shard(0, 1), shard(0, 2), shard(2, 1), shard(2, 2)]);
    }
}

#[test]
fn a_failed_or_paused_job_keeps_what_it_needs_to_go_on() {
    let mut cluster = Cluster::of(1);
    let failed = cluster.submit(1);
    cluster.work_until(&failed, 1);
    cluster.fails(1, "bad input", false);
    cluster.all_obey();
    assert_eq!((cluster.state(&failed), kept(&cluster, &failed)), (JobState::Failed, vec![(0, 1)]));
    cluster.restart();
    cluster.come_back(1);
    assert_eq!(kept(&cluster, &failed), [(0, 1)], "whatever coordinator leads");

    let paused = cluster.submit(1);
    cluster.work_until(&paused, 1);
    cluster.pause(&paused);
    cluster.all_work();
    assert_eq!((cluster.state(&paused), kept(&cluster, &paused)), (JobState::Paused, vec![(0, 1), (0, 2)]));
    cluster.pass(Duration::from_secs(120), &[1]);
    assert!(cluster.deletions().is_empty());
}

#[test]
fn a_failed_job_that_is_cancelled_lets_its_checkpoints_go() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 1);
    cluster.fails(1, "bad input", false);
    cluster.all_obey();
    cluster.cancel(&job);
    assert_eq!((cluster.state(&job), kept(&cluster, &job)), (JobState::Cancelled, vec![]));
    assert!(cluster.stored.doomed.contains_key(&shard(0, 1)));
    cluster.resume(&job);
    assert_eq!(cluster.state(&job), JobState::Cancelled);
}

#[test]
fn what_is_let_go_is_deleted_after_the_time_of_retention() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 3);
    let retention = Timeouts::default().retention;
    cluster.pass(retention, &[1]);
    assert!(cluster.deletions().is_empty());
    cluster.pass(Duration::from_millis(500), &[1]);
    assert_eq!(cluster.deletions(), [shard(0, 1)]);
    cluster.pass(retention * 2, &[1]);
    assert_eq!(cluster.deletions(), [shard(0, 1)], "it is asked for once");
    assert!(cluster.stored.doomed.contains_key(&shard(0, 1)), "until it is known to be gone");
    cluster.handle(Event::Deleted(vec![shard(0, 1)]));
    assert!(cluster.stored.doomed.is_empty());
    cluster.handle(Event::Deleted(vec![shard(0, 1)]));
    assert!(cluster.commands.is_empty());
}

#[test]
fn a_new_coordinator_deletes_what_the_old_one_doomed_when_its_time_has_come() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 3);
    cluster.pass(Duration::from_secs(30), &[1]);
    cluster.restart();
    cluster.come_back(1);
    cluster.pass(Duration::from_secs(29), &[1]);
    assert!(cluster.deletions().is_empty());
    cluster.pass(Duration::from_secs(2), &[1]);
    assert_eq!(cluster.deletions(), [shard(0, 1)], "the wait began when it was doomed");
    // The coordinator is killed before it is known to be gone: the next one asks for it again.
    cluster.restart();
    cluster.come_back(1);
    cluster.pass(Duration::from_secs(1), &[1]);
    assert_eq!(cluster.deletions(), [shard(0, 1), shard(0, 1)]);
}

#[test]
fn what_another_job_commits_again_is_spared() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.all_work();
    assert_eq!((cluster.state(&job), cluster.stored.doomed.len()), (JobState::Finished, 4));
    let again = cluster.submit(1);
    cluster.work_until(&again, 2);
    cluster.pass(Duration::from_secs(61), &[1]);
    assert_eq!(cluster.deletions(), [shard(2, 1), shard(2, 2)]);
    let doomed: Vec<Digest> = cluster.stored.doomed.keys().cloned().collect();
    assert_eq!(doomed, [shard(2, 1), shard(2, 2)], "the others are needed: they are doomed no more");
}

#[test]
fn what_is_let_go_again_while_it_is_deleted_is_doomed_anew() {
    let mut cluster = Cluster::of(1);
    let first = cluster.submit(1);
    cluster.all_work();
    cluster.pass(Duration::from_secs(61), &[1]);
    assert_eq!(cluster.deletions().len(), 4);
    let second = cluster.submit(1);
    cluster.all_work();
    assert_eq!((cluster.state(&first), cluster.state(&second)), (JobState::Finished, JobState::Finished));
    // Its bytes were written after this deletion was decided, and spared.
    cluster.handle(Event::Deleted(cluster.deletions()));
    assert_eq!(cluster.stored.doomed.len(), 4);
    cluster.pass(Duration::from_secs(61), &[1]);
    assert_eq!(cluster.deletions().len(), 8);
}

#[test]
fn what_could_not_be_deleted_is_tried_again_after_a_while() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 3);
    cluster.pass(Duration::from_secs(61), &[1]);
    cluster.handle(Event::Deleted(Vec::new()));
    assert!(cluster.stored.doomed.contains_key(&shard(0, 1)));
    cluster.pass(Duration::from_secs(29), &[1]);
    assert_eq!(cluster.deletions().len(), 1);
    cluster.pass(Duration::from_secs(2), &[1]);
    assert_eq!(cluster.deletions(), [shard(0, 1), shard(0, 1)]);
}

#[test]
fn many_are_deleted_some_at_a_time() {
    let mut cluster = Cluster::of(1);
    cluster.stored.doomed = (0..100).map(|n| (Digest(format!("{n:064x}")), 0)).collect();
    cluster.restart();
    cluster.come_back(1);
    cluster.pass(Duration::from_secs(61), &[1]);
    assert_eq!(cluster.deletions().len(), 40);
    cluster.handle(Event::Deleted(cluster.deletions()));
    cluster.pass(Duration::from_secs(1), &[1]);
    assert_eq!((cluster.deletions().len(), cluster.stored.doomed.len()), (80, 60));
}

#[test]
fn a_shard_that_is_never_committed_is_let_go() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.durable(1, 0, 2);
    cluster.lose(2);
    assert!(cluster.stored.doomed.contains_key(&shard(0, 2)), "{:?}", cluster.stored.doomed);
}

#[test]
fn a_coordinator_that_was_killed_between_two_pieces_lets_go_the_rest() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 4);
    // The job is over, and nothing that followed was stored.
    let commands = cluster.control.handle(Event::CancelWanted(job.clone()), cluster.now);
    let first = commands.into_iter().find_map(|command| match command {
        Command::Store(changes) => Some(changes),
        _ => None,
    });
    cluster.stored.write(first.expect("the decision is stored"));
    assert_eq!(kept(&cluster, &job).len(), 3);
    cluster.restart();
    assert!(kept(&cluster, &job).is_empty());
    let released = |command: &Command| match command {
        Command::Store(changes) => changes.iter().any(|change| matches!(change, Change::Doomed(..))),
        _ => false,
    };
    assert!(cluster.commands.iter().any(released));
}

#[test]
fn many_shards_are_let_go_some_at_a_time() {
    let mut cluster = Cluster::of(60);
    let mut wanted = specification(60);
    wanted.checkpoints.keep = 1;
    let job = submit(&mut cluster, wanted);
    let begin = |cluster: &mut Cluster, number: u32| while cluster.obey(number) {};
    (1..=60).for_each(|number| begin(&mut cluster, number));
    (1..=60).for_each(|number| begin(&mut cluster, number));
    for round in 1..=2 {
        for number in 1..=60 {
            // Every rank has a shard of its own.
            let (id, generation) = cluster.place(number);
            let rank = cluster.workers[&worker(number)].assignment.as_ref().expect("works").rank;
            let mut done = crate::cluster::round_done(0, round);
            done.shard = Digest(format!("shard {number} of 0/{round}"));
            let done = rewind_job::WorkerEvent::ShardDurable { job: id, generation, rank, round: Box::new(done) };
            cluster.says(number, done);
        }
    }
    // No transaction had more than 40 changes: the cluster looks.
    assert_eq!((kept(&cluster, &job), cluster.stored.doomed.len()), (vec![(0, 2)], 60));
}
