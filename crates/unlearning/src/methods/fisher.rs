//! Fisher forgetting: noise on each coordinate, the more the less the remaining data needs it (Golatkar et al., 2020).

use tch::Tensor;

use crate::{LabelledSamples, Learner, RoundMethod, UnlearningError};

pub struct Fisher<'a> {
    settings: rewind_job::Fisher,
    remaining: &'a LabelledSamples,
}

impl<'a> Fisher<'a> {
    pub fn new(settings: rewind_job::Fisher, remaining: &'a LabelledSamples) -> Self {
        Self { settings, remaining }
    }
}

impl RoundMethod for Fisher<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let wanted = self.settings.samples.map_or(usize::MAX, |samples| samples as usize);
        let drawn = rewind_datasets::order(learner.seed(), "fisher", learner.epochs(), self.remaining.len());
        let mut positions: Vec<i64> = drawn.into_iter().take(wanted).map(i64::from).collect();
        let information = learner.fisher_diagonal(self.remaining, &positions)?;
        let noise = learner.noise("fisher") * spread(&information, &self.settings);
        let noisy = learner.gang.shard(learner.network.flat()).detach() + noise;
        learner.replace_weights(&noisy)?;
        // Of these samples alone: others are not read.
        positions.sort_unstable();
        learner.loss_at(self.remaining, &positions)
    }

    fn forget_epochs(&self, _: u32) -> f64 {
        0.0
    }
}

/// The noise's standard deviation: √(alpha · min(1/F, clamp)), also where F is 0. `[n]`.
fn spread(information: &Tensor, settings: &rewind_job::Fisher) -> Tensor {
    (information.reciprocal().clamp_max(settings.clamp) * settings.alpha).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_is_the_inverse_information_and_no_more_than_the_clamp() {
        let settings = rewind_job::Fisher { alpha: 0.25, clamp: 100.0, samples: None };
        let found: Vec<f32> =
            Vec::try_from(spread(&Tensor::from_slice(&[1.0_f32, 4.0, 0.0, 1e-9]), &settings)).expect("float32");
        assert_eq!(found, [0.5, 0.25, 5.0, 5.0]);
    }
}
