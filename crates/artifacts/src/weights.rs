//! Whole weights at rest: one tensor a segment, under the network's names; what users bring and take away.

use std::collections::BTreeMap;

use rewind_job::Layout;
use safetensors::Dtype;

use crate::{
    ArtifactError,
    tensors::{Float32, float32, open_safetensors, serialize},
};

/// Buffers by name: shape and values.
pub type Buffers = BTreeMap<String, (Vec<i64>, Vec<f32>)>;

/// Writes weights (`[P]`) and buffers as safetensors; the bytes are a function of the arguments.
///
/// # Errors
/// Names the segment or buffer whose values do not fill its shape.
pub fn write_weights(
    layout: &Layout,
    weights: &[f32],
    buffers: &Buffers,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, ArtifactError> {
    let sizes = |shape: &[i64]| shape.iter().map(|&side| side as usize).collect();
    let mut tensors = Vec::new();
    for s in &layout.segments {
        let values = weights.get(s.offset..s.offset + s.len()).ok_or_else(|| ArtifactError::Tensor {
            tensor: s.name.clone(),
            problem: format!("of shape {:?} does not fit into {} weights", s.shape, weights.len()),
        })?;
        tensors.push((s.name.clone(), Float32 { shape: sizes(&s.shape), values }));
    }
    for (name, (shape, values)) in buffers {
        if shape.iter().product::<i64>() != values.len() as i64 {
            let problem = format!("has shape {shape:?}, but {} values", values.len());
            return Err(ArtifactError::Tensor { tensor: name.clone(), problem });
        }
        tensors.push((name.clone(), Float32 { shape: sizes(shape), values }));
    }
    serialize(tensors, metadata)
}

/// Reads weights (`[P]`) by the names and shapes of `layout`; every other float32 tensor is a buffer.
///
/// # Errors
/// Names the tensor that is missing, and both shapes of one that does not fit.
pub fn read_weights(bytes: &[u8], layout: &Layout) -> Result<(Vec<f32>, Buffers), ArtifactError> {
    let file = open_safetensors(bytes)?;
    let mut weights = Vec::with_capacity(layout.coordinates());
    for segment in &layout.segments {
        let (shape, values) = float32(&file, &segment.name)?;
        if shape != segment.shape {
            return Err(ArtifactError::Tensor {
                tensor: segment.name.clone(),
                problem: format!("has shape {shape:?}, but the model's is {:?}", segment.shape),
            });
        }
        weights.extend(values);
    }
    let is_parameter = |name: &str| layout.segments.iter().any(|segment| segment.name == name);
    let mut buffers = Buffers::new();
    for name in file.names() {
        // Counters such as num_batches_tracked are of another kind, and not needed.
        let is_float32 = file.tensor(name).is_ok_and(|tensor| tensor.dtype() == Dtype::F32);
        if is_float32 && !is_parameter(name) {
            buffers.insert(name.to_owned(), float32(&file, name)?);
        }
    }
    Ok((weights, buffers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_back_and_misfits_are_named() {
        let layout = Layout::new([("a.weight".into(), vec![2, 2]), ("a.bias".into(), vec![2])]);
        let buffers = Buffers::from([("bn.running_mean".into(), (vec![1], vec![0.5]))]);
        let bytes = write_weights(&layout, &[1., 2., 3., 4., 5., 6.], &buffers, &BTreeMap::new()).expect("writes");
        let (weights, read) = read_weights(&bytes, &layout).expect("reads");
        assert_eq!((weights, read), (vec![1., 2., 3., 4., 5., 6.], buffers));

        let refusal = |layout: Layout| read_weights(&bytes, &layout).expect_err("refused").to_string();
        let other = Layout::new([("a.weight".into(), vec![4, 1])]);
        assert_eq!(refusal(other), "tensor `a.weight` has shape [2, 2], but the model's is [4, 1]");
        assert_eq!(refusal(Layout::new([("b".into(), vec![1])])), "tensor `b` is not in the file");
        assert!(read_weights(b"not safetensors", &layout).is_err());
        assert!(read_weights(&bytes[..bytes.len() - 1], &layout).is_err());
    }

    #[test]
    fn values_that_do_not_fill_their_shapes_are_named() {
        let layout = Layout::new([("a.weight".into(), vec![2, 2]), ("a.bias".into(), vec![2])]);
        let refusal = |weights: &[f32], buffers: &Buffers| {
            write_weights(&layout, weights, buffers, &BTreeMap::new()).expect_err("refused").to_string()
        };
        assert_eq!(refusal(&[0.0; 5], &Buffers::new()), "tensor `a.bias` of shape [2] does not fit into 5 weights");
        let short = Buffers::from([("bn.running_mean".into(), (vec![3], vec![0.5]))]);
        assert_eq!(refusal(&[0.0; 6], &short), "tensor `bn.running_mean` has shape [3], but 1 values");
    }
}
