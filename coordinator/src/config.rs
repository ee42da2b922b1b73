//! What a coordinator is told at its start.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

/// Decides which workers run which jobs, commits their rounds, and answers `rewind`.
#[derive(Clone, Debug, Parser)]
#[command(name = "rewind-coordinator", version)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one. Nothing here is authenticated yet.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7060")]
    pub listen: SocketAddr,

    /// Folder of the state store; `coordinator.addr` in it tells the address.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,

    /// Folder of the artifact store, shared with all workers [default: DIR/artifacts].
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,

    /// Listen on an address that other machines reach, although nothing is authenticated.
    #[arg(long)]
    pub insecure: bool,

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
