//! The file that rewind-predictor reads and writes.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use rewind_job::{Direction, OperationType, PredictorArchitecture};
use safetensors::{Dtype, SafeTensors, View};
use serde::Serialize;

use crate::{
    KerasError, Network,
    network::{NARROW, Published, Stream},
    weights::Dense,
};

#[derive(Serialize)]
struct Metadata {
    version: u32,
    architecture: PredictorArchitecture,
    snapshots: BTreeMap<usize, Card>,
}

#[derive(Serialize)]
struct Card {
    horizons: [u32; 1],
    #[serde(skip_serializing_if = "Direction::is_past")]
    direction: Direction,
    differences: &'static str,
}

/// How a card calls the order of differences: that of the reversed trajectory.
const OLDER_MINUS_NEWER: &str = "older-minus-newer";
/// That of a trajectory as it went.
const NEWER_MINUS_OLDER: &str = "newer-minus-older";

/// A `paper` or `wnn` predictor of one network an operation type, for the horizon `U` that they were trained for. Equal
/// networks give equal bytes.
///
/// # Errors
/// Some networks are InvWNN and some WNN, or they read different numbers of snapshots.
pub fn to_bytes<'n>(network: impl Fn(OperationType) -> &'n Network, horizon: u32) -> Result<Vec<u8>, KerasError> {
    let of_convolutions = network(OperationType::Convolution);
    let (published, snapshots) = (of_convolutions.published(), of_convolutions.snapshots());
    if OperationType::ALL.into_iter().any(|operation| network(operation).published() != published) {
        let found =
            OperationType::ALL.map(|operation| format!("{} {}", operation.name(), network(operation).published()));
        return Err(KerasError::MixedNetworks { found: found.to_vec() });
    }
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
    let (direction, differences) = match published {
        Published::InvWnn => (Direction::Past, OLDER_MINUS_NEWER),
        Published::Wnn => (Direction::Future, NEWER_MINUS_OLDER),
    };
    let snapshots = BTreeMap::from([(snapshots, Card { horizons: [horizon], direction, differences })]);
    let metadata = Metadata { version: 1, architecture: published.architecture(), snapshots };
    let metadata = serde_json::to_string(&metadata).expect("numbers and names are always JSON");
    Ok(safetensors::serialize(tensors, Some(HashMap::from([("predictor".to_owned(), metadata)])))?)
}

/// The network for one operation type and `snapshots = K` of a `paper` or `wnn` predictor at rest; none where a tensor is
/// missing or has another shape or type. `differences` is what the card says of their order: nothing in version 0.1,
/// whose `paper` networks were trained for newer minus older.
pub fn read_network(
    file: &SafeTensors,
    published: Published,
    snapshots: usize,
    operation: OperationType,
    differences: Option<&str>,
) -> Option<Network> {
    let (wide, leaving) = (published.wide(), published.leaving());
    let dense = |name: &str, inputs: usize, outputs: usize| {
        let dataset = format!("k{snapshots}.{}.{name}", operation.name());
        let kernel = values(file, &format!("{dataset}.kernel"), &[outputs, inputs])?;
        let column = |input| kernel[input..].iter().step_by(inputs).copied();
        Some(Dense {
            layer: name.to_owned(),
            inputs,
            outputs,
            kernel: (0..inputs).flat_map(column).collect(),
            bias: values(file, &format!("{dataset}.bias"), &[outputs])?,
            dataset,
        })
    };
    let stream = |name: &str, inputs: usize| {
        let dense = |layer: &str, inputs, outputs| dense(&format!("{name}.{layer}"), inputs, outputs);
        let (before, last) = match published {
            Published::InvWnn => (Some(dense("dense2", wide, wide)?), "dense3"),
            Published::Wnn => (None, "dense2"),
        };
        Some(Stream {
            dense1: dense("dense1", inputs, wide)?,
            before,
            a_c: dense("a_c", wide, NARROW)?,
            a_shift: dense("a_shift", NARROW, wide)?,
            a_scale: dense("a_scale", NARROW, wide)?,
            a_gate: dense("a_gate", NARROW, wide)?,
            leaving: dense(last, wide, leaving)?,
        })
    };
    let between = snapshots.checked_sub(1).filter(|&between| between > 0)?;
    let streams = [stream("weights_stream", snapshots)?, stream("differences_stream", between)?];
    let negated = published == Published::InvWnn && differences != Some(OLDER_MINUS_NEWER);
    Some(Network::named(published, snapshots, negated, streams, dense("out", 2 * leaving, 1)?))
}

/// A float32 tensor of this shape.
fn values(file: &SafeTensors, name: &str, shape: &[usize]) -> Option<Vec<f32>> {
    let view = file.tensor(name).ok().filter(|view| view.dtype() == Dtype::F32 && view.shape() == shape)?;
    let (bytes, _) = view.data().as_chunks::<4>();
    Some(bytes.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
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
