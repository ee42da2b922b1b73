//! Confidences at rest: one network's answer in each sample, as [`CONFIDENCES`] describes it.

use rewind_job::CONFIDENCES;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{ArtifactError, open_safetensors};

/// A network's answer in one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidence {
    /// Its id.
    pub sample: u32,
    /// Logit-scaled.
    pub confidence: f64,
    /// Whether it is one of `D_f`.
    pub forgotten: bool,
}

/// Writes confidences in their order; the bytes are a function of them.
pub fn write_confidences(confidences: &[Confidence]) -> Result<Vec<u8>, ArtifactError> {
    let samples: Vec<u8> = confidences.iter().flat_map(|of| i64::from(of.sample).to_le_bytes()).collect();
    let values: Vec<u8> = confidences.iter().flat_map(|of| of.confidence.to_le_bytes()).collect();
    let forgotten: Vec<u8> = confidences.iter().map(|of| u8::from(of.forgotten)).collect();
    let view = |kind, bytes| TensorView::new(kind, vec![confidences.len()], bytes);
    let tensors = [view(Dtype::I64, &samples)?, view(Dtype::F64, &values)?, view(Dtype::U8, &forgotten)?];
    Ok(safetensors::serialize(CONFIDENCES.into_iter().zip(tensors), None)?)
}

/// Confidences in the order that they were written in.
///
/// # Errors
/// Names the tensor that is missing, of another kind, or of another length than the first.
pub fn read_confidences(bytes: &[u8]) -> Result<Vec<Confidence>, ArtifactError> {
    let file = open_safetensors(bytes)?;
    let [sample, confidence, forgotten] = CONFIDENCES;
    let samples = eight_bytes(&file, sample, Dtype::I64)?.into_iter().map(i64::from_le_bytes);
    let samples =
        samples.map(|id| u32::try_from(id).map_err(|_| refuse(sample, format!("holds {id}, which is no id"))));
    let samples = samples.collect::<Result<Vec<u32>, _>>()?;
    let values = eight_bytes(&file, confidence, Dtype::F64)?;
    let flags = bytes_of(&file, forgotten, Dtype::U8)?;
    for (tensor, found) in [(confidence, values.len()), (forgotten, flags.len())] {
        if samples.len() != found {
            return Err(refuse(tensor, format!("has {found} values for {} samples", samples.len())));
        }
    }
    let all = samples.into_iter().zip(values).zip(flags);
    Ok(all
        .map(|((sample, value), &flag)| Confidence {
            sample,
            confidence: f64::from_le_bytes(value),
            forgotten: flag == 1,
        })
        .collect())
}

fn eight_bytes(file: &SafeTensors, name: &str, kind: Dtype) -> Result<Vec<[u8; 8]>, ArtifactError> {
    Ok(bytes_of(file, name, kind)?.as_chunks().0.to_vec())
}

fn bytes_of<'a>(file: &SafeTensors<'a>, name: &str, kind: Dtype) -> Result<&'a [u8], ArtifactError> {
    let view = file.tensor(name).map_err(|_| refuse(name, "is not in the file".into()))?;
    if view.dtype() != kind {
        return Err(refuse(name, format!("is {:?}, but {kind:?} is needed", view.dtype())));
    }
    Ok(view.data())
}

fn refuse(tensor: &str, problem: String) -> ArtifactError {
    ArtifactError::Tensor { tensor: tensor.into(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidences_survive_rest_bit_for_bit() {
        let of = |(sample, confidence, forgotten)| Confidence { sample, confidence, forgotten };
        let pairs = [(7, 1.0 / 3.0, true), (0, -1e300, false), (u32::MAX, f64::MIN_POSITIVE, true)].map(of).to_vec();
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
