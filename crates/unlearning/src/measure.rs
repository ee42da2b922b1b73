//! What a network answers, measured by all ranks together.

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
}

impl Predictions {
    /// Share of correct answers in percent.
    pub fn accuracy(&self) -> f64 {
        100.0 * self.correct.iter().filter(|&&correct| correct).count() as f64 / self.correct.len().max(1) as f64
    }

    /// Mean cross-entropy in nats; a probability below 1e-300 counts as that.
    pub fn loss(&self) -> f64 {
        let sum: f64 = self.probability.iter().map(|probability| -probability.max(1e-300).ln()).sum();
        sum / self.probability.len().max(1) as f64
    }
}

/// Answers on all of `data`; each rank computes its part, and all parts are joined.
pub fn predictions(network: &Network, gang: &mut Gang, data: &LabelledSamples) -> Result<Predictions, UnlearningError> {
    let part = gang.part_of(data.len());
    let mut answers = Vec::with_capacity(2 * part.len());
    for start in part.clone().step_by(BATCH) {
        let len = BATCH.min(part.end - start);
        let (images, labels) = data.range(start..start + len);
        let (correct, probability) = no_grad(|| {
            let logits = network.forward(&images, Mode::Inference);
            let correct = logits.argmax(1, false).eq_tensor(&labels).to_kind(Kind::Double);
            let probability = logits.to_kind(Kind::Double).softmax(1, Kind::Double);
            (correct, probability.gather(1, &labels.unsqueeze(1), false).squeeze_dim(1))
        });
        let pairs: Vec<f64> = Vec::try_from(Tensor::stack(&[correct, probability], 1).view([-1]))?;
        answers.extend(pairs);
    }
    let world = gang.world_size().0 as usize;
    let rows = gang.gather_rows(&answers, 2 * data.len().div_ceil(world))?;
    let mut predictions = Predictions::default();
    for (rank, row) in rows.iter().enumerate() {
        let len = data.len() * (rank + 1) / world - data.len() * rank / world;
        for pair in row[..2 * len].chunks(2) {
            predictions.correct.push(pair[0] == 1.0);
            predictions.probability.push(pair[1]);
        }
    }
    Ok(predictions)
}

/// Accuracy on `data` in percent.
pub fn accuracy(network: &Network, gang: &mut Gang, data: &LabelledSamples) -> Result<f64, UnlearningError> {
    Ok(predictions(network, gang, data)?.accuracy())
}
