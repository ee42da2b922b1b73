//! Three snapshots of two coordinates, worked out on paper: which snapshot is the base, what is newest first, which
//! way a residual points.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use rewind_job::{Lambda, LambdaOfType, LambdaPerOperation, Layout, OperationType};
use rewind_predictor::{
    Architecture, Network, Predictor, PredictorError, Statistics, Trajectory, linear_extrapolation, nowcast,
    partial_sums, persistence, rewind, statistics, task_vector,
};
use tch::{Kind, Tensor};

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

/// Coordinate 0 rises by 1 and 2, coordinate 1 falls by 0.5 and 1.
fn trajectory() -> (Layout, Trajectory) {
    let layout = Layout::new([("bias".to_owned(), vec![2])]);
    let mut trajectory = Trajectory::new(&layout, &layout.tiles());
    for snapshot in [[1.0f32, 4.0], [2.0, 3.5], [4.0, 2.5]] {
        trajectory.record(&Tensor::from_slice(&snapshot)).unwrap();
    }
    (layout, trajectory)
}

/// A published network that copies one of its inputs into its answer, `tanh(input / 100)`.
fn copying(architecture: Architecture, stream: &str, input: i64) -> Network {
    let wide = if architecture == Architecture::Paper { 128 } else { 64 };
    let leaving = if architecture == Architecture::Paper { "dense3" } else { "dense2" };
    Network::from_parameters(architecture, 3, "", |name| {
        let (layer, kind) = name.rsplit_once('.').unwrap();
        let (inputs, outputs) = match layer.rsplit_once('.') {
            None => (wide, 1),
            Some(("weights_stream", "dense1")) => (3, wide),
            Some(("differences_stream", "dense1")) => (2, wide),
            Some((_, "a_c")) => (wide, 8),
            Some((_, "a_shift" | "a_scale" | "a_gate")) => (8, wide),
            Some((_, last)) if last == leaving => (wide, wide / 2),
            Some(_) => (wide, wide),
        };
        let shape = if kind == "kernel" { vec![outputs, inputs] } else { vec![outputs] };
        let zeros = Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu));
        // Unit 0 of every layer passes the input on; 10 keeps it positive until the ReLU is behind it.
        let (row, column, value) = match (name.strip_prefix(stream), name) {
            (_, "out.kernel") => (0, if stream == "weights_stream" { 0 } else { wide / 2 }, 0.01),
            (Some(".dense1.kernel"), _) => (0, input, 1.0),
            (Some(".a_scale.kernel" | ".a_gate.kernel"), _) | (None, _) => return Ok(zeros),
            (Some(_), _) if kind == "kernel" => (0, 0, 1.0),
            (Some(".dense1.bias"), _) => (0, 0, 10.0),
            (Some(bias), _) if bias == format!(".{leaving}.bias") => (0, 0, -10.0),
            (Some(_), _) => return Ok(zeros),
        };
        let _ = zeros.view([outputs, -1]).get(row).get(column).fill_(value);
        Ok(zeros)
    })
    .unwrap()
}

fn leaky(x: f32) -> f32 {
    if x < 0.0 { 0.3 * x } else { x }
}

fn assert_close(found: &[f32], expected: &[f32]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }
}

#[test]
fn the_first_snapshot_is_the_base() {
    let (_, trajectory) = trajectory();
    assert_eq!(trajectory.len(), 3);
    assert_eq!(values(trajectory.base().unwrap()), [1.0, 4.0]);
    assert_eq!(trajectory.snapshots().size(), [3, 2]);
    assert_eq!(values(&trajectory.snapshots()), [1.0, 4.0, 2.0, 3.5, 4.0, 2.5]);
    assert_eq!(values(&persistence(&trajectory).unwrap()), [1.0, 4.0]);
}

#[test]
fn recording_copies_the_weights() {
    let layout = Layout::new([("bias".to_owned(), vec![2])]);
    let mut trajectory = Trajectory::new(&layout, &layout.tiles());
    let mut weights = Tensor::from_slice(&[1.0f32, 2.0]);
    trajectory.record(&weights).unwrap();
    let _ = weights.fill_(7.0);
    assert_eq!(values(trajectory.base().unwrap()), [1.0, 2.0]);
}

#[test]
fn the_paper_network_reads_the_newest_value_first() {
    let (_, trajectory) = trajectory();
    let window = trajectory.tiles().next().unwrap().window(); // [2, 3]
    for (input, snapshot) in [[4.0f32, 2.5], [2.0, 3.5], [1.0, 4.0]].into_iter().enumerate() {
        let network = copying(Architecture::Paper, "weights_stream", input as i64);
        let answer = network.residual(&window, &Statistics::default(), 3);
        assert_close(&values(&answer), &snapshot.map(|w| (leaky(w) / 100.0).tanh()));
    }
}

#[test]
fn the_paper_network_reads_differences_of_the_reversed_trajectory() {
    let (_, trajectory) = trajectory();
    let window = trajectory.tiles().next().unwrap().window(); // [2, 3]
    // Coordinate 0 reversed is 4, 2, 1: it has risen, so what is older minus what is newer is negative. Coordinate 1
    // reversed is 2.5, 3.5, 4.
    for (input, difference) in [[2.0f32 - 4.0, 3.5 - 2.5], [1.0 - 2.0, 4.0 - 3.5]].into_iter().enumerate() {
        let network = copying(Architecture::Paper, "differences_stream", input as i64);
        let answer = network.residual(&window, &Statistics::default(), 3);
        assert_close(&values(&answer), &difference.map(|d| (leaky(d) / 100.0).tanh()));
    }
}

#[test]
fn wnn_reads_the_trajectory_as_it_went_in_units_of_each_coordinates_range() {
    let (_, trajectory) = trajectory();
    let window = trajectory.tiles().next().unwrap().window(); // [2, 3]
    // Coordinate 0 spans 3, coordinate 1 spans 1.5; r is that and 1e-8 (nothing in float32), a unit is 2 (r + 1e-5).
    let units = [2.0 * 3.00001f32, 2.0 * 1.50001];
    let answer = |stream, input| {
        let network = copying(Architecture::Wnn, stream, input);
        values(&network.residual(&window, &Statistics::default(), 5))
    };
    for (input, from_oldest) in [[0.0f32, 0.0], [1.0, -0.5], [3.0, -1.5]].into_iter().enumerate() {
        let expected = [0, 1].map(|i| (leaky(from_oldest[i] / units[i]) / 100.0).tanh() * units[i]);
        assert_close(&answer("weights_stream", input as i64), &expected);
    }
    for (input, step) in [[1.0f32, -0.5], [2.0, -1.0]].into_iter().enumerate() {
        let expected = [0, 1].map(|i| (leaky(step[i] / units[i]) / 100.0).tanh() * units[i]);
        assert_close(&answer("differences_stream", input as i64), &expected);
    }
}

/// `Φ_{K−1} + tanh(1/2) · 2 (1e-8 + 1e-5)`, whatever its statistics say.
#[test]
fn wnn_moves_what_rests_and_leaves_out_what_it_is_told_to() {
    let layout = Layout::new([("norm".to_owned(), vec![2]), ("bias".to_owned(), vec![2])]);
    let mut trajectory = Trajectory::new(&layout, &layout.tiles());
    for _ in 0..3 {
        trajectory.record(&Tensor::from_slice(&[1.0f32, 1.0, 0.0, 0.0])).unwrap();
    }
    let predictor = Predictor::untrained(Architecture::Wnn, 3, &[5], 0);
    for (name, parameter) in predictor.for_snapshots(3).unwrap().of(OperationType::Bias).parameters() {
        let _ = parameter.shallow_clone().fill_(if name == "out.bias" { 0.5 } else { 0.0 });
    }
    let statistics = statistics(&layout, &partial_sums(&trajectory).unwrap(), 3).unwrap();
    assert_eq!(statistics[1].scale, 0.0);
    let later =
        |left_out: &[Range<usize>]| values(&nowcast(&trajectory, &predictor, &statistics, 5, 1.0, left_out).unwrap());
    let moved = 0.5f64.tanh() * 2.0 * 1.001e-5;
    for (found, expected) in later(&[]).into_iter().zip([1.0 + moved, 1.0 + moved, moved, moved]) {
        assert!((f64::from(found) / expected - 1.0).abs() < 2e-7, "{found} is not {expected}");
    }
    let norm = [Range { start: 0, end: 2 }];
    assert_eq!(later(&norm)[..2], [1.0, 1.0]);
    assert_eq!(later(&norm)[2..], later(&[])[2..]);
}

#[test]
fn the_statistics_say_how_far_a_tensor_moves_and_how_far_that_is_beside_its_weights() {
    let (layout, trajectory) = trajectory();
    let sums = partial_sums(&trajectory).unwrap();
    // Steps of 1 and 2, and of −0.5 and −1.
    assert_eq!(sums, [1.0 + 4.0 + 0.25 + 1.0, 1.0 + 16.0]);
    // ln(1.25 / √8.5) is −0.85: beyond the end.
    let expected = Statistics { scale: 1.25, reach: 2.0 };
    assert_eq!(statistics(&layout, &sums, trajectory.len()).unwrap(), [expected]);
    let larger = statistics(&layout, &[6.25, 2.0 * 1e4], trajectory.len()).unwrap()[0];
    assert!((larger.reach - (0.0125f64.ln() + 5.0) / 2.0).abs() < 1e-12, "{larger:?}");
}

#[test]
fn a_task_vector_goes_back_along_the_whole_drift() {
    let (_, trajectory) = trajectory();
    assert_eq!(values(&task_vector(&trajectory, &Lambda::One(0.5)).unwrap()), [-0.5, 4.75]);
    let [convolution, fully_connected, bias] = [7.0, 8.0, 1.0].map(LambdaOfType::All);
    let lambdas = LambdaPerOperation { convolution, fully_connected, bias };
    assert_eq!(values(&task_vector(&trajectory, &Lambda::PerOperation(lambdas)).unwrap()), [-2.0, 5.5]);
    // The only tensor stands in the first third.
    let lambdas = LambdaPerOperation { bias: LambdaOfType::Thirds([2.0, 8.0, 9.0]), ..lambdas };
    assert_eq!(values(&task_vector(&trajectory, &Lambda::PerOperation(lambdas)).unwrap()), [-5.0, 7.0]);
}

#[test]
fn linear_extrapolation_continues_the_mean_drift_backwards() {
    let (_, trajectory) = trajectory();
    assert_eq!(values(&linear_extrapolation(&trajectory, 2).unwrap()), [-2.0, 5.5]);
}

#[test]
fn rewinding_adds_the_scaled_residual_to_the_base() {
    let (layout, trajectory) = trajectory();
    // a(U) = -1/2 on both differences and nothing else: the mean drift, backwards.
    let predictor = Predictor::untrained(Architecture::Equivariant, 3, &[2], 0);
    for (name, parameter) in predictor.for_snapshots(3).unwrap().of(OperationType::Bias).parameters() {
        let _ = parameter.shallow_clone().zero_();
        if name == "linear.kernel" {
            let _ = parameter.get(0).fill_(-0.5);
        }
    }
    let scales = statistics(&layout, &partial_sums(&trajectory).unwrap(), 3).unwrap();
    assert_eq!(values(&rewind(&trajectory, &predictor, &scales, 2, 1.0).unwrap()), [-2.0, 5.5]);
    assert_eq!(values(&rewind(&trajectory, &predictor, &scales, 2, 0.5).unwrap()), [-0.5, 4.75]);
}

#[test]
fn a_snapshot_of_another_shape_or_precision_is_refused() {
    let (_, mut trajectory) = trajectory();
    for wrong in [Tensor::from_slice(&[1.0f32]), Tensor::from_slice(&[1.0f64, 2.0])] {
        assert!(matches!(trajectory.record(&wrong), Err(PredictorError::Snapshot { expected: 2, .. })));
    }
}

#[test]
fn one_snapshot_is_no_trajectory() {
    let layout = Layout::new([("bias".to_owned(), vec![2])]);
    let mut trajectory = Trajectory::new(&layout, &layout.tiles());
    assert!(matches!(trajectory.base(), Err(PredictorError::TooFewSnapshots { needed: 1, recorded: 0 })));
    trajectory.record(&Tensor::from_slice(&[1.0f32, 2.0])).unwrap();
    assert!(matches!(partial_sums(&trajectory), Err(PredictorError::TooFewSnapshots { needed: 2, recorded: 1 })));
    let predictor = Predictor::untrained(Architecture::Equivariant, 5, &[3], 0);
    let error = rewind(&trajectory, &predictor, &[Statistics { scale: 1.0, reach: 0.0 }], 3, 1.0).unwrap_err();
    assert_eq!(error.to_string(), "no network for 1 snapshots; this predictor has networks for [5]");
}
