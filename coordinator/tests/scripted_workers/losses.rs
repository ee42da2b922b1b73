//! A killed coordinator costs no committed round; a lost worker costs the round under way.

use rewind_job::{Generation, JobState, Round};

use crate::{
    program::Coordinator,
    worker::{ROUNDS, ScriptedWorker, all_begin, all_commit},
};

#[tokio::test]
async fn a_job_goes_on_after_its_coordinator_was_killed() {
    let mut coordinator = Coordinator::start().await;
    let job = coordinator.submit(2).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let mut two = ScriptedWorker::join(&coordinator, "worker-2").await;
    let mut gang = [&mut one, &mut two];
    let assignments = all_begin(&mut gang).await;
    all_commit(&mut gang, &assignments, &ROUNDS[..3]).await;
    // One shard of the last round is durable, the other is not.
    one.has_durable(&assignments[0], 1, 2);
    coordinator.kill_and_restart().await;
    assert_eq!(one.hears().await, None, "the session ends with the coordinator");

    let waiting = coordinator.status(&job).await;
    assert_eq!(waiting.reason, "waiting for workers: 0 of 2 are idle: the coordinator was restarted");
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let mut two = ScriptedWorker::join(&coordinator, "worker-2").await;
    let mut gang = [&mut one, &mut two];
    let assignments = all_begin(&mut gang).await;
    for assignment in &assignments {
        assert_eq!(assignment.generation, Generation(2));
        let committed: Vec<_> = assignment.committed.iter().map(|m| (m.step.0, m.round.0)).collect();
        assert_eq!(committed, ROUNDS[..3]);
    }
    all_commit(&mut gang, &assignments, &ROUNDS[3..]).await;
    gang.iter().zip(&assignments).for_each(|(worker, assignment)| worker.finishes(assignment));
    coordinator.eventually_is(&job, JobState::Finished).await;

    // The report outlives the coordinator too.
    coordinator.kill_and_restart().await;
    let (report, _) = coordinator.report(&job).await.expect("reports");
    assert!(report.events.iter().any(|event| event.text == "the coordinator was restarted"));
}

#[tokio::test]
async fn the_others_are_told_at_once_when_a_scripted_worker_is_lost() {
    let coordinator = Coordinator::start().await;
    let job = coordinator.submit(2).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let mut two = ScriptedWorker::join(&coordinator, "worker-2").await;
    let mut gang = [&mut one, &mut two];
    let assignments = all_begin(&mut gang).await;
    all_commit(&mut gang, &assignments, &ROUNDS[..1]).await;
    drop(two);
    let reason = one.leaves_when_told().await;
    assert_eq!(reason, "worker-2 was lost in round 2 of pretrained");
    // What it still says for the old generation changes nothing.
    one.has_durable(&assignments[0], 0, 2);
    let mut three = ScriptedWorker::join(&coordinator, "worker-3").await;
    let mut gang = [&mut one, &mut three];
    let assignments = all_begin(&mut gang).await;
    assert_eq!(assignments[1].committed.last().map(|manifest| manifest.round), Some(Round(1)));
    all_commit(&mut gang, &assignments, &ROUNDS[1..]).await;
    gang.iter().zip(&assignments).for_each(|(worker, assignment)| worker.finishes(assignment));
    coordinator.eventually_is(&job, JobState::Finished).await;
    let (report, _) = coordinator.report(&job).await.expect("reports");
    assert!(report.events.iter().any(|event| event.text == reason));
}

#[tokio::test]
async fn sigterm_ends_the_scripted_workers_and_the_coordinator() {
    let mut coordinator = Coordinator::start().await;
    let mut worker = ScriptedWorker::join(&coordinator, "worker-1").await;
    let code = coordinator.terminate().await;
    assert_eq!(worker.hears().await, Some(rewind_job::WorkerCommand::Shutdown));
    assert_eq!(worker.hears().await, None);
    assert_eq!(code, Some(0));
    assert!(!coordinator.dir().join("coordinator.addr").exists());
}
