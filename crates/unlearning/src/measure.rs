//! What a network answers, measured by all ranks together.

use std::collections::BTreeMap;

use rewind_models::{Mode, Network};
use tch::{Kind, Tensor, no_grad};

use crate::{Gang, LabelledSamples, UnlearningError};

/// Images a forward pass of measuring takes at once.
const BATCH: usize = 250;

/// A network's answers, one a sample, in the samples' order; the same on every rank.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// Whether the largest logit is the label's.
    pub correct: Vec<bool>,
    /// Probability of the label.
    pub probability: Vec<f64>,
    /// The class of the largest logit.
    pub answer: Vec<u32>,
    /// The largest probability.
    pub confidence: Vec<f64>,
    /// Of the probabilities, in nats.
    pub entropy: Vec<f64>,
}

impl Predictions {
    /// Share of correct answers in percent.
    pub fn accuracy(&self) -> f64 {
        100.0 * self.correct.iter().filter(|&&correct| correct).count() as f64 / self.correct.len().max(1) as f64
    }

    /// The same over the samples at which `counts` is true; none where there are none.
    pub fn accuracy_where(&self, counts: impl Fn(usize) -> bool) -> Option<f64> {
        let counted: Vec<bool> = (0..).zip(&self.correct).filter(|(at, _)| counts(*at)).map(|(_, ok)| *ok).collect();
        let correct = counted.iter().filter(|&&correct| correct).count();
        (!counted.is_empty()).then(|| 100.0 * correct as f64 / counted.len() as f64)
    }

    /// Share of the class that is answered most often, in percent.
    pub fn most_answered(&self) -> f64 {
        let mut counts = BTreeMap::<u32, usize>::new();
        self.answer.iter().for_each(|class| *counts.entry(*class).or_default() += 1);
        100.0 * counts.into_values().max().unwrap_or(0) as f64 / self.answer.len().max(1) as f64
    }

    /// Mean of the largest probabilities, in percent.
    pub fn mean_confidence(&self) -> f64 {
        100.0 * mean(&self.confidence)
    }

    /// Mean entropy of the answers, in nats.
    pub fn mean_entropy(&self) -> f64 {
        mean(&self.entropy)
    }

    /// Mean cross-entropy in nats; a probability below 1e-300 counts as that.
    pub fn loss(&self) -> f64 {
        let sum: f64 = self.probability.iter().map(|probability| -probability.max(1e-300).ln()).sum();
        sum / self.probability.len().max(1) as f64
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Answers on all of `data`; each rank computes its part, and all parts are joined.
pub fn predictions(network: &Network, gang: &mut Gang, data: &LabelledSamples) -> Result<Predictions, UnlearningError> {
    const NUMBERS: usize = 5;
    let answers = for_each_sample(network, gang, data, NUMBERS, |logits, labels| {
        let answer = logits.argmax(1, false); // [n]
        let correct = answer.eq_tensor(labels).to_kind(Kind::Double);
        let logarithm = logits.to_kind(Kind::Double).log_softmax(1, Kind::Double); // [n, classes]
        let probability = logits.to_kind(Kind::Double).softmax(1, Kind::Double); // [n, classes]
        // A probability of 0 adds nothing.
        let entropy = -(&probability * logarithm.clamp_min(f64::MIN)).sum_dim_intlist(1, false, Kind::Double);
        let of_label = probability.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1);
        let confidence = probability.amax(1, false);
        Tensor::stack(&[correct, of_label, answer.to_kind(Kind::Double), confidence, entropy], 1)
    })?;
    let mut predictions = Predictions::default();
    for found in answers.chunks(NUMBERS) {
        predictions.correct.push(found[0] == 1.0);
        predictions.probability.push(found[1]);
        predictions.answer.push(found[2] as u32);
        predictions.confidence.push(found[3]);
        predictions.entropy.push(found[4]);
    }
    Ok(predictions)
}

/// Logit-scaled confidence `ln(p / (1 − p))` in each sample's label (Carlini et al., 2022, equation 3), from logits
/// `z` in float64 as `z_y − ln Σ_{j ≠ y} exp z_j`: finite where logits are. In the samples' order; the same on every
/// rank.
pub fn confidences(network: &Network, gang: &mut Gang, data: &LabelledSamples) -> Result<Vec<f64>, UnlearningError> {
    for_each_sample(network, gang, data, 1, |logits, labels| {
        let (logits, labels) = (logits.to_kind(Kind::Double), labels.unsqueeze(1));
        let others = logits.scatter_value(1, &labels, f64::NEG_INFINITY);
        logits.gather(1, &labels, false).squeeze_dim(1) - others.logsumexp(1, false)
    })
}

/// So many numbers for each sample of `data`, made of a batch's logits `[n, classes]` and labels `[n]`: each rank
/// computes its part, and all parts are joined.
fn for_each_sample(
    network: &Network,
    gang: &mut Gang,
    data: &LabelledSamples,
    numbers: usize,
    of: impl Fn(&Tensor, &Tensor) -> Tensor,
) -> Result<Vec<f64>, UnlearningError> {
    let mine = gang.part_of(data.len());
    let mut answers = Vec::with_capacity(numbers * mine.len());
    for start in mine.clone().step_by(BATCH) {
        let (images, labels) = data.range(start..mine.end.min(start + BATCH));
        let (images, labels) = (images.to_device(network.device()), labels.to_device(network.device()));
        let found = no_grad(|| of(&network.forward(&images, Mode::Inference), &labels));
        answers.extend(Vec::<f64>::try_from(found.view([-1]))?);
    }
    let world = gang.world_size().0 as usize;
    let rows = gang.gather_rows(&answers, numbers * data.len().div_ceil(world))?;
    let len = |rank: usize| data.len() * (rank + 1) / world - data.len() * rank / world;
    Ok(rows.iter().enumerate().flat_map(|(rank, row)| row[..numbers * len(rank)].to_vec()).collect())
}

/// Accuracy on `data` in percent.
pub fn accuracy(network: &Network, gang: &mut Gang, data: &LabelledSamples) -> Result<f64, UnlearningError> {
    Ok(predictions(network, gang, data)?.accuracy())
}
