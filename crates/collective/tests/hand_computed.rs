//! Every operation against values computed by hand, in worlds of one, two and three.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use rewind_collective::{Collective, CollectiveError, Operation, Outcome, Solo};
use rewind_job::{Rank, WorldSize};
use support::on_threads;
use tch::{Device, Kind, Tensor};

/// Runs `act` on every rank of Gloo worlds of one, two and three, and alone.
fn in_every_world(act: impl Fn(&mut dyn Collective) + Sync) {
    act(&mut Solo::new());
    for world_size in 1..=3 {
        on_threads(world_size, |group| act(group));
    }
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).flatten(0, -1)).unwrap()
}

#[test]
fn all_reduce_sums_over_the_ranks() {
    // Rank r holds [r + 1, 10 (r + 1)].
    let sums = [[1., 10.], [3., 30.], [6., 60.]];
    in_every_world(|collective| {
        for kind in [Kind::Float, Kind::Double, Kind::Int64] {
            let mine = f64::from(collective.rank().0 + 1);
            let tensor = Tensor::from_slice(&[mine, 10. * mine]).to_kind(kind).view([2, 1]);
            collective.all_reduce(&tensor).unwrap();
            let world = collective.world_size().0 as usize;
            assert_eq!(floats(&tensor), sums[world - 1], "{kind:?}");
            assert_eq!(tensor.size(), [2, 1]);
            assert_eq!(tensor.kind(), kind);
        }
    });
}

#[test]
fn reduce_scatter_gives_each_rank_its_slice_of_the_sum() {
    in_every_world(|collective| {
        let world = i64::from(collective.world_size().0);
        let rank = i64::from(collective.rank().0);
        // Rank r holds (r + 1) * [0, 1, 2, …]: the sum is world (world + 1) / 2 times [0, 1, 2, …].
        let input = Tensor::arange(2 * world, (Kind::Float, Device::Cpu)) * (rank + 1);
        let slice = collective.reduce_scatter(&input).unwrap();
        let factor = (world * (world + 1) / 2) as f64;
        let expected = [factor * (2 * rank) as f64, factor * (2 * rank + 1) as f64];
        assert_eq!(floats(&slice), expected);
        assert_eq!(floats(&input)[1], (rank + 1) as f64, "the input is kept");
    });
}

#[test]
fn all_gather_joins_the_shards_in_rank_order() {
    let joined: [&[f64]; 3] = [&[0., 1.], &[0., 1., 10., 11.], &[0., 1., 10., 11., 20., 21.]];
    in_every_world(|collective| {
        for kind in [Kind::Float, Kind::Double, Kind::Int64] {
            let rank = f64::from(collective.rank().0);
            let shard = Tensor::from_slice(&[10. * rank, 10. * rank + 1.]).to_kind(kind);
            let all = collective.all_gather(&shard).unwrap();
            assert_eq!(floats(&all), joined[collective.world_size().0 as usize - 1]);
            assert_eq!(all.kind(), kind);
        }
    });
}

#[test]
fn broadcast_spreads_the_tensor_of_any_root() {
    in_every_world(|collective| {
        for root in collective.world_size().ranks() {
            let mine = i64::from(collective.rank().0);
            let tensor = Tensor::from_slice(&[mine, 100 + mine]);
            collective.broadcast(&tensor, root).unwrap();
            let root = f64::from(root.0);
            assert_eq!(floats(&tensor), [root, 100. + root]);
        }
        let beyond = Rank(collective.world_size().0);
        let error = collective.broadcast(&Tensor::from_slice(&[1.]), beyond).unwrap_err();
        let world_size = collective.world_size();
        let rank = beyond;
        assert_eq!(error, CollectiveError::NoSuchRank { rank, world_size });
    });
}

#[test]
fn a_barrier_holds_until_the_last_rank_comes() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let arrived = AtomicU32::new(0);
    on_threads(3, |group| {
        std::thread::sleep(std::time::Duration::from_millis(20 * u64::from(group.rank().0)));
        arrived.fetch_add(1, Ordering::SeqCst);
        group.barrier().unwrap();
        assert_eq!(arrived.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn tensors_without_elements_and_large_ones_pass() {
    in_every_world(|collective| {
        let empty = Tensor::zeros([0], (Kind::Float, Device::Cpu));
        collective.all_reduce(&empty).unwrap();
        assert_eq!(collective.reduce_scatter(&empty).unwrap().size(), [0]);
        assert_eq!(collective.all_gather(&empty).unwrap().size(), [0]);
        collective.broadcast(&empty, Rank(0)).unwrap();

        let large = Tensor::ones([3_000_001], (Kind::Float, Device::Cpu));
        collective.all_reduce(&large).unwrap();
        let world = f64::from(collective.world_size().0);
        assert_eq!(large.min().double_value(&[]), world);
        assert_eq!(large.max().double_value(&[]), world);
        let all = collective.all_gather(&large).unwrap();
        assert_eq!(all.size(), [3_000_001 * i64::from(collective.world_size().0)]);
    });
}

#[test]
fn the_same_sum_has_the_same_bits_on_every_rank_and_every_time() {
    let sum = || {
        on_threads(3, |group| {
            // Numbers whose sum depends on the order of addition.
            let rank = f64::from(group.rank().0);
            let tensor =
                ((Tensor::arange(50_001, (Kind::Float, Device::Cpu)) + rank) * 0.37).sin() * 10f64.powf(4. * rank);
            group.all_reduce(&tensor).unwrap();
            Vec::<f32>::try_from(&tensor).unwrap().into_iter().map(f32::to_bits).collect::<Vec<u32>>()
        })
    };
    let first = sum();
    assert_eq!(first[0], first[1]);
    assert_eq!(first[0], first[2]);
    for _ in 0..5 {
        assert_eq!(sum(), first);
    }
}

#[test]
fn bytes_are_counted_by_the_formula_of_a_ring() {
    // Of 3 ranks, rank 0 is the one before root 1 and passes nothing on.
    let moved = on_threads(3, |group| {
        let before = group.bytes_moved();
        let tensor = Tensor::zeros([6], (Kind::Float, Device::Cpu));
        let mut steps = Vec::new();
        group.all_reduce(&tensor).unwrap();
        steps.push(group.bytes_moved());
        let _ = group.reduce_scatter(&tensor).unwrap();
        steps.push(group.bytes_moved());
        let _ = group.all_gather(&tensor).unwrap();
        steps.push(group.bytes_moved());
        group.broadcast(&tensor, Rank(1)).unwrap();
        steps.push(group.bytes_moved());
        group.barrier().unwrap();
        steps.push(group.bytes_moved());
        assert_eq!(before, 0);
        steps
    });
    assert_eq!(moved[0], [32, 64, 112, 112, 112]);
    assert_eq!(moved[1], [32, 64, 112, 136, 136]);
    assert_eq!(moved[2], [32, 64, 112, 136, 136]);
}

#[test]
fn the_flight_recorder_shows_what_was_done() {
    on_threads(2, |group| {
        let tensor = Tensor::zeros([5], (Kind::Double, Device::Cpu));
        group.all_reduce(&tensor).unwrap();
        let records = group.recent();
        let operations: Vec<Operation> = records.iter().map(|record| record.operation).collect();
        assert_eq!(operations, [Operation::Form, Operation::Barrier, Operation::AllReduce]);
        assert_eq!(records[2].sequence, 2);
        assert_eq!(records[2].bytes, 40);
        assert_eq!(records[2].outcome, Outcome::Finished);
        assert!(records[2].took.is_some());
    });
}

#[test]
fn unfit_tensors_are_refused_and_the_group_goes_on() {
    in_every_world(|collective| {
        let world = i64::from(collective.world_size().0);
        let half = Tensor::zeros([4], (Kind::Half, Device::Cpu));
        assert!(matches!(collective.all_reduce(&half), Err(CollectiveError::WrongTensor { .. })));
        let transposed = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)).tr();
        assert!(matches!(collective.broadcast(&transposed, Rank(0)), Err(CollectiveError::WrongTensor { .. })));
        let matrix = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        assert!(matches!(collective.all_gather(&matrix), Err(CollectiveError::WrongShape { .. })));
        if world > 1 {
            let error = collective.reduce_scatter(&Tensor::zeros([world + 1], (Kind::Float, Device::Cpu))).unwrap_err();
            assert!(!error.ends_the_group());
            let message = error.to_string();
            assert!(message.contains(&format!("[{world} * n]")), "{message}");
        }
        let tensor = Tensor::ones([1], (Kind::Float, Device::Cpu));
        collective.all_reduce(&tensor).unwrap();
        assert_eq!(floats(&tensor), [world as f64]);
    });
}

#[test]
fn a_rank_that_leaves_early_does_not_disturb_the_others() {
    for round in 0..40 {
        on_threads(3, |group| {
            let tensor = Tensor::ones([1 + 1000 * round], (Kind::Float, Device::Cpu));
            group.all_reduce(&tensor).unwrap();
            let all = group.all_gather(&tensor).unwrap();
            assert_eq!(all.max().double_value(&[]), 3.);
            // The group is dropped here, on some ranks earlier than on others.
        });
    }
}

#[test]
fn worlds_of_one_are_alike() {
    let solo: &mut dyn Collective = &mut Solo::new();
    assert_eq!((solo.rank(), solo.world_size()), (Rank(0), WorldSize(1)));
    on_threads(1, |group| {
        assert_eq!((group.rank(), group.world_size()), (Rank(0), WorldSize(1)));
        let tensor = Tensor::ones([4], (Kind::Float, Device::Cpu));
        let _ = group.all_gather(&tensor).unwrap();
        assert_eq!(group.bytes_moved(), 0);
    });
}
