//! What a worker sees, for those who ask before it works.

use std::{fmt, fs, path::Path};

use bytesize::ByteSize;
use rewind_collective::cuda::{self, CudaError, Memory};
use serde::Serialize;

use super::{Wishes, WorkerDevice, memory::available_on_host};

/// What this worker sees and would use: `rewind-worker devices`, and `rewind doctor`.
#[derive(Debug, Serialize)]
pub struct Inspection {
    libtorch: &'static str,
    cores: usize,
    host_memory_available: u64,
    cpu_capability: String,
    driver: Option<String>,
    gpus: Vec<Gpu>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_gpus: Option<String>,
    /// Why gangs of GPUs cannot be connected by NCCL.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_nccl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_use: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_not_start: Option<String>,
}

#[derive(Debug, Serialize)]
struct Gpu {
    device: String,
    name: Option<String>,
    memory_free: u64,
    memory_total: u64,
}

impl Inspection {
    pub fn make(wishes: Wishes) -> Self {
        // Even where the CPU is wanted: who asks wants to know.
        let opened = cuda::open();
        let gpus = opened.as_ref().map_or(Vec::new(), |gpus| {
            let gpu = |index: usize| {
                let Memory { free, total } = gpus.memory(index).unwrap_or(Memory { free: 0, total: 0 });
                let (device, name) = (format!("cuda:{index}"), gpus.name(index));
                Gpu { device, name, memory_free: free, memory_total: total }
            };
            (0..gpus.devices()).map(gpu).collect()
        });
        let machine = crate::machine::describe(1, "cpu");
        let chosen = WorkerDevice::choose(wishes);
        Self {
            libtorch: env!("LIBTORCH_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            host_memory_available: available_on_host(),
            cpu_capability: machine.cpu_capability,
            driver: driver(Path::new("/proc/driver/nvidia/version")),
            no_gpus: opened.as_ref().err().map(ToString::to_string),
            no_nccl: match &opened {
                Err(CudaError::NoLibrary { .. }) => None,
                _ => cuda::has_nccl().err().map(|error| error.to_string()),
            },
            gpus,
            would_use: chosen.as_ref().ok().map(ToString::to_string),
            would_not_start: chosen.as_ref().err().map(ToString::to_string),
        }
    }

    /// Whether the worker would start.
    pub fn is_fit(&self) -> bool {
        self.would_use.is_some()
    }
}

/// The first line of the driver's file.
fn driver(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().and_then(|text| text.lines().next().map(str::to_owned))
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { libtorch, cores, cpu_capability, .. } = self;
        writeln!(
            f,
            "libtorch {libtorch}, {cores} cores ({cpu_capability}), {} of memory available",
            ByteSize(self.host_memory_available)
        )?;
        if let Some(driver) = &self.driver {
            writeln!(f, "driver: {driver}")?;
        }
        for Gpu { device, name, memory_free, memory_total } in &self.gpus {
            let name = name.as_deref().unwrap_or("GPU");
            writeln!(f, "{device}: {name}, {} free of {}", ByteSize(*memory_free), ByteSize(*memory_total))?;
        }
        if let Some(reason) = &self.no_gpus {
            writeln!(f, "no GPU: {reason}")?;
        }
        if let Some(reason) = &self.no_nccl {
            writeln!(f, "no NCCL: {reason}")?;
        }
        match (&self.would_use, &self.would_not_start) {
            (Some(device), _) => write!(f, "would use {device}"),
            (None, reason) => write!(f, "would not start: {}", reason.as_deref().unwrap_or_default()),
        }
    }
}
