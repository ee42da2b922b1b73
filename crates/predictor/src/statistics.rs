//! How a whole tensor moves: its drift scale, and whether its steps go one way.
//!
//! A tensor may lie on several ranks. Each rank sums over its own tiles in float64, the sums are gathered in tile order,
//! and every rank adds them up in that order: bits depend on the tile grid, not on how tiles are dealt.

use rewind_job::Layout;
use tch::{Kind, Tensor};

use crate::{PredictorError, Trajectory};

/// Of a tensor's differences `d_j = Φ_{j+1} − Φ_j`, all coordinates together. All but the scale are ratios: they do not
/// change when the tensor is shifted, mirrored or scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Drift scale: the root mean square of all differences; 0 where the tensor did not move.
    pub scale: f64,
    /// `‖Σ d_j‖² / ((K − 1) Σ ‖d_j‖²)`: 1 where all steps are the same, `1 / (K − 1)` where each goes its own way.
    pub directness: f64,
    /// `Σ d_j·d_{j+1} / Σ ‖d_j‖²`: how much of a step is in the next one.
    pub next: f64,
    /// `Σ d_j·d_{j+2} / Σ ‖d_j‖²`: how much of it is in the one after that.
    pub after_next: f64,
    /// Share of the squares in the first third of the steps: how fast it comes to rest.
    pub early: f64,
    /// Where the tensor stands in its network: 0 for the first, 1 for the last.
    pub place: f64,
}

/// Numbers that ranks exchange for each tile: sums of squares, `‖Σ d_j‖²`, `Σ d_j·d_{j+1}`, `Σ d_j·d_{j+2}`, and the
/// squares of the first third.
pub const SUMS: usize = 5;

impl Statistics {
    /// Of a tensor of which only the scale is known.
    pub fn of_scale(scale: f64) -> Self {
        Self { scale, ..Self::default() }
    }

    /// Of coordinates of a tensor, oldest first, `[coordinates, snapshots]`; `scale` is that of the whole tensor.
    pub(crate) fn of_sample(snapshots: &Tensor, scale: f64, place: f64) -> Self {
        let columns: Vec<Tensor> = (0..snapshots.size()[1]).map(|j| snapshots.select(1, j)).collect();
        Self { scale, place, ..Self::from_sums(&sums_of(&columns), 1.0, columns.len()) }
    }

    /// `differences` is how many numbers the squares are of.
    fn from_sums(sums: &[f64], differences: f64, snapshots: usize) -> Self {
        let squares = sums[0];
        let share = |sum: f64| if squares > 0.0 { sum / squares } else { 0.0 };
        Self {
            scale: (squares / differences).sqrt(),
            directness: share(sums[1]) / (snapshots - 1) as f64,
            next: share(sums[2]),
            after_next: share(sums[3]),
            early: share(sums[4]),
            place: 0.0,
        }
    }

    /// What a network may read, beside the differences: ratios alone.
    pub(crate) fn ratios(&self) -> [f64; 5] {
        [self.directness, self.next, self.after_next, self.early, self.place]
    }
}

/// Where tensor `index` of so many stands: 0 for the first, 1 for the last.
pub fn place(index: usize, tensors: usize) -> f64 {
    index as f64 / tensors.saturating_sub(1).max(1) as f64
}

/// [`SUMS`] numbers for each tile of this shard, in tile order.
///
/// # Errors
/// Fewer than two snapshots.
pub fn partial_sums(trajectory: &Trajectory) -> Result<Vec<f64>, PredictorError> {
    trajectory.require(2)?;
    let of_tile = |tile: crate::TrajectoryTile| {
        let snapshots: Vec<Tensor> = (0..trajectory.len()).map(|j| tile.snapshot(j)).collect();
        sums_of(&snapshots)
    };
    Ok(trajectory.tiles().flat_map(of_tile).collect())
}

/// Of snapshots, oldest first, each `[coordinates]`.
fn sums_of(snapshots: &[Tensor]) -> [f64; SUMS] {
    let _no_grad = tch::no_grad_guard();
    let steps = snapshots.len() - 1;
    let differences: Vec<Tensor> =
        (0..steps).map(|j| (&snapshots[j + 1] - &snapshots[j]).to_kind(Kind::Double)).collect();
    let zeros = || snapshots[0].zeros_like().to_kind(Kind::Double); // [coordinates]
    let products = |pairs: &mut dyn Iterator<Item = (&Tensor, &Tensor)>| {
        // Along the snapshots first, then over the coordinates: no order is left to the number of threads.
        let mut products = zeros();
        for (one, other) in pairs {
            let _ = products.addcmul_(one, other);
        }
        products.sum(Kind::Double)
    };
    let whole = (&snapshots[steps] - &snapshots[0]).to_kind(Kind::Double);
    let squares = products(&mut differences.iter().zip(&differences));
    let early = steps.div_ceil(3);
    let sums = Tensor::stack(
        &[
            squares,
            (&whole * &whole).sum(Kind::Double),
            products(&mut differences.iter().zip(differences.iter().skip(1))),
            products(&mut differences.iter().zip(differences.iter().skip(2))),
            products(&mut differences[..early].iter().zip(&differences[..early])),
        ],
        0,
    );
    let mut values = [0.0; SUMS];
    sums.copy_data(&mut values, SUMS);
    values
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
    let differences = |segment: usize| (layout.segments[segment].len() * (snapshots - 1)).max(1) as f64;
    let of_segment = |(segment, sums): (usize, &[f64; SUMS])| Statistics {
        place: place(segment, layout.segments.len()),
        ..Statistics::from_sums(sums, differences(segment), snapshots)
    };
    Ok(of_segments.iter().enumerate().map(of_segment).collect())
}
