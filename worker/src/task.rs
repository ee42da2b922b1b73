//! One task of a job that makes histories: a small network, trained and recorded.

use rewind_job::{Collect, TaskAssignment, WorkerEvent};
use rewind_unlearning::histories::{HistoryRecipe, Target, collect};

use crate::{
    inputs::JobData,
    link::Link,
    run::{Bench, RunError},
};

/// Makes the task's history and stores it. Its bytes are a function of the specification and the task's number.
pub fn run(assignment: &TaskAssignment, link: &Link, bench: &Bench) -> Result<(), RunError> {
    let TaskAssignment { job, generation, task, specification } = assignment;
    tch::set_num_threads(specification.fleet.threads as i32);
    let data = JobData::read(specification)?;
    let wanted = specification.collect().expect("the specification was checked: it collects");
    let recipe = recipe(wanted, specification.model.architecture, specification.seed, task.0);
    let remaining = data.remaining.as_ref().expect("the specification was checked: it has a pool");
    let snapshots = [wanted.snapshots as usize];
    let recorded = collect(&recipe, specification.model.classes, remaining, &data.forget, &snapshots, &link.cancel);
    if let Some(ended) = link.ended() {
        return Err(ended.into());
    }
    let bytes = recorded?.history.to_bytes().map_err(|error| RunError::History(error.to_string()))?;
    let output = bench.artifacts.put(&bytes)?;
    tracing::info!(%output, "{} bytes of history", bytes.len());
    rewind_telemetry::metrics::worker::HISTORIES_MADE.add(1);
    link.tell(WorkerEvent::TaskDone { job: job.clone(), generation: *generation, task: *task, output });
    Ok(())
}

fn recipe(wanted: &Collect, architecture: rewind_job::Architecture, seed: u64, task: u32) -> HistoryRecipe {
    let architectures = if wanted.architectures.is_empty() { vec![architecture] } else { wanted.architectures.clone() };
    HistoryRecipe {
        architecture: architectures[task as usize % architectures.len()],
        seed: seed.wrapping_mul(1_000_003).wrapping_add(u64::from(task)),
        pretraining: wanted.pretraining.clone(),
        batch_size: wanted.batch_size as usize,
        epochs_before: wanted.epochs_before,
        horizon: wanted.horizon,
        forward: wanted.forward.clone(),
        forward_batch_size: wanted.batch_size as usize,
        snapshots: wanted.snapshots,
        target: Target::Before,
        kept: wanted.kept as usize,
    }
}
