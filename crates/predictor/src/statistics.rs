//! How a whole tensor moves: its drift scale, and how far that is beside its weights.
//!
//! A tensor may lie on several ranks. Each rank sums over its own tiles in float64, the sums are gathered in tile order,
//! and every rank adds them up in that order: bits depend on the tile grid, not on how tiles are dealt.

use rewind_job::Layout;
use tch::{Kind, Tensor};

use crate::{PredictorError, Trajectory};

/// Of all coordinates of a tensor together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Drift scale: the root mean square of all differences `d_j = Φ_{j+1} − Φ_j`; 0 where the tensor did not move.
    pub scale: f64,
    /// `ρ = (ln(scale / root mean square of Φ_0) + 5) / 2`, kept within −2 and 2: 0 where an epoch moves weights by
    /// 0.7 %. It does not change when the tensor is mirrored, or scaled with its drift.
    pub reach: f64,
}

/// Numbers that ranks exchange for each tile: the sums of squares of the differences and of `Φ_0`.
pub const SUMS: usize = 2;

impl Statistics {
    /// Of coordinates of a tensor, oldest first, `[coordinates, snapshots]`; `scale` is that of the whole tensor.
    pub(crate) fn of_sample(snapshots: &Tensor, scale: f64) -> Self {
        let weights = snapshots.select(1, 0);
        Self { scale, reach: reach(scale, (sum_of_squares(&weights) / weights.numel().max(1) as f64).sqrt()) }
    }
}

/// `size` is the root mean square of the weights.
fn reach(scale: f64, size: f64) -> f64 {
    match scale > 0.0 {
        true => (((scale / size).ln() + 5.0) / 2.0).clamp(-2.0, 2.0),
        false => 0.0,
    }
}

/// Where tensor `index` of so many stands: 0 for the first, 1 for the last.
pub fn place(index: usize, tensors: usize) -> f64 {
    index as f64 / tensors.saturating_sub(1).max(1) as f64
}

/// The third of a network's depth in which a place lies: 0, 1 or 2.
pub fn third(place: f64) -> usize {
    ((place * 3.0) as usize).min(2)
}

/// [`SUMS`] numbers for each tile of this shard, in tile order.
///
/// # Errors
/// Fewer than two snapshots.
pub fn partial_sums(trajectory: &Trajectory) -> Result<Vec<f64>, PredictorError> {
    trajectory.require(2)?;
    let _no_grad = tch::no_grad_guard();
    let mut sums = Vec::new();
    for tile in trajectory.tiles() {
        let steps = (1..trajectory.len()).map(|j| squared(&(tile.snapshot(j) - tile.snapshot(j - 1))));
        let all: Vec<Tensor> = steps.chain([squared(&tile.snapshot(0))]).collect();
        // Read at once: a GPU is waited for one time a tile.
        let mut all: Vec<f64> = Vec::try_from(Tensor::stack(&all, 0)).expect("float64 of one dimension");
        let weights = all.pop().expect("it was put there");
        sums.extend([all.iter().sum(), weights]);
    }
    Ok(sums)
}

fn sum_of_squares(values: &Tensor) -> f64 {
    let _no_grad = tch::no_grad_guard();
    squared(values).double_value(&[])
}

/// The sum of squares as a scalar, float64.
fn squared(values: &Tensor) -> Tensor {
    values.to_kind(Kind::Double).square().sum(Kind::Double)
}

/// The statistics of each segment of `layout`, from the partial sums of the whole grid in tile order.
///
/// # Errors
/// Another number of sums than the grid has tiles, or fewer than two snapshots.
pub fn statistics(layout: &Layout, sums: &[f64], snapshots: usize) -> Result<Vec<Statistics>, PredictorError> {
    let tiles = layout.tiles();
    if sums.len() != SUMS * tiles.len() {
        return Err(PredictorError::PartialSums { expected: SUMS * tiles.len(), found: sums.len() });
    }
    if snapshots < 2 {
        return Err(PredictorError::TooFewSnapshots { needed: 2, recorded: snapshots });
    }
    let mut of_segments = vec![[0.0; SUMS]; layout.segments.len()];
    for (tile, of_tile) in tiles.iter().zip(sums.chunks(SUMS)) {
        for (sum, part) in of_segments[tile.segment].iter_mut().zip(of_tile) {
            *sum += part;
        }
    }
    let of_segment = |(segment, [differences, weights]): (usize, &[f64; SUMS])| {
        let coordinates = layout.segments[segment].len().max(1) as f64;
        let scale = (differences / (coordinates * (snapshots - 1) as f64)).sqrt();
        Statistics { scale, reach: reach(scale, (weights / coordinates).sqrt()) }
    };
    Ok(of_segments.iter().enumerate().map(of_segment).collect())
}
