//! Training, sharded: one batch, one reduction, one update of the own shard, one gather.

use std::collections::BTreeMap;

use rewind_artifacts::{Buffers, Shard};
use rewind_collective::CancelSignal;
use rewind_job::{Augment, BatchNormPolicy, Objective, Optimiser, Schedule};
use rewind_models::{Mode, Network};
use rewind_predictor::{SnapshotsIn, Trajectory};
use tch::{Device, Kind, Tensor, no_grad};

use crate::{
    Gang, LabelledSamples, ShardOptimiser, UnlearningError,
    augment::augment,
    batch_norm,
    movable::Movable,
    objective::{NoiseDraw, cross_entropy, summed_loss, to_labels},
    samples::TrainingData,
    schedule::{Moment, factor},
};

/// What an epoch makes smaller, batch by batch.
pub trait Criterion {
    /// The sum of the samples' losses: a scalar to go backward from.
    fn loss(&mut self, batch: &Batch) -> Result<Tensor, UnlearningError>;

    /// After the network's step, on every rank: the step of what the criterion itself learns.
    fn step(&mut self, _gang: &mut Gang, _rate_factor: f64) -> Result<(), UnlearningError> {
        Ok(())
    }
}

impl<F: FnMut(&Batch) -> Result<Tensor, UnlearningError>> Criterion for F {
    fn loss(&mut self, batch: &Batch) -> Result<Tensor, UnlearningError> {
        self(batch)
    }
}

/// This rank's part of a batch.
pub struct Batch<'a> {
    pub network: &'a Network,
    pub mode: Mode,
    /// `[n, C, H, W]`.
    pub images: Tensor,
    /// `[n]`, int64.
    pub labels: Tensor,
    /// Of these samples in their data.
    pub positions: &'a [i64],
}

/// Whether the loss is made smaller or larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descent {
    /// Ordinary training.
    Down,
    /// Gradient ascent (NegGrad).
    Up,
}

/// Samples a forward pass of measuring takes at once.
const MEASURED_AT_ONCE: usize = 250;

/// How one epoch runs.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Samples a step, over all ranks together.
    pub batch_size: usize,
    pub descent: Descent,
    pub mode: PassMode,
    pub schedule: Schedule,
    /// Epochs that the schedule spans.
    pub epochs: u32,
}

/// By what BatchNorm normalises while a pass trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassMode {
    /// By the batch's statistics; the running ones move.
    BatchStatistics,
    /// By the running statistics, which stay: inference mode.
    RunningStatistics,
}

impl PassMode {
    pub fn of(policy: BatchNormPolicy) -> Self {
        if policy.trains() { Self::BatchStatistics } else { Self::RunningStatistics }
    }
}

/// The part of a method's epoch that a pass is, for the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Counted from 0.
    pub epoch: u32,
    /// Batches of the epoch before the pass.
    pub before: usize,
    /// Batches of the epoch in all.
    pub batches: usize,
}

/// A network, its gang, and the optimiser of the own shard.
pub struct Learner {
    pub network: Network,
    pub gang: Gang,
    pub optimiser: ShardOptimiser,
    objective: Objective,
    /// How training images are changed as they are met.
    augment: Option<Augment>,
    /// Purpose under which the order of samples is drawn, and the noise on them: equal ones see equal orders.
    purpose: &'static str,
    seed: u64,
    /// Epochs this step has trained, over whatever data.
    epochs: u32,
    /// Snapshots of the own shard that a method keeps from round to round, oldest first, `[n]` each.
    pub kept: Vec<Tensor>,
    /// What a method keeps beside the network, the same on every rank.
    pub aside: BTreeMap<String, Tensor>,
    /// Where a round's trajectory is kept.
    snapshots_in: SnapshotsIn,
    /// What of the own shard may move.
    pub(crate) movable: Movable,
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
        let optimiser = ShardOptimiser::of_shard(network.device(), optimiser, &gang);
        let objective = Objective::default();
        Self {
            network,
            gang,
            optimiser,
            objective,
            augment: None,
            purpose,
            seed,
            epochs: 0,
            kept: Vec::new(),
            aside: BTreeMap::new(),
            snapshots_in: SnapshotsIn::Device,
            movable: Movable::default(),
            gradient,
            cancel,
        }
    }

    /// Goes on from the present weights as a new training would begin: another optimiser without state, epoch 0.
    pub fn begin_anew(&mut self, optimiser: Optimiser) {
        self.optimiser = ShardOptimiser::of_shard(self.network.device(), optimiser, &self.gang);
        self.epochs = 0;
    }

    /// Epochs that this step has trained.
    pub fn epochs(&self) -> u32 {
        self.epochs
    }

    /// Of everything random in the step.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Trains for another objective than classification.
    pub fn with_objective(self, objective: Objective) -> Self {
        Self { objective, ..self }
    }

    /// Changes training images as they are met; what is measured stays as it is.
    pub fn with_augmentation(self, augment: Option<Augment>) -> Self {
        Self { augment, ..self }
    }

    /// Lets BatchNorm's scale and shift stay as they are where the policy says so, whatever the method does.
    pub fn with_batch_norm(mut self, policy: BatchNormPolicy) -> Self {
        if policy.freezes() {
            let still = self.network.batch_norm_coordinates();
            self.movable = Movable::all_but(still, &self.gang, self.network.device());
        }
        self
    }

    /// Keeps trajectories there.
    pub fn with_snapshots_in(self, snapshots_in: SnapshotsIn) -> Self {
        Self { snapshots_in, ..self }
    }

    /// Gives the gang back, for the next step.
    pub fn into_gang(self) -> Gang {
        self.gang
    }

    /// One epoch over `data`; returns the mean loss of the batches as they were met.
    pub fn epoch(&mut self, data: &LabelledSamples, pass: &Pass) -> Result<f64, UnlearningError> {
        let draw = NoiseDraw { seed: self.seed, purpose: self.purpose, epoch: self.epochs };
        let objective = self.objective;
        self.epoch_of(data, pass, &mut |batch: &Batch| summed_loss(objective, batch, draw))
    }

    /// One epoch over `data` by a criterion; returns the mean loss of the batches as they were met.
    pub fn epoch_of(
        &mut self,
        data: &LabelledSamples,
        pass: &Pass,
        criterion: &mut dyn Criterion,
    ) -> Result<f64, UnlearningError> {
        let span = Span { epoch: self.epochs, before: 0, batches: data.len().div_ceil(pass.batch_size) };
        self.pass_over(data, pass, span, criterion)
    }

    /// The same over any samples, as a part of a method's epoch: the schedule counts by `span`, everything that is
    /// drawn by the learner's own epochs.
    pub(crate) fn pass_over(
        &mut self,
        data: &dyn TrainingData,
        pass: &Pass,
        span: Span,
        criterion: &mut dyn Criterion,
    ) -> Result<f64, UnlearningError> {
        let order = rewind_datasets::order(self.seed, self.purpose, self.epochs, data.count());
        let (mut loss_sum, mut seen) = (0.0, 0);
        for (index, batch) in order.chunks(pass.batch_size).enumerate() {
            let moment = Moment { epoch: span.epoch, batch: span.before + index, batches: span.batches };
            let mine: Vec<i64> =
                batch[self.gang.part_of(batch.len())].iter().map(|&position| i64::from(position)).collect();
            loss_sum += self.train_batch(data, &mine, batch.len(), pass, moment, criterion)?;
            seen += mine.len();
        }
        self.epochs += 1;
        if pass.mode == PassMode::BatchStatistics {
            batch_norm::average_over_ranks(&self.network, &mut self.gang, seen)?;
        }
        Ok(self.gang.sum(&[loss_sum])?[0] / data.count() as f64)
    }

    /// One step: `mine` are this rank's positions of a batch of `batch_len` samples.
    fn train_batch(
        &mut self,
        data: &dyn TrainingData,
        mine: &[i64],
        batch_len: usize,
        pass: &Pass,
        moment: Moment,
        criterion: &mut dyn Criterion,
    ) -> Result<f64, UnlearningError> {
        self.check_cancelled()?;
        let mut loss_sum = 0.0;
        let _ = self.gradient.zero_();
        if !mine.is_empty() {
            let mode = match pass.mode {
                PassMode::BatchStatistics => Mode::Train { momentum: 0.1 },
                PassMode::RunningStatistics => Mode::Inference,
            };
            // The local sum over the global count: summed over ranks it is the batch's mean.
            let mut batch = data.batch_of(mine, &self.network, mode);
            if let Some(how) = self.augment {
                batch.images = augment(&batch.images, how, self.seed, self.purpose, self.epochs, mine);
            }
            let loss = criterion.loss(&batch)?;
            loss_sum = loss.double_value(&[]);
            let sign = match pass.descent {
                Descent::Down => 1.0,
                Descent::Up => -1.0,
            };
            (loss * (sign / batch_len as f64)).backward();
            self.network.collect_gradients(&self.gradient);
        }
        let gradient = self.gang.reduce_to_owner(&self.gradient)?;
        let rate_factor = factor(&pass.schedule, moment, pass.epochs);
        let shard = self.gang.shard(self.network.flat());
        match self.movable.mask() {
            None => self.optimiser.step(&shard, &gradient, rate_factor),
            Some(movable) => self.optimiser.step_some(&shard, &gradient, rate_factor, movable),
        }
        no_grad(|| self.gang.gather_from_owners(self.network.flat()))?;
        criterion.step(&mut self.gang, rate_factor)?;
        Ok(loss_sum)
    }

    fn check_cancelled(&self) -> Result<(), UnlearningError> {
        if self.cancel.is_cancelled() {
            return Err(UnlearningError::Stopped("the coordinator ended this generation".into()));
        }
        Ok(())
    }

    /// `Σ ∂CE/∂θ` over `data` for the own shard, `[n]`; in inference mode. Counts as an epoch.
    pub fn summed_gradient(&mut self, data: &LabelledSamples, at_once: usize) -> Result<Tensor, UnlearningError> {
        let mine: Vec<i64> = self.gang.part_of(data.len()).map(|position| position as i64).collect();
        let total = self.network.flat().zeros_like();
        for positions in mine.chunks(at_once) {
            self.check_cancelled()?;
            cross_entropy(&data.batch(positions, &self.network, Mode::Inference))?.backward();
            self.network.collect_gradients(&self.gradient);
            let _ = total.shallow_clone().g_add_(&self.gradient);
        }
        self.epochs += 1;
        self.gang.reduce_to_owner(&total)
    }

    /// Mean of `(∂CE/∂θ)²` over the samples at `positions` for the own shard, `[n]`: the diagonal of the empirical Fisher
    /// information. In inference mode, sample by sample. Counts as an epoch.
    pub fn fisher_diagonal(&mut self, data: &LabelledSamples, positions: &[i64]) -> Result<Tensor, UnlearningError> {
        self.mean_of_samples(data, positions, |learner, batch, total| {
            cross_entropy(batch)?.backward();
            learner.network.collect_gradients(&learner.gradient);
            let _ = total.shallow_clone().g_add_(&learner.gradient.square());
            Ok(())
        })
    }

    /// Mean of `Σ_y p_y (∂CE(x, y)/∂θ)²` over the samples at `positions` for the own shard, `[n]`, where `p` is what
    /// the network itself answers: the diagonal of the Fisher information. In inference mode, sample by sample and
    /// label by label. Counts as an epoch.
    pub fn expected_fisher_diagonal(
        &mut self,
        data: &LabelledSamples,
        positions: &[i64],
    ) -> Result<Tensor, UnlearningError> {
        self.mean_of_samples(data, positions, |learner, batch, total| {
            let answer = no_grad(|| batch.network.forward(&batch.images, batch.mode)).softmax(1, Kind::Float);
            for (label, probability) in (0..).zip(Vec::<f64>::try_from(answer.view([-1]).to_kind(Kind::Double))?) {
                to_labels(batch, &batch.labels.full_like(label))?.backward();
                learner.network.collect_gradients(&learner.gradient);
                let _ = total.shallow_clone().g_add_(&(learner.gradient.square() * probability));
            }
            Ok(())
        })
    }

    /// Adds up what each sample at `positions` gives in `[P]`, and returns the mean for the own shard, `[n]`.
    fn mean_of_samples(
        &mut self,
        data: &LabelledSamples,
        positions: &[i64],
        add: impl Fn(&Self, &Batch, &Tensor) -> Result<(), UnlearningError>,
    ) -> Result<Tensor, UnlearningError> {
        let total = self.network.flat().zeros_like();
        for &position in &positions[self.gang.part_of(positions.len())] {
            self.check_cancelled()?;
            add(self, &data.batch(&[position], &self.network, Mode::Inference), &total)?;
        }
        self.epochs += 1;
        Ok(self.gang.reduce_to_owner(&total)? / positions.len() as f64)
    }

    /// N(0, 1) for each coordinate of the own shard, `[n]`: a function of the seed, the purpose, the epoch and the
    /// coordinate, whatever the number of ranks.
    pub fn noise(&self, purpose: &str) -> Tensor {
        let tiles = self.gang.tiles().iter();
        let noise =
            tiles.flat_map(|tile| rewind_datasets::noise(self.seed, purpose, self.epochs, tile.index as u32, tile.len));
        Tensor::from_slice(&noise.collect::<Vec<f32>>()).to_device(self.network.device())
    }

    /// Mean loss over `data` in inference mode; noise is the same each time.
    pub fn loss(&mut self, data: &LabelledSamples) -> Result<f64, UnlearningError> {
        self.loss_at(data, &(0..data.len() as i64).collect::<Vec<_>>())
    }

    /// The same over the samples at `positions` alone.
    pub fn loss_at(&mut self, data: &LabelledSamples, positions: &[i64]) -> Result<f64, UnlearningError> {
        let draw = NoiseDraw { seed: self.seed, purpose: "measure", epoch: 0 };
        let mut sum = 0.0;
        for positions in positions[self.gang.part_of(positions.len())].chunks(MEASURED_AT_ONCE) {
            let batch = data.batch(positions, &self.network, Mode::Inference);
            let loss = no_grad(|| summed_loss(self.objective, &batch, draw))?;
            sum += loss.double_value(&[]);
        }
        Ok(self.gang.sum(&[sum])?[0] / positions.len() as f64)
    }

    /// Replaces the own shard of the weights, but for what must stay, and gathers everybody's. `shard` is `[n]`.
    pub fn replace_weights(&mut self, shard: &Tensor) -> Result<(), UnlearningError> {
        no_grad(|| {
            let mut own = self.gang.shard(self.network.flat());
            let new = self.movable.replaced(&own, shard);
            own.copy_(&new);
            self.gang.gather_from_owners(self.network.flat())
        })
    }

    /// An empty trajectory of what may move of the own shard.
    pub fn trajectory(&self) -> Trajectory {
        let tiles = self.movable.free_tiles(self.gang.tiles());
        Trajectory::new(self.gang.layout(), &tiles).kept_in(self.snapshots_in)
    }

    /// The weights that such a trajectory records.
    pub fn recorded_weights(&self) -> Tensor {
        self.movable.part_of(&self.gang.shard(self.network.flat()))
    }

    /// Replaces the weights that such a trajectory records, and gathers everybody's.
    pub fn replace_recorded_weights(&mut self, recorded: &Tensor) -> Result<(), UnlearningError> {
        let shard = self.movable.filled(&self.gang.shard(self.network.flat()), recorded);
        self.replace_weights(&shard)
    }

    /// Takes BatchNorm's running statistics anew on `data`.
    pub fn recompute_batch_norm(&mut self, data: &LabelledSamples, batch_size: usize) -> Result<(), UnlearningError> {
        batch_norm::recompute(&self.network, &mut self.gang, data, batch_size)
    }

    /// The state of this rank at rest.
    pub fn to_shard(&self) -> Result<Shard, UnlearningError> {
        let mut optimiser = self.optimiser.state()?;
        for (index, snapshot) in self.kept.iter().enumerate() {
            optimiser.insert(kept_name(index), Vec::try_from(snapshot)?);
        }
        Ok(Shard {
            start: self.gang.range().start,
            weights: Vec::try_from(self.gang.shard(self.network.flat()))?,
            optimiser,
            buffers: batch_norm::buffers_at_rest(&self.network)?,
            aside: at_rest(&self.aside)?,
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
        self.kept = kept_of(&mine, self.network.device());
        self.aside = out_of_rest(&whole.aside, self.network.device());
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
        self.kept = kept_of(own, self.network.device());
        self.aside = out_of_rest(&own.aside, self.network.device());
        Ok(())
    }

    /// Root mean square of the weights' change since this rank's shard was `before`.
    pub fn change_since(&mut self, before: &Shard) -> Result<f64, UnlearningError> {
        let before = Tensor::from_slice(&before.weights).to_device(self.network.device());
        let change = self.gang.shard(self.network.flat()) - before;
        self.gang.root_mean_square(&change)
    }
}

/// Of a kept snapshot, beside the optimiser's state: each is as long as the shard.
fn kept_name(index: usize) -> String {
    format!("snapshot.{index}")
}

fn kept_of(own: &Shard, device: Device) -> Vec<Tensor> {
    let kept = (0..).map_while(|index| own.optimiser.get(&kept_name(index)));
    kept.map(|values| Tensor::from_slice(values).to_device(device)).collect()
}

fn at_rest(tensors: &BTreeMap<String, Tensor>) -> Result<Buffers, UnlearningError> {
    tensors
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), (tensor.size(), Vec::try_from(tensor.view([-1]))?))))
        .collect()
}

fn out_of_rest(buffers: &Buffers, device: Device) -> BTreeMap<String, Tensor> {
    let tensor =
        |(shape, values): &(Vec<i64>, Vec<f32>)| Tensor::from_slice(values).view(shape.as_slice()).to_device(device);
    buffers.iter().map(|(name, kept)| (name.clone(), tensor(kept))).collect()
}

/// Fills a network with the weights and buffers of a whole state.
pub fn load_weights(network: &Network, whole: &Shard) {
    network.load(&whole.weights);
    batch_norm::load_buffers(network, &whole.buffers);
}
