//! Training a predictor, data parallel: every worker learns from histories of its own, and owns a shard of the optimiser.

use std::{collections::BTreeMap, f64::consts::PI};

use rewind_artifacts::Shard;
use rewind_collective::CancelSignal;
use rewind_job::{Adam, Figure, Optimiser, Round, RoundRecord, Scores, StepOutcome, StopReason};
use rewind_predictor::{History, Share, Trainee};
use tch::{Tensor, no_grad};

use crate::{Commit, Gang, Meter, ShardOptimiser, UnlearningError};

/// When training ends, and how fast it goes.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    pub epochs: u32,
    pub patience: Option<u32>,
    /// Coordinates a step, over all workers, of the largest set.
    pub batch_size: u32,
    pub learning_rate: f64,
    pub seed: u64,
}

/// A trainee, its gang, and what this worker learns from and measures on.
pub struct PredictorLearner {
    pub trainee: Trainee,
    pub gang: Gang,
    optimiser: ShardOptimiser,
    course: Course,
    share: Share,
    held_out: Vec<History>,
    /// Of all workers: coordinates of each set.
    coordinates: Vec<f64>,
    epochs: u32,
    cancel: CancelSignal,
}

impl PredictorLearner {
    /// `histories` and `held_out` are this worker's own; every worker has others.
    ///
    /// # Errors
    /// All workers together lack histories for a number of snapshots, a horizon and an operation type; a lost peer.
    pub fn new(
        trainee: Trainee,
        mut gang: Gang,
        course: Course,
        histories: &[History],
        held_out: Vec<History>,
        cancel: CancelSignal,
    ) -> Result<Self, UnlearningError> {
        let share = trainee.share(histories);
        let coordinates = gang.sum(&share.coordinates())?;
        trainee.check_coordinates(&coordinates)?;
        let adam =
            Adam { learning_rate: course.learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let optimiser = ShardOptimiser::new(Optimiser::Adam(adam), gang.range().len());
        Ok(Self { trainee, gang, optimiser, course, share, held_out, coordinates, epochs: 0, cancel })
    }

    /// One pass over all coordinates of all workers; returns the mean loss of its steps.
    fn epoch(&mut self) -> Result<f64, UnlearningError> {
        let largest = self.coordinates.iter().copied().fold(0.0, f64::max);
        let steps = (largest / f64::from(self.course.batch_size)).ceil().max(1.0) as i64;
        let rank = self.gang.rank().0;
        let share = self.share.shuffled(self.course.seed, self.epochs, rank);
        let all_steps = steps * i64::from(self.course.epochs);
        let mut loss = 0.0;
        for step in 0..steps {
            if self.cancel.is_cancelled() {
                return Err(UnlearningError::Stopped("the coordinator ended this generation".into()));
            }
            let (gradient, error) = self.trainee.gradient(&share, (step, steps), &self.coordinates, rank == 0);
            loss += error;
            let gradient = self.gang.reduce_to_owner(&gradient)?;
            let done = (i64::from(self.epochs) * steps + step) as f64 / all_steps as f64;
            let rate_factor = 0.5 * (1.0 + (PI * done).cos());
            self.optimiser.step(&self.gang.shard(self.trainee.flat()), &gradient, rate_factor);
            no_grad(|| self.gang.gather_from_owners(self.trainee.flat()))?;
        }
        self.epochs += 1;
        Ok(self.gang.sum(&[loss])?[0] / steps as f64)
    }

    /// The mean over the sets of the L1 error relative to no change; none where nothing was held out.
    fn validation_error(&mut self) -> Result<Option<f64>, UnlearningError> {
        let sums = self.gang.sum(&self.trainee.errors(&self.held_out))?;
        let relative: Vec<f64> = sums.chunks(2).filter(|sums| sums[1] > 0.0).map(|sums| sums[0] / sums[1]).collect();
        Ok((!relative.is_empty()).then(|| relative.iter().sum::<f64>() / relative.len() as f64))
    }

    /// The state of this rank at rest.
    fn to_shard(&self) -> Result<Shard, UnlearningError> {
        Ok(Shard {
            start: self.gang.range().start,
            weights: Vec::try_from(self.gang.shard(self.trainee.flat()))?,
            optimiser: self.optimiser.state()?,
            buffers: BTreeMap::new(),
            aside: BTreeMap::new(),
            counters: BTreeMap::from([
                ("epochs".to_owned(), u64::from(self.epochs)),
                ("optimiser-steps".to_owned(), self.optimiser.steps()),
            ]),
        })
    }

    /// Takes up a whole state, of any world size.
    pub fn restore(&mut self, whole: &Shard) {
        load_trainee(&self.trainee, whole);
        let mine = whole.slice(self.gang.range());
        let counter = |name: &str| whole.counters.get(name).copied().unwrap_or(0);
        self.epochs = counter("epochs") as u32;
        self.optimiser.restore(counter("optimiser-steps"), &mine.optimiser);
    }
}

/// Fills a trainee with the parameters of a whole state.
pub fn load_trainee(trainee: &Trainee, whole: &Shard) {
    no_grad(|| trainee.flat().shallow_clone().copy_(&Tensor::from_slice(&whole.weights)));
}

/// Trains to the end, an epoch a round. `records` are of the epochs done so far; the learner holds the state after them.
///
/// # Errors
/// A lost peer, a failed commit, or the end of this generation.
pub fn train_predictor(
    learner: &mut PredictorLearner,
    mut records: Vec<RoundRecord>,
    commit: &mut dyn Commit,
) -> Result<(), UnlearningError> {
    let mut meter = Meter::new(&learner.gang, records.last());
    loop {
        let round = records.last().map_or(Round(0), |record| record.round).next();
        let before = learner.gang.shard(learner.trainee.flat()).copy();
        let loss = learner.epoch()?;
        let scores = Scores::from([(Figure::PREDICTOR_ERROR, learner.validation_error()?)]);
        let change = learner.gang.shard(learner.trainee.flat()) - before;
        let weight_change = learner.gang.root_mean_square(&change)?;
        let cost = meter.read(&mut learner.gang)?;
        records.push(RoundRecord {
            round,
            loss: loss.into(),
            scores,
            weight_change,
            seconds: cost.seconds,
            bytes_moved: cost.bytes_moved,
            device_seconds: cost.device_seconds,
            peak_memory: cost.peak_memory,
            ..RoundRecord::default()
        });
        let best = best_of(&records);
        let outcome = stop(&learner.course, &records, best).map(|stop| StepOutcome { selected: best, stop });
        commit.progress(&records[records.len() - 1], f64::from(round.0) / f64::from(learner.course.epochs));
        commit.commit(learner.to_shard()?, &records[records.len() - 1], best, outcome.as_ref())?;
        if outcome.is_some() {
            return Ok(());
        }
    }
}

/// The epoch of the lowest validation error; the last one where nothing was measured.
fn best_of(records: &[RoundRecord]) -> Round {
    let measured = records.iter().filter_map(|record| Some((record.number(Figure::PREDICTOR_ERROR)?, record.round)));
    let best = measured.min_by(|(one, _), (other, _)| one.total_cmp(other));
    best.map_or_else(|| records[records.len() - 1].round, |(_, round)| round)
}

fn stop(course: &Course, records: &[RoundRecord], best: Round) -> Option<StopReason> {
    let last = &records[records.len() - 1];
    let reason = |rule: &str, text: String| Some(StopReason { rule: rule.into(), text });
    if last.loss.number().is_none() {
        return reason("diverged", format!("epoch {} has a loss of {}", last.round, last.loss));
    }
    if course.patience.is_some_and(|patience| last.round.0 - best.0 >= patience) {
        return reason("patience", format!("no lower validation error since epoch {best}"));
    }
    if last.round.0 >= course.epochs {
        return reason("rounds", format!("all {} epochs are done", course.epochs));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(errors: &[Option<f64>]) -> Vec<RoundRecord> {
        let record = |(index, error): (usize, &Option<f64>)| RoundRecord {
            round: Round(index as u32 + 1),
            loss: 0.5.into(),
            scores: Scores::from([(Figure::PREDICTOR_ERROR, *error)]),
            ..RoundRecord::default()
        };
        errors.iter().enumerate().map(record).collect()
    }

    const COURSE: Course = Course { epochs: 6, patience: Some(2), batch_size: 1, learning_rate: 0.1, seed: 0 };

    #[test]
    fn training_ends_when_patience_does_and_selects_the_best_epoch() {
        let rule = |errors: &[f64]| {
            let records = records(&errors.iter().copied().map(Some).collect::<Vec<_>>());
            let best = best_of(&records);
            (best.0, stop(&COURSE, &records, best).map(|stop| stop.rule))
        };
        assert_eq!(rule(&[0.9]), (1, None));
        assert_eq!(rule(&[0.9, 0.8, 0.85]), (2, None));
        assert_eq!(rule(&[0.9, 0.8, 0.85, 0.81]), (2, Some("patience".into())));
        assert_eq!(rule(&[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), (6, Some("rounds".into())));
    }

    #[test]
    fn without_measurements_the_last_epoch_is_selected() {
        let records = records(&[None, None, None]);
        assert_eq!(best_of(&records), Round(3));
        assert!(stop(&Course { patience: None, ..COURSE }, &records, Round(3)).is_none());
    }
}
