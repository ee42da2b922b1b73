//! Means over seeds, and how sure they are.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean with its two-sided 95 % interval (Student's t). Of one value nothing is known but the value: both ends are null.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    pub mean: f64,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

impl Interval {
    /// None of no values, or of one that is not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let half = StudentsT::new(0.0, 1.0, count - 1.0).ok().map(|t| {
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
            t.inverse_cdf(0.975) * (variance / count).sqrt()
        });
        Some(Self { mean, low: half.map(|half| mean - half), high: half.map(|half| mean + half) })
    }

    /// Half its width.
    pub fn half(&self) -> Option<f64> {
        Some((self.high? - self.low?) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_the_one_of_the_tables() {
        // t with 4 degrees of freedom: 2.776; standard deviation 1.581, standard error 0.7071.
        let interval = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).expect("an interval");
        assert!((interval.mean - 3.0).abs() < 1e-12);
        assert!((interval.half().expect("five values") - 2.7764 * 0.5_f64.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn one_value_has_no_interval_and_none_no_mean() {
        assert_eq!(Interval::of(&[2.0]), Some(Interval { mean: 2.0, low: None, high: None }));
        assert_eq!((Interval::of(&[]), Interval::of(&[1.0, f64::NAN])), (None, None));
    }
}
