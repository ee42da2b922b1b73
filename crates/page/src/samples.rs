//! Reports and comparisons made by hand, and what every page is held to.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use rewind_job::*;

pub use crate::comparison::sample_comparisons;

/// Made by hand; the figures are plausible, and each occurs once.
pub fn sample_report() -> Report {
    let text = include_str!("../../../examples/demo.toml");
    let specification = Specification::parse(text, Path::new("examples")).unwrap();
    let mut pretrained = measured("pretrained", "pretrain", [81.3, 3.9, 86.7, 21.4], None);
    pretrained.average_gap = Some(41.6);
    pretrained.rounds = (1..=3).map(|round| record(round, 50.0 + f64::from(round), 80.0)).collect();
    let mut retrain = measured("retrain", "retrain", [99.9, 90.6, 97.9, 73.2], None);
    retrain.average_gap = Some(0.0);
    let fall = [96.1, 71.2, 48.3, 31.4, 20.6, 14.2, 11.8, 9.6, 8.7, 8.1, 7.7, 7.4, 7.1];
    Report {
        format: 1,
        version: "0.1.0".into(),
        commit: None,
        job: "job-7".into(),
        world_size: WorldSize(2),
        specification,
        data: DataSummary {
            forget: 800,
            remaining: Some(3200),
            test: Some(500),
            validation: Some(250),
            attack: Some(250),
            files: vec![("images-idx3-ubyte".into(), Digest("1f".repeat(32)))],
            ..DataSummary::default()
        },
        machine: Machine {
            threads: 1,
            libtorch: "2.13.0".into(),
            cpu_capability: "AVX512".into(),
            device: "cpu".into(),
        },
        pretrained: Some(pretrained),
        retrain: Some(retrain),
        methods: vec![
            measured(
                "rewinding",
                "rewinding",
                [96.7, 88.2, 94.6, 69.3],
                Some((fall, [86.7, 90.2, 92.4, 93.3, 94.1, 94.6, 94.4, 94.2, 93.9, 93.5, 93.2, 92.8, 92.5])),
            ),
            measured(
                "task-vector",
                "task-vector",
                [96.2, 87.9, 93.8, 68.1],
                Some((fall, [86.7, 89.4, 91.8, 92.9, 93.5, 93.8, 93.9, 93.6, 93.1, 92.9, 92.5, 92.1, 91.6])),
            ),
            measured(
                "task-vector-per-operation",
                "task-vector",
                [95.8, 86.4, 93.1, 66.5],
                Some((fall, [86.7, 89.1, 91.0, 92.2, 92.8, 93.1, 93.0, 92.6, 92.1, 91.4, 91.0, 90.3, 89.9])),
            ),
            measured(
                "neg-grad",
                "neg-grad",
                [84.1, 12.3, 85.5, 30.7],
                Some((fall, [86.7, 85.5, 79.3, 68.8, 52.0, 40.1, 31.0, 24.4, 19.8, 15.2, 12.1, 10.4, 9.8])),
            ),
        ],
        stop: vec![StepStop {
            name: "rewinding".into(),
            rule: "utility-budget".into(),
            text: "validation fell 2.4 points below its best".into(),
            selected: Round(5),
            rounds: Round(12),
        }],
        recovered: vec![
            Recovered { name: "rewinding".into(), percent: 70.5, oracle_percent: 72.3 },
            Recovered { name: "task-vector".into(), percent: 63.4, oracle_percent: 64.3 },
            Recovered { name: "task-vector-per-operation".into(), percent: 57.1, oracle_percent: 57.2 },
            Recovered { name: "neg-grad".into(), percent: -10.7, oracle_percent: 0.0 },
        ],
        events: vec![
            JobEvent {
                sequence: 1,
                at: 1_795_415_465_123,
                generation: Generation(1),
                text: "2 of 2 workers are idle: gang 1 starts".into(),
            },
            JobEvent {
                sequence: 2,
                at: 1_795_415_545_456,
                generation: Generation(2),
                text: "worker-2 was lost (session closed): going on after round 3 of rewinding".into(),
            },
        ],
        predictor: None,
        activation: None,
        landscape: None,
        samples: None,
        warnings: vec!["the attack hardly discriminates (52.1 % on held-out samples)".into()],
        search: Some(search()),
    }
}

fn measured(name: &str, method: &str, metrics: [f64; 4], curve: Option<([f64; 13], [f64; 13])>) -> Measured {
    let [ra, ua, ta, mia] = metrics;
    let reference = [99.9, 90.6, 97.9, 73.2];
    let gap = metrics.iter().zip(reference).map(|(a, b)| (a - b).abs()).sum::<f64>() / 4.0;
    let points = curve.map_or(Vec::new(), |(forget, test)| {
        (0..)
            .zip(forget.into_iter().zip(test))
            .map(|(round, (forget_accuracy, test))| CurvePoint {
                round: Round(round),
                forget_accuracy,
                test_accuracy: Some(test),
                ..CurvePoint::default()
            })
            .collect()
    });
    let points: Vec<CurvePoint> = points;
    Measured {
        name: name.into(),
        method: method.into(),
        group: if matches!(method, "pretrain" | "retrain") { "retain-using" } else { "forget-only" }.into(),
        ra: Some(ra),
        ua: Some(ua),
        ta: Some(ta),
        mia: Some(mia),
        mia_attack_accuracy: Some(61.8),
        average_gap: Some(gap),
        seconds: 41.7,
        forget_epochs: if points.is_empty() { 0.0 } else { 48.0 },
        bytes_moved: 123_400_000,
        selected: Round(if method == "neg-grad" { 1 } else { 5 }),
        weights: Digest("ab".repeat(32)),
        rounds: points
            .iter()
            .skip(1)
            .map(|point| record(point.round.0, point.forget_accuracy, point.test_accuracy.unwrap() - 0.7))
            .collect(),
        curve: points,
        ..Measured::default()
    }
}

pub(crate) fn record(round: u32, forget: f64, validation: f64) -> RoundRecord {
    RoundRecord {
        round: Round(round),
        loss: (1.2345 / f64::from(round)).into(),
        scores: Scores::from([
            (Figure::FORGET_ACCURACY, forget),
            (Figure::VALIDATION_ACCURACY, validation),
            (Figure::VALIDATION_LOSS, 0.4),
        ]),
        weight_change: 3.2e-4,
        seconds: 3.4 * f64::from(round),
        forget_epochs: 4.0 * f64::from(round),
        bytes_moved: 1_000_000 * u64::from(round),
        ..RoundRecord::default()
    }
}

fn search() -> serde_json::Value {
    let mut results = Vec::new();
    for (method, scales) in [("task-vector", [0.2, 0.3, 0.5]), ("rewinding", [0.5, 1.0, 2.0])] {
        for (i, scale) in scales.into_iter().enumerate() {
            for (j, learning_rate) in [1e-4, 3e-4, 1e-3].into_iter().enumerate() {
                let accuracy = 88.0 + 2.0 * j as f64 - (i as f64 - 1.0).powi(2);
                results.push(serde_json::json!({
                    "method": method, "learning_rate": learning_rate, "scale": scale,
                    "best_validation_accuracy": accuracy, "round": 7,
                }));
            }
        }
    }
    let chosen: Vec<_> = results
        .iter()
        .filter(|r| r["learning_rate"] == 1e-3 && (r["scale"] == 0.3 || r["scale"] == 1.0))
        .cloned()
        .collect();
    serde_json::json!({ "grid": {"points": 9}, "results": results, "chosen": chosen })
}

/// Every value must hold in the drawing, too: `NaN` and `inf` are not numbers in SVG.
pub fn assert_finite(page: &str) {
    for svg in page.split("<svg").skip(1).map(|rest| rest.split("</svg>").next().unwrap()) {
        let drawn: String = svg.split("<title>").map(|part| part.rsplit("</title>").next().unwrap()).collect();
        for word in ["NaN", "inf"] {
            assert!(!drawn.contains(word), "{word} in {drawn}");
        }
    }
}

/// Opens and closes what HTML wants closed.
pub fn assert_balanced(page: &str) {
    for tag in [
        "article", "section", "nav", "ol", "h2", "h3", "p", "table", "tr", "td", "th", "div", "details", "figure",
        "svg", "g", "ul", "li", "dl", "bdi", "a", "span", "small",
    ] {
        let opened = page.matches(&format!("<{tag} ")).count() + page.matches(&format!("<{tag}>")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

/// Pictures and places of the page itself are no load.
pub fn assert_loads_nothing(page: &str) {
    let own = ["src=\"data:image/png;base64,", "href=\"data:image/png;base64,", "href=\"#"];
    let page = own.iter().fold(page.to_owned(), |page, own| page.replace(own, "\""));
    for outside in
        ["http://", "https://", "src=\"", "href=\"", "@import", "<script", "<link", " style=", " onclick", "url(//"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'"));
}
