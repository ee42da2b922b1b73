//! From confidences that jobs have left to the likelihood-ratio attack.

use rewind_artifacts::{Confidence, read_confidences};
use rewind_evaluation::{Answer, likelihood_ratio};
use rewind_job::LikelihoodRatio;

use crate::RETRAIN;

/// A network's confidences in the samples that were to be forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    pub seed: u64,
    pub network: String,
    pub confidences: Vec<Confidence>,
}

impl Answers {
    /// # Errors
    /// The artifact holds something else.
    pub fn read(seed: u64, network: &str, bytes: &[u8]) -> Result<Self, String> {
        let refuse = |error| format!("the confidences of {network}, seed {seed}: {error}");
        let all = read_confidences(bytes).map_err(refuse)?;
        let confidences = all.into_iter().filter(|of| of.forgotten).collect();
        Ok(Self { seed, network: network.to_owned(), confidences })
    }
}

/// Attacks a contestant: can its networks be told from Retrain's of the same seeds? None where too little is there.
pub fn likelihood(answers: &[Answers], contestant: &str) -> Option<LikelihoodRatio> {
    let seeds = answers.iter().filter(|of| of.network == contestant).map(|of| {
        let retrain = answers.iter().find(|other| other.network == RETRAIN && other.seed == of.seed)?;
        let pairs = of.confidences.iter().zip(&retrain.confidences);
        let answers = pairs.map(|(unlearned, never_in)| {
            let (sample, same) = (unlearned.sample, unlearned.sample == never_in.sample);
            same.then_some(Answer { sample, unlearned: unlearned.confidence, never_in: never_in.confidence })
        });
        answers.collect::<Option<Vec<Answer>>>()
    });
    likelihood_ratio(&seeds.collect::<Option<Vec<_>>>()?)
}

#[cfg(test)]
mod tests {
    use rewind_artifacts::write_confidences;

    use super::*;

    /// Networks of eight seeds; each forgot four of six samples, and answers them as `of` says.
    fn answers(network: &str, of: impl Fn(u64, u32) -> f64) -> Vec<Answers> {
        let seeds = 0..8;
        let read = |seed: u64| {
            let all = (0..6).map(|sample| Confidence {
                sample,
                confidence: of(seed, sample),
                forgotten: !(u64::from(sample) + seed).is_multiple_of(3),
            });
            let bytes = write_confidences(&all.collect::<Vec<_>>()).expect("writes");
            Answers::read(seed, network, &bytes).expect("reads")
        };
        seeds.map(read).collect()
    }

    fn wobble(seed: u64, sample: u32) -> f64 {
        0.1 * ((seed * 7 + u64::from(sample) * 3) % 5) as f64
    }

    #[test]
    fn networks_that_still_know_are_told_from_those_that_never_saw_and_retrain_is_not_told_from_itself() {
        let mut all = answers(RETRAIN, wobble);
        all.extend(answers("still-knows", |seed, sample| 5.0 + wobble(seed, sample)));
        let found = likelihood(&all, "still-knows").expect("is attacked");
        assert_eq!((found.auc, found.at_1, found.unlearned), (1.0, 100.0, 32));
        assert_eq!(likelihood(&all, RETRAIN).expect("is attacked").auc, 0.5);
        assert_eq!(likelihood(&all, "nobody"), None);
    }

    #[test]
    fn answers_in_other_samples_are_not_compared() {
        let mut all = answers(RETRAIN, wobble);
        all.extend(answers("shifted", wobble));
        all[9].confidences.remove(0);
        assert_eq!(likelihood(&all, "shifted"), None);
    }
}
