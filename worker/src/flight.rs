//! The flight recorder's dump: what this rank did last with the others, when a gang breaks.

use std::{path::Path, time::UNIX_EPOCH};

use rewind_collective::{FlightRecorder, Operation, OperationRecord, Outcome};
use rewind_job::{Generation, JobId, LastCollective, Rank};
use rewind_telemetry::metrics::{
    self,
    worker::{COLLECTIVE_CALLS, COLLECTIVE_FAILURES, COLLECTIVE_SECONDS},
};
use serde_json::json;

/// Latest calls that the log shows.
const SHOWN: usize = 3;

/// A recorder that also counts in the metrics.
pub fn recorder() -> FlightRecorder {
    FlightRecorder::observed_by(|record: &OperationRecord| {
        let operation = match record.operation {
            Operation::Form => metrics::Operation::Form,
            Operation::AllReduce => metrics::Operation::AllReduce,
            Operation::ReduceScatter => metrics::Operation::ReduceScatter,
            Operation::AllGather => metrics::Operation::AllGather,
            Operation::Broadcast => metrics::Operation::Broadcast,
            Operation::Barrier => metrics::Operation::Barrier,
        };
        COLLECTIVE_CALLS.add(operation, 1);
        if let Some(took) = record.took {
            COLLECTIVE_SECONDS.observe(operation, took);
        }
        if matches!(record.outcome, Outcome::Failed(_)) {
            COLLECTIVE_FAILURES.add(operation, 1);
        }
    })
}

/// The youngest call, for the coordinator to compare.
pub fn last(recorder: &FlightRecorder) -> Option<LastCollective> {
    recorder.recent().last().map(|record| LastCollective {
        sequence: record.sequence,
        operation: record.operation.to_string(),
        ended: record.outcome == Outcome::Finished,
    })
}

/// Logs the latest calls, and writes all that are kept to a file of `folder`.
pub fn dump(recorder: &FlightRecorder, folder: Option<&Path>, job: &JobId, generation: Generation, rank: Rank) {
    let records = recorder.recent();
    for record in records.iter().rev().take(SHOWN).rev() {
        let outcome = match &record.outcome {
            Outcome::Running => "did not end".to_owned(),
            Outcome::Finished => "ended".to_owned(),
            Outcome::Failed(error) => error.to_string(),
        };
        tracing::info!("flight recorder: {} {}, {} bytes: {outcome}", record.operation, record.sequence, record.bytes);
    }
    let Some(folder) = folder.filter(|_| !records.is_empty()) else { return };
    let calls: Vec<_> = records
        .iter()
        .map(|record| {
            json!({
                "sequence": record.sequence,
                "operation": record.operation.to_string(),
                "bytes": record.bytes,
                "started": record.started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
                "seconds": record.took.map(|took| took.as_secs_f64()),
                "outcome": format!("{:?}", record.outcome),
            })
        })
        .collect();
    let file = folder.join(format!("flight-{job}-{generation}-{rank}.json"));
    let text = json!({ "job": job, "generation": generation, "rank": rank, "calls": calls }).to_string();
    if let Err(error) = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text)) {
        tracing::warn!("failed to write {}: {error}", file.display());
    }
}
