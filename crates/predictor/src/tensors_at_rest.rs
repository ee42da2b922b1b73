//! Tensors and one metadata document, as safetensors.

use std::collections::HashMap;
use std::path::Path;

use safetensors::{
    Dtype, SafeTensorError, SafeTensors,
    tensor::{Metadata, TensorView},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tch::{Device, Kind, Tensor};

use crate::PredictorError;

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, PredictorError> {
    std::fs::read(path).map_err(|source| PredictorError::Read { path: path.to_owned(), source })
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), PredictorError> {
    std::fs::write(path, bytes).map_err(|source| PredictorError::Write { path: path.to_owned(), source })
}

/// The bytes of a safetensors file. All metadata stands as JSON under the single key `key`: the format keeps no order
/// among keys, and equal content shall give equal bytes.
pub(crate) fn to_bytes(
    key: &'static str,
    metadata: &impl Serialize,
    tensors: &[(String, Tensor)],
) -> Result<Vec<u8>, PredictorError> {
    let document =
        serde_json::to_string(metadata).map_err(|e| PredictorError::BadMetadata { key, reason: e.to_string() })?;
    let data: Vec<Vec<u8>> = tensors.iter().map(|(_, tensor)| bytes_of(tensor)).collect();
    let mut views = Vec::new();
    for ((name, tensor), data) in tensors.iter().zip(&data) {
        let shape = tensor.size().into_iter().map(|size| size as usize).collect();
        views.push((name, TensorView::new(Dtype::F32, shape, data)?));
    }
    Ok(safetensors::serialize(views, Some(HashMap::from([(key.to_owned(), document)])))?)
}

/// The metadata document of a safetensors file, which must have this `version`.
pub(crate) fn metadata<M: DeserializeOwned>(
    key: &'static str,
    bytes: &[u8],
    version: u32,
) -> Result<M, PredictorError> {
    open(bytes)?;
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let document =
        header.metadata().as_ref().and_then(|map| map.get(key)).ok_or(PredictorError::MissingMetadata { key })?;
    let bad = |e: serde_json::Error| PredictorError::BadMetadata { key, reason: e.to_string() };
    let Version { version: found } = serde_json::from_str(document).map_err(bad)?;
    if found != version {
        let reason = format!("version {found} of the format, this program reads {version}");
        return Err(PredictorError::BadMetadata { key, reason });
    }
    serde_json::from_str(document).map_err(bad)
}

/// A safetensors file whose tensors lie within it.
///
/// The library adds the end of the last tensor to the header's length: where that is beyond all numbers it panics, or
/// takes the file for whole.
pub(crate) fn open(bytes: &[u8]) -> Result<SafeTensors<'_>, SafeTensorError> {
    let length = bytes.first_chunk().and_then(|length| usize::try_from(u64::from_le_bytes(*length)).ok());
    let header = length.and_then(|length| bytes.get(8..)?.get(..length));
    let header = header.and_then(|header| serde_json::from_slice::<Metadata>(header).ok());
    if header.is_some_and(|header| header.data_len() > bytes.len()) {
        return Err(SafeTensorError::MetadataIncompleteBuffer);
    }
    SafeTensors::deserialize(bytes)
}

/// A float32 tensor of a safetensors file, on the CPU.
pub(crate) fn tensor(file: &SafeTensors, name: &str) -> Result<Tensor, PredictorError> {
    let view = file.tensor(name).map_err(|_| PredictorError::MissingTensor { name: name.to_owned() })?;
    if view.dtype() != Dtype::F32 {
        return Err(PredictorError::TensorType {
            name: name.to_owned(),
            found: format!("{:?}", view.dtype()),
            expected: "F32",
        });
    }
    // Beside a side of 0 the format lets the others be anything.
    let shape: Option<Vec<i64>> = view.shape().iter().map(|&size| i64::try_from(size).ok()).collect();
    let possible = |shape: &Vec<i64>| shape.iter().try_fold(1_i64, |all, &side| all.checked_mul(side.max(1))).is_some();
    let Some(shape) = shape.filter(possible) else {
        return Err(PredictorError::ImpossibleShape { name: name.to_owned(), shape: view.shape().to_vec() });
    };
    let tensor = Tensor::from_data_size(view.data(), &shape, Kind::Float);
    if tensor.numel() > 0 && tensor.isfinite().all().int64_value(&[]) == 0 {
        return Err(PredictorError::NotFinite { name: name.to_owned() });
    }
    Ok(tensor)
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut bytes = vec![0; tensor.numel() * 4];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}
