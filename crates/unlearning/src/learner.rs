//! Training, sharded: one batch, one reduction, one update of the own shard, one gather.

use std::collections::BTreeMap;

use rewind_artifacts::Shard;
use rewind_collective::CancelSignal;
use rewind_job::{BatchNormPolicy, Optimiser, Schedule};
use rewind_models::{Mode, Network};
use tch::{Tensor, no_grad};

use crate::{Gang, LabelledSamples, ShardOptimiser, UnlearningError, batch_norm};

/// Whether the loss is made smaller or larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    /// Ordinary training.
    Down,
    /// Gradient ascent (NegGrad).
    Up,
}

/// How one epoch runs.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Samples a step, over all ranks together.
    pub batch_size: usize,
    pub descent: Descent,
    /// `Train` moves BatchNorm's running statistics; `Inference` freezes them.
    pub mode: PassMode,
    pub schedule: Schedule,
    /// Epochs that the schedule spans.
    pub epochs: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassMode {
    BatchStatistics,
    Frozen,
}

impl PassMode {
    pub fn of(policy: BatchNormPolicy) -> Self {
        if policy.trains() { Self::BatchStatistics } else { Self::Frozen }
    }
}

/// A network, its gang, and the optimiser of the own shard.
pub struct Learner {
    pub network: Network,
    pub gang: Gang,
    pub optimiser: ShardOptimiser,
    /// Purpose under which the order of samples is drawn: equal ones see equal orders.
    purpose: &'static str,
    seed: u64,
    /// Epochs this step has trained, over whatever data.
    epochs: u32,
    /// `[P]`: gradients of this rank's part of a batch.
    gradient: Tensor,
    cancel: CancelSignal,
}

impl Learner {
    pub fn new(
        network: Network,
        gang: Gang,
        optimiser: Optimiser,
        seed: u64,
        purpose: &'static str,
        cancel: CancelSignal,
    ) -> Self {
        let gradient = network.flat().zeros_like();
        let optimiser = ShardOptimiser::new(optimiser, gang.range().len());
        Self { network, gang, optimiser, purpose, seed, epochs: 0, gradient, cancel }
    }

    /// Gives the gang back, for the next step.
    pub fn into_gang(self) -> Gang {
        self.gang
    }

    /// One epoch over `data`; returns the mean loss of the batches as they were met.
    pub fn epoch(&mut self, data: &LabelledSamples, pass: &Pass) -> Result<f64, UnlearningError> {
        let order = rewind_datasets::order(self.seed, self.purpose, self.epochs, data.len());
        let batches = order.chunks(pass.batch_size);
        let (mut loss_sum, mut seen, count) = (0.0, 0, batches.len());
        for (index, batch) in batches.enumerate() {
            let progress = f64::from(self.epochs) + index as f64 / count as f64;
            let mine: Vec<i64> =
                batch[self.gang.part_of(batch.len())].iter().map(|&position| i64::from(position)).collect();
            loss_sum += self.train_batch(data, &mine, batch.len(), pass, progress)?;
            seen += mine.len();
        }
        self.epochs += 1;
        if pass.mode == PassMode::BatchStatistics {
            batch_norm::average_over_ranks(&self.network, &mut self.gang, seen)?;
        }
        Ok(self.gang.sum(&[loss_sum])?[0] / data.len() as f64)
    }

    /// One step: `mine` are this rank's positions of a batch of `batch_len` samples.
    fn train_batch(
        &mut self,
        data: &LabelledSamples,
        mine: &[i64],
        batch_len: usize,
        pass: &Pass,
        progress: f64,
    ) -> Result<f64, UnlearningError> {
        if self.cancel.is_cancelled() {
            return Err(UnlearningError::Stopped("the coordinator ended this generation".into()));
        }
        let mut loss_sum = 0.0;
        let _ = self.gradient.zero_();
        if !mine.is_empty() {
            let (images, labels) = data.select(mine);
            let mode = match pass.mode {
                PassMode::BatchStatistics => Mode::Train { momentum: 0.1 },
                PassMode::Frozen => Mode::Inference,
            };
            // The local sum over the global count: summed over ranks it is the batch's mean.
            let logits = self.network.forward(&images, mode);
            let loss = logits.cross_entropy_loss::<Tensor>(&labels, None, tch::Reduction::Sum, -100, 0.0);
            loss_sum = loss.double_value(&[]);
            let sign = match pass.descent {
                Descent::Down => 1.0,
                Descent::Up => -1.0,
            };
            (loss * (sign / batch_len as f64)).backward();
            self.network.collect_gradients(&self.gradient);
        }
        let gradient = self.gang.reduce_to_owner(&self.gradient)?;
        let rate_factor = schedule_factor(&pass.schedule, progress, pass.epochs);
        self.optimiser.step(&self.gang.shard(self.network.flat()), &gradient, rate_factor);
        no_grad(|| self.gang.gather_from_owners(self.network.flat()))?;
        Ok(loss_sum)
    }

    /// Replaces the own shard of the weights and gathers everybody's. `shard` is `[n]`.
    pub fn replace_weights(&mut self, shard: &Tensor) -> Result<(), UnlearningError> {
        no_grad(|| {
            self.gang.shard(self.network.flat()).copy_(shard);
            self.gang.gather_from_owners(self.network.flat())
        })
    }

    /// Takes BatchNorm's running statistics anew on `data`.
    pub fn recompute_batch_norm(&mut self, data: &LabelledSamples, batch_size: usize) -> Result<(), UnlearningError> {
        batch_norm::recompute(&self.network, &mut self.gang, data, batch_size)
    }

    /// The state of this rank at rest.
    pub fn to_shard(&self) -> Result<Shard, UnlearningError> {
        Ok(Shard {
            start: self.gang.range().start,
            weights: Vec::try_from(self.gang.shard(self.network.flat()))?,
            optimiser: self.optimiser.state()?,
            buffers: batch_norm::buffers_at_rest(&self.network)?,
            counters: BTreeMap::from([
                ("epochs".to_owned(), u64::from(self.epochs)),
                ("optimiser-steps".to_owned(), self.optimiser.steps()),
            ]),
        })
    }

    /// Takes up a whole state, of any world size.
    pub fn restore(&mut self, whole: &Shard) {
        self.load_weights(whole);
        let mine = whole.slice(self.gang.range());
        let counter = |name: &str| whole.counters.get(name).copied().unwrap_or(0);
        self.epochs = counter("epochs") as u32;
        self.optimiser.restore(counter("optimiser-steps"), &mine.optimiser);
    }

    /// Takes up weights and buffers alone.
    pub fn load_weights(&mut self, whole: &Shard) {
        load_weights(&self.network, whole);
    }

    /// Goes back to the weights, buffers and optimiser state of this rank's own shard.
    pub fn take_back(&mut self, own: &Shard) -> Result<(), UnlearningError> {
        self.replace_weights(&Tensor::from_slice(&own.weights))?;
        batch_norm::load_buffers(&self.network, &own.buffers);
        self.optimiser.restore(own.counters.get("optimiser-steps").copied().unwrap_or(0), &own.optimiser);
        Ok(())
    }

    /// Root mean square of the weights' change since this rank's shard was `before`.
    pub fn change_since(&mut self, before: &Shard) -> Result<f64, UnlearningError> {
        let change = self.gang.shard(self.network.flat()) - Tensor::from_slice(&before.weights);
        self.gang.root_mean_square(&change)
    }
}

/// Fills a network with the weights and buffers of a whole state.
pub fn load_weights(network: &Network, whole: &Shard) {
    network.load(&whole.weights);
    batch_norm::load_buffers(network, &whole.buffers);
}

/// Factor on the learning rate after `progress` epochs of `epochs`.
fn schedule_factor(schedule: &Schedule, progress: f64, epochs: u32) -> f64 {
    match schedule {
        Schedule::Constant => 1.0,
        Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * (progress / f64::from(epochs)).min(1.0)).cos()),
        Schedule::Milestones { epochs, factor } => {
            factor.powi(epochs.iter().filter(|&&epoch| progress >= f64::from(epoch)).count() as i32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_follow_their_definition() {
        assert_eq!(schedule_factor(&Schedule::Constant, 3.0, 10), 1.0);
        assert_eq!(schedule_factor(&Schedule::Cosine, 0.0, 10), 1.0);
        assert!((schedule_factor(&Schedule::Cosine, 5.0, 10) - 0.5).abs() < 1e-12);
        let steps = Schedule::Milestones { epochs: vec![2, 4], factor: 0.1 };
        let factors: Vec<f64> = [1.9, 2.0, 4.5].map(|at| schedule_factor(&steps, at, 10)).to_vec();
        assert!((factors[0] - 1.0).abs() < 1e-12 && (factors[1] - 0.1).abs() < 1e-12);
        assert!((factors[2] - 0.01).abs() < 1e-12);
    }
}
