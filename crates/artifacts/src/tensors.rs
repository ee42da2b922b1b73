//! Plain float32 vectors in and out of safetensors.

use std::{borrow::Cow, collections::HashMap};

use safetensors::{Dtype, SafeTensors, View};

use crate::ArtifactError;

/// A float32 tensor on its way to rest.
pub struct Float32<'a> {
    pub shape: Vec<usize>,
    pub values: &'a [f32],
}

impl View for Float32<'_> {
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

/// Writes tensors; the bytes depend on nothing but the arguments.
pub fn serialize(tensors: Vec<(String, Float32)>, metadata: HashMap<String, String>) -> Result<Vec<u8>, ArtifactError> {
    Ok(safetensors::serialize(tensors, Some(metadata))?)
}

/// A tensor's shape and values.
pub fn float32(file: &SafeTensors, name: &str) -> Result<(Vec<i64>, Vec<f32>), ArtifactError> {
    let view = file
        .tensor(name)
        .map_err(|_| ArtifactError::Tensor { tensor: name.into(), problem: "is not in the file".into() })?;
    if view.dtype() != Dtype::F32 {
        return Err(ArtifactError::Tensor {
            tensor: name.into(),
            problem: format!("is {:?}, but float32 is needed", view.dtype()),
        });
    }
    let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok((view.shape().iter().map(|&side| side as i64).collect(), values))
}

/// The file's metadata.
pub fn metadata(bytes: &[u8]) -> Result<HashMap<String, String>, ArtifactError> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    Ok(metadata.metadata().clone().unwrap_or_default())
}
