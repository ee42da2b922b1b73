//! Rewinding a shard, and the simpler rules it is measured against. All are forget-only and work tile by tile.

use std::ops::Range;

use rewind_job::{Lambda, OperationType};
use tch::{Kind, Tensor};

use crate::{Direction, Predictor, PredictorError, Statistics, Trajectory, TrajectoryTile, third};

/// `θ_i^{t−U} = Φ_0,i + factor · InvWNN(W_i, dW_i)` for every coordinate of the shard, `[coordinates]`
/// (paper, algorithm 1; the factor is 1 there).
///
/// `statistics` are of every segment of the layout, see [`statistics`](crate::statistics()); the published networks do
/// not read them. `horizon` is `U` in epochs. Weights that are not finite stay so: nothing is hidden.
///
/// # Errors
/// The predictor has no network for this many snapshots or was not trained for this horizon; statistics are missing.
pub fn rewind(
    trajectory: &Trajectory,
    predictor: &Predictor,
    statistics: &[Statistics],
    horizon: u32,
    factor: f64,
) -> Result<Tensor, PredictorError> {
    follow(Direction::Past, trajectory, predictor, statistics, horizon, factor, &[])
}

/// `θ_i^{t+U} = Φ_{K−1,i} + factor · WNN(W_i, dW_i)`, `[coordinates]`: where the weights will be `horizon` epochs after the
/// newest snapshot (Jang et al., "Learning to Boost Training by Periodic Nowcasting Near Future Weights", ICML 2023).
///
/// `left_out` are flat coordinates of whole tensors that stay where the newest snapshot has them.
///
/// # Errors
/// As of [`rewind`]; a predictor that looks back.
pub fn nowcast(
    trajectory: &Trajectory,
    predictor: &Predictor,
    statistics: &[Statistics],
    horizon: u32,
    factor: f64,
    left_out: &[Range<usize>],
) -> Result<Tensor, PredictorError> {
    follow(Direction::Future, trajectory, predictor, statistics, horizon, factor, left_out)
}

fn follow(
    direction: Direction,
    trajectory: &Trajectory,
    predictor: &Predictor,
    statistics: &[Statistics],
    horizon: u32,
    factor: f64,
    left_out: &[Range<usize>],
) -> Result<Tensor, PredictorError> {
    let networks = predictor.for_snapshots(trajectory.len())?;
    networks.check_horizon(direction, horizon)?;
    let nearest = match direction {
        Direction::Past => 0,
        Direction::Future => trajectory.len() - 1,
    };
    move_from(trajectory, nearest, |tile| {
        if left_out.iter().any(|range| range.contains(&tile.tile.start)) {
            return Ok(tile.snapshot(nearest).zeros_like());
        }
        let segment = tile.tile.segment;
        let of_tensor =
            statistics.get(segment).ok_or(PredictorError::Statistics { segment, found: statistics.len() })?;
        let residual = networks.of(tile.operation).residual(&tile.window(), of_tensor, horizon); // [tile]
        Ok(residual * factor)
    })
}

/// `Φ_0 − λ (Φ_{K−1} − Φ_0)`, `[coordinates]` (Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023).
///
/// # Errors
/// Fewer than two snapshots.
pub fn task_vector(trajectory: &Trajectory, lambda: &Lambda) -> Result<Tensor, PredictorError> {
    trajectory.require(2)?;
    let newest = trajectory.len() - 1;
    move_from(trajectory, 0, |tile| Ok((tile.snapshot(newest) - tile.snapshot(0)) * -lambda_of(lambda, tile)))
}

/// `Φ_0 − U (Φ_{K−1} − Φ_0) / (K − 1)`, `[coordinates]`: the mean drift goes on backwards for `U` epochs.
///
/// # Errors
/// Fewer than two snapshots.
pub fn linear_extrapolation(trajectory: &Trajectory, horizon: u32) -> Result<Tensor, PredictorError> {
    trajectory.require(2)?;
    let epochs = (trajectory.len() - 1) as f64;
    task_vector(trajectory, &Lambda::One(f64::from(horizon) / epochs))
}

/// `Φ_0`, `[coordinates]`: what a predictor that changes nothing answers.
///
/// # Errors
/// Nothing was recorded.
pub fn persistence(trajectory: &Trajectory) -> Result<Tensor, PredictorError> {
    Ok(trajectory.base()?.copy().to_device(trajectory.device()))
}

fn lambda_of(lambda: &Lambda, tile: &TrajectoryTile) -> f64 {
    let of_type = match (lambda, tile.operation) {
        (Lambda::One(lambda), _) => return *lambda,
        (Lambda::PerOperation(lambdas), OperationType::Convolution) => lambdas.convolution,
        (Lambda::PerOperation(lambdas), OperationType::FullyConnected) => lambdas.fully_connected,
        (Lambda::PerOperation(lambdas), OperationType::Bias) => lambdas.bias,
    };
    of_type.of_third(third(tile.place))
}

/// `Φ_from` plus the residual of each tile.
fn move_from(
    trajectory: &Trajectory,
    from: usize,
    residual: impl Fn(&TrajectoryTile) -> Result<Tensor, PredictorError>,
) -> Result<Tensor, PredictorError> {
    let _no_grad = tch::no_grad_guard();
    let rewound = Tensor::empty(trajectory.base()?.size(), (Kind::Float, trajectory.device())); // [coordinates]
    for tile in trajectory.tiles() {
        let (start, len) = tile.range();
        rewound.narrow(0, start, len).copy_(&(tile.snapshot(from) + residual(&tile)?));
    }
    Ok(rewound)
}
