//! What decides about a step, measured: the figures that rules and verdicts read.

use rewind_artifacts::Shard;
use rewind_evaluation::{area_under_curve, same_distribution};
use rewind_job::{Figure, Scores};
use rewind_models::Network;

use crate::{Gang, LabelledSamples, Predictions, UnlearningError, predictions};

/// The samples that a step is judged by.
#[derive(Clone, Copy)]
pub struct Judged<'a> {
    /// `D_f`, with the labels that were trained with.
    pub forget: &'a LabelledSamples,
    pub validation: Option<&'a LabelledSamples>,
    /// Unseen samples of the classes of `D_f`, where validation data has none of them. None: validation data.
    pub unseen: Option<&'a LabelledSamples>,
}

/// What the network answered on them.
#[derive(Debug)]
pub struct JudgedAnswers {
    pub forget: Predictions,
    pub validation: Option<Predictions>,
    pub unseen: Option<Predictions>,
}

impl Judged<'_> {
    /// Measures a network, by all ranks together.
    ///
    /// # Errors
    /// A lost peer.
    pub fn measure(&self, network: &Network, gang: &mut Gang) -> Result<(Scores, JudgedAnswers), UnlearningError> {
        let mut answers = |data: &LabelledSamples| predictions(network, gang, data);
        let forget = answers(self.forget)?;
        let validation = self.validation.map(&mut answers).transpose()?;
        let unseen = self.unseen.map(&mut answers).transpose()?;
        let strangers = unseen.as_ref().or(validation.as_ref()).map(|answers| answers.probability.as_slice());
        let mut scores = Scores::from([
            (Figure::FORGET_ACCURACY, forget.accuracy()),
            (Figure::FORGET_LOSS, forget.loss()),
            (Figure::MOST_ANSWERED, forget.most_answered()),
            (Figure::CONFIDENCE, forget.mean_confidence()),
            (Figure::ENTROPY, forget.mean_entropy()),
        ]);
        scores.set(Figure::LIKE_UNSEEN, strangers.and_then(|of| same_distribution(&forget.probability, of)));
        scores.set(Figure::MEMBERSHIP_AUC, strangers.and_then(|of| area_under_curve(&forget.probability, of)));
        scores.set(Figure::VALIDATION_ACCURACY, validation.as_ref().map(Predictions::accuracy));
        scores.set(Figure::VALIDATION_LOSS, validation.as_ref().map(Predictions::loss));
        Ok((scores, JudgedAnswers { forget, validation, unseen }))
    }
}

/// The size of weights, and of BatchNorm's statistics where there are any.
pub fn measure_weights(whole: &Shard) -> Scores {
    let mut scores = Scores::from([(Figure::WEIGHTS, root_mean_square(&whole.weights))]);
    let statistics: Vec<f32> = whole.buffers.values().flat_map(|(_, values)| values).copied().collect();
    scores.set(Figure::STATISTICS, Some(root_mean_square(&statistics)).filter(|_| !statistics.is_empty()));
    scores
}

fn root_mean_square(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    (sum / values.len().max(1) as f64).sqrt()
}
