//! `pretend_cuda`: a double of a CUDA device, for machines without one.
//!
//! Opened before libtorch is first asked for anything, it gives libtorch devices `cuda:0`, … whose memory is the host's
//! and whose operations the CPU's kernels compute. It shows that a program keeps its tensors where they belong:
//!
//! - tensors that lie on two devices are refused: libtorch's table of operations says which let a number of the CPU pass;
//! - an operation that has no CUDA kernel has none here;
//! - reading a device's memory on the host (`data_ptr`) ends the process, as with a GPU;
//! - memory is counted, and more than `PRETEND_CUDA_MEMORY` bytes a device are refused as a GPU refuses them.
//!
//! It shows nothing of a GPU's numbers, speed, streams or races: results are the CPU's, bit for bit, at once.
//! `PRETEND_CUDA_DEVICES` is the number of devices, one where it is not set.
//!
//! What differs from a GPU, besides: a convolution is refused in other words; there is no cuDNN, cuBLAS or fused
//! attention; recurrent networks' cells have CUDA kernels alone, and so none here; memory that a kernel uses for itself
//! is not counted, and its results are counted after they are computed; sparse and quantized tensors are not known.

use std::path::Path;

/// The library to open, built with this crate.
pub fn library() -> &'static Path {
    Path::new(concat!(env!("OUT_DIR"), "/libpretend_cuda.so"))
}
