//! What a round leaves beside its weights.

use serde::{Deserialize, Serialize};

use crate::{Figure, Read, Round, ScoreValue, Scores};

/// What every rank knows after a round; committed with it. Times in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "RoundAtRest")]
pub struct RoundRecord {
    pub round: Round,
    /// Mean training loss of the round's epochs; not finite where the round diverged, and was taken back.
    pub loss: ScoreValue,
    /// What was measured of the weights that the round left.
    #[serde(skip_serializing_if = "Scores::is_empty")]
    pub scores: Scores,
    /// What was measured of the weights that the step began with: in every round of a step the same.
    #[serde(skip_serializing_if = "Scores::is_empty")]
    pub at_start: Scores,
    /// The share of the round's change that was kept, where that was bisected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_length: Option<f64>,
    /// Root mean square of the change of the weights in this round.
    pub weight_change: f64,
    /// Wall time since the step began.
    pub seconds: f64,
    /// Epochs over `D_f` since the step began.
    pub forget_epochs: f64,
    /// Bytes rank 0 sent since the step began.
    pub bytes_moved: u64,
    /// Time on the device since the step began, summed over the ranks: on a CPU, processor time.
    pub device_seconds: f64,
    /// The most memory that a rank has held at once since the step began (resident, the program itself included), in bytes.
    pub peak_memory: u64,
    /// What was read in this round, by all ranks together; empty where no note was taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Read>,
}

impl RoundRecord {
    /// A figure of the weights that the round left; none where it was not measured, or is not finite.
    pub fn number(&self, figure: Figure) -> Option<f64> {
        self.scores.number(figure)
    }
}

/// A record as any version has written it. Up to version 0.2 each figure was a field of its own.
#[derive(Deserialize)]
struct RoundAtRest {
    round: Round,
    loss: ScoreValue,
    #[serde(default)]
    scores: Scores,
    #[serde(default)]
    at_start: Scores,
    forget_accuracy: Option<f64>,
    validation_accuracy: Option<f64>,
    validation_loss: Option<f64>,
    validation_at_start: Option<f64>,
    validation_accuracy_of_forget_classes: Option<f64>,
    like_unseen: Option<f64>,
    membership_auc: Option<f64>,
    step_length: Option<f64>,
    weight_change: f64,
    seconds: f64,
    forget_epochs: f64,
    bytes_moved: u64,
    #[serde(default)]
    device_seconds: f64,
    #[serde(default)]
    peak_memory: u64,
    #[serde(default)]
    reads: Vec<Read>,
}

impl From<RoundAtRest> for RoundRecord {
    fn from(rest: RoundAtRest) -> Self {
        let (mut scores, mut at_start) = (rest.scores, rest.at_start);
        let figures = [
            (Figure::FORGET_ACCURACY, rest.forget_accuracy),
            (Figure::VALIDATION_ACCURACY, rest.validation_accuracy),
            (Figure::VALIDATION_ACCURACY_OF_FORGET_CLASSES, rest.validation_accuracy_of_forget_classes),
            (Figure::LIKE_UNSEEN, rest.like_unseen),
            (Figure::MEMBERSHIP_AUC, rest.membership_auc),
        ];
        // Whoever trained predictors left nothing but an error on held-out histories, under this name.
        let is_of_predictor = figures.iter().all(|(_, value)| value.is_none());
        let loss = if is_of_predictor { Figure::PREDICTOR_ERROR } else { Figure::VALIDATION_LOSS };
        for (figure, value) in figures.into_iter().chain([(loss, rest.validation_loss)]) {
            if value.is_some() {
                scores.set(figure, value);
            }
        }
        if rest.validation_at_start.is_some() {
            at_start.set(Figure::VALIDATION_ACCURACY, rest.validation_at_start);
        }
        Self {
            round: rest.round,
            loss: rest.loss,
            scores,
            at_start,
            step_length: rest.step_length,
            weight_change: rest.weight_change,
            seconds: rest.seconds,
            forget_epochs: rest.forget_epochs,
            bytes_moved: rest.bytes_moved,
            device_seconds: rest.device_seconds,
            peak_memory: rest.peak_memory,
            reads: rest.reads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_earlier_versions_are_figures_now() {
        let json = r#"{"round":3,"loss":0.5,"forget_accuracy":90.0,"validation_accuracy":80.0,"validation_loss":0.25,
            "validation_at_start":85.0,"weight_change":0.1,"seconds":1.0,"forget_epochs":3.0,"bytes_moved":7}"#;
        let record: RoundRecord = serde_json::from_str(json).unwrap_or_default();
        let (forget, validation) = (Figure::FORGET_ACCURACY, Figure::VALIDATION_ACCURACY);
        assert_eq!(record.scores, Scores::from([(forget, 90.0), (validation, 80.0), (Figure::VALIDATION_LOSS, 0.25)]));
        assert_eq!(record.at_start, Scores::from([(validation, 85.0)]));
        let written = serde_json::to_string(&record).unwrap_or_default();
        assert!(written.contains(r#""forget.accuracy":90.0"#) && !written.contains("forget_accuracy"), "{written}");
        assert_eq!(serde_json::from_str::<RoundRecord>(&written).ok(), Some(record));
    }

    #[test]
    fn the_loss_of_a_predictors_epoch_is_its_error() {
        let json = r#"{"round":1,"loss":0.5,"forget_accuracy":null,"validation_accuracy":null,"validation_loss":0.9,
            "weight_change":0.1,"seconds":1.0,"forget_epochs":0.0,"bytes_moved":0}"#;
        let record: RoundRecord = serde_json::from_str(json).unwrap_or_default();
        assert_eq!(record.scores, Scores::from([(Figure::PREDICTOR_ERROR, 0.9)]));
    }
}
