//! Rewinding: train forward on `D_f`, predict where each weight came from (paper, algorithm 1).

use rewind_job::{LastEpoch, OptimiserState};
use rewind_predictor::{Direction, Predictor, Trajectory, rewind};

use crate::{LabelledSamples, Learner, Pass, RoundMethod, UnlearningError};

pub struct Rewinding<'a> {
    settings: &'a rewind_job::Rewinding,
    pass: Pass,
    forget: &'a LabelledSamples,
    predictor: &'a Predictor,
}

impl<'a> Rewinding<'a> {
    pub fn new(
        settings: &'a rewind_job::Rewinding,
        pass: Pass,
        forget: &'a LabelledSamples,
        predictor: &'a Predictor,
    ) -> Result<Self, UnlearningError> {
        let networks = predictor.for_snapshots(settings.trajectory.snapshots as usize)?;
        networks.check_horizon(Direction::Past, settings.horizon)?;
        Ok(Self { settings, pass, forget, predictor })
    }
}

impl RoundMethod for Rewinding<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let recorded = record_trajectory(learner, self.forget, &self.pass, &self.settings.trajectory)?;
        let statistics = learner.gang.statistics(&recorded.trajectory)?;
        let rewound =
            rewind(&recorded.trajectory, self.predictor, &statistics, self.settings.horizon, self.settings.scale)?;
        learner.replace_recorded_weights(&rewound)?;
        Ok(recorded.loss)
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds) * f64::from(epochs_a_round(&self.settings.trajectory))
    }
}

/// What forward training leaves of what may move of the own shard.
pub struct Recorded {
    pub trajectory: Trajectory,
    /// Mean loss over the epochs.
    pub loss: f64,
}

/// Lines 2 to 6 of algorithm 1: `W` warm-up epochs, then `K` times a snapshot and, after it, an epoch.
pub fn record_trajectory(
    learner: &mut Learner,
    forget: &LabelledSamples,
    pass: &Pass,
    settings: &rewind_job::Trajectory,
) -> Result<Recorded, UnlearningError> {
    if settings.optimiser_state == OptimiserState::Reset {
        learner.optimiser.reset();
    }
    let mut losses = Vec::new();
    for _ in 0..settings.warm_up_epochs {
        losses.push(learner.epoch(forget, pass)?);
    }
    let mut trajectory = learner.trajectory();
    for k in 0..settings.snapshots {
        trajectory.record(&learner.recorded_weights())?;
        let last = k + 1 == settings.snapshots;
        if !last || settings.last_epoch == LastEpoch::Paper {
            losses.push(learner.epoch(forget, pass)?);
        }
    }
    let loss = losses.iter().sum::<f64>() / losses.len() as f64;
    Ok(Recorded { trajectory, loss })
}

/// Epochs of forward training that a round takes.
pub fn epochs_a_round(settings: &rewind_job::Trajectory) -> u32 {
    let last = u32::from(settings.last_epoch == LastEpoch::Paper);
    settings.warm_up_epochs + settings.snapshots - 1 + last
}
