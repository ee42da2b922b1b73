//! Shared objects that are opened at run time: libtorch's CUDA half, and ours.
#![allow(unsafe_code)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};

use crate::shim::{Failure, Group, RawError, RawGroup, RawStore, callbacks, done, milliseconds};
use crate::store::RendezvousStore;

/// Opens a shared object whose names are then everybody's, for the life of the process.
pub(crate) fn open_for_all(library: &Path) -> Result<(), String> {
    // SAFETY: its initialisers are libtorch's, which register CUDA's kernels and nothing else.
    let opened = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL) };
    opened.map(std::mem::forget).map_err(|error| reason(&error))
}

/// What the dynamic linker said, which stands below libloading's own words.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

type Connect = unsafe extern "C" fn(*const RawStore, i32, i32, i32, i64, *mut RawError) -> *mut RawGroup;
type LimitMemory = unsafe extern "C" fn(i32, u64, *mut RawError) -> i32;
type DeviceName = unsafe extern "C" fn(i32, *mut RawError) -> i32;
type Settings = unsafe extern "C" fn();
type WhyNone = unsafe extern "C" fn(*mut RawError);

/// The functions of `librewind_cuda.so`, which stays open.
pub(crate) struct Extension {
    connect: Connect,
    limit_memory: LimitMemory,
    device_name: DeviceName,
    settings: Settings,
    why_none: WhyNone,
}

impl Extension {
    /// libtorch's CUDA half is open already.
    pub(crate) fn open(library: &Path) -> Result<Self, String> {
        let failed = |error: libloading::Error| reason(&error);
        // SAFETY: our own shared object has no initialisers of its own.
        let opened = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) }.map_err(failed)?;
        // SAFETY: these are the signatures of `cuda_shim.cc`, and the library is never closed.
        let extension = unsafe {
            Self {
                connect: *opened.get::<Connect>(b"rewind_nccl_connect\0").map_err(failed)?,
                limit_memory: *opened.get::<LimitMemory>(b"rewind_cuda_limit_memory\0").map_err(failed)?,
                device_name: *opened.get::<DeviceName>(b"rewind_cuda_name\0").map_err(failed)?,
                settings: *opened.get::<Settings>(b"rewind_cuda_settings\0").map_err(failed)?,
                why_none: *opened.get::<WhyNone>(b"rewind_cuda_why_none\0").map_err(failed)?,
            }
        };
        std::mem::forget(opened);
        Ok(extension)
    }

    /// Sets the variables by which CUDA's libraries are told how to behave.
    pub(crate) fn settle(&self) {
        // SAFETY: no other thread runs yet, as `cuda::open` asks.
        unsafe { (self.settings)() }
    }

    /// What CUDA says where it sees no device.
    pub(crate) fn why_none(&self) -> String {
        let mut answer = RawError::empty();
        // SAFETY: fills the answer and nothing else.
        unsafe { (self.why_none)(&mut answer) };
        answer.read().message
    }

    pub(crate) fn connect(
        &self,
        store: Arc<dyn RendezvousStore>,
        rank: i32,
        world_size: i32,
        device: i32,
        timeout: Duration,
    ) -> Result<Group, Failure> {
        let store = callbacks(store);
        let mut error = RawError::empty();
        // SAFETY: the pointers live through the call, and C++ takes the store's context over.
        let group = unsafe { (self.connect)(&store, rank, world_size, device, milliseconds(timeout), &mut error) };
        Group::of(group, &error)
    }

    pub(crate) fn limit_memory(&self, device: usize, bytes: u64) -> Result<(), Failure> {
        // SAFETY: takes numbers alone, and fills the error.
        done(|error| unsafe { (self.limit_memory)(device as i32, bytes, error) })
    }

    pub(crate) fn device_name(&self, device: usize) -> Result<String, Failure> {
        let mut answer = RawError::empty();
        // SAFETY: as in `limit_memory`; the name comes in the error's place.
        match unsafe { (self.device_name)(device as i32, &mut answer) } {
            0 => Ok(answer.read().message),
            _ => Err(answer.read()),
        }
    }
}
