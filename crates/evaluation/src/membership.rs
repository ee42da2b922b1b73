//! Membership inference by a support-vector classifier (SalUn; Fan et al., 2024).

use linfa::{Dataset, prelude::*};
use linfa_svm::Svm;
use ndarray::{Array1, Array2};

use crate::EvaluationError;

/// Penalty of the classifier.
const C: f64 = 3.0;
/// The kernel is exp(−distance² / width); γ = 1/features = 1.
const WIDTH: f64 = 1.0;
/// The solver stops when no pair of samples violates the optimality conditions by more (libsvm's default).
const TOLERANCE: f64 = 1e-3;

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
/// SalUn takes as many members as there are non-members; the caller sees to that.
///
/// The balanced accuracy comes from a second classifier of the same settings, fitted on every other sample of each
/// kind (the first, the third, …) and asked about the rest: a function of the samples and their order alone.
/// Where all samples are equal, everything is called a member.
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
        // Nothing tells them apart: everything counts as a member.
        return Ok(vec![false; asked.len()]);
    }
    let classifier = Svm::<f64, bool>::params()
        .pos_neg_weights(C, C)
        .gaussian_kernel(WIDTH)
        .eps(TOLERANCE)
        .fit(&Dataset::new(column(records), targets))
        .map_err(|error| EvaluationError::Fit(error.to_string()))?;
    let is_member: Array1<bool> = classifier.predict(&column(asked.to_vec()));
    Ok(is_member.iter().map(|member| !member).collect())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::Value;

    use super::*;

    /// Written by tests/golden/svc.py.
    fn golden() -> Vec<Value> {
        let golden: Value = serde_json::from_str(include_str!("../tests/golden/svc.json")).expect("JSON");
        golden["cases"].as_array().expect("a list").clone()
    }

    fn numbers(case: &Value, name: &str) -> Vec<f64> {
        case[name].as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
    }

    #[test]
    fn the_attack_agrees_with_scikit_learn() {
        for case in golden() {
            let [members, others, asked] = ["members", "non_members", "asked"].map(|name| numbers(&case, name));
            let found = attack(&members, &others, &asked).expect("fits");
            let expected = case["called_non_member"].as_array().expect("a list");
            let decisions = numbers(&case, "decision");
            assert_eq!(found.len(), expected.len());
            let mut agreed = 0;
            for ((&found, expected), decision) in found.iter().zip(expected).zip(decisions) {
                let same = Some(found) == expected.as_bool();
                agreed += usize::from(same);
                // Both stop within a tolerance: they may differ on the boundary, and only there.
                assert!(same || decision.abs() < 10.0 * TOLERANCE, "{}: decision {decision}", case["name"]);
            }
            assert!(agreed * 100 >= found.len() * 99, "{}: {agreed} of {}", case["name"], found.len());
        }
    }

    #[test]
    fn the_attack_ends_soon_on_every_shape_of_data() {
        for case in golden() {
            let [members, others, asked] = ["members", "non_members", "asked"].map(|name| numbers(&case, name));
            let start = Instant::now();
            membership_inference(&members, &others, &asked).expect("fits");
            // Some 0.1 s on an idle core: the room is for busy machines.
            assert!(start.elapsed() < Duration::from_secs(5), "{}: {:?}", case["name"], start.elapsed());
        }
    }

    #[test]
    fn separable_members_are_told_apart() {
        let members = [0.99; 20];
        let others = [0.2; 20];
        let found = membership_inference(&members, &others, &[0.98, 0.97, 0.25, 0.1]).expect("fits");
        assert_eq!(found, Membership { non_member_share: 50.0, balanced_accuracy: 100.0 });
    }

    #[test]
    fn equal_samples_say_nothing() {
        let found = membership_inference(&[1.0; 10], &[1.0; 10], &[1.0, 0.5]).expect("fits");
        assert_eq!(found, Membership { non_member_share: 0.0, balanced_accuracy: 50.0 });
    }

    #[test]
    fn samples_that_differ_by_little_still_have_an_answer() {
        let nearly = |step: f64| (0..250).map(|i| 1.0 - step * f64::from(i)).collect::<Vec<_>>();
        let mut one_off = [1.0; 250];
        one_off[0] = 0.0;
        for (members, others) in
            [(nearly(1e-16), nearly(1e-12)), (nearly(1e-7), nearly(1e-7)), (vec![1.0; 250], one_off.to_vec())]
        {
            let found = membership_inference(&members, &others, &members).expect("fits");
            assert!((0.0..=100.0).contains(&found.non_member_share), "{found:?}");
            assert!((40.0..=60.0).contains(&found.balanced_accuracy), "{found:?}");
        }
    }

    #[test]
    fn an_attack_that_answers_the_same_for_all_has_a_balanced_accuracy_of_half() {
        // Far more members than others, all alike: it calls everything a member.
        let members: Vec<f64> = (0..200).map(|i| f64::from(i % 10) / 10.0).collect();
        let found = membership_inference(&members, &members[..10], &members).expect("fits");
        assert_eq!(found, Membership { non_member_share: 0.0, balanced_accuracy: 50.0 });
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(matches!(membership_inference(&[1.0; 3], &[1.0; 10], &[]), Err(EvaluationError::TooFewSamples { .. })));
        assert!(matches!(membership_inference(&[f64::NAN; 5], &[1.0; 5], &[]), Err(EvaluationError::NotFinite)));
    }
}
