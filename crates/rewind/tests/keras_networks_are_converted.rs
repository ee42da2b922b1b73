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
