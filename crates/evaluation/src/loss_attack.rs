//! Membership inference by a logistic regression on losses (SCRUB; Kurmanji et al., 2023).

use crate::EvaluationError;

/// Each sample is asked about once, by a regression that was fitted on the other folds.
const FOLDS: usize = 5;
/// Two samples of either kind in each fold.
const FEWEST: usize = 2 * FOLDS;
/// Losses beyond this count as this, in nats.
const LARGEST_LOSS: f64 = 100.0;
/// Weight of the data beside half the squared slope (scikit-learn's `C`).
const C: f64 = 1.0;
/// The fit ends where no derivative of its objective, divided by the number of samples, is larger.
const TOLERANCE: f64 = 1e-10;
/// Newton's method takes some ten steps; where halving a step no longer helps, rounding has ended it.
const MOST_STEPS: usize = 100;
const MOST_HALVINGS: usize = 40;

/// Can the losses of `members` be told from those of `others`? Mean accuracy of five folds in percent; 50 is guessing.
///
/// Both are cross-entropies in nats, in an order that was drawn, and as many of one as of the other: sample `i` of
/// either lies in fold `i mod 5`. Where all losses are equal, the answer is 50. SCRUB's code draws a tenth of the samples
/// five times instead, so that some are asked about twice and others never; the regression is the same.
///
/// # Errors
/// Fewer than ten of either, other numbers of one than of the other, or losses that are not numbers.
pub fn loss_attack(members: &[f64], others: &[f64]) -> Result<f64, EvaluationError> {
    if members.len() < FEWEST || others.len() < FEWEST {
        let (members, others) = (members.len(), others.len());
        return Err(EvaluationError::TooFewLosses { members, others, fewest: FEWEST });
    }
    if members.len() != others.len() {
        return Err(EvaluationError::UnequalLosses { members: members.len(), others: others.len() });
    }
    if members.iter().chain(others).any(|loss| loss.is_nan()) {
        return Err(EvaluationError::LossNotANumber);
    }
    let folds = (0..FOLDS).map(|fold| {
        let part = |losses: &[f64], asked: bool| -> Vec<f64> {
            let within = losses.iter().enumerate().filter(|(at, _)| (at % FOLDS == fold) == asked);
            within.map(|(_, loss)| loss.clamp(-LARGEST_LOSS, LARGEST_LOSS)).collect()
        };
        let fitted = Logistic::fit(&part(members, false), &part(others, false));
        let (asked, strangers) = (part(members, true), part(others, true));
        let right = asked.iter().filter(|&&loss| fitted.is_member(loss)).count()
            + strangers.iter().filter(|&&loss| !fitted.is_member(loss)).count();
        100.0 * right as f64 / (asked.len() + strangers.len()) as f64
    });
    Ok(folds.sum::<f64>() / FOLDS as f64)
}

/// `p(member | loss) = 1 / (1 + exp(−(slope · loss + intercept)))`.
#[derive(Clone, Copy, Debug)]
struct Logistic {
    slope: f64,
    intercept: f64,
}

impl Logistic {
    /// The minimum of `½ slope² + C · Σ ln(1 + exp(−y (slope · loss + intercept)))`, with `y = 1` for members and −1 for
    /// others, by Newton's method.
    fn fit(members: &[f64], others: &[f64]) -> Self {
        let samples = || members.iter().map(|&loss| (loss, 1.0)).chain(others.iter().map(|&loss| (loss, -1.0)));
        let count = (members.len() + others.len()) as f64;
        let objective = |at: Self| {
            // ln(1 + exp(−z)), without overflow.
            let softplus = |z: f64| (-z.abs()).exp().ln_1p() + (-z).max(0.0);
            0.5 * at.slope * at.slope + C * samples().map(|(x, y)| softplus(y * at.decision(x))).sum::<f64>()
        };
        let mut now = Self { slope: 0.0, intercept: 0.0 };
        for _ in 0..MOST_STEPS {
            let mut gradient = [now.slope, 0.0];
            // [[a, b], [b, c]]; the slope's penalty keeps the determinant away from 0.
            let (mut a, mut b, mut c) = (1.0, 0.0, 0.0);
            for (x, y) in samples() {
                let wrong = 1.0 / (1.0 + (y * now.decision(x)).exp());
                let curvature = C * wrong * (1.0 - wrong);
                gradient[0] -= C * wrong * y * x;
                gradient[1] -= C * wrong * y;
                a += curvature * x * x;
                b += curvature * x;
                c += curvature;
            }
            let determinant = a * c - b * b;
            if gradient.iter().all(|derivative| derivative.abs() <= TOLERANCE * count) || determinant <= 0.0 {
                break;
            }
            let step =
                [(c * gradient[0] - b * gradient[1]) / determinant, (a * gradient[1] - b * gradient[0]) / determinant];
            let before = objective(now);
            let tried = (0..MOST_HALVINGS).map(|halvings| 0.5_f64.powi(halvings as i32)).map(|length| Self {
                slope: now.slope - length * step[0],
                intercept: now.intercept - length * step[1],
            });
            let Some(better) = tried.into_iter().find(|&next| objective(next) < before) else { break };
            now = better;
        }
        now
    }

    fn decision(self, loss: f64) -> f64 {
        self.slope * loss + self.intercept
    }

    fn is_member(self, loss: f64) -> bool {
        self.decision(loss) > 0.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Written by tests/golden/logistic.py.
    fn golden() -> Vec<Value> {
        let golden: Value = serde_json::from_str(include_str!("../tests/golden/logistic.json")).expect("JSON");
        golden["cases"].as_array().expect("a list").clone()
    }

    fn numbers(case: &Value, name: &str) -> Vec<f64> {
        case[name].as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
    }

    #[test]
    fn the_attack_agrees_with_scikit_learn() {
        for case in golden() {
            let (members, others) = (numbers(&case, "members"), numbers(&case, "others"));
            let accuracies = numbers(&case, "accuracies");
            let expected = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
            let found = loss_attack(&members, &others).expect("is measured");
            assert!((found - expected).abs() < 1e-9, "{}: {found}, scikit-learn {expected}", case["name"]);
            let clipped = |losses: &[f64]| losses.iter().map(|loss| loss.min(LARGEST_LOSS)).collect::<Vec<f64>>();
            let fitted = Logistic::fit(&clipped(&members), &clipped(&others));
            let close = |found: f64, expected: f64| (found - expected).abs() <= 1e-6 * expected.abs().max(1.0);
            let (slope, intercept) = (case["slope"].as_f64(), case["intercept"].as_f64());
            assert!(close(fitted.slope, slope.expect("a number")), "{}: {fitted:?}", case["name"]);
            assert!(close(fitted.intercept, intercept.expect("a number")), "{}: {fitted:?}", case["name"]);
        }
    }

    #[test]
    fn losses_that_lie_apart_are_told_apart_and_equal_ones_are_not() {
        let near = |centre: f64| (0..10).map(|at| centre + 0.01 * f64::from(at)).collect::<Vec<f64>>();
        assert_eq!(loss_attack(&near(0.1), &near(3.0)).expect("is measured"), 100.0);
        // Forgotten too well: larger losses than unseen samples have betray the forget data as surely.
        assert_eq!(loss_attack(&near(9.0), &near(3.0)).expect("is measured"), 100.0);
        assert_eq!(loss_attack(&[0.0; 20], &[0.0; 20]).expect("is measured"), 50.0);
        assert_eq!(loss_attack(&[f64::INFINITY; 10], &[690.0; 10]).expect("is measured"), 50.0, "both are beyond");
    }

    #[test]
    fn a_regression_by_hand() {
        // By symmetry the boundary is at ½, and a sample is called wrongly with probability 1 / (1 + exp(−slope / 2)); the
        // objective's derivative, slope + two wrong calls, is 0.
        let Logistic { slope, intercept } = Logistic::fit(&[0.0, 0.0], &[1.0, 1.0]);
        assert!((intercept + 0.5 * slope).abs() < 1e-9, "{slope} {intercept}");
        let wrong = 1.0 / (1.0 + (-0.5 * slope).exp());
        assert!((slope + 2.0 * wrong).abs() < 1e-9 && slope < -0.5, "{slope}");
    }

    #[test]
    fn impossible_input_is_refused() {
        let refusal = |members: &[f64], others: &[f64]| loss_attack(members, others).expect_err("refused").to_string();
        assert!(refusal(&[1.0; 9], &[1.0; 9]).contains("at least 10 of each"), "{}", refusal(&[1.0; 9], &[1.0; 9]));
        assert!(refusal(&[1.0; 11], &[1.0; 10]).contains("11 and 10"));
        assert!(refusal(&[f64::NAN; 10], &[1.0; 10]).contains("not a number"));
    }
}
