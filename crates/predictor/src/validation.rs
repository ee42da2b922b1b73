use std::fmt;

use rewind_job::{OperationType, TILE_COORDINATES};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Direction, History, Network, Networks, PredictorError, Window};

/// How well networks rewind histories, beside what is simpler: one row an operation type and horizon.
///
/// All errors are `Σ weight · |predicted − true residual| / scale`, relative to the same sum for "no change". So
/// persistence is 1 by definition, and a network whose error is not below the fitted Task Vector's is not worth its
/// cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Validation {
    pub rows: Vec<ValidationRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ValidationRow {
    pub operation: OperationType,
    pub horizon: u32,
    pub coordinates: usize,
    pub predictor: f64,
    pub persistence: f64,
    pub linear_extrapolation: f64,
    /// One λ for all operation types, fitted for this horizon on the training histories.
    pub task_vector: FittedTaskVector,
    /// λ fitted for this operation type and horizon on the training histories.
    pub task_vector_per_operation: FittedTaskVector,
    /// λ fitted for this operation type and each third of the network's depth: layers of other networks have other names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_vector_per_layer: Option<FittedLayers>,
    /// Error with a λ for each tensor, fitted on the very answers that are measured: no Task Vector can be better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<f64>,
}

/// λ for the tensors in the first, second and last third of a network; none where the histories had no such tensor, and
/// the operation type's λ is taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FittedLayers {
    pub lambdas: [Option<f64>; 3],
    pub error: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FittedTaskVector {
    pub lambda: f64,
    pub error: f64,
}

/// λ of Task Vectors for one operation type, number of snapshots and horizon: `−λ drift` looks back, `λ drift` ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    pub operation: OperationType,
    pub horizon: u32,
    /// One for all operation types.
    pub one: f64,
    pub per_operation: f64,
    pub per_layer: [Option<f64>; 3],
}

/// What is simpler than `networks`, fitted on `histories` for the same snapshots, horizons and direction.
///
/// # Errors
/// `histories` have no moving tensor of an operation type and horizon.
pub fn fits(networks: &Networks, histories: &[History]) -> Result<Vec<Fit>, PredictorError> {
    let snapshots = networks.snapshots();
    let sign = sign(networks);
    let fit = |windows: &mut dyn Iterator<Item = &Window>| fit_lambda(windows).map(|lambda| -sign * lambda);
    let mut fits = Vec::new();
    for &horizon in &networks.card().horizons {
        let one = fit(&mut moving(histories, snapshots, horizon));
        for operation in OperationType::ALL {
            let of_type = || moving(histories, snapshots, horizon).filter(move |window| window.operation == operation);
            let (Some(one), Some(per_operation)) = (one, fit(&mut of_type())) else {
                return Err(PredictorError::NoHistory { operation, snapshots, horizon });
            };
            let per_layer =
                [0, 1, 2].map(|third| fit(&mut of_type().filter(|window| crate::third(window.place) == third)));
            fits.push(Fit { operation, horizon, one, per_operation, per_layer });
        }
    }
    Ok(fits)
}

/// Of the way in which the answer lies.
fn sign(networks: &Networks) -> f64 {
    match networks.card().direction {
        Direction::Past => -1.0,
        Direction::Future => 1.0,
    }
}

/// Measures `networks` on the windows of `histories` that have their number of snapshots and one of their horizons, and
/// beside them what was fitted elsewhere. Tensors that did not move count nowhere: nothing is known of them.
pub fn validate(networks: &Networks, fits: &[Fit], histories: &[History]) -> Validation {
    let _no_grad = tch::no_grad_guard();
    let snapshots = networks.snapshots();
    let sign = sign(networks);
    let mut rows = Vec::new();
    for &Fit { operation, horizon, one, per_operation, per_layer } in fits {
        let of_type = |window: &&Window| window.operation == operation;
        let windows: Vec<_> = moving(histories, snapshots, horizon).filter(of_type).collect();
        let no_change = error(&windows, |window| window.residual.zeros_like());
        if no_change == 0.0 {
            continue;
        }
        let relative = |predict: &dyn Fn(&Window) -> Tensor| error(&windows, predict) / no_change;
        let task_vector =
            |lambda: f64| FittedTaskVector { lambda, error: relative(&|window| window.drift() * sign * lambda) };
        let of_layer = |window: &Window| per_layer[crate::third(window.place)].unwrap_or(per_operation);
        let of_itself = |window: &Window| fit_lambda(std::iter::once(window)).unwrap_or(0.0);
        let network = networks.of(operation);
        rows.push(ValidationRow {
            operation,
            horizon,
            coordinates: windows.iter().map(|window| window.coordinates()).sum(),
            predictor: relative(&|window| residual(network, window)),
            persistence: 1.0,
            linear_extrapolation: task_vector(f64::from(horizon) / (snapshots - 1) as f64).error,
            task_vector: task_vector(one),
            task_vector_per_operation: task_vector(per_operation),
            task_vector_per_layer: Some(FittedLayers {
                lambdas: per_layer,
                error: relative(&|window| window.drift() * sign * of_layer(window)),
            }),
            oracle: Some(relative(&|window| window.drift() * -of_itself(window))),
        });
    }
    Validation { rows }
}

/// The λ that minimises the L1 error of `−λ (Φ_{K−1} − Φ_0)`, as a Task Vector rewinds, over the windows, in units of their drift scales.
///
/// `Σ w/s |r + λ d| = Σ w|d|/s · |λ − (−r/d)|`, so λ is the weighted median of `−r/d`: exact, nothing to iterate.
/// `None` where nothing drifts.
pub fn fit_lambda<'a>(windows: impl IntoIterator<Item = &'a Window>) -> Option<f64> {
    let mut quotients: Vec<(f64, f64)> = Vec::new(); // (−r/d, w|d|/s)
    for window in windows {
        for (r, d) in values(&window.residual).into_iter().zip(values(&window.drift())) {
            let weight = window.weight * d.abs() / window.scale;
            if weight > 0.0 && weight.is_finite() {
                quotients.push((-r / d, weight));
            }
        }
    }
    quotients.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let half = quotients.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    quotients.into_iter().find_map(|(quotient, weight)| {
        below += weight;
        (below >= half).then_some(quotient)
    })
}

/// The windows of moving tensors with this number of snapshots and this horizon.
pub(crate) fn moving(histories: &[History], snapshots: usize, horizon: u32) -> impl Iterator<Item = &Window> {
    histories.iter().flat_map(History::windows).filter(move |window| {
        window.snapshots.size()[1] == snapshots as i64 && window.horizon == horizon && window.scale > 0.0
    })
}

/// `Σ weight · |predicted − true residual| / scale` over all windows.
fn error(windows: &[&Window], predict: impl Fn(&Window) -> Tensor) -> f64 {
    let of_window = |window: &Window| {
        let distance = (predict(window).to_kind(Kind::Double) - &window.residual).abs().sum(Kind::Double);
        window.weight * distance.double_value(&[]) / window.scale
    };
    windows.iter().map(|window| of_window(window)).sum()
}

/// Tile by tile, as rewinding does: `[coordinates]`.
pub(crate) fn residual(network: &Network, window: &Window) -> Tensor {
    let statistics = window.statistics();
    let tiles: Vec<_> = window
        .snapshots
        .split(TILE_COORDINATES as i64, 0)
        .iter()
        .map(|tile| network.residual(tile, &statistics, window.horizon))
        .collect();
    Tensor::cat(&tiles, 0)
}

impl Window {
    pub(crate) fn coordinates(&self) -> usize {
        self.residual.numel()
    }

    /// `Φ_{K−1} − Φ_0`, `[coordinates]`.
    fn drift(&self) -> Tensor {
        self.snapshots.select(1, -1) - self.snapshots.select(1, 0)
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let mut values = vec![0.0; tensor.numel()];
    tensor.to_kind(Kind::Double).contiguous().copy_data(&mut values, tensor.numel());
    values
}

impl fmt::Display for Validation {
    /// A table, one row a line: L1 errors relative to no change.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>3} {:>11} {:>9} {:>13} {:>20} {:>20} {:>11} {:>6}",
            "operation",
            "U",
            "coordinates",
            "predictor",
            "extrapolation",
            "one λ",
            "λ per operation",
            "λ per layer",
            "oracle"
        )?;
        for row in &self.rows {
            let number = |error: Option<f64>| error.map_or_else(|| "-".to_owned(), |error| format!("{error:.3}"));
            let fitted = |fit: FittedTaskVector| format!("{:.3} (λ {:+.3})", fit.error, fit.lambda);
            writeln!(
                f,
                "{:<16} {:>3} {:>11} {:>9.3} {:>13.3} {:>20} {:>20} {:>11} {:>6}",
                row.operation.name(),
                row.horizon,
                row.coordinates,
                row.predictor,
                row.linear_extrapolation,
                fitted(row.task_vector),
                fitted(row.task_vector_per_operation),
                number(row.task_vector_per_layer.map(|fit| fit.error)),
                number(row.oracle)
            )?;
        }
        Ok(())
    }
}
