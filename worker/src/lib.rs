//! A worker: runs assignments, reports facts. One process a device.
//!
//! The session with the coordinator is async; every tensor is touched on the compute thread alone.

pub mod compute;
pub mod config;
pub mod device;
pub mod session;

mod commit;
mod flight;
#[cfg(test)]
mod hostile_bytes;
mod inputs;
mod link;
mod loss_attack;
mod machine;
mod outbox;
mod pictures;
mod probes;
mod rendezvous;
mod report;
mod run;
mod run_error;
mod sample_record;
mod task;
mod train_predictor;
mod watched;
