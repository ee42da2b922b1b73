//! Likelihood-ratio membership inference with shadow models (LiRA; Carlini et al., 2022) against unlearning.
//!
//! For each sample there are two worlds: *unlearned* (trained with it, then made to forget it) and *out* (trained
//! without it). What the networks of other seeds answer in a sample says how each world looks; the network under
//! attack is asked which of the two it comes from.

use std::collections::BTreeMap;

use rewind_job::{LikelihoodRatio, WorstOff};

use crate::area_under_curve;

/// From so many values on a world's variance is a sample's own; with fewer it is one for all samples (section VI-A).
const OWN_VARIANCE: usize = 64;
/// The least variance: a standard deviation of a thousandth of a logit.
const SMALLEST_VARIANCE: f64 = 1e-6;
/// A mean and a variance need two.
const FEWEST_SHADOWS: usize = 2;
/// Samples that are named.
const NAMED: usize = 10;

/// What the two networks of one seed answer in a sample that was forgotten there: logit-scaled confidences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Position in the pool.
    pub sample: u32,
    /// Of the network that unlearned it.
    pub unlearned: f64,
    /// Of the network that never saw it: Retrain's.
    pub never_in: f64,
}

/// Attacks the networks of each seed with what the other seeds taught. `seeds` holds each seed's answers in its `D_f`,
/// every sample once; samples that fewer than two other seeds forgot are left out.
///
/// A false-positive rate of at most one in `n` allows `⌊never_in / n⌋` false positives: below 1,000 negatives none for
/// 0.1 %. Equal ratios are called alike.
///
/// With the pretrained networks as contestants it says how strong the attack is at all; with Retrain's themselves every
/// ratio is 1, and the area is 0.5. None where nothing can be attacked, or where a confidence is not finite.
pub fn likelihood_ratio(seeds: &[Vec<Answer>]) -> Option<LikelihoodRatio> {
    if !seeds.iter().flatten().all(|answer| answer.unlearned.is_finite() && answer.never_in.is_finite()) {
        return None;
    }
    let (mut unlearned, mut never_in, mut shadows) = (Vec::new(), Vec::new(), 0);
    let mut ratios: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for (target, answers) in seeds.iter().enumerate() {
        let others = || seeds[..target].iter().chain(&seeds[target + 1..]).flatten();
        let unlearned_world = World::of(others().map(|answer| (answer.sample, answer.unlearned)));
        let out_world = World::of(others().map(|answer| (answer.sample, answer.never_in)));
        for answer in answers {
            let (Some(one), Some(other)) = (unlearned_world.at(answer.sample), out_world.at(answer.sample)) else {
                continue;
            };
            let ratio = |confidence: f64| one.log_density(confidence) - other.log_density(confidence);
            unlearned.push(ratio(answer.unlearned));
            never_in.push(ratio(answer.never_in));
            ratios.entry(answer.sample).or_default().push(ratio(answer.unlearned));
            shadows += one.values;
        }
    }
    Some(LikelihoodRatio {
        auc: area_under_curve(&unlearned, &never_in)?,
        shadows: shadows as f64 / unlearned.len() as f64,
        unlearned: unlearned.len() as u64,
        never_in: never_in.len() as u64,
        at_1: true_positives(&unlearned, &never_in, 100),
        at_01: true_positives(&unlearned, &never_in, 1000),
        worst_off: worst_off(&ratios),
    })
}

/// What networks of one kind answer, sample by sample.
struct World {
    answers: BTreeMap<u32, Vec<f64>>,
    /// Over all samples, each about its own mean.
    variance: f64,
}

impl World {
    fn of(answers: impl Iterator<Item = (u32, f64)>) -> Self {
        let mut by_sample: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (sample, confidence) in answers {
            by_sample.entry(sample).or_default().push(confidence);
        }
        let squares: f64 = by_sample.values().map(|values| squares(values)).sum();
        let free: usize = by_sample.values().map(|values| values.len() - 1).sum();
        Self { answers: by_sample, variance: squares / free.max(1) as f64 }
    }

    /// How a sample is answered; none if too few networks were asked.
    fn at(&self, sample: u32) -> Option<Gaussian> {
        let values = self.answers.get(&sample).filter(|values| values.len() >= FEWEST_SHADOWS)?;
        let own = values.len() >= OWN_VARIANCE;
        let variance = if own { squares(values) / (values.len() - 1) as f64 } else { self.variance };
        Some(Gaussian { mean: mean(values), variance: variance.max(SMALLEST_VARIANCE), values: values.len() })
    }
}

struct Gaussian {
    mean: f64,
    variance: f64,
    /// That it was fitted on.
    values: usize,
}

impl Gaussian {
    fn log_density(&self, value: f64) -> f64 {
        let distance = (value - self.mean).powi(2) / self.variance;
        -0.5 * (distance + (std::f64::consts::TAU * self.variance).ln())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sum of squared distances from the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Percent of `positives` above the lowest bar that at most one in `one_in` of `negatives` is above.
fn true_positives(positives: &[f64], negatives: &[f64], one_in: usize) -> f64 {
    let mut negatives = negatives.to_vec();
    negatives.sort_by(|a, b| b.total_cmp(a));
    let bar = negatives[negatives.len() / one_in];
    100.0 * positives.iter().filter(|&&ratio| ratio > bar).count() as f64 / positives.len() as f64
}

/// The samples with the largest mean ratio. Each was attacked in at least three networks: two others taught about it.
fn worst_off(ratios: &BTreeMap<u32, Vec<f64>>) -> Vec<WorstOff> {
    let of =
        |(&sample, ratios): (&u32, &Vec<f64>)| WorstOff { sample, ratio: mean(ratios), networks: ratios.len() as u32 };
    let mut all: Vec<WorstOff> = ratios.iter().map(of).collect();
    all.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
    all.truncate(NAMED);
    all
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn seed(answers: &[(u32, f64, f64)]) -> Vec<Answer> {
        answers.iter().map(|&(sample, unlearned, never_in)| Answer { sample, unlearned, never_in }).collect()
    }

    /// Between −1 and 1, without order.
    fn noise(seed: u32, sample: u32) -> f64 {
        (f64::from(seed * 7919 + sample * 104_729) * 0.618).sin()
    }

    /// Each of 12 seeds forgets two thirds of 60 samples; `confidence(seed, sample)` is of the network that unlearned
    /// it.
    fn seeds(unlearned: impl Fn(u32, u32) -> f64, never_in: impl Fn(u32, u32) -> f64) -> Vec<Vec<Answer>> {
        let forgotten = |of: u32| (0..60).filter(move |sample| !(sample + of).is_multiple_of(3));
        let answer = |of, sample| Answer { sample, unlearned: unlearned(of, sample), never_in: never_in(of, sample) };
        (0..12).map(|of| forgotten(of).map(|sample| answer(of, sample)).collect()).collect()
    }

    #[test]
    fn by_hand() {
        // Of the other two seeds: means 3 and 13 with variance 2, then 2 and 12 with 8, then 1 and 11 with 2.
        let found = likelihood_ratio(&[
            seed(&[(7, 0.0, 10.0), (8, 1.0, 1.0)]),
            seed(&[(7, 2.0, 12.0)]),
            seed(&[(7, 4.0, 14.0)]),
        ]);
        // (169 − 9) / 4, (100 − 0) / 16, (49 − 9) / 4: sample 8 has no other seed.
        let ratio = (40.0 + 6.25 + 10.0) / 3.0;
        let expected = LikelihoodRatio {
            shadows: 2.0,
            unlearned: 3,
            never_in: 3,
            auc: 1.0,
            at_1: 100.0,
            at_01: 100.0,
            worst_off: vec![WorstOff { sample: 7, ratio, networks: 3 }],
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn one_variance_is_taken_over_all_samples_of_few_shadows() {
        // About their means: 2 with one degree of freedom, and 18 with one.
        let world = World::of([(1, 0.0), (1, 2.0), (2, 0.0), (2, 6.0), (3, 5.0)].into_iter());
        assert_eq!(world.variance, 10.0);
        assert_eq!(world.at(1).map(|gaussian| (gaussian.mean, gaussian.variance)), Some((1.0, 10.0)));
        assert!(world.at(3).is_none() && world.at(4).is_none());
        let still = World::of([(1, 2.0), (1, 2.0)].into_iter());
        assert_eq!(still.at(1).map(|gaussian| gaussian.variance), Some(SMALLEST_VARIANCE));
    }

    #[test]
    fn equal_ratios_are_called_alike_and_rates_are_exact() {
        let negatives: Vec<f64> = (0..200).map(f64::from).collect();
        // Two may be above: the bar is 197, and what lies on it is not called.
        assert_eq!(true_positives(&[197.0, 198.0, 300.0, 0.0], &negatives, 100), 50.0);
        // None may be above.
        assert_eq!(true_positives(&[197.0, 198.0, 199.0, 300.0], &negatives, 1000), 25.0);
        assert_eq!(true_positives(&[1.0; 4], &[1.0; 100], 100), 0.0);
    }

    #[test]
    fn networks_that_never_saw_a_sample_are_not_told_from_themselves() {
        let answer = |of, sample| 3.0 * noise(sample, 1) + noise(of, sample);
        let found = likelihood_ratio(&seeds(answer, answer)).expect("is attacked");
        assert_eq!((found.auc, found.at_1, found.at_01), (0.5, 0.0, 0.0));
        assert!(found.worst_off.iter().all(|worst| worst.ratio == 0.0));
    }

    #[test]
    fn a_planted_leak_is_found_whichever_way_each_sample_leaks() {
        let out = |of, sample| 3.0 * noise(sample, 1) + noise(of, sample);
        let leak = |sample| if sample == 33 { 20.0 } else { [5.0, -5.0][sample as usize % 2] };
        let unlearned = |of, sample| 3.0 * noise(sample, 1) + noise(of + 50, sample) + leak(sample);
        let found = likelihood_ratio(&seeds(unlearned, out)).expect("is attacked");
        assert!(found.auc > 0.999 && found.at_1 > 98.0 && found.at_01 > 95.0, "{found:?}");
        assert_eq!((found.unlearned, found.never_in), (12 * 40, 12 * 40));
        assert_eq!((found.worst_off[0].sample, found.worst_off[0].networks, found.worst_off.len()), (33, 8, 10));
        // Eight seeds forgot a sample: seven teach about each.
        assert_eq!(found.shadows, 7.0);
    }

    #[test]
    fn nothing_is_said_of_too_few_seeds_or_of_what_is_no_number() {
        let two = [seed(&[(1, 0.0, 1.0)]), seed(&[(1, 0.0, 1.0)])];
        assert_eq!(likelihood_ratio(&two), None);
        assert_eq!(likelihood_ratio(&[]), None);
        let mut three = vec![two[0].clone(), two[1].clone(), two[0].clone()];
        assert!(likelihood_ratio(&three).is_some());
        three[1][0].never_in = f64::INFINITY;
        assert_eq!(likelihood_ratio(&three), None);
    }

    #[test]
    fn the_attack_agrees_with_numpy_scipy_and_scikit_learn() {
        let golden: Value = serde_json::from_str(include_str!("../tests/golden/likelihood_ratio.json")).expect("JSON");
        for case in golden["cases"].as_array().expect("a list") {
            let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
            let answer = |row: &Value| Answer {
                sample: number(&row[0]) as u32,
                unlearned: number(&row[1]),
                never_in: number(&row[2]),
            };
            let answers = |rows: &Value| rows.as_array().expect("a list").iter().map(answer).collect();
            let seeds: Vec<Vec<Answer>> = case["seeds"].as_array().expect("a list").iter().map(answers).collect();
            let found = likelihood_ratio(&seeds).expect("is attacked");
            let near = |name: &str, found: f64, expected: f64| {
                let tolerance = 1e-9 * expected.abs().max(1.0);
                assert!((found - expected).abs() <= tolerance, "{} {name}: {found}, not {expected}", case["name"]);
            };
            for (name, found) in [
                ("shadows", found.shadows),
                ("unlearned", found.unlearned as f64),
                ("never_in", found.never_in as f64),
                ("auc", found.auc),
                ("at_1", found.at_1),
                ("at_01", found.at_01),
            ] {
                near(name, found, number(&case[name]));
            }
            let expected = case["worst_off"].as_array().expect("a list");
            assert_eq!(found.worst_off.len(), expected.len());
            for (found, expected) in found.worst_off.iter().zip(expected) {
                assert_eq!(f64::from(found.sample), number(&expected[0]), "{}", case["name"]);
                near("ratio", found.ratio, number(&expected[1]));
                assert_eq!(f64::from(found.networks), number(&expected[2]), "{}", case["name"]);
            }
        }
    }
}
