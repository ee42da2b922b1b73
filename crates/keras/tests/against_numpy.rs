//! Files that h5py writes, converted, against NumPy's answers; and files that are not what they should be.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use proptest::prelude::*;
use rewind_hostile_bytes::Parser;
use rewind_job::OperationType;
use rewind_keras::{DRIFTS, Figures, Network, Published, read_network, to_bytes};
use rewind_predictor::{Architecture, Direction, Predictor, Statistics};
use serde_json::Value;
use tch::{Kind, Tensor};

/// The folder that tests/keras_files.py has filled.
fn files() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = here.join("../../.python");
        let script = here.join("tests/keras_files.py");
        let out = Command::new("python3").arg(script).arg(folder.path()).env("PYTHONPATH", python).output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "h5py is installed by `scripts/setup --for test`:\n{error}");
        folder
    });
    folder.path()
}

fn bytes(file: &str) -> Vec<u8> {
    std::fs::read(files().join(file)).unwrap()
}

fn cases() -> Value {
    serde_json::from_slice(&bytes("cases.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn converted(case: &Value) -> Vec<u8> {
    let order = case["order"].as_str().map(|order| order.parse().unwrap());
    let network = Network::from_keras(bytes(case["file"].as_str().unwrap()), order).unwrap();
    to_bytes(|_| &network, network.published().horizon()).unwrap()
}

fn relative_error(found: &Tensor, expected: &[f64]) -> f64 {
    let expected = Tensor::from_slice(expected);
    ((found.to_kind(Kind::Double) - &expected).abs().max() / expected.abs().max()).double_value(&[])
}

#[test]
fn converted_networks_answer_as_numpy_does() {
    let cases = cases();
    let mut seen = BTreeSet::new();
    for case in cases["cases"].as_array().unwrap() {
        let snapshots = case["snapshots"].as_u64().unwrap() as usize;
        let windows = cases["windows"][case["windows"].as_str().unwrap()].as_array().unwrap();
        let window = Tensor::from_slice(&windows.iter().flat_map(numbers).collect::<Vec<_>>());
        let window = window.view([windows.len() as i64, snapshots as i64]);
        let expected = numbers(&case["residuals"]);

        let predictor = Predictor::from_bytes(&converted(case)).unwrap();
        assert_eq!(predictor.snapshots().collect::<Vec<_>>(), [snapshots]);
        let networks = predictor.for_snapshots(snapshots).unwrap();
        let (architecture, direction, horizon) = match case["network"].as_str().unwrap() {
            "InvWNN" => (Architecture::Paper, Direction::Past, 3),
            _ => (Architecture::Wnn, Direction::Future, 5),
        };
        seen.insert(architecture.name());
        assert_eq!(predictor.architecture(), architecture, "{}", case["file"]);
        networks.check_horizon(direction, horizon).unwrap();
        for operation in OperationType::ALL {
            let network = networks.of(operation);
            let float =
                relative_error(&network.residual(&window.to_kind(Kind::Float), &Statistics::default(), 3), &expected);
            // Rounding alone, as in the golden test of rewind-predictor.
            assert!(float < 2e-6, "{}: {float}", case["file"]);
            let double = rewind_predictor::Network::from_parameters(predictor.architecture(), snapshots, "", |name| {
                let (_, tensor) = network.parameters().iter().find(|(parameter, _)| parameter == name).unwrap();
                Ok(tensor.to_kind(Kind::Double))
            });
            let double = relative_error(&double.unwrap().residual(&window, &Statistics::default(), 3), &expected);
            assert!(double < 1e-12, "{}: {double}", case["file"]);
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["paper", "wnn"]);
}

#[test]
fn figures_tell_which_way_a_network_looks() {
    for case in cases()["cases"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let order = case["order"].as_str().map(|order| order.parse().unwrap());
        let figures = Network::from_keras(bytes(file), order).unwrap().figures();
        let wrong_way = ["walks-forward.h5", "wnn-walks-back.h5", "wnn-constant.h5"].contains(&file);
        assert_eq!(figures.look_the_right_way(), !wrong_way, "{file}: {figures:?}");
    }
}

/// A drift up alone would not tell: both are ahead of it.
#[test]
fn a_network_that_answers_alike_whichever_way_a_weight_drifts_looks_no_way() {
    for file in ["wnn-constant.h5", "wnn-other-order.h5"] {
        let figures = Network::from_keras(bytes(file), None).unwrap().figures();
        let Figures::Ahead { drifts_ahead, down_ahead, .. } = figures else { panic!("{file}: {figures:?}") };
        assert!(drifts_ahead[DRIFTS.len() - 1] > 0.0 && down_ahead < 0.0, "{file}: {figures:?}");
        assert!(!figures.look_the_right_way(), "{file}: {figures:?}");
    }
    let order = Some("gate,scale,shift".parse().unwrap());
    assert!(Network::from_keras(bytes("wnn-other-order.h5"), order).unwrap().figures().look_the_right_way());
}

/// The same figures from the network that is run: an even drift, small beside weights.
#[test]
fn figures_are_those_of_the_predictor_that_is_written() {
    let even = |snapshots: usize, drift: f64| {
        let values: Vec<f64> = (0..snapshots).map(|k| drift * k as f64 / (snapshots - 1) as f64).collect();
        Tensor::from_slice(&values).view([1, snapshots as i64])
    };
    for file in ["contiguous.h5", "walks-forward.h5", "wnn.h5", "wnn-walks-back.h5", "wnn-constant.h5"] {
        let keras = Network::from_keras(bytes(file), None).unwrap();
        let snapshots = keras.snapshots();
        let written = to_bytes(|_| &keras, 3).unwrap();
        let predictor = Predictor::from_bytes(&written).unwrap();
        let parameters = predictor.for_snapshots(snapshots).unwrap().of(OperationType::Bias).parameters();
        let network = rewind_predictor::Network::from_parameters(predictor.architecture(), snapshots, "", |name| {
            Ok(parameters.iter().find(|(parameter, _)| parameter == name).unwrap().1.to_kind(Kind::Double))
        });
        let network = network.unwrap();
        let residual = |drift| network.residual(&even(snapshots, drift), &Statistics::default(), 3).double_value(&[0]);
        let close =
            |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-6, "{file}: {found} {expected}");
        match keras.figures() {
            Figures::Back { lambda, .. } => close(lambda, (residual(-1e-4) - residual(1e-4)) / 2e-4),
            Figures::Ahead { drifts_ahead, down_ahead, .. } => {
                close(down_ahead, residual(-1e-3) / -1e-3);
                for (found, drift) in drifts_ahead.into_iter().zip(DRIFTS) {
                    close(found, residual(drift) / drift);
                }
            }
        }
        // What is read back from the file at rest is what was converted.
        let at_rest = safetensors::SafeTensors::deserialize(&written).unwrap();
        for operation in OperationType::ALL {
            let order = if keras.published() == Published::InvWnn { "older-minus-newer" } else { "newer-minus-older" };
            let read = read_network(&at_rest, keras.published(), snapshots, operation, Some(order)).unwrap();
            assert_eq!(read.figures(), keras.figures(), "{file}");
        }
        assert_eq!(read_network(&at_rest, keras.published(), snapshots + 1, OperationType::Bias, None), None);
    }
}

#[test]
fn what_is_written_is_what_the_predictor_would_write() {
    let bytes = converted(&cases()["cases"][0]);
    assert!(Predictor::from_bytes(&bytes).unwrap().to_bytes().unwrap() == bytes);
}

#[test]
fn networks_of_different_snapshots_do_not_go_into_one_predictor() {
    let [long, short] = ["contiguous.h5", "k5.h5"].map(|file| Network::from_keras(bytes(file), None).unwrap());
    let error = to_bytes(|operation| if operation == OperationType::Bias { &short } else { &long }, 3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the networks read different numbers of snapshots: convolution 15, fully-connected 15, bias 5"
    );
}

#[test]
fn networks_that_look_back_and_ahead_do_not_go_into_one_predictor() {
    let [back, ahead] = ["k5.h5", "wnn.h5"].map(|file| Network::from_keras(bytes(file), None).unwrap());
    let error = to_bytes(|operation| if operation == OperationType::Bias { &ahead } else { &back }, 3).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the networks are not of one kind: convolution InvWNN, fully-connected InvWNN, bias WNN"
    );
}

#[test]
fn bad_files_name_the_place() {
    for (file, expected) in [
        ("missing", "failed to read dense_0/dense_0/kernel:0"),
        (
            "shape",
            "`dense_1/dense_1/bias:0` has shape [128], but the kernel `dense_1/dense_1/kernel:0` gives 7 outputs",
        ),
        ("bias", "`dense_6/dense_6/bias:0` has shape [65], but the kernel `dense_6/dense_6/kernel:0` gives 64 outputs"),
        ("snapshots", "`dense_0/dense_0/kernel:0` reads 15 values and `dense_7/dense_7/kernel:0` 12"),
        ("integers", "`dense_1/dense_1/kernel:0` holds i32, expected float32 or float64"),
        ("infinite", "`dense_1/dense_1/bias:0` holds values that are not finite"),
        ("rank", "`dense_1/dense_1/kernel:0` has shape [3, 3, 128, 128]: neither"),
        ("huge", "`dense_1/dense_1/kernel:0` has shape [1099511627776, 128]: neither"),
        ("other-network", "2 layers of shape [K or K - 1, 128] are needed, found 1: `dense_0/dense_0/kernel:0`"),
        ("both", "`dense_0/dense_0/kernel:0` has shape [15, 128], which no layer of the published network has"),
        ("not-keras", "neither the weights nor the whole of a Keras model"),
    ] {
        let error = Network::from_keras(bytes(&format!("bad-{file}.h5")), None).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{file}: {error}");
    }
    for bytes in [b"PK".to_vec(), Vec::new()] {
        assert!(Network::from_keras(bytes, None).unwrap_err().to_string().starts_with("not an HDF5 file; "));
    }
}

#[test]
fn a_file_that_lacks_its_last_byte_is_refused() {
    for file in WHOLE {
        let mut bytes = bytes(file);
        bytes.pop();
        let error = Network::from_keras(bytes, None).unwrap_err().to_string();
        assert!(error.contains("truncated"), "{file}: {error}");
    }
}

const WHOLE: [&str; 5] =
    ["gzip.h5", "newest-format.h5", "new-weights-gzip.h5", "whole-model-keras-3.h5", "wnn-gzip.h5"];

#[test]
fn spoilt_files_are_refused_or_converted_in_bounded_time_and_memory() {
    Parser::of("Keras files").cases(800).memory(32 << 20).run(&WHOLE.map(bytes), |bytes| {
        let network = Network::from_keras(bytes.to_vec(), None).map_err(|error| error.to_string())?;
        to_bytes(|_| &network, 3).map(drop).map_err(|error| error.to_string())
    });
}

fn damaged_file() -> impl Strategy<Value = (PathBuf, prop::sample::Index, Vec<(prop::sample::Index, u8)>)> {
    let file = prop::sample::select(WHOLE.to_vec());
    let flips = prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..40);
    (file.prop_map(|file| files().join(file)), any::<prop::sample::Index>(), flips)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn truncated_files_are_refused((file, end, _) in damaged_file()) {
        let mut bytes = std::fs::read(file).unwrap();
        bytes.truncate(end.index(bytes.len()));
        prop_assert!(Network::from_keras(bytes, None).is_err());
    }

    #[test]
    fn damaged_files_never_panic((file, _, flips) in damaged_file()) {
        let mut bytes = std::fs::read(file).unwrap();
        for (place, flip) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
        }
        // What stays a network has finite values; anything else is an error.
        if let Ok(network) = Network::from_keras(bytes, None) {
            prop_assert!(to_bytes(|_| &network, 3).is_ok());
        }
    }
}
