//! Noise on the weights that matter most to `D_f`.

use super::saliency::most_salient;
use crate::{LabelledSamples, Learner, Pass, RoundMethod, UnlearningError};

pub struct WeightNoise<'a> {
    settings: rewind_job::WeightNoise,
    at_once: usize,
    forget: &'a LabelledSamples,
}

impl<'a> WeightNoise<'a> {
    pub fn new(settings: rewind_job::WeightNoise, pass: Pass, forget: &'a LabelledSamples) -> Self {
        Self { settings, at_once: pass.batch_size, forget }
    }
}

impl RoundMethod for WeightNoise<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let chosen = most_salient(learner, self.forget, self.at_once, self.settings.share)?;
        let noise = learner.noise("weight-noise") * self.settings.sigma * chosen;
        let noisy = learner.gang.shard(learner.network.flat()).detach() + noise;
        learner.replace_weights(&noisy)?;
        learner.loss(self.forget)
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds)
    }
}
