//! What a worker is told at its start.

use std::path::PathBuf;

use clap::Parser;

/// Runs the assignments of a coordinator: trains forward, rewinds its own shard, reports facts.
#[derive(Clone, Debug, Parser)]
#[command(name = "rewind-worker", version)]
pub struct Config {
    /// Address of the coordinator.
    #[arg(long, value_name = "URL", env = "REWIND_COORDINATOR")]
    pub coordinator: String,

    /// Folder of the artifact store, shared by all workers and the coordinator.
    #[arg(long, value_name = "DIR")]
    pub artifacts: PathBuf,

    /// Name of this worker, unique in its fleet.
    #[arg(long, value_name = "NAME")]
    pub name: String,

    /// Address that collectives bind. Their traffic is neither encrypted nor authenticated.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind: String,

    /// Write the log to this file instead of standard error.
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// Write the log as JSON.
    #[arg(long)]
    pub json_logs: bool,

    /// End when the process that started this one ends.
    #[arg(long)]
    pub die_with_parent: bool,
}
