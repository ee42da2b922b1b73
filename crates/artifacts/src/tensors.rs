//! Plain float32 vectors in and out of safetensors.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    io::{self, Read},
};

use rewind_job::shortened;
use safetensors::{Dtype, SafeTensorError, SafeTensors, View, tensor::Metadata};

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
pub fn serialize(
    tensors: Vec<(String, Float32)>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, ArtifactError> {
    // The library writes metadata in a hash map's order, which differs from process to process:
    // the same entries in the order of their names take the same room.
    let unordered = metadata.clone().into_iter().collect::<HashMap<_, _>>();
    let mut bytes = safetensors::serialize(tensors, Some(unordered))?;
    let ordered = serde_json::to_vec(metadata).expect("strings are always JSON");
    let start = HEADER_LENGTH + METADATA.len();
    assert_eq!(&bytes[HEADER_LENGTH..start], METADATA, "safetensors writes metadata first");
    bytes[start..start + ordered.len()].copy_from_slice(&ordered);
    Ok(bytes)
}

/// A file starts with the length of its header, little-endian.
const HEADER_LENGTH: usize = 8;
/// As the library has it.
const LARGEST_HEADER: u64 = 100_000_000;
const METADATA: &[u8] = br#"{"__metadata__":"#;

/// A safetensors file whose tensors lie within it.
///
/// The library adds the end of the last tensor to the header's length: where that is beyond all numbers it panics, or
/// takes the file for whole.
///
/// # Errors
/// Not a safetensors file.
pub fn open_safetensors(bytes: &[u8]) -> Result<SafeTensors<'_>, SafeTensorError> {
    let length = bytes.first_chunk().and_then(|length| usize::try_from(u64::from_le_bytes(*length)).ok());
    let header = length.and_then(|length| bytes.get(HEADER_LENGTH..)?.get(..length));
    let header = header.and_then(|header| serde_json::from_slice::<Metadata>(header).ok());
    if header.is_some_and(|header| header.data_len() > bytes.len()) {
        return Err(SafeTensorError::MetadataIncompleteBuffer);
    }
    SafeTensors::deserialize(bytes)
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
    let Some(shape) = possible(view.shape()) else {
        let problem = format!("has shape {:?}, which no tensor can have", view.shape());
        return Err(ArtifactError::Tensor { tensor: name.into(), problem });
    };
    let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Ok((shape, values))
}

/// A shape as libtorch has it. Beside a side of 0 the format lets the others be anything.
fn possible(shape: &[usize]) -> Option<Vec<i64>> {
    let shape: Vec<i64> = shape.iter().map(|&side| i64::try_from(side).ok()).collect::<Option<_>>()?;
    shape.iter().try_fold(1_i64, |product, &side| product.checked_mul(side.max(1)))?;
    Some(shape)
}

/// The file's metadata.
pub fn metadata(bytes: &[u8]) -> Result<HashMap<String, String>, ArtifactError> {
    open_safetensors(bytes)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    Ok(metadata.metadata().clone().unwrap_or_default())
}

/// The metadata of a safetensors file of this length, from its header alone: its tensors may be larger than memory.
///
/// # Errors
/// It cannot be read, or is no safetensors file of this length.
pub fn read_header(file: &mut impl Read, bytes: u64) -> io::Result<HashMap<String, String>> {
    let refuse = |problem: String| {
        let problem = format!("not a valid safetensors file: {}", shortened(problem));
        io::Error::new(io::ErrorKind::InvalidData, problem)
    };
    let mut length = [0; HEADER_LENGTH];
    file.read_exact(&mut length).map_err(|_| refuse("it is too short".into()))?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST_HEADER || length + HEADER_LENGTH as u64 > bytes {
        return Err(refuse("it begins with no header".into()));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| refuse(error.to_string()))?;
    let expected = (HEADER_LENGTH as u64 + length).checked_add(header.data_len() as u64);
    if expected != Some(bytes) {
        let expected = expected.map_or("more than any file has".to_owned(), |expected| expected.to_string());
        return Err(refuse(format!("it has {bytes} bytes, and should have {expected}")));
    }
    Ok(header.metadata().clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_written_in_the_order_of_its_names() {
        let entries: BTreeMap<String, String> =
            (0..20).map(|i| (format!("name {i}"), format!("\"{i}\" é\n"))).collect();
        let tensor = || vec![("weights".to_owned(), Float32 { shape: vec![1], values: &[1.0] })];
        let bytes = serialize(tensor(), &entries).expect("writes");
        for _ in 0..5 {
            assert_eq!(serialize(tensor(), &entries).expect("writes"), bytes);
        }
        assert_eq!(metadata(&bytes).expect("reads").into_iter().collect::<BTreeMap<_, _>>(), entries);
        assert_eq!(float32(&SafeTensors::deserialize(&bytes).expect("reads"), "weights").expect("reads").1, [1.0]);
    }

    #[test]
    fn a_file_cut_short_is_no_safetensors_file() {
        let tensors = vec![("weights".to_owned(), Float32 { shape: vec![2], values: &[1.0, 2.0] })];
        let bytes = serialize(tensors, &BTreeMap::from([("a".into(), "b".into())])).expect("writes");
        let read = |bytes: &[u8]| read_header(&mut &*bytes, bytes.len() as u64);
        assert_eq!(read(&bytes).expect("whole"), HashMap::from([("a".into(), "b".into())]));
        assert!(read_header(&mut &bytes[..bytes.len() - 8], bytes.len() as u64).is_ok(), "the header is enough");
        for cut in [0, 7, 20, bytes.len() - 1] {
            assert!(read(&bytes[..cut]).is_err(), "{cut} bytes");
        }
        let mut vast = bytes.clone();
        vast[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(&vast).is_err());
    }
}
