//! The file that rewind-predictor reads.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use rewind_job::OperationType;
use safetensors::{Dtype, View};
use serde::Serialize;

use crate::{KerasError, Network, weights::Dense};

#[derive(Serialize)]
struct Metadata {
    version: u32,
    architecture: &'static str,
    snapshots: BTreeMap<usize, Card>,
}

#[derive(Serialize)]
struct Card {
    horizons: [u32; 1],
}

/// A `paper` predictor of one network an operation type, for the horizon `U` that they were trained for. Equal networks
/// give equal bytes.
///
/// # Errors
/// The networks read different numbers of snapshots.
pub fn to_bytes<'n>(network: impl Fn(OperationType) -> &'n Network, horizon: u32) -> Result<Vec<u8>, KerasError> {
    let snapshots = network(OperationType::Convolution).snapshots();
    if OperationType::ALL.into_iter().any(|operation| network(operation).snapshots() != snapshots) {
        let found =
            OperationType::ALL.map(|operation| format!("{} {}", operation.name(), network(operation).snapshots()));
        return Err(KerasError::MixedSnapshots { found: found.to_vec() });
    }
    let mut tensors = Vec::new();
    for operation in OperationType::ALL {
        for (name, layer) in network(operation).layers() {
            let name = format!("k{snapshots}.{}.{name}", operation.name());
            tensors.push((format!("{name}.kernel"), kernel(layer)));
            tensors.push((format!("{name}.bias"), Float32 { shape: vec![layer.outputs], values: layer.bias.clone() }));
        }
    }
    let card = Card { horizons: [horizon] };
    let metadata = Metadata { version: 1, architecture: "paper", snapshots: BTreeMap::from([(snapshots, card)]) };
    let metadata = serde_json::to_string(&metadata).expect("numbers and names are always JSON");
    Ok(safetensors::serialize(tensors, Some(HashMap::from([("predictor".to_owned(), metadata)])))?)
}

/// `[inputs, outputs]` → `[outputs, inputs]`.
fn kernel(layer: &Dense) -> Float32 {
    let column = |output| layer.kernel[output..].iter().step_by(layer.outputs).copied();
    Float32 { shape: vec![layer.outputs, layer.inputs], values: (0..layer.outputs).flat_map(column).collect() }
}

struct Float32 {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl View for Float32 {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}
