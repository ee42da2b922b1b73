//! Confidences at rest: one network's answer in each sample, as [`CONFIDENCES`] describes it.

use rewind_job::CONFIDENCES;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::ArtifactError;

/// Writes pairs of a sample's id and the confidence in it, in their order; the bytes are a function of the pairs.
pub fn write_confidences(confidences: &[(u32, f64)]) -> Result<Vec<u8>, ArtifactError> {
    let samples: Vec<u8> = confidences.iter().flat_map(|(sample, _)| i64::from(*sample).to_le_bytes()).collect();
    let values: Vec<u8> = confidences.iter().flat_map(|(_, confidence)| confidence.to_le_bytes()).collect();
    let view = |kind, bytes| TensorView::new(kind, vec![confidences.len()], bytes);
    let tensors = [view(Dtype::I64, &samples)?, view(Dtype::F64, &values)?];
    Ok(safetensors::serialize(CONFIDENCES.into_iter().zip(tensors), None)?)
}

/// Pairs of a sample's id and the confidence in it, in the order that they were written in.
///
/// # Errors
/// Names the tensor that is missing, of another kind, or of another length than the other.
pub fn read_confidences(bytes: &[u8]) -> Result<Vec<(u32, f64)>, ArtifactError> {
    let file = SafeTensors::deserialize(bytes)?;
    let [sample, confidence] = CONFIDENCES;
    let samples = eight_bytes(&file, sample, Dtype::I64)?.into_iter().map(i64::from_le_bytes);
    let samples =
        samples.map(|id| u32::try_from(id).map_err(|_| refuse(sample, format!("holds {id}, which is no id"))));
    let samples = samples.collect::<Result<Vec<u32>, _>>()?;
    let values = eight_bytes(&file, confidence, Dtype::F64)?;
    if samples.len() != values.len() {
        return Err(refuse(confidence, format!("has {} values for {} samples", values.len(), samples.len())));
    }
    Ok(samples.into_iter().zip(values.into_iter().map(f64::from_le_bytes)).collect())
}

fn eight_bytes(file: &SafeTensors, name: &str, kind: Dtype) -> Result<Vec<[u8; 8]>, ArtifactError> {
    let view = file.tensor(name).map_err(|_| refuse(name, "is not in the file".into()))?;
    if view.dtype() != kind {
        return Err(refuse(name, format!("is {:?}, but {kind:?} is needed", view.dtype())));
    }
    Ok(view.data().as_chunks().0.to_vec())
}

fn refuse(tensor: &str, problem: String) -> ArtifactError {
    ArtifactError::Tensor { tensor: tensor.into(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidences_survive_rest_bit_for_bit() {
        let pairs = vec![(7, 1.0 / 3.0), (0, -1e300), (u32::MAX, f64::MIN_POSITIVE)];
        let bytes = write_confidences(&pairs).expect("writes");
        assert_eq!(read_confidences(&bytes).expect("reads"), pairs);
        assert_eq!(write_confidences(&pairs).expect("writes"), bytes);
        let none = write_confidences(&[]).expect("writes");
        assert_eq!(read_confidences(&none).expect("reads"), Vec::new());
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let numbers = [0; 8];
        let file = |name: &str, kind| {
            let view = TensorView::new(kind, vec![1], &numbers).expect("fits");
            safetensors::serialize([(name, view)], None).expect("writes")
        };
        let refusal = |bytes: &[u8]| read_confidences(bytes).expect_err("refused").to_string();
        assert_eq!(refusal(&file("weights", Dtype::I64)), "tensor `sample` is not in the file");
        assert_eq!(refusal(&file("sample", Dtype::F64)), "tensor `sample` is F64, but I64 is needed");
        assert_eq!(refusal(&file("sample", Dtype::I64)), "tensor `confidence` is not in the file");
        assert!(read_confidences(b"nothing").is_err());
    }
}
