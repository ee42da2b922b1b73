//! Ordinary training: a round is one epoch. With nowcasting the weights jump ahead now and then.

use rewind_job::Nowcast;
use rewind_predictor::{Direction, Predictor, Trajectory, nowcast};

use crate::{Descent, LabelledSamples, Learner, Pass, RoundMethod, UnlearningError, learner::PassMode};

pub struct Training<'a> {
    pass: Pass,
    data: &'a LabelledSamples,
    forget_epochs: f64,
    jumps: Option<(&'a Nowcast, &'a Predictor)>,
}

impl<'a> Training<'a> {
    /// `forget_epochs`: how often one epoch over `data` reads each sample of `D_f`. A recipe with nowcasting comes with
    /// its predictor.
    ///
    /// # Errors
    /// A predictor that does not look ahead, or not that far, or not from so many snapshots.
    pub fn new(
        recipe: &'a rewind_job::Training,
        data: &'a LabelledSamples,
        forget_epochs: f64,
        predictor: Option<&'a Predictor>,
    ) -> Result<Self, UnlearningError> {
        let pass = Pass {
            batch_size: recipe.batch_size as usize,
            descent: Descent::Down,
            mode: PassMode::of(recipe.batch_norm),
            schedule: recipe.schedule.clone(),
            epochs: recipe.epochs,
        };
        let jumps = match &recipe.nowcast {
            Some(wanted) => {
                let predictor = predictor.expect("a recipe with nowcasting comes with its predictor");
                let networks = predictor.for_snapshots(wanted.snapshots as usize)?;
                networks.check_horizon(Direction::Future, wanted.horizon)?;
                Some((wanted, predictor))
            }
            None => None,
        };
        Ok(Self { pass, data, forget_epochs, jumps })
    }
}

impl RoundMethod for Training<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let loss = learner.epoch(self.data, &self.pass)?;
        if let Some((wanted, predictor)) = self.jumps {
            see(learner, wanted);
            if learner.epochs().is_multiple_of(wanted.every) && learner.epochs() < self.pass.epochs {
                jump(learner, wanted, predictor)?;
            }
        }
        Ok(loss)
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds) * self.forget_epochs
    }
}

/// Keeps the newest snapshots.
fn see(learner: &mut Learner, wanted: &Nowcast) {
    let newest = learner.gang.shard(learner.network.flat()).copy();
    learner.kept.push(newest);
    let too_many = learner.kept.len().saturating_sub(wanted.snapshots as usize);
    learner.kept.drain(..too_many);
}

/// Moves the weights to where they will be. What was before the jump says nothing about what comes after it.
///
/// Scales and shifts of layers that normalise stay, as published: the authors' script for convolutional networks leaves out
/// layers with four arrays (BatchNorm), the one for transformers every layer that is called a norm (LayerNorm).
fn jump(learner: &mut Learner, wanted: &Nowcast, predictor: &Predictor) -> Result<(), UnlearningError> {
    let mut trajectory = Trajectory::new(learner.gang.layout(), learner.gang.tiles());
    for snapshot in learner.kept.drain(..) {
        trajectory.record(&snapshot)?;
    }
    let statistics = learner.gang.statistics(&trajectory)?;
    let stays = if wanted.norms_jump { Vec::new() } else { learner.network.norm_coordinates() };
    let later = nowcast(&trajectory, predictor, &statistics, wanted.horizon, wanted.scale, &stays)?;
    learner.replace_weights(&later)
}
