//! Does the same on the CPU and on the pretend device, and compares every bit.

use std::{
    process::Command,
    sync::{Mutex, Once, PoisonError},
};

use tch::{Device, Kind, Tensor};

/// The pretend device, which the first call opens.
pub fn pretend_device() -> Device {
    static OPEN: Once = Once::new();
    OPEN.call_once(|| {
        rewind_collective::cuda::open_library(rewind_pretend_cuda::library()).expect("the library opens");
    });
    Device::Cuda(0)
}

/// Runs the body of the test `name` in a process of its own, for a process reads its settings once.
pub fn with_setting(name: &str, (setting, value): (&str, &str), body: impl FnOnce()) {
    if std::env::var_os(setting).is_some() {
        return body();
    }
    let output = Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["--exact", name, "--nocapture"])
        .env(setting, value)
        .output()
        .expect("the test runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complaint}");
}

/// Does something that draws random numbers, alone of all tests, for they share the generators.
pub fn seeded<T>(seed: i64, draw: impl FnOnce() -> T) -> T {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed);
    draw()
}

/// Numbers around zero on the CPU, the same at every call.
pub fn numbers(seed: i64, size: &[i64]) -> Tensor {
    pretend_device();
    let count: i64 = size.iter().product();
    let places = Tensor::arange(count, (Kind::Double, Device::Cpu)) + seed as f64 * 0.37;
    ((places * 12.9898).sin() * 1.7).to_kind(Kind::Float).reshape(size)
}

/// Whole numbers below `bound` on the CPU.
pub fn whole_numbers(bound: i64, size: &[i64]) -> Tensor {
    pretend_device();
    let count: i64 = size.iter().product();
    (Tensor::arange(count, (Kind::Int64, Device::Cpu)) * 7 + 3).remainder(bound).reshape(size)
}

/// What an operation gave on one device: its results, then the gradients of its inputs.
fn results_on(device: Device, inputs: &[Tensor], operation: &dyn Fn(&[Tensor]) -> Vec<Tensor>) -> Vec<Tensor> {
    let differentiable = |tensor: &Tensor| matches!(tensor.kind(), Kind::Float | Kind::Double);
    let inputs: Vec<Tensor> = inputs
        .iter()
        .map(|input| input.detach().copy().to_device(device).set_requires_grad(differentiable(input)))
        .collect();
    let outputs = operation(&inputs);
    for output in &outputs {
        assert_eq!(output.device(), device, "a result left its device");
    }
    let mut results: Vec<Tensor> = outputs.iter().map(Tensor::detach).collect();
    let learnable: Vec<&Tensor> = outputs.iter().filter(|output| output.requires_grad()).collect();
    if !learnable.is_empty() {
        let weighted = |output: &&Tensor| {
            let weights = (Tensor::arange(output.numel() as i64, (output.kind(), device)) * 0.7).cos() + 0.1;
            (output.reshape([-1]) * weights).sum(output.kind())
        };
        let loss = learnable.iter().map(weighted).reduce(|sum, next| sum + next).expect("one at least");
        loss.backward();
        results.extend(inputs.iter().map(Tensor::grad).filter(Tensor::defined));
    }
    results
}

/// Runs an operation, and backwards where it can be differentiated, on both devices; names it where a bit differs.
pub fn assert_same_bits(name: &str, inputs: &[Tensor], operation: impl Fn(&[Tensor]) -> Vec<Tensor>) {
    let expected = results_on(Device::Cpu, inputs, &operation);
    let found = results_on(pretend_device(), inputs, &operation);
    assert!(!expected.is_empty() && expected.len() == found.len(), "{name}: {} results", found.len());
    for (place, (expected, found)) in expected.iter().zip(&found).enumerate() {
        assert_eq!(found.device(), Device::Cuda(0), "{name}: result {place}");
        assert_eq!((found.size(), found.kind()), (expected.size(), expected.kind()), "{name}: result {place}");
        assert_eq!(bytes(found), bytes(expected), "{name}: the bits of result {place} differ");
    }
}

/// The bytes of a tensor, wherever it lies.
pub fn bytes(tensor: &Tensor) -> Vec<u8> {
    let flat = tensor.contiguous().reshape([-1]);
    let mut bytes = vec![0; flat.numel() * flat.kind().elt_size_in_bytes()];
    flat.copy_data_u8(&mut bytes, flat.numel());
    bytes
}
