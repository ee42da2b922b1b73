//! Predictors that version 0.1 wrote (tests/kept/0.1/predictors of the workspace) go on meaning what they meant, or are
//! refused with what to do.

#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, path::PathBuf};

use rewind_job::OperationType;
use rewind_predictor::{Architecture, Direction, Predictor, Statistics};
use safetensors::SafeTensors;
use serde_json::Value;
use tch::Tensor;

fn kept(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/kept/0.1/predictors"));
    std::fs::read(folder.join(name)).unwrap()
}

/// Largest difference to what version 0.1 answered, relative to the largest of its answers.
fn error_of(predictor: &Predictor, operation: OperationType) -> f64 {
    let document: Value = serde_json::from_slice(&kept("paper-trained.json")).unwrap();
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let windows: Vec<f32> =
        document["windows"].as_array().unwrap().iter().flat_map(numbers).map(|value| value as f32).collect();
    let networks = predictor.for_snapshots(2).unwrap();
    networks.check_horizon(Direction::Past, 1).unwrap();
    let answer =
        networks.of(operation).residual(&Tensor::from_slice(&windows).view([-1, 2]), &Statistics::default(), 1);
    let expected = numbers(&document["residuals"][operation.name()]);
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let found = Vec::<f32>::try_from(answer).unwrap();
    let differences = found.iter().zip(&expected).map(|(&found, expected)| (f64::from(found) - expected).abs());
    differences.fold(0.0, f64::max) / largest
}

#[test]
fn a_trained_paper_predictor_answers_as_it_was_trained() {
    let bytes = kept("paper-trained.safetensors");
    let predictor = Predictor::from_bytes(&bytes).unwrap();
    assert_eq!(predictor.architecture(), Architecture::Paper);
    for operation in OperationType::ALL {
        assert!(error_of(&predictor, operation) < 2e-6, "{operation:?}");
    }
    assert!(predictor.to_bytes().unwrap() == bytes, "and is written as it was read");
}

#[test]
fn read_in_the_published_order_it_would_answer_otherwise() {
    let bytes = kept("paper-trained.safetensors");
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let document = &header.metadata().as_ref().unwrap()["predictor"];
    let ordered = document.replacen("\"training\":", "\"differences\":\"older-minus-newer\",\"training\":", 1);
    assert_ne!(*document, ordered);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let metadata = HashMap::from([("predictor".to_owned(), ordered)]);
    let changed = safetensors::serialize(file.tensors(), Some(metadata)).unwrap();
    for operation in OperationType::ALL {
        assert!(error_of(&Predictor::from_bytes(&changed).unwrap(), operation) > 0.1, "{operation:?}");
    }
}

#[test]
fn a_converted_paper_predictor_is_to_be_converted_again() {
    let error = Predictor::from_bytes(&kept("paper-converted.safetensors")).unwrap_err().to_string();
    assert_eq!(
        error,
        "the networks for 2 snapshots have no `differences` and no `training`: version 0.1 converted them, and read \
         `paper` with the wrong sign; convert the .h5 files again (rewind predictor convert)"
    );
}

#[test]
fn a_wnn_predictor_is_to_be_trained_again() {
    let error = Predictor::from_bytes(&kept("wnn-trained.safetensors")).unwrap_err().to_string();
    assert_eq!(
        error,
        "the networks for 2 snapshots have no `differences`: they are of version 0.1, whose `wnn` was not the \
         published network; train them again"
    );
}
