//! The paper's network against Python's torch: tests/golden/paper_network.{py,safetensors} of the workspace.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use rewind_job::OperationType;
use rewind_predictor::{Architecture, Network, Predictor};
use safetensors::SafeTensors;
use tch::{Kind, Tensor};

fn golden() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/paper_network.safetensors")).unwrap()
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

fn network(file: &SafeTensors, snapshots: usize, kind: Kind) -> Network {
    Network::from_parameters(Architecture::Paper, snapshots, &format!("k{snapshots}."), |name| {
        Ok(tensor(file, name).to_kind(kind))
    })
    .unwrap()
}

#[test]
fn agrees_with_torch_in_both_precisions() {
    let bytes = golden();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for snapshots in [5, 15] {
        let trajectory = tensor(&file, &format!("k{snapshots}.trajectory"));
        let expected = tensor(&file, &format!("k{snapshots}.residual"));

        let double = network(&file, snapshots, Kind::Double).residual(
            &trajectory.to_kind(Kind::Double),
            &rewind_predictor::Statistics::default(),
            3,
        );
        let float =
            network(&file, snapshots, Kind::Float).residual(&trajectory, &rewind_predictor::Statistics::default(), 3);
        assert!(relative_error(&double, &expected) < 1e-12);
        // Rounding alone: 4e-7 at K = 5 and 8e-7 at K = 15 with AVX-512; other kernels round elsewhere.
        assert!(relative_error(&float, &expected) < 2e-6);
    }
}

#[test]
fn has_as_many_parameters_as_published() {
    let predictor = Predictor::untrained(Architecture::Paper, 15, &[3], 0);
    let network = predictor.for_snapshots(15).unwrap().of(OperationType::Convolution);
    assert_eq!(network.parameters().iter().map(|(_, p)| p.numel()).sum::<usize>(), 62_609);
}
