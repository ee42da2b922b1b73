//! What was measured: the only place that knows a figure's name, unit and direction.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, Unexpected, Visitor},
};

/// What is measured of a network's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Score {
    /// Share of answers that are the label the samples were trained with.
    Accuracy,
    /// Mean cross-entropy.
    Loss,
    /// Probability that confidences on these samples and on unseen ones come from one distribution (Kolmogorov–Smirnov).
    LikeUnseen,
    /// Area under the curve of telling these samples from unseen ones by the confidence in the label.
    MembershipAuc,
    /// Share of the class that is answered most often.
    MostAnswered,
    /// Mean entropy of the answered probabilities.
    Entropy,
    /// Mean of the largest probability of each answer.
    Confidence,
    /// Of the values themselves.
    RootMeanSquare,
    /// A predictor's mean L1 error, relative to no change.
    RelativeError,
}

/// What a score is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Percent,
    Nats,
    /// From 0 to 1.
    Share,
    None,
}

impl Score {
    const ALL: [Self; 9] = [
        Self::Accuracy,
        Self::Loss,
        Self::LikeUnseen,
        Self::MembershipAuc,
        Self::MostAnswered,
        Self::Entropy,
        Self::Confidence,
        Self::RootMeanSquare,
        Self::RelativeError,
    ];

    /// As figures are called at rest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Loss => "loss",
            Self::LikeUnseen => "like-unseen",
            Self::MembershipAuc => "membership-auc",
            Self::MostAnswered => "most-answered",
            Self::Entropy => "entropy",
            Self::Confidence => "confidence",
            Self::RootMeanSquare => "root-mean-square",
            Self::RelativeError => "relative-error",
        }
    }

    /// As people read it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Loss => "cross-entropy",
            Self::LikeUnseen => "likeness to unseen data",
            Self::MembershipAuc => "membership area",
            Self::MostAnswered => "share of the most answered class",
            Self::Entropy => "entropy of answers",
            Self::Confidence => "confidence",
            Self::RootMeanSquare => "root mean square",
            Self::RelativeError => "error relative to no change",
        }
    }

    pub fn unit(self) -> Unit {
        match self {
            Self::Accuracy | Self::MostAnswered | Self::Confidence => Unit::Percent,
            Self::Loss | Self::Entropy => Unit::Nats,
            Self::LikeUnseen | Self::MembershipAuc => Unit::Share,
            Self::RootMeanSquare | Self::RelativeError => Unit::None,
        }
    }
}

/// What is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum On {
    /// `D_f`, with the labels that were trained with.
    Forget,
    Validation,
    /// Validation samples of the classes that occur in `D_f`.
    ValidationOfForgetClasses,
    /// What a step trains on.
    Training,
    /// No data, but the network's weights.
    Weights,
    /// BatchNorm's running statistics.
    Statistics,
    /// Histories that a predictor is not trained on.
    HeldOutHistories,
}

impl On {
    const ALL: [Self; 7] = [
        Self::Forget,
        Self::Training,
        Self::Validation,
        Self::ValidationOfForgetClasses,
        Self::Weights,
        Self::Statistics,
        Self::HeldOutHistories,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Forget => "forget",
            Self::Validation => "validation",
            Self::ValidationOfForgetClasses => "validation-of-forget-classes",
            Self::Training => "training",
            Self::Weights => "weights",
            Self::Statistics => "statistics",
            Self::HeldOutHistories => "held-out-histories",
        }
    }

    /// As people read it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Forget => "the forget data",
            Self::Validation => "validation data",
            Self::ValidationOfForgetClasses => "validation samples of the forget data’s classes",
            Self::Training => "what the last round trained on",
            Self::Weights => "the weights",
            Self::Statistics => "BatchNorm’s statistics",
            Self::HeldOutHistories => "held-out histories",
        }
    }
}

/// One score on one part of the data: `forget.accuracy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Figure {
    pub on: On,
    pub score: Score,
}

impl Figure {
    pub const FORGET_ACCURACY: Self = Self { on: On::Forget, score: Score::Accuracy };
    pub const FORGET_LOSS: Self = Self { on: On::Forget, score: Score::Loss };
    pub const LIKE_UNSEEN: Self = Self { on: On::Forget, score: Score::LikeUnseen };
    pub const MEMBERSHIP_AUC: Self = Self { on: On::Forget, score: Score::MembershipAuc };
    pub const MOST_ANSWERED: Self = Self { on: On::Forget, score: Score::MostAnswered };
    pub const ENTROPY: Self = Self { on: On::Forget, score: Score::Entropy };
    pub const CONFIDENCE: Self = Self { on: On::Forget, score: Score::Confidence };
    pub const VALIDATION_ACCURACY: Self = Self { on: On::Validation, score: Score::Accuracy };
    pub const VALIDATION_LOSS: Self = Self { on: On::Validation, score: Score::Loss };
    pub const VALIDATION_ACCURACY_OF_FORGET_CLASSES: Self =
        Self { on: On::ValidationOfForgetClasses, score: Score::Accuracy };
    pub const TRAINING_LOSS: Self = Self { on: On::Training, score: Score::Loss };
    pub const WEIGHTS: Self = Self { on: On::Weights, score: Score::RootMeanSquare };
    pub const STATISTICS: Self = Self { on: On::Statistics, score: Score::RootMeanSquare };
    pub const PREDICTOR_ERROR: Self = Self { on: On::HeldOutHistories, score: Score::RelativeError };

    /// `accuracy on the forget data`.
    pub fn title(self) -> String {
        let preposition = if matches!(self.on, On::Weights | On::Statistics) { "of" } else { "on" };
        format!("{} {preposition} {}", self.score.title(), self.on.title())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.on.name(), self.score.name())
    }
}

impl FromStr for Figure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("there is no figure `{}`", text.chars().take(60).collect::<String>());
        let (on, score) = text.split_once('.').ok_or_else(unknown)?;
        let on = On::ALL.into_iter().find(|known| known.name() == on).ok_or_else(unknown)?;
        let score = Score::ALL.into_iter().find(|known| known.name() == score).ok_or_else(unknown)?;
        Ok(Self { on, score })
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What a measurement gave. JSON has no numbers that are not finite, but a verdict needs to know of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoreValue {
    Number(f64),
    NotFinite,
}

/// How a value that is no number is written.
const NOT_FINITE: &str = "not finite";

impl ScoreValue {
    /// None where it is not finite.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number),
            Self::NotFinite => None,
        }
    }
}

impl Default for ScoreValue {
    fn default() -> Self {
        Self::Number(0.0)
    }
}

impl fmt::Display for ScoreValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::NotFinite => formatter.write_str(NOT_FINITE),
        }
    }
}

impl From<f64> for ScoreValue {
    fn from(number: f64) -> Self {
        if number.is_finite() { Self::Number(number) } else { Self::NotFinite }
    }
}

impl Serialize for ScoreValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::NotFinite => serializer.serialize_str(NOT_FINITE),
        }
    }
}

impl<'de> Deserialize<'de> for ScoreValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = ScoreValue;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a number, or `{NOT_FINITE}`")
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<ScoreValue, E> {
                Ok(number.into())
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<ScoreValue, E> {
                Ok((number as f64).into())
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<ScoreValue, E> {
                Ok((number as f64).into())
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<ScoreValue, E> {
                if word == NOT_FINITE {
                    Ok(ScoreValue::NotFinite)
                } else {
                    Err(E::invalid_value(Unexpected::Str(word), &self))
                }
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// What was measured. A figure that is lacking was not: there was no data for it, or nobody asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scores(BTreeMap<Figure, ScoreValue>);

impl Scores {
    /// Notes what was measured.
    pub fn set(&mut self, figure: Figure, value: impl Into<Option<f64>>) {
        match value.into() {
            Some(number) => self.0.insert(figure, number.into()),
            None => self.0.remove(&figure),
        };
    }

    pub fn get(&self, figure: Figure) -> Option<ScoreValue> {
        self.0.get(&figure).copied()
    }

    /// None where it was not measured, or is not finite.
    pub fn number(&self, figure: Figure) -> Option<f64> {
        self.get(figure)?.number()
    }

    /// Takes in what else was measured.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Figure, ScoreValue)> {
        self.0.iter().map(|(&figure, &value)| (figure, value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V: Into<Option<f64>>, const N: usize> From<[(Figure, V); N]> for Scores {
    fn from(figures: [(Figure, V); N]) -> Self {
        let mut scores = Self::default();
        figures.into_iter().for_each(|(figure, value)| scores.set(figure, value));
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_comes_back_from_its_name() {
        for on in On::ALL {
            for score in Score::ALL {
                let figure = Figure { on, score };
                assert_eq!(figure.to_string().parse(), Ok(figure));
            }
        }
        assert!("forget".parse::<Figure>().is_err() && "forget.luck".parse::<Figure>().is_err());
    }

    #[test]
    fn what_is_not_finite_comes_back_as_that() {
        let scores = Scores::from([(Figure::FORGET_ACCURACY, 12.5), (Figure::FORGET_LOSS, f64::NAN)]);
        let json = serde_json::to_string(&scores).unwrap_or_default();
        assert_eq!(json, r#"{"forget.accuracy":12.5,"forget.loss":"not finite"}"#);
        assert_eq!(serde_json::from_str::<Scores>(&json).ok(), Some(scores.clone()));
        assert_eq!(
            (scores.number(Figure::FORGET_LOSS), scores.get(Figure::FORGET_LOSS)),
            (None, Some(ScoreValue::NotFinite))
        );
        assert!(serde_json::from_str::<Scores>(r#"{"forget.loss":"x"}"#).is_err());
    }
}
