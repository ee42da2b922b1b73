//! What users ask for, with scripted workers behind it.

use rewind_job::{Generation, JobState, Rank, WorkerEvent};
use tonic::Code;

use crate::{
    program::Coordinator,
    worker::{ROUNDS, ScriptedWorker, all_begin, all_commit},
};

#[tokio::test]
async fn a_job_of_scripted_workers_runs_from_submission_to_report() {
    let coordinator = Coordinator::start().await;
    let job = coordinator.submit(2).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let waiting = coordinator.eventually_is(&job, JobState::Waiting).await;
    assert!(waiting.reason.starts_with("needs 2 workers, "), "{}", waiting.reason);
    let mut two = ScriptedWorker::join(&coordinator, "worker-2").await;
    let watching = coordinator.watch(&job);
    let working = async {
        let mut gang = [&mut one, &mut two];
        let assignments = all_begin(&mut gang).await;
        assert_eq!(assignments.iter().map(|a| a.rank).collect::<Vec<_>>(), [Rank(0), Rank(1)]);
        assert!(assignments.iter().all(|a| a.generation == Generation(1) && a.committed.is_empty()));
        all_commit(&mut gang, &assignments, &ROUNDS).await;
        let error = coordinator.report(&job).await.expect_err("there is none yet");
        assert_eq!(error.code(), Code::FailedPrecondition);
        gang[1].finishes(&assignments[1]);
        gang[0].finishes(&assignments[0]);
    };
    let ((statuses, events), ()) = tokio::join!(watching, working);
    let last = statuses.last().expect("has a status");
    assert_eq!((last.state, last.reason.as_str()), (JobState::Finished, "all steps are done"));
    let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());

    let (report, weights) = coordinator.report(&job).await.expect("reports");
    assert_eq!(report.events, events);
    assert_eq!(weights[0].step, "unlearned");

    // Both are idle again.
    let next = coordinator.submit(2).await;
    assert_eq!(next.0, "job-2");
    assert_eq!(one.is_assigned().await.job, next);
    assert_eq!(two.is_assigned().await.job, next);
}

#[tokio::test]
async fn progress_is_shown_and_not_recorded() {
    let coordinator = Coordinator::start().await;
    let mut worker = ScriptedWorker::join(&coordinator, "worker-1").await;
    let job = coordinator.submit(1).await;
    let assignments = all_begin(&mut [&mut worker]).await;
    let progress = rewind_job::Progress { step: rewind_job::StepIndex(0), text: "half way".into(), fraction: 0.5 };
    let generation = assignments[0].generation;
    worker.says(WorkerEvent::Progress { job: job.clone(), generation, progress: progress.clone() });
    let shown = crate::program::eventually("progress is shown", async || coordinator.status(&job).await.progress).await;
    assert_eq!(shown, progress);
    coordinator.cancel(&job).await.expect("cancels");
    let (_, events) = coordinator.watch(&job).await;
    assert!(events.iter().all(|event| !event.text.contains("half way")));
}

#[tokio::test]
async fn a_cancelled_job_frees_its_scripted_workers() {
    let coordinator = Coordinator::start().await;
    let mut worker = ScriptedWorker::join(&coordinator, "worker-1").await;
    let job = coordinator.submit(1).await;
    all_begin(&mut [&mut worker]).await;
    assert_eq!(coordinator.cancel(&job).await.expect("cancels").state, JobState::Cancelled);
    assert_eq!(worker.leaves_when_told().await, "cancelled by the user");
    let next = coordinator.submit(1).await;
    assert_eq!(worker.is_assigned().await.job, next);
}

#[tokio::test]
async fn an_unknown_job_is_not_found() {
    let coordinator = Coordinator::start().await;
    for job in ["job-1", "", "../job-1"] {
        let errors = [
            coordinator.cancel(&job.into()).await.expect_err("unknown"),
            coordinator.report(&job.into()).await.expect_err("unknown"),
        ];
        for error in errors {
            assert_eq!((error.code(), error.message()), (Code::NotFound, format!("there is no job {job}").as_str()));
        }
    }
}
