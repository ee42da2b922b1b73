//! SalUn: random labels, and only the coordinates move that matter most to `D_f` (Fan et al., 2024).

use tch::Kind;

use super::{random_label::RandomLabel, saliency::most_salient};
use crate::{LabelledSamples, Learner, Pass, RoundMethod, UnlearningError};

pub struct Salun<'a> {
    settings: rewind_job::Salun,
    at_once: usize,
    forget: &'a LabelledSamples,
    random_label: RandomLabel<'a>,
}

impl<'a> Salun<'a> {
    pub fn new(settings: rewind_job::Salun, pass: Pass, forget: &'a LabelledSamples, classes: u32) -> Self {
        let at_once = pass.batch_size;
        Self { settings, at_once, forget, random_label: RandomLabel::new(pass, forget, classes) }
    }
}

impl RoundMethod for Salun<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        if learner.kept.is_empty() {
            let mask = most_salient(learner, self.forget, self.at_once, self.settings.share)?;
            learner.kept.push(mask.to_kind(Kind::Float));
        }
        learner.movable = Some(learner.kept[0].to_kind(Kind::Bool));
        self.random_label.round(learner)
    }

    /// One more than rounds: the mask reads `D_f` once.
    fn forget_epochs(&self, rounds: u32) -> f64 {
        1.0 + self.random_label.forget_epochs(rounds)
    }
}
