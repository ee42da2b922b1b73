//! Whether the comparisons would find every mistake that the references know of.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use crate::{
    attacks, augmentations, batch_norms, optimisers, predictors,
    reference::{Case, checkout, expect_nothing, faults_in, known_faults},
    schedules, scores,
};

/// Kind, fault, and why no case shows it.
const NOT_SHOWN: [(&str, &str, &str); 2] = [
    ("score", "kernel-squared", "nothing of ours computes KID"),
    ("score", "pairs-with-themselves", "nothing of ours computes KID"),
];

fn cases() -> Vec<Case> {
    let kinds = [
        scores::cases(),
        attacks::cases(),
        optimisers::cases(),
        schedules::cases(),
        batch_norms::cases(),
        predictors::cases(),
        augmentations::cases(),
    ];
    kinds.into_iter().flatten().collect()
}

/// A kind with faults of its own by name (of an attack, an architecture, an augmentation) is asked for name by name, too.
#[test]
fn every_fault_that_a_reference_knows_is_shown_by_a_case() {
    tch::set_num_threads(1);
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for case in cases() {
        let kind = case.asked["kind"].as_str().expect("has a kind").to_owned();
        let faults = faults_in(&case);
        let name = ["attack", "architecture", "augment"].into_iter().find_map(|field| case.asked[field].as_str());
        if let Some(name) = name {
            shown.entry(format!("{kind}/{name}")).or_default().extend(faults.clone());
        }
        shown.entry(kind).or_default().extend(faults);
    }
    for kind in ["score", "attack", "optimiser", "schedule", "batch-norm", "predictor", "augment"] {
        assert!(shown.contains_key(kind), "no case of {kind}");
    }
    let mut wrong = Vec::new();
    for (kind, shown) in &shown {
        let is_excused = |fault: &str| NOT_SHOWN.iter().any(|&(of, name, _)| of == kind && name == fault);
        let known: BTreeSet<String> = known_faults(kind).into_iter().collect();
        let missing = known.difference(shown).filter(|fault| !is_excused(fault));
        wrong.extend(missing.map(|fault| format!("{kind}: no case shows {fault}")));
        let needless =
            NOT_SHOWN.iter().filter(|(of, fault, _)| of == kind && (shown.contains(*fault) || !known.contains(*fault)));
        wrong.extend(needless.map(|(_, fault, _)| format!("{kind}: {fault} is excused, and need not be")));
    }
    expect_nothing(&wrong);
}

#[test]
fn every_fault_changes_what_its_reference_answers() {
    let mut run = Command::new(checkout().join("scripts/pytorch"));
    let run = run.arg(checkout().join("tests/reference/run.py")).arg("--self-test").output().expect("starts");
    let [said, problem] = [&run.stdout, &run.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(run.status.success(), "{said}{problem}");
    let last = said.lines().last().unwrap_or_default();
    let planted = last.strip_suffix(" faults planted, 0 complaints").and_then(|count| count.parse::<u32>().ok());
    assert!(planted.is_some_and(|planted| planted > 0), "{said}");
}
