//! What a worker is told at its start.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::Parser;
use rewind_job::Timeouts;
use rewind_security::{ClientTls, Files, SecurityError};

use crate::device::{Connection, TrajectoryPlace, Wanted, Wishes};

/// Runs the assignments of a coordinator: trains forward, rewinds its own shard, reports facts.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "rewind-worker",
    version = rewind_version::VERSION_AND_COMMIT,
    after_help = "rewind-worker devices [--json] shows which devices this worker sees, and which one it would use."
)]
pub struct Config {
    /// Addresses of all coordinators, separated by commas: one leads, the others stand by.
    #[arg(
        long = "coordinator",
        value_name = "URL",
        env = "REWIND_COORDINATOR",
        value_delimiter = ',',
        required = true
    )]
    pub coordinators: Vec<String>,

    /// Artifact store, shared by all workers and coordinators: a folder, or s3://bucket/prefix with the usual AWS_*
    /// variables.
    #[arg(long, value_name = "DIR|URL")]
    pub artifacts: String,

    /// Refuse specifications that name files outside this folder; may be given several times.
    #[arg(long = "data-root", value_name = "DIR")]
    pub data_roots: Vec<PathBuf>,

    /// Name of this worker, unique in its fleet.
    #[arg(long, value_name = "NAME")]
    pub name: String,

    #[command(flatten)]
    pub device: DeviceArguments,

    /// Address that collectives bind. Their traffic is neither encrypted nor authenticated. NCCL chooses an interface
    /// itself: NCCL_SOCKET_IFNAME tells it which.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind: String,

    /// Certificate of the fleet's authority; with it every connection is encrypted.
    #[arg(long, value_name = "FILE", requires = "certificate", requires = "key")]
    pub ca: Option<PathBuf>,

    /// This worker's certificate.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub certificate: Option<PathBuf>,

    /// The certificate's key.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub key: Option<PathBuf>,

    /// Timeouts as TOML, the same as the coordinators'.
    #[arg(long, value_name = "FILE")]
    pub timeouts: Option<PathBuf>,

    /// Folder for the flight recorder's file when a collective fails.
    #[arg(long, value_name = "DIR")]
    pub flight_records: Option<PathBuf>,

    /// Serve gRPC health at this address, without TLS and nothing else, for probes that show no certificate: the service
    /// "" lives, the service "ready" serves while a leading coordinator has this worker.
    #[arg(long, value_name = "ADDRESS")]
    pub health: Option<std::net::SocketAddr>,

    /// Serve metrics for Prometheus at this address.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<std::net::SocketAddr>,

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

/// What to compute on, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceArguments {
    /// What to compute on: auto (the first GPU, or the CPU where there is none), cpu, cuda:0, cuda:1, …; one worker a
    /// GPU.
    #[arg(long, value_name = "DEVICE", env = "REWIND_DEVICE", default_value = "auto")]
    pub device: Wanted,

    /// Memory of the GPU that this worker may take, such as 20GiB [default: 92 % of what is free].
    #[arg(long, value_name = "SIZE", env = "REWIND_DEVICE_MEMORY")]
    pub device_memory: Option<ByteSize>,

    /// How gangs on GPUs are connected; the same on all workers.
    #[arg(long, value_enum, env = "REWIND_COLLECTIVE", default_value = "auto")]
    pub collective: Connection,

    /// Where the trajectories of a GPU's weights are kept.
    #[arg(long, value_enum, env = "REWIND_TRAJECTORY", default_value = "auto")]
    pub trajectory: TrajectoryPlace,
}

impl DeviceArguments {
    /// What was asked of the device.
    pub fn wishes(&self) -> Wishes {
        Wishes {
            device: self.device,
            memory: self.device_memory,
            connection: self.collective,
            trajectory: self.trajectory,
        }
    }
}

/// Shows which devices this worker sees, and which one it would use with these options. Exit code 1: it would not start.
#[derive(Clone, Debug, Parser)]
#[command(name = "rewind-worker devices", version = rewind_version::VERSION_AND_COMMIT)]
pub struct Devices {
    #[command(flatten)]
    pub device: DeviceArguments,

    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

impl Config {
    /// Data roots, links followed.
    ///
    /// # Errors
    /// Names the folder that is not there.
    pub fn resolved_data_roots(&self) -> Result<Vec<PathBuf>, String> {
        let resolve = |root: &PathBuf| {
            std::fs::canonicalize(root).map_err(|error| format!("--data-root {}: {error}", root.display()))
        };
        self.data_roots.iter().map(resolve).collect()
    }

    /// # Errors
    /// Names the file that cannot be used.
    pub fn tls(&self) -> Result<Option<ClientTls>, SecurityError> {
        let (Some(ca), Some(certificate), Some(key)) = (&self.ca, &self.certificate, &self.key) else {
            return Ok(None);
        };
        let files = Files { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() };
        rewind_security::client_tls(&files).map(Some)
    }

    /// # Errors
    /// Names the file, or the timeout that is out of order.
    pub fn timeouts(&self) -> Result<Timeouts, String> {
        let Some(path) = &self.timeouts else { return Ok(Timeouts::default()) };
        let text = std::fs::read_to_string(path).map_err(|error| format!("--timeouts {}: {error}", path.display()))?;
        Timeouts::parse(&text).map_err(|error| format!("--timeouts {}: {error}", path.display()))
    }
}
