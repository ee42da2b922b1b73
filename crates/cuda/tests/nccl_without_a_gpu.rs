//! librewind_cuda.so and libtorch's CUDA half open where there is no GPU, and say so as an error value.

use std::{sync::Arc, time::Duration};

use rewind_collective::{
    Backend, CollectiveError, GroupOptions, InMemoryStore, ProcessGroup,
    cuda::{self, CudaError},
};
use rewind_job::{Rank, WorldSize};
use tch::Device;

#[test]
fn without_a_gpu_nccl_is_an_error_value() {
    // `make check-cuda` names the libtorch for GPUs.
    let opened = cuda::open().map(drop);
    if opened.is_ok() {
        println!("this machine has a GPU: `make test-gpu` says what NCCL does on it");
        return;
    }
    assert!(matches!(opened, Err(CudaError::NoDriver | CudaError::NoDevice { .. })), "{opened:?}");
    assert_eq!(cuda::has_nccl(), Ok(()), "the shared object opens");
    let options = GroupOptions {
        backend: Backend::Nccl,
        device: Device::Cuda(0),
        ..GroupOptions::loopback(
            Rank(0),
            WorldSize(2),
            Arc::new(InMemoryStore::new()),
            "job-1/1",
            Duration::from_secs(9),
        )
    };
    let Err(error) = ProcessGroup::connect(options) else { panic!("nobody connects GPUs that are not there") };
    println!("{error}");
    let CollectiveError::Rendezvous { detail, .. } = error else { panic!("{error}") };
    assert!(detail.contains("no GPUs found"), "{detail}");
}
