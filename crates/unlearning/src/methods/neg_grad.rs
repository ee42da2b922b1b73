//! NegGrad: gradient ascent on the forget data.

use crate::{Descent, LabelledSamples, Learner, Pass, RoundMethod, UnlearningError};

pub struct NegGrad<'a> {
    pass: Pass,
    forget: &'a LabelledSamples,
}

impl<'a> NegGrad<'a> {
    pub fn new(pass: Pass, forget: &'a LabelledSamples) -> Self {
        Self { pass: Pass { descent: Descent::Up, ..pass }, forget }
    }
}

impl RoundMethod for NegGrad<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        learner.epoch(self.forget, &self.pass)
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds)
    }
}
