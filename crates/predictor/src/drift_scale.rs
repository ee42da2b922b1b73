//! The drift scale of a tensor: the root mean square of all differences `Φ_{j+1} − Φ_j` of all its coordinates.
//!
//! A tensor may lie on several ranks. Each rank sums its own tiles in float64, the sums are gathered in tile order, and
//! every rank adds them up in that order: bits depend on the tile grid, not on how tiles are dealt.

use rewind_job::Layout;
use tch::{Kind, Tensor};

use crate::{PredictorError, Trajectory};

/// `Σ (Φ_{j+1} − Φ_j)²` of each tile of this shard, in tile order: one number a tile is what ranks exchange.
///
/// # Errors
/// Fewer than two snapshots.
pub fn partial_sums(trajectory: &Trajectory) -> Result<Vec<f64>, PredictorError> {
    trajectory.require(2)?;
    let _no_grad = tch::no_grad_guard();
    let sums: Vec<Tensor> = trajectory
        .tiles()
        .map(|tile| {
            // Along the snapshots first, then over the tile: no order is left to the number of threads.
            let mut squares = tile.snapshot(0).zeros_like().to_kind(Kind::Double); // [tile]
            for j in 1..trajectory.len() {
                let difference = (tile.snapshot(j) - tile.snapshot(j - 1)).to_kind(Kind::Double);
                let _ = squares.addcmul_(&difference, &difference);
            }
            squares.sum(Kind::Double)
        })
        .collect();
    if sums.is_empty() {
        return Ok(Vec::new());
    }
    let sums = Tensor::stack(&sums, 0);
    let mut values = vec![0.0; sums.numel()];
    sums.copy_data(&mut values, sums.numel());
    Ok(values)
}

/// The drift scale of each segment of `layout`, from the partial sums of the whole grid in tile order.
/// A tensor that did not move has scale 0.
///
/// # Errors
/// Another number of sums than the grid has tiles, or fewer than two snapshots.
pub fn scales(layout: &Layout, sums: &[f64], snapshots: usize) -> Result<Vec<f64>, PredictorError> {
    let tiles = layout.tiles();
    if sums.len() != tiles.len() {
        return Err(PredictorError::PartialSums { expected: tiles.len(), found: sums.len() });
    }
    if snapshots < 2 {
        return Err(PredictorError::TooFewSnapshots { needed: 2, recorded: snapshots });
    }
    let mut squares = vec![0.0; layout.segments.len()];
    for (tile, sum) in tiles.iter().zip(sums) {
        squares[tile.segment] += sum;
    }
    let differences = |segment: usize| (layout.segments[segment].len() * (snapshots - 1)).max(1) as f64;
    Ok(squares.iter().enumerate().map(|(segment, sum)| (sum / differences(segment)).sqrt()).collect())
}
