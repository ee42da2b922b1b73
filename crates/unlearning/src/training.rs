//! Ordinary training: a round is one epoch.

use crate::{Descent, LabelledSamples, Learner, Pass, RoundMethod, UnlearningError, learner::PassMode};

pub struct Training<'a> {
    pass: Pass,
    data: &'a LabelledSamples,
    forget_epochs: f64,
}

impl<'a> Training<'a> {
    /// `forget_epochs`: how often one epoch over `data` reads each sample of `D_f`.
    pub fn new(recipe: &rewind_job::Training, data: &'a LabelledSamples, forget_epochs: f64) -> Self {
        let pass = Pass {
            batch_size: recipe.batch_size as usize,
            descent: Descent::Down,
            mode: PassMode::of(recipe.batch_norm),
            schedule: recipe.schedule.clone(),
            epochs: recipe.epochs,
        };
        Self { pass, data, forget_epochs }
    }
}

impl RoundMethod for Training<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        learner.epoch(self.data, &self.pass)
    }

    fn forget_epochs_a_round(&self) -> f64 {
        self.forget_epochs
    }
}
