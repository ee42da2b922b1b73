//! Every operation where tensors are on the ranks' devices: on CPUs, or on GPUs where `REWIND_TEST_DEVICE` is `cuda`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::sync::Arc;

use rewind_collective::{
    Backend, Collective, CollectiveError, GroupOptions, InMemoryStore, Operation, ProcessGroup, RendezvousStore, cuda,
};
use rewind_job::{Rank, WorldSize};
use support::AMPLE;
use tch::{Device, Kind, Tensor};

/// NCCL wants a GPU a rank.
fn ranks() -> u32 {
    match cuda::device_of_test(Rank(0)) {
        Device::Cuda(_) if !wants_gloo() => cuda::open().expect("is open").devices() as u32,
        _ => 3,
    }
}

fn wants_gloo() -> bool {
    std::env::var("REWIND_COLLECTIVE").is_ok_and(|word| word == "gloo")
}

fn on_ranks<T: Send>(world: u32, act: impl Fn(&mut ProcessGroup) -> T + Sync) -> Vec<T> {
    let store: Arc<dyn RendezvousStore> = Arc::new(InMemoryStore::new());
    std::thread::scope(|scope| {
        let ranks: Vec<_> = WorldSize(world)
            .ranks()
            .map(|rank| {
                let device = cuda::device_of_test(rank);
                let mut options = GroupOptions::loopback(rank, WorldSize(world), store.clone(), "devices/1", AMPLE);
                options.device = device;
                if device != Device::Cpu && !wants_gloo() {
                    options.backend = Backend::Nccl;
                }
                let act = &act;
                scope.spawn(move || act(&mut ProcessGroup::connect(options).expect("the group forms")))
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank ended well")).collect()
    })
}

/// `[1, 2, …] + 10 · rank`, on the rank's device.
fn own(group: &ProcessGroup, len: i64) -> Tensor {
    Tensor::arange(len, (Kind::Float, group.device())) + 1.0 + 10.0 * f64::from(group.rank().0)
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double)).expect("numbers")
}

#[test]
fn operations_agree_with_those_by_hand_wherever_tensors_are() {
    let world = ranks();
    let w = f64::from(world);
    let found = on_ranks(world, |group| {
        let sum = own(group, 2);
        group.all_reduce(&sum).expect("sums");
        let scattered = group.reduce_scatter(&own(group, i64::from(world))).expect("scatters");
        let gathered = group.all_gather(&own(group, 1)).expect("gathers");
        let spread = own(group, 1);
        group.broadcast(&spread, Rank(world - 1)).expect("spreads");
        group.barrier().expect("meets");
        for tensor in [&sum, &scattered, &gathered, &spread] {
            assert_eq!(tensor.device(), group.device());
        }
        [sum, scattered, gathered, spread].map(|tensor| numbers(&tensor))
    });
    // Σ over ranks of (x + 10 r).
    let total = |x: f64| w * x + 10.0 * w * (w - 1.0) / 2.0;
    for (rank, [sum, scattered, gathered, spread]) in found.iter().enumerate() {
        assert_eq!(sum, &[total(1.0), total(2.0)]);
        assert_eq!(scattered, &[total(rank as f64 + 1.0)]);
        assert_eq!(gathered, &(0..world).map(|rank| 1.0 + 10.0 * f64::from(rank)).collect::<Vec<_>>());
        assert_eq!(spread, &[1.0 + 10.0 * (w - 1.0)]);
    }
}

#[test]
fn whole_numbers_and_float64_are_exact() {
    let world = ranks();
    for (integer, double) in on_ranks(world, |group| {
        let large = (1_i64 << 53) + i64::from(group.rank().0);
        let integer = Tensor::from_slice(&[large]).to_device(group.device());
        group.all_reduce(&integer).expect("sums");
        let double = Tensor::from_slice(&[0.1_f64]).to_device(group.device());
        let double = group.all_gather(&double).expect("gathers");
        (integer.int64_value(&[0]), numbers(&double))
    }) {
        assert_eq!(integer, i64::from(world) * (1 << 53) + i64::from(world * (world - 1) / 2));
        assert_eq!(double, vec![0.1; world as usize]);
    }
}

#[test]
fn a_tensor_on_another_device_is_refused_and_the_group_lives() {
    on_ranks(ranks(), |group| {
        let elsewhere = match group.device() {
            // There is none to make a tensor on: the options say another one than the tensor's.
            Device::Cpu => return,
            _ => Tensor::ones([2], (Kind::Float, Device::Cpu)),
        };
        let error = group.all_reduce(&elsewhere).unwrap_err();
        assert!(matches!(error, CollectiveError::WrongDevice { operation: Operation::AllReduce, .. }), "{error}");
        assert!(!error.ends_the_group());
        group.barrier().expect("lives");
    });
}
