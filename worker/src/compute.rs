//! The compute thread: takes assignments one after another and runs each to its end.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread::JoinHandle,
};

use rewind_collective::unfinished_abandoned_groups;
use rewind_job::{Assignment, Failure, WorkerEvent};

use crate::{
    link::{EndedBy, Link},
    run::{Bench, RunError, run},
};

/// After so many abandoned collectives the process starts anew: their memory cannot be taken back.
const ABANDONED_GROUPS: u64 = 3;

/// Exit code that asks the supervisor for a fresh process.
pub const RESTART: i32 = 75;

/// Starts the compute thread. It ends when `assignments` is closed.
pub fn start(assignments: mpsc::Receiver<(Assignment, Link)>, bench: Bench) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("compute".into()).spawn(move || {
        for (assignment, link) in assignments {
            carry_out(assignment, &link, &bench);
            if unfinished_abandoned_groups() >= ABANDONED_GROUPS {
                tracing::warn!("{ABANDONED_GROUPS} abandoned collectives do not end: starting anew");
                std::process::exit(RESTART);
            }
        }
    })
}

fn carry_out(assignment: Assignment, link: &Link, bench: &Bench) {
    let (job, generation, rank) = (assignment.job.clone(), assignment.generation, assignment.rank);
    let span = tracing::info_span!("assignment", %job, %generation, %rank);
    let _inside = span.enter();
    tracing::info!("began");
    let outcome = catch_unwind(AssertUnwindSafe(|| run(assignment, link, bench)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(RunError::Panicked(text.unwrap_or_else(|| "of an unknown reason".into())))
    });
    match outcome {
        Ok(()) => tracing::info!("finished"),
        Err(error) => match link.ended() {
            Some(ended) if ended.by == EndedBy::Coordinator => tracing::info!("left: {ended}"),
            ended => {
                let reason = ended.map_or_else(|| error.to_string(), |ended| ended.reason);
                tracing::error!("failed: {reason}");
                let failure = Failure { reason, retryable: error.is_retryable() };
                link.tell(WorkerEvent::Failed { job: job.clone(), generation, rank, failure });
            }
        },
    }
    link.tell(WorkerEvent::Left { job, generation });
}
