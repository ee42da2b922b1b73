//! Attacks and what is made of their scores, on drawn numbers.

use rewind_evaluation::{
    Answer as Confidences, area_under_curve, likelihood_ratio, loss_attack, membership_inference, same_distribution,
};
use serde_json::json;
use tch::{Kind, Tensor};

use crate::{
    drawing::normals,
    reference::{Answer, Case, compare_with_reference, expect_nothing},
};

fn close(name: &str, found: f64, expected: f64, tolerance: f64) -> Result<(), String> {
    let near = (found - expected).abs() <= tolerance;
    if near { Ok(()) } else { Err(format!("{name} is {found}, and the reference's {expected}")) }
}

/// Probabilities around `1 / (1 + exp(-middle))`.
fn probabilities(name: &str, count: usize, middle: f64) -> Vec<f64> {
    normals(name, count).into_iter().map(|value| 1.0 / (1.0 + (-middle - value).exp())).collect()
}

fn case_of(attack: &str, sides: &[(&str, &[f64])]) -> Case {
    let case = Case::new("attack", attack, json!({"attack": attack}));
    sides.iter().fold(case, |case, (name, values)| case.with(*name, &Tensor::from_slice(values)))
}

/// Members, others, and a third side for the classifier.
fn confidences() -> [Vec<f64>; 3] {
    [("members", 60, 1.5), ("others", 60, 0.0), ("asked", 400, 0.7)]
        .map(|(name, count, middle)| probabilities(name, count, middle))
}

fn classifier() -> Case {
    let [members, others, asked] = confidences();
    case_of("svc-confidence", &[("members", &members), ("non-members", &others), ("asked", &asked)])
}

/// Many are alike.
fn rounded() -> [Vec<f64>; 2] {
    let rounded = |values: Vec<f64>| values.into_iter().map(|value| (value * 10.0).round() / 10.0).collect();
    [probabilities("members", 70, 1.0), probabilities("others", 50, 0.0)].map(rounded)
}

fn two_samples() -> [Vec<f64>; 2] {
    [probabilities("first", 70, 0.5), probabilities("second", 50, 0.0)]
}

fn losses() -> [Vec<f64>; 2] {
    [("members", 0.4), ("others", 1.0)]
        .map(|(name, size)| normals(name, 60).iter().map(|value| size * value.abs()).collect())
}

fn between(attack: &str, [members, others]: &[Vec<f64>; 2]) -> Case {
    case_of(attack, &[("members", members), ("non-members", others)])
}

fn on_losses() -> Case {
    let folds: Vec<i64> = (0..2).flat_map(|_| (0..60).map(|sample| sample % 5)).collect();
    between("logistic-losses", &losses()).with("folds", &Tensor::from_slice(&folds))
}

pub fn cases() -> Vec<Case> {
    let area = between("threshold-auc", &rounded());
    let same = between("kolmogorov-smirnov", &two_samples());
    vec![classifier(), area, same, on_losses(), against_others()]
}

#[test]
fn the_classifier_on_confidences_agrees_with_its_reference() {
    let case = classifier();
    let [members, others, asked] = confidences();
    let found = membership_inference(&members, &others, &asked).expect("fits").non_member_share;
    expect_nothing(&compare_with_reference(&case, |answer: &Answer| {
        // Both solvers stop within a thousandth: as many samples as stand on the boundary may be called otherwise.
        let decisions = answer.figures["decision"].as_array().ok_or("the reference answers no decisions")?;
        let unsure = decisions.iter().filter(|value| value.as_f64().is_none_or(|value| value.abs() < 0.01)).count();
        close(
            "the share of non-members",
            found,
            answer.figure("figure")?,
            100.0 * unsure as f64 / asked.len() as f64 + 1e-9,
        )
    }));
}

#[test]
fn the_area_under_the_curve_agrees_with_its_reference_ties_and_all() {
    let [members, others] = rounded();
    let case = between("threshold-auc", &[members.clone(), others.clone()]);
    let found = area_under_curve(&members, &others).expect("numbers");
    expect_nothing(&compare_with_reference(&case, |answer: &Answer| {
        close("the area", found, answer.figure("auc")?, 1e-12)
    }));
}

#[test]
fn the_two_sample_test_agrees_with_its_reference() {
    let [first, second] = two_samples();
    let case = between("kolmogorov-smirnov", &[first.clone(), second.clone()]);
    let found = same_distribution(&first, &second).expect("numbers");
    expect_nothing(&compare_with_reference(&case, |answer: &Answer| {
        close("the probability", found, answer.figure("p-value-kolmogorov")?, 1e-9)
    }));
}

#[test]
fn the_attack_on_losses_agrees_with_its_reference() {
    let ([members, others], case) = (losses(), on_losses());
    let found = loss_attack(&members, &others).expect("fits");
    expect_nothing(&compare_with_reference(&case, |answer: &Answer| {
        close("the accuracy", found, answer.figure("figure")?, 1e-9)
    }));
}

/// So many that each sample's variance is its own.
const SEEDS: usize = 66;
const SAMPLES: usize = 3;

/// What every seed's networks answer.
fn answers() -> Vec<Vec<Confidences>> {
    let noise = normals("shadows", 2 * SEEDS * SAMPLES);
    let answer_of = |seed: usize, sample: usize| {
        let [one, other] = [0, 1].map(|world| noise[(seed * SAMPLES + sample) * 2 + world]);
        let (middle, spread) = (sample as f64 - 1.0, 0.5 + sample as f64);
        Confidences {
            sample: sample as u32,
            unlearned: middle + 0.8 + spread * one,
            never_in: middle + 1.5 * spread * other,
        }
    };
    (0..SEEDS).map(|seed| (0..SAMPLES).map(|sample| answer_of(seed, sample)).collect()).collect()
}

/// Every seed's network is attacked in every sample with what all other seeds answer: a column each.
fn against_others() -> Case {
    let seeds = answers();
    let answer_of = |seed: usize, sample: usize| seeds[seed][sample];
    let columns: Vec<(usize, usize)> =
        (0..SEEDS).flat_map(|target| (0..SAMPLES).map(move |sample| (target, sample))).collect();
    let shadows = |of: &dyn Fn(Confidences) -> f64| {
        let column = |&(target, sample): &(usize, usize)| {
            let others = (0..SEEDS).filter(|&seed| seed != target).map(|seed| of(answer_of(seed, sample)));
            Tensor::from_slice(&others.collect::<Vec<f64>>())
        };
        Tensor::stack(&columns.iter().map(column).collect::<Vec<_>>(), 1) // [shadows, columns]
    };
    let of_targets = |of: &dyn Fn(Confidences) -> f64| {
        Tensor::from_slice(&columns.iter().map(|&(target, sample)| of(answer_of(target, sample))).collect::<Vec<f64>>())
    };
    let [unlearned, never_in]: [&dyn Fn(Confidences) -> f64; 2] =
        [&|answer| answer.unlearned, &|answer| answer.never_in];
    let asked = Tensor::stack(&[of_targets(unlearned), of_targets(never_in)], 0);
    let truth = Tensor::stack(&[asked.get(0).ones_like(), asked.get(0).zeros_like()], 0).to_kind(Kind::Int64);
    Case::new("attack", "likelihood-ratio", json!({"attack": "likelihood-ratio", "deviation": "sample"}))
        .with("members", &shadows(unlearned))
        .with("non-members", &shadows(never_in))
        .with("asked", &asked)
        .with("truth", &truth)
}

#[test]
fn the_likelihood_ratio_agrees_with_its_reference() {
    let case = against_others();
    let found = likelihood_ratio(&answers()).expect("is attacked");
    expect_nothing(&compare_with_reference(&case, |answer: &Answer| {
        close("the area", found.auc, answer.figure("auc")?, 1e-9)?;
        close("true positives at 1 %", found.at_1, 100.0 * answer.figure("true-positive-rate-at-1-percent")?, 1e-9)?;
        close(
            "true positives at 0.1 %",
            found.at_01,
            100.0 * answer.figure("true-positive-rate-at-0.1-percent")?,
            1e-9,
        )?;
        let scores = answer.tensor("scores")?.get(0).view([SEEDS as i64, SAMPLES as i64]).mean_dim(
            [0].as_slice(),
            false,
            Kind::Double,
        );
        found.worst_off.iter().try_for_each(|worst| {
            close("a sample's ratio", worst.ratio, scores.double_value(&[i64::from(worst.sample)]), 1e-9)
        })
    }));
}
