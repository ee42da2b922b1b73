//! The metrics as they were before they had types; this file goes with its last caller.

use std::{net::SocketAddr, time::Duration};

use ::metrics::{counter, gauge, histogram};

/// A metric's name, for any label.
pub struct Untyped(&'static str);

/// A label's name and value.
pub type AnyLabel = (&'static str, String);

pub static DECISIONS: Untyped = Untyped("rewind_coordinator_decisions_total");
pub static JOBS: Untyped = Untyped("rewind_coordinator_jobs");
pub static WORKERS: Untyped = Untyped("rewind_coordinator_workers");
pub static LEADS: Untyped = Untyped("rewind_coordinator_leads");
pub static TERM: Untyped = Untyped("rewind_coordinator_term");
pub static STORE_AWAY: Untyped = Untyped("rewind_coordinator_store_away");
pub static STORE_WRITE: Untyped = Untyped("rewind_coordinator_store_write_seconds");
pub static STORE_FAILURES: Untyped = Untyped("rewind_coordinator_store_failures_total");
pub static SESSIONS_REFUSED: Untyped = Untyped("rewind_coordinator_sessions_refused_total");
pub static SESSIONS: Untyped = Untyped("rewind_worker_sessions_total");
pub static ASSIGNMENTS: Untyped = Untyped("rewind_worker_assignments_total");
pub static ROUNDS: Untyped = Untyped("rewind_worker_rounds_total");
pub static CHECKPOINT: Untyped = Untyped("rewind_worker_checkpoint_seconds");
pub static CHECKPOINT_BYTES: Untyped = Untyped("rewind_worker_checkpoint_bytes_total");
pub static TASKS: Untyped = Untyped("rewind_worker_tasks_total");

/// Serves without starting any metric at zero.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(address: SocketAddr) -> Result<(), String> {
    super::exporter::serve(address, || {}, || {}).map(drop).map_err(|error| error.to_string())
}

impl Untyped {
    pub fn add(&self, count: u64, label: Option<AnyLabel>) {
        counter!(self.0, &labels(label)).increment(count);
    }

    pub fn set(&self, value: f64, label: Option<AnyLabel>) {
        gauge!(self.0, &labels(label)).set(value);
    }

    pub fn observe(&self, time: Duration) {
        histogram!(self.0).record(time.as_secs_f64());
    }
}

fn labels(label: Option<AnyLabel>) -> Vec<AnyLabel> {
    label.into_iter().collect()
}
