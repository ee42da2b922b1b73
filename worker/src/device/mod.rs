//! What this worker computes on: the CPU or one GPU, how much of its memory it may take, and how its gangs are connected.

use std::{
    fmt,
    fs::{File, TryLockError},
    io::{Read, Write},
    path::Path,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytesize::ByteSize;
use rewind_collective::{
    Backend,
    cuda::{self, CudaError, Memory},
};
use rewind_job::{DeviceKind, SpecificationError};
use rewind_predictor::SnapshotsIn;
use tch::{Device, Kind, Tensor};

mod inspection;
mod memory;

pub use inspection::Inspection;
pub use memory::Need;
use memory::available_on_host;

/// Of a GPU's free memory what a worker takes where it is not told: the rest is CUDA's and NCCL's own.
const SHARE_OF_FREE: f64 = 0.92;
/// A trajectory is kept on the GPU while everything that is counted takes no more than this share of the budget: what
/// is not counted, activations above all, needs room.
const SHARE_WITH_TRAJECTORY: f64 = 0.6;
/// Of the host's available memory what pinned snapshots may take.
const SHARE_OF_HOST: f64 = 0.8;

/// `--device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first GPU, or the CPU where there is none.
    Auto,
    Cpu,
    Cuda(usize),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u8>().map(usize::from).ok();
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(number)
                .map(Self::Cuda)
                .ok_or_else(|| "is none of auto, cpu, cuda, cuda:0, cuda:1, …".to_owned()),
        }
    }
}

/// `--collective`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Connection {
    /// NCCL between GPUs, Gloo between CPUs.
    Auto,
    /// TCP; a GPU's tensors take the way through the host's memory.
    Gloo,
    Nccl,
}

/// `--trajectory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TrajectoryPlace {
    /// On the device where it fits, else in the host's memory.
    Auto,
    Device,
    /// In the host's memory, pinned.
    Host,
}

/// Why a worker does not get the device that it was told to use.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("--device {wanted}: {source}")]
    Unavailable { wanted: String, source: CudaError },
    #[error("--device-memory {asked}: cuda:{device} has {free} free, of {total}")]
    TooMuch { asked: ByteSize, device: usize, free: ByteSize, total: ByteSize },
    #[error("--device-memory bounds the memory of a GPU, and there is none: {0}")]
    NoBudgetOfCpu(CudaError),
    #[error("--collective nccl connects GPUs, and there is none: {0}")]
    NoNcclOnCpu(CudaError),
    #[error("--device cuda:{device}: another worker computes on it (process {process}); one worker takes one GPU")]
    Taken { device: usize, process: String },
    #[error("--device cuda:{device}: it does not compute: {detail}")]
    Idle { device: usize, detail: String },
    #[error("--collective {}: {source}; `--collective gloo` does without, more slowly", if *.asked { "nccl" } else { "auto" })]
    NoNccl { asked: bool, source: CudaError },
}

/// What a worker computes on, decided at its start.
#[derive(Clone, Debug)]
pub struct WorkerDevice {
    pub device: Device,
    /// As reports name it: `cpu`, or the GPU's model.
    pub name: String,
    /// Bytes that the worker may take of its GPU; none on a CPU.
    budget: Option<u64>,
    /// Why libtorch itself does not keep to the budget.
    unbounded: Option<String>,
    is_nccl: bool,
    trajectory: TrajectoryPlace,
    /// Why `auto` means the CPU.
    no_gpu: Option<String>,
    /// Of the host's memory what trajectories have been given; CUDA keeps it for the next one.
    pinned: Arc<AtomicU64>,
    /// Keeps others off the GPU.
    _claim: Option<Arc<File>>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    pub device: Wanted,
    pub memory: Option<ByteSize>,
    pub connection: Connection,
    pub trajectory: TrajectoryPlace,
}

impl WorkerDevice {
    /// To be called before other threads run and before the first tensor is made.
    ///
    /// # Errors
    /// Names the option that cannot be had, and why.
    pub fn choose(wishes: Wishes) -> Result<Self, DeviceError> {
        let index = match wishes.device {
            Wanted::Cpu => return Ok(Self::on_cpu(wishes, None)),
            Wanted::Auto => match cuda::open() {
                Ok(_) => 0,
                Err(missing) if wishes.memory.is_some() => return Err(DeviceError::NoBudgetOfCpu(missing)),
                Err(missing) if wishes.connection == Connection::Nccl => return Err(DeviceError::NoNcclOnCpu(missing)),
                Err(missing) => return Ok(Self::on_cpu(wishes, Some(missing.to_string()))),
            },
            Wanted::Cuda(index) => index,
        };
        let unavailable = |source| DeviceError::Unavailable { wanted: format!("cuda:{index}"), source };
        let gpus = cuda::open().map_err(unavailable)?;
        let Memory { free, total } = gpus.memory(index).map_err(unavailable)?;
        if let Some(asked) = wishes.memory.filter(|asked| asked.0 > free) {
            let [free, total] = [free, total].map(ByteSize);
            return Err(DeviceError::TooMuch { asked, device: index, free, total });
        }
        let budget = wishes.memory.map_or((free as f64 * SHARE_OF_FREE) as u64, |asked| asked.0);
        let is_nccl = wishes.connection != Connection::Gloo;
        // Ranks that meet over Gloo may share a GPU.
        let mut claim = None;
        if is_nccl {
            let asked = wishes.connection == Connection::Nccl;
            cuda::has_nccl().map_err(|source| DeviceError::NoNccl { asked, source })?;
            claim = Some(Arc::new(claimed(index, &std::env::temp_dir())?));
        }
        let unbounded = gpus.limit_memory(index, budget).err().map(|error| error.to_string());
        computes(index)?;
        Ok(Self {
            device: Device::Cuda(index),
            name: gpus.name(index).unwrap_or_else(|| "cuda".to_owned()),
            budget: Some(budget),
            unbounded,
            is_nccl,
            trajectory: wishes.trajectory,
            no_gpu: None,
            pinned: Arc::default(),
            _claim: claim,
        })
    }

    fn on_cpu(wishes: Wishes, no_gpu: Option<String>) -> Self {
        Self {
            device: Device::Cpu,
            name: "cpu".to_owned(),
            budget: None,
            unbounded: None,
            is_nccl: false,
            trajectory: wishes.trajectory,
            no_gpu,
            pinned: Arc::default(),
            _claim: None,
        }
    }

    pub fn kind(&self) -> DeviceKind {
        if self.device == Device::Cpu { DeviceKind::Cpu } else { DeviceKind::Cuda }
    }

    /// How gangs whose tensors are on `device` are connected. What is computed on the CPU goes over Gloo.
    pub fn backend(&self, device: Device, bind_address: &str) -> Backend {
        match device {
            Device::Cuda(_) if self.is_nccl => Backend::Nccl,
            _ => Backend::Gloo { bind_address: bind_address.to_owned() },
        }
    }

    /// Where the trajectories of a job are kept, which this rank needs so much memory for.
    ///
    /// # Errors
    /// Names what the job needs and what there is, before anything is trained.
    pub fn place(&self, need: Need) -> Result<SnapshotsIn, SpecificationError> {
        let Some(budget) = self.budget else { return Ok(SnapshotsIn::Device) };
        let place = self.place_within(need, budget, available_on_host() + self.pinned.load(Ordering::Relaxed))?;
        if place == SnapshotsIn::Host {
            self.pinned.fetch_max(need.pinned, Ordering::Relaxed);
        }
        Ok(place)
    }

    fn place_within(&self, need: Need, budget: u64, host: u64) -> Result<SnapshotsIn, SpecificationError> {
        let refuse = |bytes: u64, what: &str, remedy: &str| {
            let (bytes, budget, device) = (ByteSize(bytes), ByteSize(budget), self.shown());
            Err(SpecificationError::new(
                "fleet",
                format!(
                    "{what} take {bytes} on {device}, whose budget is {budget} (activations not counted); {remedy}"
                ),
            ))
        };
        let weights = "weights, gradients and optimiser";
        if need.without_trajectory > budget {
            return refuse(need.without_trajectory, weights, "a larger world-size shards the optimiser further");
        }
        let together = need.without_trajectory + need.trajectory;
        let fits = together as f64 <= SHARE_WITH_TRAJECTORY * budget as f64;
        let fits_on_host = need.pinned as f64 <= SHARE_OF_HOST * host as f64;
        match self.trajectory {
            TrajectoryPlace::Device if together > budget => refuse(
                together,
                &format!("{weights} and the trajectory"),
                "`--trajectory host` keeps it in the host's memory",
            ),
            TrajectoryPlace::Device => Ok(SnapshotsIn::Device),
            TrajectoryPlace::Auto if fits => Ok(SnapshotsIn::Device),
            _ if fits_on_host => Ok(SnapshotsIn::Host),
            TrajectoryPlace::Auto if together <= budget => Ok(SnapshotsIn::Device),
            _ => refuse(
                together,
                &format!("{weights} and the trajectory"),
                &format!(
                    "and {} of the host's memory are available; a larger world-size shards both further",
                    ByteSize(host)
                ),
            ),
        }
    }

    fn shown(&self) -> String {
        match self.device {
            Device::Cuda(index) => format!("cuda:{index} ({})", self.name),
            _ => self.name.clone(),
        }
    }
}

impl fmt::Display for WorkerDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())?;
        if let Some(budget) = self.budget {
            let connection = if self.is_nccl { "NCCL" } else { "Gloo" };
            write!(f, ", up to {} of its memory; gangs over {connection}", ByteSize(budget))?;
        }
        if let Some(reason) = &self.unbounded {
            write!(f, " (libtorch itself does not keep to the bound: {reason})")?;
        }
        if let Some(reason) = &self.no_gpu {
            write!(f, " (no GPU: {reason})")?;
        }
        Ok(())
    }
}

/// A file of the machine that says which process computes on a GPU, locked until that process ends.
fn claimed(device: usize, folder: &Path) -> Result<File, DeviceError> {
    let shown = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let name = shown.as_ref().and_then(|shown| shown.split(',').nth(device)).map_or(device.to_string(), str::to_owned);
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let path = folder.join(format!("rewind-gpu-{name}.lock"));
    let idle = |error: std::io::Error| DeviceError::Idle { device, detail: format!("{}: {error}", path.display()) };
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(idle)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let _ = file.read_to_string(&mut process);
            return Err(DeviceError::Taken { device, process: process.trim().to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(idle(error)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(idle)?;
    Ok(file)
}

/// Runs one small kernel: a GPU that libtorch was not built for is found now.
fn computes(device: usize) -> Result<(), DeviceError> {
    let idle = |error: tch::TchError| {
        let text = error.to_string();
        DeviceError::Idle { device, detail: text.lines().next().unwrap_or_default().to_owned() }
    };
    let ones = Tensor::f_ones([8], (Kind::Float, Device::Cuda(device))).map_err(idle)?;
    let sum = ones.f_sum(Kind::Double).and_then(|sum| sum.f_double_value(&[])).map_err(idle)?;
    if sum == 8.0 {
        return Ok(());
    }
    Err(DeviceError::Idle { device, detail: format!("it adds eight ones to {sum}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn gpu(trajectory: TrajectoryPlace) -> WorkerDevice {
        WorkerDevice {
            device: Device::Cuda(0),
            name: "H200".to_owned(),
            budget: Some(10 * GIB),
            unbounded: None,
            is_nccl: true,
            trajectory,
            no_gpu: None,
            pinned: Arc::default(),
            _claim: None,
        }
    }

    fn placed(trajectory: TrajectoryPlace, without: u64, with: u64, host: u64) -> Result<SnapshotsIn, String> {
        let need = Need { without_trajectory: without * GIB, trajectory: with * GIB, pinned: with * GIB };
        gpu(trajectory).place_within(need, 10 * GIB, host * GIB).map_err(|error| error.to_string())
    }

    #[test]
    fn devices_are_written_as_torch_writes_them() {
        let of = |text: &str| text.parse::<Wanted>();
        assert_eq!(of("auto"), Ok(Wanted::Auto));
        assert_eq!((of("cuda"), of("cuda:3")), (Ok(Wanted::Cuda(0)), Ok(Wanted::Cuda(3))));
        for wrong in ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(of(wrong).unwrap_err().contains("cuda:0"), "{wrong}");
        }
    }

    #[test]
    fn a_trajectory_lies_on_the_device_while_there_is_room_for_activations() {
        use TrajectoryPlace::{Auto, Device, Host};
        assert_eq!(placed(Auto, 2, 3, 100), Ok(SnapshotsIn::Device));
        assert_eq!(placed(Auto, 2, 5, 100), Ok(SnapshotsIn::Host));
        // The host has no room either: it is tried.
        assert_eq!(placed(Auto, 2, 5, 1), Ok(SnapshotsIn::Device));
        assert_eq!(placed(Device, 2, 7, 100), Ok(SnapshotsIn::Device));
        assert_eq!(placed(Host, 1, 1, 100), Ok(SnapshotsIn::Host));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_size_the_budget_and_a_remedy() {
        use TrajectoryPlace::{Auto, Device, Host};
        let error = placed(Auto, 11, 0, 100).unwrap_err();
        for word in ["fleet: ", "11.0 GiB on cuda:0 (H200)", "budget is 10.0 GiB", "world-size"] {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(placed(Device, 2, 9, 100).unwrap_err().contains("--trajectory host"));
        assert!(placed(Host, 2, 9, 4).unwrap_err().contains("4.0 GiB of the host's memory"));
        assert!(placed(Auto, 2, 9, 4).is_err());
    }

    #[test]
    fn a_cpu_has_no_budget_and_auto_says_why_it_is_one() {
        let wishes = Wishes {
            device: Wanted::Cpu,
            memory: Some(ByteSize::gib(1)),
            connection: Connection::Nccl,
            trajectory: TrajectoryPlace::Auto,
        };
        // Whoever asks for the CPU gets it, whatever is said about GPUs.
        let device = WorkerDevice::choose(wishes).expect("there is a CPU");
        assert_eq!((device.device, device.to_string().as_str()), (Device::Cpu, "cpu"));
        let vast = Need { without_trajectory: u64::MAX, ..Need::default() };
        assert_eq!(device.place(vast), Ok(SnapshotsIn::Device));
        if cuda::open().is_ok() {
            return;
        }
        let auto = Wishes { device: Wanted::Auto, ..wishes };
        assert!(WorkerDevice::choose(auto).unwrap_err().to_string().starts_with("--device-memory"));
        let auto = Wishes { memory: None, ..auto };
        assert!(WorkerDevice::choose(auto).unwrap_err().to_string().starts_with("--collective nccl"));
        let auto = Wishes { connection: Connection::Auto, ..auto };
        let shown = WorkerDevice::choose(auto).expect("there is a CPU").to_string();
        assert!(shown.starts_with("cpu (no GPU: "), "{shown}");
    }

    #[test]
    fn a_gpu_is_one_workers_until_that_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let claim = claimed(3, folder.path()).expect("is free");
        let refused = claimed(3, folder.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        claimed(4, folder.path()).expect("is another");
        drop(claim);
        claimed(3, folder.path()).expect("is free again");
    }

    #[test]
    fn pinned_memory_that_a_trajectory_left_serves_the_next_one() {
        let device = gpu(TrajectoryPlace::Host);
        let half = available_on_host() / 2;
        let need = Need { without_trajectory: GIB, trajectory: half, pinned: half };
        assert_eq!(device.place(need), Ok(SnapshotsIn::Host));
        assert_eq!(device.pinned.load(Ordering::Relaxed), half);
    }
}
