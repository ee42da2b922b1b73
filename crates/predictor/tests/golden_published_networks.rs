//! The published networks against Python's torch: tests/golden/{paper,wnn}_network.{py,safetensors} of the workspace.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use rewind_job::OperationType;
use rewind_predictor::{Architecture, Network, Predictor, Statistics};
use safetensors::SafeTensors;
use tch::{Kind, Tensor};

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)).unwrap()
}

fn tensor(file: &SafeTensors, name: &str) -> Tensor {
    let view = file.tensor(name).unwrap();
    let kind = match view.dtype() {
        safetensors::Dtype::F64 => Kind::Double,
        _ => Kind::Float,
    };
    let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
    Tensor::from_data_size(view.data(), &shape, kind)
}

/// Largest difference, relative to the largest expected value.
fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    let (found, expected) = (found.to_kind(Kind::Double), expected.to_kind(Kind::Double));
    ((found - &expected).abs().max() / expected.abs().max()).double_value(&[])
}

fn network(architecture: Architecture, file: &SafeTensors, snapshots: usize, kind: Kind) -> Network {
    Network::from_parameters(architecture, snapshots, &format!("k{snapshots}."), |name| {
        Ok(tensor(file, name).to_kind(kind))
    })
    .unwrap()
}

/// Errors in float64 and in float32.
fn errors(architecture: Architecture, file: &SafeTensors, snapshots: usize, case: &str) -> [f64; 2] {
    let trajectory = tensor(file, &format!("{case}.trajectory"));
    let expected = tensor(file, &format!("{case}.residual"));
    [Kind::Double, Kind::Float].map(|kind| {
        let network = network(architecture, file, snapshots, kind);
        relative_error(&network.residual(&trajectory.to_kind(kind), &Statistics::default(), 3), &expected)
    })
}

#[test]
fn the_paper_network_agrees_with_torch_in_both_precisions() {
    let bytes = golden("paper_network.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for snapshots in [5, 15] {
        let [double, float] = errors(Architecture::Paper, &file, snapshots, &format!("k{snapshots}"));
        assert!(double < 1e-12, "K = {snapshots}: {double}");
        // Rounding alone: 2.8e-6 at K = 15, as of torch's own float32; other kernels round elsewhere.
        assert!(float < 1e-5, "K = {snapshots}: {float}");
    }
}

#[test]
fn the_wnn_network_agrees_with_torch_in_both_precisions() {
    let bytes = golden("wnn_network.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for snapshots in [5, 8] {
        for size in ["large", "at-the-floor", "small", "resting"] {
            let case = format!("k{snapshots}.{size}");
            let [double, float] = errors(Architecture::Wnn, &file, snapshots, &case);
            // What is small beside the weight that it is added to has fewer digits in the golden file.
            assert!(double < 1e-11, "{case}: {double}");
            assert!(float < 2e-6, "{case}: {float}");
        }
    }
}

#[test]
fn networks_have_as_many_parameters_as_published() {
    let size = |architecture, snapshots| {
        let predictor = Predictor::untrained(architecture, snapshots, &[3], 0);
        let network = predictor.for_snapshots(snapshots).unwrap().of(OperationType::Convolution);
        let parameters = network.parameters();
        let layers = parameters.iter().filter(|(name, _)| name.ends_with(".kernel")).count();
        (layers, parameters.iter().map(|(_, parameter)| parameter.numel()).sum::<usize>())
    };
    assert_eq!(size(Architecture::Paper, 15), (15, 62_609));
    assert_eq!(size(Architecture::Wnn, 5), (13, 9_425));
}
