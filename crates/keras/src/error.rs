/// Why a file is not the published network. Names the layer or dataset where there is one.
#[derive(Debug, thiserror::Error)]
pub enum KerasError {
    #[error("not an HDF5 file; `model.save_weights(\"network.weights.h5\")` of Keras writes one")]
    NotHdf5,
    #[error("too large for a predictor: {bytes} bytes, at most {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("failed to read {place}: {reason}")]
    Damaged { place: String, reason: String },
    #[error(
        "neither the weights nor the whole of a Keras model: there is no attribute `layer_names` and no group `layers`"
    )]
    NotKeras,
    #[error("`{dataset}` holds {found}, expected float32 or float64")]
    ElementType { dataset: String, found: String },
    #[error("`{dataset}` has shape {found:?}: neither the kernel of a Dense layer nor its bias")]
    NotDense { dataset: String, found: Vec<usize> },
    #[error("`{dataset}` has no bias beside it")]
    NoBias { dataset: String },
    #[error("`{dataset}` has no kernel beside it")]
    NoKernel { dataset: String },
    #[error("`{dataset}` has shape {found:?}, but the kernel `{kernel}` gives {outputs} outputs")]
    BiasShape { dataset: String, found: Vec<usize>, kernel: String, outputs: usize },
    #[error("`{dataset}` holds values that are not finite")]
    NotFinite { dataset: String },

    #[error("`{dataset}` has shape [{inputs}, {outputs}], which no layer of the published network has")]
    UnknownShape { dataset: String, inputs: usize, outputs: usize },
    #[error("{expected} layers of shape {shape} are needed, found {}{}", found.len(), list(found))]
    LayerCount { shape: String, expected: usize, found: Vec<String> },
    #[error(
        "`{first}` reads {first_inputs} values and `{second}` {second_inputs}: \
         one must read K snapshots, the other their K - 1 differences"
    )]
    Snapshots { first: String, first_inputs: usize, second: String, second_inputs: usize },
    #[error("`{text}` is no order of shift, scale and gate; write for example gate,scale,shift")]
    BlockOrder { text: String },

    #[error("the networks are not of one kind: {}", .found.join(", "))]
    MixedNetworks { found: Vec<String> },
    #[error("the networks read different numbers of snapshots: {}", .found.join(", "))]
    MixedSnapshots { found: Vec<String> },
    #[error("failed to write safetensors: {0}")]
    AtRest(#[from] safetensors::SafeTensorError),
}

fn list(names: &[String]) -> String {
    match names.is_empty() {
        true => String::new(),
        false => format!(": `{}`", names.join("`, `")),
    }
}
