//! Are the forget samples answered like samples never seen? Two samples of confidences, compared.

/// Probability that two samples of one distribution are at least as far apart as these are (two-sided Kolmogorov–Smirnov
/// test with its limiting distribution; Smirnov, 1948): near 0 they are told apart. None of an empty sample, or of values
/// that are not numbers.
pub fn same_distribution(first: &[f64], second: &[f64]) -> Option<f64> {
    let (first, second) = (sorted(first)?, sorted(second)?);
    let size = (first.len() * second.len()) as f64 / (first.len() + second.len()) as f64;
    Some(kolmogorov(size.sqrt() * distance(&first, &second)))
}

/// Probability that a value of `first` is larger than one of `second`, ties counted half: the area under the curve of the
/// attack that calls whatever is answered confidently a member. 0.5 where they are alike. None as above.
pub fn area_under_curve(first: &[f64], second: &[f64]) -> Option<f64> {
    let (first, second) = (sorted(first)?, sorted(second)?);
    let below = |value: f64| second.partition_point(|&other| other < value);
    let not_above = |value: f64| second.partition_point(|&other| other <= value);
    let wins: usize = first.iter().map(|&value| below(value) + not_above(value)).sum();
    Some(wins as f64 / (2 * first.len() * second.len()) as f64)
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    (!values.is_empty() && values.iter().all(|value| !value.is_nan())).then_some(values)
}

/// The largest difference of the two distribution functions; both samples sorted.
fn distance(first: &[f64], second: &[f64]) -> f64 {
    let share = |of: &[f64], value: f64| of.partition_point(|&other| other <= value) as f64 / of.len() as f64;
    let steps = first.iter().chain(second);
    steps.map(|&value| (share(first, value) - share(second, value)).abs()).fold(0.0, f64::max)
}

/// Survival function of Kolmogorov's distribution.
fn kolmogorov(x: f64) -> f64 {
    // Below this it is 1 to 15 digits, and the series converges slowly.
    if x < 0.2 {
        return 1.0;
    }
    let terms = (1..=100).map(|k| {
        let k = f64::from(k);
        (-2.0 * (k * x).powi(2)).exp() * if k % 2.0 == 1.0 { 2.0 } else { -2.0 }
    });
    terms.sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn numbers(case: &Value, name: &str) -> Vec<f64> {
        case[name].as_array().expect("a list").iter().map(|value| value.as_f64().expect("a number")).collect()
    }

    #[test]
    fn both_agree_with_scipy_and_scikit_learn() {
        let golden: Value = serde_json::from_str(include_str!("../tests/golden/likeness.json")).expect("JSON");
        for case in golden["cases"].as_array().expect("a list") {
            let (first, second) = (numbers(case, "first"), numbers(case, "second"));
            let near = |name: &str, found: f64| {
                let expected = case[name].as_f64().expect("a number");
                assert!((found - expected).abs() < 1e-9, "{} {name}: {found}, not {expected}", case["name"]);
            };
            near("distance", distance(&sorted(&first).expect("numbers"), &sorted(&second).expect("numbers")));
            near("p", same_distribution(&first, &second).expect("numbers"));
            near("auc", area_under_curve(&first, &second).expect("numbers"));
        }
    }

    #[test]
    fn by_hand() {
        // Of six pairs the first is larger in four and equal in one.
        assert_eq!(area_under_curve(&[2.0, 3.0], &[1.0, 2.0, 2.5]), Some(4.5 / 6.0));
        assert_eq!(distance(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        assert_eq!(same_distribution(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), Some(1.0));
        assert!(same_distribution(&[0.0; 200], &[1.0; 200]).is_some_and(|p| p < 1e-12));
    }

    #[test]
    fn nothing_is_said_of_nothing() {
        assert_eq!((same_distribution(&[], &[1.0]), area_under_curve(&[1.0], &[])), (None, None));
        assert_eq!(same_distribution(&[f64::NAN], &[1.0]), None);
    }
}
