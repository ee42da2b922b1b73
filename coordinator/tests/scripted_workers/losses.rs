//! A killed coordinator costs no committed round; a lost worker costs the round under way.

use rewind_job::{
    Assignment, Digest, Failure, Generation, JobState, Round, StepIndex, StepOutcome, StopReason, WorkerCommand,
    WorkerEvent, Working,
};
use rewind_proto::v1::WorkerMessage;

use crate::{
    program::Coordinator,
    worker::{ROUNDS, ScriptedWorker, all_begin, all_commit, round_done},
};

#[tokio::test]
async fn a_job_goes_on_in_the_same_generation_after_its_coordinator_was_killed() {
    let mut coordinator = Coordinator::start().await;
    let job = coordinator.submit(2).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let mut two = ScriptedWorker::join(&coordinator, "worker-2").await;
    let mut gang = [&mut one, &mut two];
    let assignments = all_begin(&mut gang).await;
    all_commit(&mut gang, &assignments, &ROUNDS[..3]).await;
    coordinator.kill_and_restart().await;
    assert_eq!(one.hears().await, None, "the session ends with the coordinator");

    // The third commit was lost on its way to worker 2: it is told again.
    let knows = |round: (u32, u32)| Working {
        job: job.clone(),
        generation: assignments[0].generation,
        committed: Some((StepIndex(round.0), Round(round.1))),
    };
    let mut one = ScriptedWorker::comes_back(&coordinator, "worker-1", knows(ROUNDS[2])).await;
    let mut two = ScriptedWorker::comes_back(&coordinator, "worker-2", knows(ROUNDS[1])).await;
    one.begins().await;
    two.begins().await;
    assert_eq!(two.hears_of_commit().await.round, Round(1));
    let mut gang = [&mut one, &mut two];
    all_commit(&mut gang, &assignments, &ROUNDS[3..]).await;
    gang.iter().zip(&assignments).for_each(|(worker, assignment)| worker.finishes(assignment));
    let status = coordinator.eventually_is(&job, JobState::Finished).await;
    assert_eq!(status.generation, Generation(1));

    // The report outlives the coordinator too.
    coordinator.kill_and_restart().await;
    coordinator.report(&job).await.expect("reports");
}

#[tokio::test]
async fn workers_that_come_back_without_their_work_cost_no_committed_round() {
    let mut coordinator = Coordinator::start().await;
    let job = coordinator.submit(2).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let mut two = ScriptedWorker::join(&coordinator, "worker-2").await;
    let mut gang = [&mut one, &mut two];
    let assignments = all_begin(&mut gang).await;
    all_commit(&mut gang, &assignments, &ROUNDS[..3]).await;
    coordinator.kill_and_restart().await;
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
}

#[tokio::test]
async fn an_event_is_acknowledged_when_it_is_decided_upon_and_may_be_repeated() {
    let coordinator = Coordinator::start().await;
    let job = coordinator.submit(1).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let assignments = all_begin(&mut [&mut one]).await;
    let Assignment { job: id, generation, rank, .. } = assignments[0].clone();
    let round = Box::new(round_done(0, 1, rank));
    let durable = WorkerEvent::ShardDurable { job: id.clone(), generation, rank, round };
    one.sends(WorkerMessage { sequence: 7, ..durable.clone().into() });
    assert!(matches!(one.hears_anything().await, Some(WorkerCommand::Committed { .. })), "that is its acknowledgement");
    one.sends(WorkerMessage { sequence: 7, ..durable.into() });
    let left = WorkerEvent::Left { job: id, generation, last: None };
    one.sends(WorkerMessage { sequence: 8, ..left.into() });
    assert!(matches!(one.hears_anything().await, Some(WorkerCommand::Assign(_))), "stored and done before all else");
    assert_eq!(one.hears_anything().await, Some(WorkerCommand::Acknowledged { sequence: 8 }));
    assert_eq!(coordinator.status(&job).await.committed, Some((StepIndex(0), Round(1))));
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
async fn sigterm_ends_the_coordinator_and_leaves_the_workers_their_work() {
    let mut coordinator = Coordinator::start().await;
    let mut worker = ScriptedWorker::join(&coordinator, "worker-1").await;
    let code = coordinator.terminate().await;
    assert_eq!(worker.hears().await, None, "the session ends, and that is all");
    assert_eq!(code, Some(0));
    assert!(!coordinator.dir().join("coordinator.addr").exists());
}

#[tokio::test]
async fn a_report_may_be_larger_than_any_value_of_the_state_store() {
    let coordinator = Coordinator::start().await;
    let job = coordinator.submit(1).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let assignments = all_begin(&mut [&mut one]).await;
    all_commit(&mut [&mut one], &assignments, &ROUNDS).await;
    one.finishes_with(&assignments[0], &"x".repeat(2 << 20));
    coordinator.eventually_is(&job, JobState::Finished).await;
    let (report, _) = coordinator.report(&job).await.expect("reports");
    assert_eq!(report.warnings[0].len(), 2 << 20);
}

#[tokio::test]
async fn a_worker_that_talks_too_much_is_sent_away() {
    let coordinator = Coordinator::start().await;
    let mut worker = ScriptedWorker::join(&coordinator, "worker-1").await;
    for _ in 0..3000 {
        worker.says(WorkerEvent::Heartbeat);
    }
    assert_eq!(worker.hears().await, None);
}

#[tokio::test]
async fn words_without_end_fail_their_job_and_nothing_else() {
    let coordinator = Coordinator::start().await;
    let long = "x".repeat(2 << 20);
    let says = |to: &Assignment, which: usize| {
        let Assignment { job, generation, rank, .. } = to.clone();
        let mut round = Box::new(round_done(0, 1, rank));
        match which {
            0 => {
                let failure = Failure { reason: long.clone(), retryable: false, bad_checkpoints: Vec::new() };
                return WorkerEvent::Failed { job, generation, rank, failure };
            }
            1 => round.shard = Digest(long.clone()),
            _ => {
                let stop = StopReason { rule: "rounds".into(), text: long.clone() };
                round.outcome = Some(StepOutcome { selected: Round(1), stop });
            }
        }
        WorkerEvent::ShardDurable { job, generation, rank, round }
    };
    for which in 0..3 {
        let job = coordinator.submit(1).await;
        let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
        let assignments = all_begin(&mut [&mut one]).await;
        one.says(says(&assignments[0], which));
        let status = coordinator.eventually_is(&job, JobState::Failed).await;
        assert!(status.reason.len() < 10_000, "{} bytes", status.reason.len());
    }
}
