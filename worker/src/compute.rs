//! The compute thread: takes assignments one after another and runs each to its end.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread::JoinHandle,
};

use rewind_collective::unfinished_abandoned_groups;
use rewind_job::{Assignment, Failure, Generation, JobId, Rank, TaskAssignment, WorkerEvent};
use rewind_telemetry::metrics::{
    Activity, Outcome,
    worker::{ACTIVITY, ASSIGNMENTS_ENDED},
};

use crate::{
    flight,
    link::{EndedBy, Link},
    run::{Bench, run},
    run_error::RunError,
    task,
};

/// Work for the compute thread.
pub enum Todo {
    Gang(Box<Assignment>, Link),
    /// One task of a job that makes histories.
    Task(Box<TaskAssignment>, Link),
}

/// After so many abandoned collectives the process starts anew: their memory cannot be taken back.
const ABANDONED_GROUPS: u64 = 3;

/// Exit code that asks the supervisor for a fresh process.
pub const RESTART: i32 = 75;

/// Starts the compute thread. It ends when `todo` is closed.
pub fn start(todo: mpsc::Receiver<Todo>, bench: Bench) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("compute".into()).spawn(move || {
        ACTIVITY.is(Activity::Idle);
        for work in todo {
            let broken = carry_out(work, &bench);
            ACTIVITY.is(Activity::Idle);
            if unfinished_abandoned_groups() >= ABANDONED_GROUPS {
                tracing::warn!("{ABANDONED_GROUPS} abandoned collectives do not end: starting anew");
                std::process::exit(RESTART);
            }
            if let Some(broken) = broken {
                tracing::warn!("{broken}: starting anew");
                // Time for the coordinator to hear why.
                std::thread::sleep(bench.timeouts.heartbeat);
                std::process::exit(RESTART);
            }
        }
    })
}

/// Returns what broke the device, if that happened.
fn carry_out(work: Todo, bench: &Bench) -> Option<String> {
    match work {
        Todo::Gang(assignment, link) => {
            let (job, generation, rank) = (assignment.job.clone(), assignment.generation, assignment.rank);
            let span = tracing::info_span!(
                "assignment",
                %job,
                generation = generation.0,
                rank = rank.0,
                round = tracing::field::Empty
            );
            let _inside = span.enter();
            tracing::info!("began");
            ACTIVITY.is(Activity::Preparing);
            let outcome = guarded(bench, || run(*assignment, &link, bench));
            settle((&job, generation, rank), &link, bench, outcome)
        }
        Todo::Task(assignment, link) => {
            let (job, generation) = (assignment.job.clone(), assignment.generation);
            let span = tracing::info_span!("task", %job, generation = generation.0, task = assignment.task.0);
            let _inside = span.enter();
            tracing::info!("began");
            ACTIVITY.is(Activity::Task);
            let outcome = guarded(bench, || task::run(&assignment, &link, bench));
            settle((&job, generation, Rank(0)), &link, bench, outcome)
        }
    }
}

fn guarded(bench: &Bench, work: impl FnOnce() -> Result<(), RunError>) -> Result<(), RunError> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let outcome = outcome.unwrap_or_else(|panic| Err(RunError::Panicked(text_of(&*panic))));
    outcome.map_err(|error| error.told_of(&bench.device.name))
}

/// What a panic says.
pub fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "of an unknown reason".into())
}

/// Tells the coordinator how the work ended. Returns what broke the device, if that happened.
fn settle(
    (job, generation, rank): (&JobId, Generation, Rank),
    link: &Link,
    bench: &Bench,
    outcome: Result<(), RunError>,
) -> Option<String> {
    let (mut last, mut broken) = (None, None);
    match outcome {
        Ok(()) => {
            tracing::info!("finished");
            ASSIGNMENTS_ENDED.add(Outcome::Finished, 1);
        }
        Err(error) => {
            broken = matches!(error, RunError::BrokenDevice { .. }).then(|| error.to_string());
            last = flight::last(&link.recorder);
            flight::dump(&link.recorder, bench.flight_records.as_deref(), job, generation, rank);
            match link.ended() {
                Some(ended) if ended.by == EndedBy::Coordinator => {
                    tracing::info!("left: {ended}");
                    ASSIGNMENTS_ENDED.add(Outcome::Left, 1);
                }
                ended => {
                    let reason = ended.map_or_else(|| error.to_string(), |ended| ended.reason);
                    tracing::error!("failed: {reason}");
                    ASSIGNMENTS_ENDED.add(Outcome::Failed, 1);
                    let bad_checkpoints = error.bad_checkpoints();
                    let failure = Failure { reason, retryable: error.is_retryable(), bad_checkpoints };
                    link.tell(WorkerEvent::Failed { job: job.clone(), generation, rank, failure });
                }
            }
        }
    }
    link.tell(WorkerEvent::Left { job: job.clone(), generation, last });
    broken
}
