//! A convolutional network learns the same, bit for bit, with each optimiser, and its variables stay where they are.

use crate::both_devices::{bytes, numbers, pretend_device, seeded, whole_numbers};
use tch::{
    Device, Kind, Tensor,
    nn::{self, ModuleT, OptimizerConfig},
};

/// Normalised, with dropout, pooled, in two layers of filters and one that classifies.
fn network(path: &nn::Path) -> nn::SequentialT {
    nn::seq_t()
        .add(nn::conv2d(path / "first", 1, 8, 3, nn::ConvConfig { padding: 1, ..Default::default() }))
        .add(nn::batch_norm2d(path / "norm", 8, Default::default()))
        .add_fn(|x| x.relu().max_pool2d_default(2))
        .add(nn::conv2d(path / "second", 8, 12, 3, Default::default()))
        .add_fn_t(|x, train| x.gelu("none").adaptive_avg_pool2d([2, 2]).flatten(1, -1).dropout(0.5, train))
        .add(nn::linear(path / "classes", 48, 10, Default::default()))
}

/// The losses of twenty steps, and then every variable's bytes.
fn learn<C: OptimizerConfig>(device: Device, optimiser: C) -> (Vec<f64>, Vec<(String, Vec<u8>)>) {
    let store = nn::VarStore::new(device);
    let root = store.root();
    let network = network(&root);
    let mut optimiser = optimiser.build(&store, 1e-2).expect("the optimiser is built");
    let pictures = numbers(1, &[32, 1, 12, 12]).to_device(device);
    let classes = whole_numbers(10, &[32]).to_device(device);
    let losses = (0..20)
        .map(|_| {
            let loss = network.forward_t(&pictures, true).cross_entropy_for_logits(&classes);
            optimiser.backward_step_clip_norm(&loss, 1.0);
            loss.double_value(&[])
        })
        .collect();
    let mut variables: Vec<(String, Vec<u8>)> = store
        .variables()
        .into_iter()
        .map(|(name, variable)| {
            assert_eq!(variable.device(), device, "{name}");
            (name, bytes(&variable))
        })
        .collect();
    variables.sort();
    (losses, variables)
}

fn assert_learns_the_same<C: OptimizerConfig + Copy>(optimiser: C) {
    let device = pretend_device();
    let (expected, variables) = seeded(3, || learn(Device::Cpu, optimiser));
    let (found, others) = seeded(3, || learn(device, optimiser));
    assert!(expected[19] < expected[0], "{expected:?}");
    assert_eq!(found, expected);
    assert!(variables == others, "variables differ");
}

#[test]
fn with_momentum() {
    assert_learns_the_same(nn::Sgd { momentum: 0.9, wd: 1e-4, ..Default::default() });
}

#[test]
fn with_adam() {
    assert_learns_the_same(nn::AdamW::default());
}

#[test]
fn libtorch_says_that_there_is_cuda() {
    pretend_device();
    assert!(tch::Cuda::is_available());
    assert_eq!(tch::Cuda::device_count(), 1);
    assert!(!tch::Cuda::cudnn_is_available());
    tch::Cuda::synchronize(0);
    let pinned = Tensor::zeros([4], (Kind::Float, Device::Cpu)).pin_memory(Device::Cuda(0));
    assert!(pinned.is_pinned(Device::Cuda(0)) && pinned.device() == Device::Cpu);
    assert!(!numbers(1, &[4]).is_pinned(Device::Cuda(0)));
}
