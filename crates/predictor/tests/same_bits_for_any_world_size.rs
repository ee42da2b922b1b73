//! Given one recorded trajectory, rewinding gives identical bits for world sizes 1, 2 and 3.

#![allow(clippy::unwrap_used)]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rewind_job::{Lambda, Layout, ShardPlan, WorldSize};
use rewind_predictor::{
    Architecture, Predictor, Statistics, Trajectory, nowcast, partial_sums, rewind, statistics, task_vector,
};
use tch::Tensor;

const SNAPSHOTS: usize = 15;

/// 11 tiles: tensors of more than one tile, of less than one, and a scalar.
fn layout() -> Layout {
    let tensor = |name: &str, shape: &[i64]| (name.to_owned(), shape.to_vec());
    Layout::new([
        tensor("stem.weight", &[32, 3, 3, 3]),
        tensor("stem.norm", &[32]),
        tensor("conv.weight", &[33, 40, 3, 3]),
        tensor("conv.bias", &[33]),
        tensor("fc.weight", &[10, 1001]),
        tensor("fc.bias", &[10]),
        tensor("temperature", &[]),
    ])
}

/// Whole snapshots, each `[coordinates]`, with drifts that differ by tensor and reach down to 1e-6.
fn recorded(layout: &Layout) -> Vec<Tensor> {
    let mut draw = ChaCha8Rng::seed_from_u64(3);
    let mut weights: Vec<f32> = (0..layout.coordinates()).map(|_| draw.random_range(-0.3..0.3)).collect();
    let mut snapshots = Vec::new();
    for _ in 0..SNAPSHOTS {
        snapshots.push(Tensor::from_slice(&weights));
        for (index, segment) in layout.segments.iter().enumerate() {
            let size = 10f32.powi(-(index as i32) % 4 - 3);
            for weight in &mut weights[segment.offset..segment.offset + segment.len()] {
                *weight += size * draw.random_range(-0.5f32..1.0);
            }
        }
    }
    snapshots
}

struct Rewound {
    statistics: Vec<Statistics>,
    weights: Vec<u32>,
    task_vector: Vec<u32>,
}

fn bits(shards: &[Tensor]) -> Vec<u32> {
    Vec::<f32>::try_from(Tensor::cat(shards, 0)).unwrap().into_iter().map(f32::to_bits).collect()
}

/// Every rank records its own range; partial sums and rewound shards are gathered in rank order.
fn rewind_by(world: u32, predictor: &Predictor) -> Rewound {
    let layout = layout();
    let grid = layout.tiles();
    let whole = recorded(&layout);
    let plan = ShardPlan::balanced(&layout, WorldSize(world));
    let shards: Vec<Trajectory> = WorldSize(world)
        .ranks()
        .map(|rank| {
            let tiles = plan.tiles_of(rank, &grid);
            assert!(tiles.len() >= 2, "each rank owns at least two tiles");
            let range = plan.range_of(rank, &grid);
            let mut trajectory = Trajectory::new(&layout, tiles);
            for snapshot in &whole {
                trajectory.record(&snapshot.narrow(0, range.start as i64, range.len() as i64)).unwrap();
            }
            trajectory
        })
        .collect();
    let sums: Vec<f64> = shards.iter().flat_map(|shard| partial_sums(shard).unwrap()).collect();
    let statistics = statistics(&layout, &sums, SNAPSHOTS).unwrap();
    let weights: Vec<_> = shards.iter().map(|shard| follow(shard, predictor, &statistics)).collect();
    let task_vector: Vec<_> = shards.iter().map(|shard| task_vector(shard, &Lambda::One(0.3)).unwrap()).collect();
    Rewound { statistics, weights: bits(&weights), task_vector: bits(&task_vector) }
}

/// Rewinds, or looks ahead where the predictor does.
fn follow(shard: &Trajectory, predictor: &Predictor, statistics: &[Statistics]) -> Tensor {
    match predictor.architecture() {
        Architecture::Wnn => nowcast(shard, predictor, statistics, 3, 0.7, &[]).unwrap(),
        _ => rewind(shard, predictor, statistics, 3, 0.7).unwrap(),
    }
}

fn same_bits(architecture: Architecture) {
    let predictor = Predictor::untrained(architecture, SNAPSHOTS, &[3], 1);
    let alone = rewind_by(1, &predictor);
    let start: Vec<u32> = bits(&recorded(&layout())[..1]);
    assert_ne!(alone.weights, start, "rewinding moves the weights");
    for world in [2, 3] {
        let together = rewind_by(world, &predictor);
        assert_eq!(together.statistics, alone.statistics, "statistics of {world} ranks");
        assert_eq!(together.weights, alone.weights, "rewound weights of {world} ranks");
        assert_eq!(together.task_vector, alone.task_vector, "task vector of {world} ranks");
    }
}

#[test]
fn the_paper_network_rewinds_to_the_same_bits() {
    same_bits(Architecture::Paper);
}

#[test]
fn the_equivariant_network_rewinds_to_the_same_bits() {
    same_bits(Architecture::Equivariant);
}

#[test]
fn the_conditioned_network_rewinds_to_the_same_bits() {
    same_bits(Architecture::Conditioned);
}

#[test]
fn the_wnn_network_looks_ahead_to_the_same_bits() {
    same_bits(Architecture::Wnn);
}

#[test]
fn a_rank_without_tiles_rewinds_nothing() {
    let layout = layout();
    let mut trajectory = Trajectory::new(&layout, &[]);
    for _ in 0..SNAPSHOTS {
        trajectory.record(&Tensor::from_slice::<f32>(&[])).unwrap();
    }
    assert!(partial_sums(&trajectory).unwrap().is_empty());
    let predictor = Predictor::untrained(Architecture::Equivariant, SNAPSHOTS, &[3], 1);
    assert_eq!(rewind(&trajectory, &predictor, &[], 3, 1.0).unwrap().size(), [0]);
}
