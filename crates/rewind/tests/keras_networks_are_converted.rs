//! Networks as Keras stores them become predictors, or the error names the file and the place in it.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use serde_json::Value;

/// A network that h5py has written.
fn keras(name: &str) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut python = Command::new("python3");
        python.arg(repository.join("crates/keras/tests/keras_files.py")).arg(folder.path());
        let output = python.env("PYTHONPATH", repository.join(".python")).output().unwrap();
        assert!(output.status.success(), "run scripts/setup --for test: {}", said(&output.stderr));
        folder
    });
    folder.path().join(name)
}

fn predictor(command: &str, arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rewind")).args(["predictor", command]).args(arguments).output().unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn one_network_serves_every_operation_type() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("paper.safetensors");
    let file = keras("contiguous.h5");
    let converted = predictor("convert", &[&file, "--horizon".as_ref(), "4".as_ref(), "--out".as_ref(), &out]);
    assert!(converted.status.success(), "{}", said(&converted.stderr));
    assert_eq!(said(&converted.stderr), "");
    let text = said(&converted.stdout);
    for operation in ["convolution", "fully-connected", "bias"] {
        assert!(text.contains(&format!("{operation:<16} {}: K = 15; ", file.display())), "{text}");
    }
    let card: Value = serde_json::from_slice(&predictor("show", &[&out, "--json".as_ref()]).stdout).unwrap();
    assert_eq!(card["architecture"], "paper");
    assert_eq!(card["snapshots"]["15"]["horizons"], serde_json::json!([4]));
}

#[test]
fn each_layer_comes_with_the_path_of_its_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("paper.safetensors");
    let file = keras("whole-model-keras-2.h5");
    let converted = predictor("convert", &[&file, "--json".as_ref(), "--out".as_ref(), &out]);
    let found: Value = serde_json::from_slice(&converted.stdout).unwrap();
    let layers = &found["networks"][0]["layers"];
    assert_eq!(layers["weights_stream.dense1"], "model_weights/dense_0/dense_0/kernel:0");
}

#[test]
fn an_order_that_was_guessed_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("paper.safetensors");
    let file = keras("own-block.h5");
    let guessed = predictor("convert", &[&file, "--out".as_ref(), &out]);
    assert!(guessed.status.success());
    let warning = said(&guessed.stderr);
    assert!(warning.contains("own-block.h5") && warning.contains("--block-order"), "{warning}");
    let order = ["--block-order".as_ref(), "shift,scale,gate".as_ref()];
    let told = predictor("convert", &[&file, order[0], order[1], "--out".as_ref(), &out]);
    assert!(told.status.success() && told.stderr.is_empty(), "{}", said(&told.stderr));
}

#[test]
fn a_network_that_walks_the_wrong_way_is_refused_by_its_operation_type() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("paper.safetensors");
    let (good, forward) = (keras("contiguous.h5"), keras("walks-forward.h5"));
    let arguments: [&Path; 5] = [&good, "--bias".as_ref(), &forward, "--out".as_ref(), &out];
    let refused = predictor("convert", &arguments);
    assert_eq!(refused.status.code(), Some(1));
    let error = said(&refused.stderr);
    assert!(error.contains("walks-forward.h5: the network for bias does not look back"), "{error}");
    assert!(error.contains("λ -") && error.contains("--accept-wrong-way"), "{error}");
    assert!(!error.contains("convolution"), "{error}");
    assert!(!out.exists());

    let accepted = predictor("convert", &[&arguments[..], &["--accept-wrong-way".as_ref()]].concat());
    assert!(accepted.status.success(), "{}", said(&accepted.stderr));
    let warning = said(&accepted.stderr);
    assert!(warning.contains("warning: ") && warning.contains("the network for bias does not look back"), "{warning}");
    let lines = said(&accepted.stdout);
    let lambda = |operation: &str| {
        let line = lines.lines().find(|line| line.starts_with(operation)).unwrap();
        line.split("λ ").nth(1).unwrap().split(';').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(lambda("convolution") > 0.0 && lambda("fully-connected") > 0.0 && lambda("bias") < 0.0, "{lines}");
    // The same is seen of the predictor at rest.
    let shown = predictor("show", &[&out]);
    assert!(said(&shown.stderr).contains("the network for bias does not look back"), "{}", said(&shown.stderr));
    assert!(!said(&shown.stderr).contains("convolution"));
    for figures in lines.lines().filter_map(|line| line.split("small drift: ").nth(1)) {
        assert!(said(&shown.stdout).contains(figures), "{}", said(&shown.stdout));
    }
}

#[test]
fn networks_that_look_ahead_become_a_predictor_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("wnn.safetensors");
    let file = keras("wnn.h5");
    let converted = predictor("convert", &[&file, "--out".as_ref(), &out]);
    assert!(converted.status.success(), "{}", said(&converted.stderr));
    let text = said(&converted.stdout);
    assert!(
        text.contains("K = 5; drifts ahead: ") && text.contains(" at 1e-6, ") && text.contains(" at 1e-3"),
        "{text}"
    );
    let card: Value = serde_json::from_slice(&predictor("show", &[&out, "--json".as_ref()]).stdout).unwrap();
    assert_eq!(card["architecture"], "wnn");
    let networks = &card["snapshots"]["5"];
    assert_eq!((&networks["horizons"], &networks["direction"]), (&serde_json::json!([5]), &"future".into()));
    assert_eq!(networks["parameters"], 3 * 9_425);

    let refused = predictor("convert", &[&keras("wnn-walks-back.h5"), "--out".as_ref(), &out]);
    assert_eq!(refused.status.code(), Some(1));
    let error = said(&refused.stderr);
    assert!(error.contains("the network for convolution does not look ahead, it walks back: -"), "{error}");
}

#[test]
fn a_network_that_answers_alike_whichever_way_a_weight_drifts_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("wnn.safetensors");
    for file in ["wnn-constant.h5", "wnn-other-order.h5"].map(keras) {
        let refused = predictor("convert", &[&file, "--out".as_ref(), &out]);
        assert_eq!(refused.status.code(), Some(1));
        let error = said(&refused.stderr);
        assert!(error.contains("it answers alike whichever way a weight drifts: +"), "{error}");
        assert!(error.contains(" drifts ahead at a drift of 1e-3, -") && error.contains("--block-order"), "{error}");
        assert!(!out.exists());
    }
    let order = ["--block-order".as_ref(), "gate,scale,shift".as_ref()];
    let told = predictor("convert", &[&keras("wnn-other-order.h5"), order[0], order[1], "--out".as_ref(), &out]);
    assert!(told.status.success() && told.stderr.is_empty(), "{}", said(&told.stderr));
    // The predictor at rest is shown with both figures.
    let shown = said(&predictor("show", &[&out]).stdout);
    assert_eq!(shown.matches(" at 1e-3, +").count(), 3, "{shown}");
    assert_eq!(shown.matches(" at -1e-3; weight at rest").count(), 3, "{shown}");
}

#[test]
fn predictors_of_version_0_1_are_shown_as_what_they_are() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/kept/0.1/predictors");
    let shown = |name: &str| said(&predictor("show", &[&kept.join(name)]).stdout);
    for name in ["paper-converted.safetensors", "wnn-trained.safetensors"] {
        assert!(shown(name).contains("of version 0.1, and refused by jobs"), "{}", shown(name));
    }
    // Trained to take one drift in ten back: read as it was trained, it looks back.
    let trained = shown("paper-trained.safetensors");
    assert_eq!(trained.matches("small drift: λ +").count(), 3, "{trained}");
}

#[test]
fn an_error_names_the_file_and_the_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("paper.safetensors");
    let refused = predictor("convert", &[&keras("bad-shape.h5"), "--out".as_ref(), &out]);
    assert_eq!(refused.status.code(), Some(1));
    let error = said(&refused.stderr);
    assert!(error.contains("bad-shape.h5: `dense_1/dense_1/bias:0` has shape [128]"), "{error}");
    assert!(!out.exists());
}

#[test]
fn networks_of_different_snapshots_are_refused_with_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("paper.safetensors");
    let (long, short) = (keras("contiguous.h5"), keras("k5.h5"));
    let refused = predictor("convert", &[&long, "--bias".as_ref(), &short, "--out".as_ref(), &out]);
    assert_eq!(refused.status.code(), Some(2));
    let error = said(&refused.stderr);
    assert!(error.contains("bias 5") && error.contains("k5.h5") && error.contains("contiguous.h5"), "{error}");
}
