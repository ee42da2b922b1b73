//! GPUs, found at run time: libtorch's CUDA half is opened when a worker is to compute on one, so that one program
//! serves CPUs and GPUs.
//!
//! What needs CUDA's own libraries (NCCL, a bound on memory) lies in a shared object of ours, `librewind_cuda.so`, which
//! `make cuda` builds and which is looked for beside the program.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{
    extension::{Extension, open_for_all},
    shim,
};

/// Names another file than the libtorch_cuda.so of the libtorch that the program is linked with.
pub const CUDA_LIBRARY: &str = "REWIND_CUDA_LIBRARY";
/// Our shared object, beside the program or one folder above it.
const EXTENSION: &str = "librewind_cuda.so";

/// Why there is no computing on a GPU here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    #[error(
        "this libtorch computes on CPUs alone: failed to open {}: {detail}. `make cuda` installs what is missing in the \
         checkout, and {CUDA_LIBRARY} names a libtorch_cuda.so that lies elsewhere",
        library.display()
    )]
    NoLibrary { library: PathBuf, detail: String },
    #[error(
        "no NVIDIA driver is loaded: /proc/driver/nvidia/version is missing. Install the driver, or give the container a GPU"
    )]
    NoDriver,
    #[error(
        "an NVIDIA driver is loaded, but CUDA sees no GPU{}. Give the container a GPU, or install a driver that is new \
         enough for CUDA 13 (580){}",
        if said.is_empty() { String::new() } else { format!(": {said}") },
        visible.as_ref().map(|visible| format!("; CUDA_VISIBLE_DEVICES is {visible:?}")).unwrap_or_default()
    )]
    NoDevice { said: String, visible: Option<String> },
    #[error("there is no cuda:{asked}: {found} {} here, counted from 0", if *found == 1 { "GPU is" } else { "GPUs are" })]
    NoSuchDevice { asked: usize, found: usize },
    #[error("{library} is missing beside {}: `make cuda` builds it", program.display())]
    NoExtension { library: &'static str, program: PathBuf },
    #[error("failed to open {}: {detail}", library.display())]
    BadExtension { library: PathBuf, detail: String },
    #[error("CUDA refuses: {detail}")]
    Refused { detail: String },
}

/// GPUs of this process.
pub struct Cuda {
    devices: usize,
}

/// Bytes of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// That nobody holds.
    pub free: u64,
    pub total: u64,
}

/// What was opened: libtorch's CUDA half, and perhaps our shared object.
struct Libraries {
    extension: Result<Extension, CudaError>,
}

static LIBRARIES: OnceLock<Result<Libraries, CudaError>> = OnceLock::new();
static CUDA: OnceLock<Result<Cuda, CudaError>> = OnceLock::new();

/// Opens libtorch's CUDA half, once; to be called first before other threads run and before the first tensor is made.
/// Kernels are then chosen so that the same work gives the same bits.
///
/// # Errors
/// Says what is missing: the library, the driver, or a device.
pub fn open() -> Result<&'static Cuda, CudaError> {
    let named = std::env::var_os(CUDA_LIBRARY).map(PathBuf::from);
    let library = named.or_else(library_of_the_checkout).unwrap_or_else(|| PathBuf::from("libtorch_cuda.so"));
    open_library(&library)
}

/// What `make cuda` has installed where this program was built.
fn library_of_the_checkout() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folders = program.ancestors().skip(1).take(4);
    folders.map(|folder| folder.join(".libtorch-gpu/torch/lib/libtorch_cuda.so")).find(|file| file.exists())
}

/// The same from this file. A process opens one, the first that it names.
///
/// # Errors
/// As of [`open`].
pub fn open_library(library: &Path) -> Result<&'static Cuda, CudaError> {
    CUDA.get_or_init(|| find_devices(library)).as_ref().map_err(Clone::clone)
}

fn find_devices(library: &Path) -> Result<Cuda, CudaError> {
    LIBRARIES.get_or_init(|| open_libraries(library)).as_ref().map_err(Clone::clone)?;
    let devices = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    if devices == 0 {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        if !Path::new("/proc/driver/nvidia/version").exists() {
            return Err(CudaError::NoDriver);
        }
        let extension = LIBRARIES.get().and_then(|libraries| libraries.as_ref().ok()?.extension.as_ref().ok());
        let said = extension.map(Extension::why_none).unwrap_or_default();
        return Err(CudaError::NoDevice { said, visible });
    }
    refused(shim::cuda_be_deterministic())?;
    Ok(Cuda { devices })
}

fn open_libraries(library: &Path) -> Result<Libraries, CudaError> {
    let missing = |detail| CudaError::NoLibrary { library: library.to_owned(), detail };
    open_for_all(library).map_err(missing)?;
    let extension = find_extension()
        .and_then(|library| Extension::open(&library).map_err(|detail| CudaError::BadExtension { library, detail }));
    if let Ok(extension) = &extension {
        extension.settle();
    }
    Ok(Libraries { extension })
}

fn find_extension() -> Result<PathBuf, CudaError> {
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.ancestors().skip(1).take(2).map(|folder| folder.join(EXTENSION)).find(|file| file.exists());
    beside.ok_or(CudaError::NoExtension { library: EXTENSION, program })
}

/// What needs CUDA's own libraries, also where they find no GPU.
pub(crate) fn extension() -> Result<&'static Extension, CudaError> {
    let opened = open().map(drop);
    match LIBRARIES.get() {
        Some(Ok(libraries)) => libraries.extension.as_ref().map_err(Clone::clone),
        Some(Err(error)) => Err(error.clone()),
        None => Err(opened.expect_err("what is open has its libraries")),
    }
}

/// Whether gangs can be connected by NCCL, as far as libraries go.
///
/// # Errors
/// Which one is missing.
pub fn has_nccl() -> Result<(), CudaError> {
    extension().map(drop)
}

impl Cuda {
    /// How many GPUs this process sees.
    pub fn devices(&self) -> usize {
        self.devices
    }

    /// # Errors
    /// There are fewer.
    pub fn require(&self, device: usize) -> Result<(), CudaError> {
        if device < self.devices {
            return Ok(());
        }
        Err(CudaError::NoSuchDevice { asked: device, found: self.devices })
    }

    /// # Errors
    /// No such device, or it does not answer.
    pub fn memory(&self, device: usize) -> Result<Memory, CudaError> {
        self.require(device)?;
        let (free, total) = refused(shim::cuda_memory(device))?;
        Ok(Memory { free, total })
    }

    /// The device's model, where `librewind_cuda.so` is there to ask.
    pub fn name(&self, device: usize) -> Option<String> {
        extension().ok().and_then(|extension| extension.device_name(device).ok())
    }

    /// Bounds what tensors of this process take of a device: more is an error that says so.
    ///
    /// # Errors
    /// `librewind_cuda.so` is missing.
    pub fn limit_memory(&self, device: usize, bytes: u64) -> Result<(), CudaError> {
        self.require(device)?;
        refused(extension()?.limit_memory(device, bytes))
    }
}

/// Variable by which tests are told to compute on GPUs: `cuda`.
const DEVICE_OF_TESTS: &str = "REWIND_TEST_DEVICE";

/// What rank `rank` of a test computes on: the CPU, or a GPU of its own where `REWIND_TEST_DEVICE` is `cuda`. With
/// `REWIND_COLLECTIVE=gloo` ranks may share one.
///
/// # Panics
/// `REWIND_TEST_DEVICE` is something else, or there is no GPU.
pub fn device_of_test(rank: rewind_job::Rank) -> tch::Device {
    match std::env::var(DEVICE_OF_TESTS).as_deref() {
        Err(_) | Ok("") | Ok("cpu") => tch::Device::Cpu,
        Ok("cuda") => {
            let cuda = open().unwrap_or_else(|error| panic!("{DEVICE_OF_TESTS} is cuda: {error}"));
            tch::Device::Cuda(rank.0 as usize % cuda.devices())
        }
        Ok(other) => panic!("{DEVICE_OF_TESTS} is {other:?}, neither cpu nor cuda"),
    }
}

/// The most bytes that tensors on a device of [`open`] held at once since [`forget_peak`]; 0 where nobody tells.
pub fn peak(device: usize) -> u64 {
    if is_open() { shim::cuda_peak(device).unwrap_or(0) } else { 0 }
}

/// Sets the mark of [`peak`] to what is held now.
pub fn forget_peak(device: usize) {
    if is_open() {
        let _ = shim::cuda_forget_peak(device);
    }
}

fn is_open() -> bool {
    CUDA.get().is_some_and(Result::is_ok)
}

fn refused<T>(answer: Result<T, shim::Failure>) -> Result<T, CudaError> {
    answer.map_err(|failure| CudaError::Refused { detail: failure.message })
}
