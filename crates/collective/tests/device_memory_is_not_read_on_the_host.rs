//! The pretend device's memory cannot be read on the host: a program that does so ends, as with a GPU.
#![allow(unsafe_code)]

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use rewind_collective::cuda;
use rustix::process::Signal;
use tch::{Device, Kind, Tensor};

const INSIDE: &str = "REWIND_TEST_INSIDE";

#[test]
fn reading_a_device_pointer_on_the_host_ends_the_process() {
    if std::env::var_os(INSIDE).is_some() {
        cuda::open_library(rewind_pretend_cuda::library()).expect("the library opens");
        let tensor = Tensor::ones([4], (Kind::Float, Device::Cuda(0)));
        println!("the tensor holds {:?}", Vec::<f32>::try_from(&tensor).expect("a copy can be read"));
        // SAFETY: none: no such read is sound, and this process is to end here.
        let read = unsafe { tensor.data_ptr().cast::<f32>().read_volatile() };
        println!("the host read {read}");
        return;
    }
    let output = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", "reading_a_device_pointer_on_the_host_ends_the_process", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .expect("the test runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("the tensor holds [1.0, 1.0, 1.0, 1.0]"), "{said}");
    assert!(!said.contains("the host read"), "{said}");
    assert_eq!(output.status.signal(), Some(Signal::SEGV.as_raw()), "{said}");
}
