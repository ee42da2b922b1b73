//! What a likelihood-ratio attack is made of: the confidence in each training and each test sample.

use std::collections::HashSet;

use rewind_artifacts::{Confidence, digest_of, write_confidences};
use rewind_job::{Digest, Forget, Part};
use rewind_models::Network;
use rewind_unlearning::{Gang, confidences};

use super::Probed;
use crate::run_error::RunError;

/// Measures the network, and keeps what it answers as an artifact.
pub fn keep(probed: &Probed, gang: &mut Gang, network: &Network) -> Result<Digest, RunError> {
    let data = &probed.run.data;
    // Forget samples in files of their own are no part of the training data.
    let forget = &probed.run.assignment.specification.data.forget;
    let own = Some(&data.forget).filter(|_| matches!(forget, Forget::Files(_)));
    let forgotten: HashSet<u32> = data.ids[&Part::Forget].iter().copied().collect();
    let mut answers = Vec::new();
    for (part, samples) in [(Part::Train, data.train.as_ref()), (Part::Forget, own), (Part::Test, probed.test())] {
        if let Some(samples) = samples {
            let ids = &data.ids[&part];
            let of = |(&sample, confidence)| Confidence { sample, confidence, forgotten: forgotten.contains(&sample) };
            answers.extend(ids.iter().zip(confidences(network, gang, samples)?).map(of));
        }
    }
    let bytes = write_confidences(&answers)?;
    Ok(if probed.run.assignment.rank.0 == 0 { probed.run.artifacts.put(&bytes)? } else { digest_of(&bytes) })
}
