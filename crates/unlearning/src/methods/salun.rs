//! SalUn: random labels, and only the coordinates move that matter most to `D_f` (Fan et al., 2024).

use tch::Kind;

use super::{random_label::RandomLabel, saliency::most_salient};
use crate::{LabelledSamples, Learner, Pass, RoundMethod, UnlearningError};

pub struct Salun<'a> {
    share: f64,
    at_once: usize,
    forget: &'a LabelledSamples,
    random_label: RandomLabel<'a>,
}

impl<'a> Salun<'a> {
    /// `random_label` is what trains under the mask.
    pub fn new(share: f64, pass: &Pass, forget: &'a LabelledSamples, random_label: RandomLabel<'a>) -> Self {
        // The mask counts as an epoch.
        Self { share, at_once: pass.batch_size, forget, random_label: random_label.after(1) }
    }
}

impl RoundMethod for Salun<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        if learner.kept.is_empty() {
            let mask = most_salient(learner, self.forget, self.at_once, self.share)?;
            learner.kept.push(mask.to_kind(Kind::Float));
        }
        let mask = learner.kept[0].to_kind(Kind::Bool);
        learner.movable.choose(mask);
        self.random_label.round(learner)
    }

    /// One more than rounds: the mask reads `D_f` once.
    fn forget_epochs(&self, rounds: u32) -> f64 {
        1.0 + self.random_label.forget_epochs(rounds)
    }
}
