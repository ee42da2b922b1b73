//! Fine-tune: train on the remaining data, and hope that the rest is forgotten.

use crate::{LabelledSamples, Learner, Pass, RoundMethod, UnlearningError};

pub struct FineTune<'a> {
    pass: Pass,
    remaining: &'a LabelledSamples,
}

impl<'a> FineTune<'a> {
    pub fn new(pass: Pass, remaining: &'a LabelledSamples) -> Self {
        Self { pass, remaining }
    }
}

impl RoundMethod for FineTune<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        learner.epoch(self.remaining, &self.pass)
    }

    fn forget_epochs(&self, _: u32) -> f64 {
        0.0
    }
}
