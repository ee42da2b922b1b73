//! Task Vector: negate what fine-tuning on `D_f` adds (Ilharco et al., 2023), iterated in rounds like rewinding.

use super::rewinding::{epochs_a_round, record_trajectory};
use crate::{LabelledSamples, Learner, Pass, RoundMethod, UnlearningError};

pub struct TaskVector<'a> {
    settings: &'a rewind_job::TaskVector,
    pass: Pass,
    forget: &'a LabelledSamples,
}

impl<'a> TaskVector<'a> {
    pub fn new(settings: &'a rewind_job::TaskVector, pass: Pass, forget: &'a LabelledSamples) -> Self {
        Self { settings, pass, forget }
    }
}

impl RoundMethod for TaskVector<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let recorded = record_trajectory(learner, self.forget, &self.pass, &self.settings.trajectory)?;
        let negated = rewind_predictor::task_vector(&recorded.trajectory, &self.settings.lambda)?;
        learner.replace_recorded_weights(&negated)?;
        Ok(recorded.loss)
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds) * f64::from(epochs_a_round(&self.settings.trajectory))
    }
}
