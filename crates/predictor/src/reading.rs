//! What a network does, for people to look at.

use rewind_job::OperationType;
use tch::{Kind, Tensor};

use crate::{
    History, Networks, Statistics, Window,
    validation::{moving, residual},
};

/// How the network of one operation type reads trajectories.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub operation: OperationType,
    pub horizon: u32,
    /// `∂ residual / ∂ Φ_k` for a coordinate at rest, oldest snapshot first: the network's effective linear map. How the
    /// rest of its tensor moves is the mean over what was measured.
    pub jacobian: Vec<f64>,
    /// Residual of a coordinate that rests at 0.5: anything but 0 is a false signal.
    pub resting: f64,
    /// Between true and predicted residuals, each in units of its tensor's drift scale.
    pub correlation: f64,
    /// Some of these pairs: true, predicted.
    pub points: Vec<[f64; 2]>,
}

/// Step of the central differences, in drift scales.
const STEP: f64 = 1e-2;

/// Reads the windows of `histories` that the networks serve; at most `points` pairs each.
pub fn readings(networks: &Networks, histories: &[History], points: usize) -> Vec<Reading> {
    let _no_grad = tch::no_grad_guard();
    let mut readings = Vec::new();
    for &horizon in &networks.card().horizons {
        for operation in OperationType::ALL {
            let windows: Vec<&Window> = moving(histories, networks.snapshots(), horizon)
                .filter(|window| window.operation == operation)
                .collect();
            if !windows.is_empty() {
                readings.push(read(networks, operation, horizon, &windows, points));
            }
        }
    }
    readings
}

fn read(networks: &Networks, operation: OperationType, horizon: u32, windows: &[&Window], points: usize) -> Reading {
    let network = networks.of(operation);
    let scaled = |of: &dyn Fn(&Window) -> Tensor| {
        let parts: Vec<Tensor> =
            windows.iter().map(|&window| of(window).to_kind(Kind::Double) / window.scale).collect();
        Tensor::cat(&parts, 0)
    };
    let truth = scaled(&|window| window.residual.shallow_clone());
    let found = scaled(&|window| residual(network, window));
    let every = (truth.size()[0] / points.max(1) as i64).max(1);
    let pairs = Tensor::stack(&[&truth, &found], 1).slice(0, None, None, every).contiguous();
    let mut values = vec![0.0; pairs.numel()];
    pairs.copy_data(&mut values, pairs.numel());

    let statistics = mean(windows);
    let answer = |window: &Tensor| network.residual(window, &statistics, horizon).double_value(&[0]);
    let snapshots = networks.snapshots();
    let step = STEP * statistics.scale;
    let column = |k: usize, value: f64| {
        let mut row = vec![0.0_f32; snapshots];
        row[k] = value as f32;
        Tensor::from_slice(&row).unsqueeze(0)
    };
    let slope = |k| (answer(&column(k, step)) - answer(&column(k, -step))) / (2.0 * step);
    Reading {
        operation,
        horizon,
        jacobian: (0..snapshots).map(slope).collect(),
        resting: answer(&Tensor::full([1, snapshots as i64], 0.5, (Kind::Float, tch::Device::Cpu))),
        correlation: correlation(&truth, &found),
        points: values.chunks(2).map(|pair| [pair[0], pair[1]]).collect(),
    }
}

/// Of all windows, each counted once.
fn mean(windows: &[&Window]) -> Statistics {
    let all: Vec<Statistics> = windows.iter().map(|window| window.statistics()).collect();
    let mean = |of: fn(&Statistics) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
    Statistics { scale: mean(|of| of.scale), reach: mean(|of| of.reach) }
}

/// Pearson's; 0 where one of them does not vary.
fn correlation(one: &Tensor, other: &Tensor) -> f64 {
    let [one, other] = [one, other].map(|values| values - values.mean(Kind::Double));
    let product = |a: &Tensor, b: &Tensor| (a * b).sum(Kind::Double).double_value(&[]);
    let spread = (product(&one, &one) * product(&other, &other)).sqrt();
    if spread > 0.0 { product(&one, &other) / spread } else { 0.0 }
}
