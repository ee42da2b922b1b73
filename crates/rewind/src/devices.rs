//! What local workers compute on, as `rewind-worker` sees it: this program links no libtorch.

use std::{path::Path, process::Command};

use serde::Deserialize;

use crate::error::Error;

/// What the workers of a local fleet compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LocalDevice {
    /// GPUs if there is one for each worker, else the CPU.
    Auto,
    Cpu,
    /// A GPU each.
    Cuda,
}

/// What `rewind-worker devices --json` says.
#[derive(Debug, Default, Deserialize)]
pub struct Inspection {
    gpus: Vec<Gpu>,
    no_gpus: Option<String>,
    no_nccl: Option<String>,
    would_use: Option<String>,
    would_not_start: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Gpu {
    device: String,
    name: Option<String>,
    memory_free: u64,
    memory_total: u64,
}

impl Inspection {
    /// Asks the program.
    ///
    /// # Errors
    /// What it said instead of an answer.
    pub fn of(worker: &Path) -> Result<Self, String> {
        let output = Command::new(worker).args(["devices", "--json"]).output();
        let output = output.map_err(|error| format!("{} does not run: {error}", worker.display()))?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            format!("{} does not say what it sees: {complaint}", worker.display())
        })
    }

    /// What a worker would use; or why it would not start.
    pub fn verdict(&self) -> Result<String, String> {
        self.would_use.clone().ok_or_else(|| self.would_not_start.clone().unwrap_or_default())
    }

    /// One line a GPU; or why there is none.
    pub fn sights(&self) -> Vec<String> {
        let gpu = |gpu: &Gpu| {
            let Gpu { device, name, memory_free, memory_total } = gpu;
            let [free, total] = [memory_free, memory_total].map(|&bytes| bytes as f64 / f64::from(1 << 30));
            format!("{device}: {}, {free:.1} GiB free of {total:.1}", name.as_deref().unwrap_or("a GPU"))
        };
        let without = self.no_gpus.iter().map(|reason| format!("none: {reason}"));
        let apart = self.no_nccl.iter().map(|reason| format!("no NCCL: {reason}"));
        self.gpus.iter().map(gpu).chain(without).chain(apart).collect()
    }

    /// The `--device` of each of `count` workers.
    ///
    /// # Errors
    /// There are fewer GPUs.
    fn deal(&self, wanted: LocalDevice, count: usize) -> Result<Vec<String>, Error> {
        let gpus = self.gpus.len();
        match wanted {
            LocalDevice::Cuda if gpus < count => {
                let why = self.no_gpus.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
                Err(Error::Usage(format!(
                    "--device cuda: a worker takes a GPU of its own, and there are {gpus} for {count}{why}"
                )))
            }
            LocalDevice::Cuda => Ok((0..count).map(|index| format!("cuda:{index}")).collect()),
            // And if a worker would start on one.
            LocalDevice::Auto
                if gpus >= count && self.would_use.as_ref().is_some_and(|used| used.starts_with("cuda:")) =>
            {
                Ok((0..count).map(|index| format!("cuda:{index}")).collect())
            }
            _ => Ok(vec!["cpu".to_owned(); count]),
        }
    }
}

/// The `--device` of each of `count` workers.
///
/// # Errors
/// GPUs are wanted, and there are fewer than workers.
pub fn of_workers(worker: &Path, wanted: LocalDevice, count: u32) -> Result<Vec<String>, Error> {
    let seen = match wanted {
        LocalDevice::Cpu => Inspection::default(),
        LocalDevice::Auto | LocalDevice::Cuda => Inspection::of(worker).map_err(Error::Usage)?,
    };
    seen.deal(wanted, count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(gpus: u64) -> Inspection {
        let gpu =
            |index| Gpu { device: format!("cuda:{index}"), name: None, memory_free: 1 << 30, memory_total: 2 << 30 };
        let no_gpus = (gpus == 0).then(|| "no driver".to_owned());
        let would_use = Some(if gpus > 0 { "cuda:0 (H200)" } else { "cpu" }.to_owned());
        Inspection { gpus: (0..gpus).map(gpu).collect(), no_gpus, would_use, ..Inspection::default() }
    }

    #[test]
    fn workers_get_a_gpu_each_or_none_at_all() {
        assert_eq!(with(2).deal(LocalDevice::Auto, 2).expect("fits"), ["cuda:0", "cuda:1"]);
        assert_eq!(with(1).deal(LocalDevice::Auto, 2).expect("fits"), ["cpu", "cpu"]);
        let without_nccl = Inspection { would_use: None, ..with(2) };
        assert_eq!(without_nccl.deal(LocalDevice::Auto, 2).expect("fits"), ["cpu", "cpu"]);
        assert_eq!(with(4).deal(LocalDevice::Cpu, 1).expect("fits"), ["cpu"]);
        assert_eq!(with(4).deal(LocalDevice::Cuda, 3).expect("fits"), ["cuda:0", "cuda:1", "cuda:2"]);
    }

    #[test]
    fn too_few_gpus_are_an_error_that_says_why() {
        let error = with(0).deal(LocalDevice::Cuda, 2).unwrap_err().to_string();
        assert!(error.contains("0 for 2 (no driver)"), "{error}");
    }

    #[test]
    fn what_is_seen_is_a_line_each() {
        assert_eq!(with(1).sights(), ["cuda:0: a GPU, 1.0 GiB free of 2.0"]);
        assert_eq!(with(0).sights(), ["none: no driver"]);
    }
}
