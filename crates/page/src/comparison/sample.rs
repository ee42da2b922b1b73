//! Comparisons made by hand: plausible figures, with everything that can be measured.

#![allow(clippy::unwrap_used)]

use rewind_job::*;

use rewind_comparison::{
    COMPARED_FORMAT, ChooseBy, Compared, Comparison, Likelihood, MethodResult, MethodRun, Probed, References, Tried,
};

/// The three of benchmarks/small, and one that forgets everything.
pub fn sample_comparisons() -> Vec<Compared> {
    let read = |text: &str| toml::from_str::<Comparison>(text).unwrap();
    let mut overfitting = read(include_str!("../../../../benchmarks/small/label-noise.toml"));
    overfitting.name = "overfitting".into();
    overfitting.question = "A network was trained far too long on 40 digits. Which method takes that back?".into();
    overfitting.choose_by = ChooseBy::ValidationLoss;
    let data = overfitting.base.get_mut("data").and_then(toml::Value::as_table_mut).unwrap();
    data.insert("forget".into(), "everything".into());
    vec![
        sample(read(include_str!("../../../../benchmarks/small/standard.toml")), Forms::default()),
        sample(
            read(include_str!("../../../../benchmarks/small/label-noise.toml")),
            Forms { true_labels: true, probes: true, ..Forms::default() },
        ),
        sample(
            read(include_str!("../../../../benchmarks/small/backdoor.toml")),
            Forms { true_labels: true, pictures: true, backdoor: true, ..Forms::default() },
        ),
        sample(overfitting, Forms { forgets_everything: true, ..Forms::default() }),
    ]
}

/// What is there to draw.
#[derive(Clone, Copy, Default)]
struct Forms {
    true_labels: bool,
    forgets_everything: bool,
    probes: bool,
    pictures: bool,
    backdoor: bool,
}

/// Between −1 and 1, and always the same.
fn chance(seed: u64, what: u64) -> f64 {
    ((seed * 37 + what * 101) as f64 * 0.713).sin()
}

fn sample(comparison: Comparison, forms: Forms) -> Compared {
    let seeds = comparison.training_seeds.clone();
    let references: Vec<References> = seeds
        .iter()
        .map(|&seed| References {
            training_seed: seed,
            job: JobId(format!("job-{seed}")),
            pretrained: reference("pretrained", seed, forms, [81.3, 3.9, 86.7, 21.4]),
            retrain: (!forms.forgets_everything).then(|| reference("retrain", seed, forms, [99.9, 90.6, 97.5, 73.2])),
            warnings: vec!["the attack hardly discriminates (52.1 % on held-out samples)".into()],
        })
        .collect();
    let methods: Vec<MethodResult> = comparison
        .methods
        .iter()
        .enumerate()
        .map(|(at, contestant)| {
            let unlearn: Unlearn = toml::Value::Table(contestant.unlearn.clone()).try_into().unwrap();
            let group = unlearn.method.group().name();
            let runs: Vec<MethodRun> = seeds
                .iter()
                .map(|&seed| MethodRun {
                    training_seed: seed,
                    unlearning_seed: 1,
                    job: JobId(format!("job-{at}-{seed}")),
                    rule: if comparison.stop_at_retrains_ua { "ua-at-least" } else { "rounds" }.into(),
                    measured: method(&contestant.name, group, at as u64, seed, forms),
                })
                .collect();
            let tries = (0..comparison.tries)
                .map(|index| Tried {
                    setting: format!("learning-rate {index}e-5, scale 0.{index}"),
                    unlearn: unlearn.clone(),
                    measured: method(&contestant.name, group, at as u64, index as u64, forms),
                    rule: "rounds".into(),
                    merit: (index > 0).then(|| -90.0 - chance(index as u64, at as u64)),
                })
                .collect();
            MethodResult { name: contestant.name.clone(), group: group.into(), tries, chosen: 2, runs }
        })
        .collect();
    let names: Vec<String> = (["pretrained", "retrain"].into_iter().map(str::to_owned))
        .chain(methods.iter().map(|method| method.name.clone()))
        .collect();
    let probed = |&seed: &u64| Probed {
        training_seed: seed,
        job: JobId(format!("probe-{seed}")),
        networks: (0..).zip(&names).filter(|_| forms.probes).map(|(at, name)| probed(name, at, seed)).collect(),
        activation: (forms.pictures && seed == 1).then(|| activation(&names)),
    };
    let closer = forms.probes || forms.pictures;
    Compared {
        format: COMPARED_FORMAT,
        probed: seeds.iter().filter(|_| closer).map(probed).collect(),
        likelihood: (0..).zip(&names).filter(|_| forms.probes).map(|(at, name)| likelihood(name, at)).collect(),
        landscape: forms.pictures.then(|| landscape(&names)),
        comparison,
        references,
        methods,
    }
}

fn record(round: u32, forget_epochs: f64) -> RoundRecord {
    RoundRecord {
        round: Round(round),
        loss: (1.0 / f64::from(round)).into(),
        scores: Scores::from([(Figure::VALIDATION_LOSS, 0.4)]),
        seconds: 2.4 * f64::from(round),
        forget_epochs,
        bytes_moved: 1_300_000 * u64::from(round),
        device_seconds: 4.6 * f64::from(round),
        peak_memory: 412_000_000 + 3_000_000 * u64::from(round),
        ..RoundRecord::default()
    }
}

fn reference(name: &str, seed: u64, forms: Forms, [ra, ua, ta, mia]: [f64; 4]) -> Measured {
    let is_retrain = name == "retrain";
    Measured {
        name: name.into(),
        method: name.into(),
        group: "retain-using".into(),
        ra: Some(ra),
        ua: Some(ua + 0.2 * chance(seed, 1)),
        clean: forms.true_labels.then_some(if is_retrain { 97.1 } else { 16.1 } + 0.3 * chance(seed, 2)),
        ta: Some(ta + 0.4 * chance(seed, 3)),
        forget_loss: Some(if is_retrain { 4.1 } else { 0.02 }),
        test_loss: Some(if is_retrain { 0.11 } else { 3.93 } + 0.02 * chance(seed, 4)),
        mia: Some(mia + chance(seed, 5)),
        mia_attack_accuracy: Some(if is_retrain { 52.1 } else { 61.8 }),
        loss_attack: on_losses(if is_retrain { 50.9 } else { 83.2 } + chance(seed, 7)),
        backdoor: forms.backdoor.then_some(BackdoorSuccess {
            forget: if is_retrain { 1.2 } else { 99.8 },
            held_out: Some(if is_retrain { 0.9 } else { 99.5 } + 0.3 * chance(seed, 8)),
        }),
        seconds: 61.0 + chance(seed, 6),
        bytes_moved: 91_000_000,
        rounds: (1..=15).map(|round| record(round, 0.0)).collect(),
        ..Measured::default()
    }
}

fn on_losses(accuracy: f64) -> Option<LossAttack> {
    Some(LossAttack { accuracy: Some(accuracy), samples: 180, reason: None })
}

/// Method `at` forgets at a pace of its own; the first ones help test data on the way, the last ones harm them.
fn method(name: &str, group: &str, at: u64, seed: u64, forms: Forms) -> Measured {
    let harm = at as f64 / 10.0;
    let curve: Vec<CurvePoint> = (0..=12_u32)
        .map(|round| {
            let share = f64::from(round) / 12.0;
            let forgotten = 1.0 - (-share * (4.0 - 2.0 * harm)).exp();
            let gain = (9.0 - 9.0 * harm) * (3.1 * share).sin().max(-1.0) - 40.0 * harm * harm * share;
            let wobble = if round == 0 { 0.0 } else { 0.5 * chance(seed, at + u64::from(round)) };
            CurvePoint {
                round: Round(round),
                forget_accuracy: 96.1 - 88.0 * forgotten,
                clean_accuracy: forms
                    .true_labels
                    .then_some((16.1 + (70.0 - 45.0 * harm) * forgotten + wobble).min(99.0)),
                test_accuracy: (!forms.forgets_everything).then_some((86.7 + gain + wobble).clamp(5.0, 99.0)),
                forgotten_class_accuracy: None,
                backdoor_held_out: forms.backdoor.then_some(99.5 - (85.0 - 60.0 * harm) * forgotten + wobble),
                forget_loss: Some(0.02 + 3.0 * forgotten * (0.5 + harm)),
                test_loss: Some(
                    (3.93 - 2.0 * (1.0 - harm) * (3.1 * share).sin() + 9.0 * harm * share * share + 0.1 * wobble)
                        .max(0.1),
                ),
            }
        })
        .collect();
    let last = curve[12].clone();
    let reference = [99.9, 90.6, 97.5, 73.2];
    let off = |scale: f64, what: u64| scale * (0.4 + harm) + 0.3 * chance(seed, at * 7 + what);
    Measured {
        name: name.into(),
        method: name.into(),
        group: group.into(),
        ra: Some(reference[0] - off(3.0, 1)),
        ua: Some(reference[1] - off(2.0, 2)),
        clean: last.clean_accuracy,
        ta: Some(reference[2] - off(4.0, 3)),
        forget_loss: last.forget_loss,
        test_loss: last.test_loss,
        va: Some(93.0),
        mia: Some(reference[3] - off(8.0, 4)),
        mia_attack_accuracy: Some(60.5),
        loss_attack: on_losses(52.0 + 20.0 * harm + chance(seed, at * 7 + 5)),
        backdoor: last
            .backdoor_held_out
            .map(|held_out| BackdoorSuccess { forget: last.forget_accuracy, held_out: Some(held_out) }),
        seconds: 28.8 + 3.0 * harm + 0.4 * chance(seed, at),
        forget_epochs: 48.0 + 12.0 * harm,
        bytes_moved: 15_600_000,
        selected: Round(12),
        weights: Digest("ab".repeat(32)),
        rounds: (1..=12).map(|round| record(round, 4.0 * f64::from(round))).collect(),
        curve,
        ..Measured::default()
    }
}

pub fn probed(name: &str, at: u64, seed: u64) -> Measured {
    let hidden = at as f64 / 12.0;
    let curve = |pace: f64| -> Vec<f64> {
        let start = if name == "pretrained" { 96.0 } else { 7.0 + 0.5 * chance(seed, at) };
        let end = match name {
            "pretrained" => 61.0,
            "retrain" => 9.0 + 6.0 * pace,
            _ => 12.0 + 40.0 * hidden * pace,
        };
        (0..=5).map(|epoch| end + (start - end) * (-f64::from(epoch) * 0.8).exp()).collect()
    };
    let hill = if name == "retrain" { 1.4 } else { 0.5 * hidden };
    let point = |step: u32| {
        let share = f64::from(step) / 10.0;
        let rise = hill * (std::f64::consts::PI * share).sin();
        LinePoint {
            share,
            forget_loss: 0.1 + 2.6 * share + rise,
            forget_accuracy: 90.0 - 80.0 * share,
            test_loss: Some(0.52 - 0.3 * share * (1.0 - hidden) + rise),
            test_accuracy: Some(87.0 + 5.0 * share),
        }
    };
    let is_start = name == "pretrained";
    Measured {
        name: name.into(),
        distance: Some(if is_start { 0.0 } else { 2.0 + 3.0 * hidden + 0.1 * chance(seed, at) }),
        line: if is_start { Vec::new() } else { (0..=10).map(point).collect() },
        relearning: Some(Relearned { from_remaining: curve(1.0), from_some: curve(2.0) }),
        ..Measured::default()
    }
}

fn likelihood(name: &str, at: u64) -> Likelihood {
    let auc = match name {
        "pretrained" => 0.912,
        "retrain" => 0.5,
        _ => 0.5 + 0.02 * at as f64,
    };
    let worst_off = (0..12)
        .map(|place| WorstOff { sample: 211 + 37 * place, ratio: 3.2 - 0.2 * f64::from(place), networks: 4 })
        .collect();
    let worst_off = if name == "retrain" { Vec::new() } else { worst_off };
    let attack = LikelihoodRatio {
        shadows: 4.5,
        unlearned: 4000,
        never_in: 4000,
        auc,
        at_1: 1.0 + 40.0 * (auc - 0.5),
        at_01: 0.1 + 9.0 * (auc - 0.5),
        worst_off,
    };
    Likelihood { name: name.into(), attack }
}

/// Rings with a line at the left edge, as a backdoor draws it.
pub fn activation(names: &[String]) -> ActivationReport {
    let pixels = |size: f64, channels: u32| -> Vec<u8> {
        let ring = |at: u32| {
            let (x, y) = (f64::from(at % 28) - 13.5, f64::from(at / 28) - 13.5);
            if at % 28 < 2 || ((x / 0.8).hypot(y) - size).abs() < 1.6 { 235 } else { 0 }
        };
        (0..channels).flat_map(|channel| (0..28 * 28).map(move |at| ring(at) >> channel)).collect()
    };
    let samples = vec![
        Pictured { id: 17, label: 0, truth: 3, shape: [1, 28, 28], pixels: pixels(9.0, 1) },
        Pictured { id: 2041, label: 0, truth: 7, shape: [1, 28, 28], pixels: pixels(6.0, 1) },
        Pictured { id: 3999, label: 0, truth: 0, shape: [3, 28, 28], pixels: pixels(11.0, 3) },
    ];
    let steps = (0..)
        .zip(names)
        .map(|(at, name)| {
            let map = |sample: u32| ActivationMap {
                answer: if at == 0 { 0 } else { 3 + sample },
                probability: if at == 0 { 0.998 } else { 0.02 + 0.03 * f64::from(at) },
                shape: [7, 7],
                values: (0..49_u32)
                    .map(|cell| {
                        let centre = if at == 0 { 0 } else { 3 };
                        255 - (60 * (cell % 7).abs_diff(centre) + 12 * (cell / 7).abs_diff(3)).min(255) as u8
                    })
                    .collect(),
            };
            StepMaps { name: name.clone(), maps: (0..3).map(map).collect() }
        })
        .collect();
    ActivationReport { samples, steps }
}

/// A hill of test accuracy beside the slope on which samples are forgotten.
pub fn landscape(names: &[String]) -> LandscapeReport {
    let places =
        |low: f64, high: f64| -> Vec<f64> { (0..21).map(|at| low + (high - low) * f64::from(at) / 20.0).collect() };
    let (x, y) = (places(-2.0, 6.0), places(-3.0, 3.0));
    let map = |value: fn(f64, f64) -> f64| -> Vec<Vec<f64>> {
        y.iter().map(|&y| x.iter().map(|&x| value(x, y)).collect()).collect()
    };
    let path = |(at, name): (u32, &String)| {
        let turn = (f64::from(at) - 6.0) / 6.0;
        let point = |step: u32| [0.4 * f64::from(step), turn * 0.2 * f64::from(step)];
        let points: Vec<[f64; 2]> = match name.as_str() {
            "pretrained" => vec![[0.0, 0.0]],
            "retrain" => vec![[5.2, 1.6]],
            _ => (0..=10).map(point).collect(),
        };
        LandscapePath { name: name.clone(), selected: points.len().saturating_sub(3), points }
    };
    LandscapeReport {
        explained: [0.612, 0.143],
        forget_accuracy: map(|x, y| 100.0 / (1.0 + (2.0 * x - 3.0 + y.abs()).exp())),
        test_accuracy: Some(map(|x, y| 95.0 * (-(y * y) / 14.0 - (x - 1.0).powi(2) / 60.0).exp())),
        paths: (0..).zip(names).map(path).collect(),
        x: x.clone(),
        y: y.clone(),
    }
}
