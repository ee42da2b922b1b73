//! Membership inference by a support-vector classifier (SalUn; Fan et al., 2024).

use linfa::{Dataset, prelude::*};
use linfa_svm::Svm;
use ndarray::{Array1, Array2};

use crate::EvaluationError;

/// Penalty of the classifier.
const C: f64 = 3.0;
/// The kernel is exp(−distance² / width); γ = 1/features = 1.
const WIDTH: f64 = 1.0;

/// What the attack found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Membership {
    /// Share of the forget samples that it calls non-members, in percent.
    pub non_member_share: f64,
    /// Mean of its accuracies on members and on non-members that it was not fitted on, in percent.
    /// Near 50 it cannot tell them apart, and its other figure says nothing.
    pub balanced_accuracy: f64,
}

/// Attacks by the probability of the true class: fitted on `members` and `non_members`, asked about `forget`.
///
/// The balanced accuracy comes from a second classifier, fitted on every other sample and asked about the rest.
///
/// # Errors
/// Too few samples, or probabilities that are not finite.
pub fn membership_inference(
    members: &[f64],
    non_members: &[f64],
    forget: &[f64],
) -> Result<Membership, EvaluationError> {
    if members.len() < 4 || non_members.len() < 4 {
        return Err(EvaluationError::TooFewSamples { members: members.len(), non_members: non_members.len() });
    }
    if !members.iter().chain(non_members).chain(forget).all(|p| p.is_finite()) {
        return Err(EvaluationError::NotFinite);
    }
    let called_non_member = attack(members, non_members, forget)?;
    let every_other = |values: &[f64], first: usize| values.iter().copied().skip(first).step_by(2).collect::<Vec<_>>();
    let (fit_members, fit_others) = (every_other(members, 0), every_other(non_members, 0));
    let asked = |values: &[f64]| attack(&fit_members, &fit_others, &every_other(values, 1));
    let wrong_members = share(&asked(members)?);
    let right_others = share(&asked(non_members)?);
    Ok(Membership {
        non_member_share: share(&called_non_member),
        balanced_accuracy: (100.0 - wrong_members + right_others) / 2.0,
    })
}

fn share(called: &[bool]) -> f64 {
    100.0 * called.iter().filter(|&&called| called).count() as f64 / called.len().max(1) as f64
}

/// For each of `asked`: whether it is called a non-member.
fn attack(members: &[f64], non_members: &[f64], asked: &[f64]) -> Result<Vec<bool>, EvaluationError> {
    let column = |values: Vec<f64>| Array2::from_shape_vec((values.len(), 1), values).expect("one column");
    let records: Vec<f64> = members.iter().chain(non_members).copied().collect();
    let targets: Array1<bool> = (0..records.len()).map(|index| index < members.len()).collect();
    if records.iter().all(|&p| p == records[0]) {
        // Nothing tells them apart: everything is a member, as for a classifier that was fitted on equal points.
        return Ok(asked.iter().map(|&p| p != records[0]).collect());
    }
    let classifier = Svm::<f64, bool>::params()
        .pos_neg_weights(C, C)
        .gaussian_kernel(WIDTH)
        .fit(&Dataset::new(column(records), targets))
        .map_err(|error| EvaluationError::Fit(error.to_string()))?;
    let is_member: Array1<bool> = classifier.predict(&column(asked.to_vec()));
    Ok(is_member.iter().map(|member| !member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separable_members_are_told_apart() {
        let members = [0.99; 20];
        let others = [0.2; 20];
        let found = membership_inference(&members, &others, &[0.98, 0.97, 0.25, 0.1]).expect("fits");
        assert_eq!(found, Membership { non_member_share: 50.0, balanced_accuracy: 100.0 });
    }

    #[test]
    fn equal_samples_say_nothing() {
        let found = membership_inference(&[1.0; 10], &[1.0; 10], &[1.0; 10]).expect("fits");
        assert_eq!(found, Membership { non_member_share: 0.0, balanced_accuracy: 50.0 });
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(matches!(membership_inference(&[1.0; 3], &[1.0; 10], &[]), Err(EvaluationError::TooFewSamples { .. })));
        assert!(matches!(membership_inference(&[f64::NAN; 5], &[1.0; 5], &[]), Err(EvaluationError::NotFinite)));
    }
}
