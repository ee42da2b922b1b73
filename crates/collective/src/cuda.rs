//! Opening the library that gives libtorch its CUDA devices.

#![allow(unsafe_code)]

use std::path::Path;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Opens the library that registers CUDA's devices and kernels with libtorch, for as long as the process lives.
///
/// libtorch asks once whether there is CUDA: call this before anything else of libtorch is used.
pub fn open_cuda(library: &Path) -> Result<(), String> {
    // SAFETY: the library's initialisers register with libtorch and do nothing else; it is never closed, so that what
    // it has registered stays valid.
    let opened = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL) };
    let library = opened.map_err(|error| format!("failed to open {}: {error}", library.display()))?;
    let _ = library.into_raw();
    Ok(())
}
