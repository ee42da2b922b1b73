use std::path::Path;

use rewind_job::*;

use super::{comparison::sample, render};

/// Made by hand; the figures are plausible, and each occurs once.
pub fn report() -> Report {
    let text = include_str!("../../../../examples/demo.toml");
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

#[test]
fn given_weights_are_no_method() {
    let mut report = report();
    let mut given = report.methods[0].clone();
    (given.name, given.group, given.average_gap, given.ta) =
        ("given".into(), "reference".into(), Some(0.0), Some(100.0));
    report.methods.truncate(1);
    report.methods.insert(0, given);
    let page = render(&report);
    assert!(page.contains("The method <bdi>rewinding</bdi> did so on 2 workers"));
    assert!(page.contains("<bdi>rewinding</bdi> in figures"));
    assert!(!page.contains("<span class=\"tag\">closest</span>"));
    report.methods.truncate(1);
    assert!(render(&report).contains("No unlearning step ran"));
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

fn record(round: u32, forget: f64, validation: f64) -> RoundRecord {
    RoundRecord {
        round: Round(round),
        loss: 1.2345 / f64::from(round),
        forget_accuracy: Some(forget),
        validation_accuracy: Some(validation),
        validation_loss: Some(0.4),
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

#[test]
fn every_figure_of_the_report_is_on_the_page() {
    let page = render(&report());
    for figure in [
        "label noise on real digits",
        "job-7",
        "800",
        "4,000",
        "retrained without",
        "Not proven",
        "96.7",
        "88.2",
        "94.6",
        "69.3",
        "−2.4",
        "86.7",
        "41.6",
        "99.9",
        "97.9",
        "61.8",
        "42 s",
        "123 MB",
        "48",
        "70.5 %",
        "72.3 %",
        "oracle",
        "utility-budget",
        "2.4 points below",
        "hardly discriminates",
        "worker-2 was lost",
        "restarted <strong>once</strong>",
        "2026-11-23 06:31:05 UTC",
        "3.2e−4",
        "1.2345",
        "AVX512",
        "2.13.0",
        "1f1f1f",
        "ababab",
        "residual-small",
        "world-size = 2",
        "92.0",
        "images-idx3-ubyte",
        "3,200",
        "standard error",
    ] {
        assert!(page.contains(figure), "{figure} is missing");
    }
    assert_finite(&page);
    assert_balanced(&page);
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

#[test]
fn the_page_loads_nothing() {
    assert_loads_nothing(&render(&report()));
}

#[test]
fn hostile_names_stay_text() {
    let hostile = "\"><script>alert(1)</script><img src=x onerror='y'>";
    let mut report = report();
    report.job = hostile.into();
    report.version = hostile.into();
    report.specification.name = hostile.into();
    report.warnings = vec![hostile.into()];
    report.data.files = vec![(hostile.into(), Digest(hostile.into()))];
    report.machine.device = hostile.into();
    report.stop[0].name = hostile.into();
    report.stop[0].text = hostile.into();
    report.stop[0].rule = hostile.into();
    report.events[0].text = hostile.into();
    report.recovered[0].name = hostile.into();
    for measured in report.methods.iter_mut().chain(&mut report.pretrained).chain(&mut report.retrain) {
        measured.name = hostile.into();
        measured.method = hostile.into();
        measured.group = hostile.into();
        measured.weights = Digest(hostile.into());
    }
    report.search = Some(serde_json::json!({ "results": [
        { "method": hostile, "learning_rate": 1e-3, "scale": 1.0, "best_validation_accuracy": 90.0, "round": 1 }
    ], hostile: hostile }));
    let page = render(&report);
    assert!(!page.contains("<script") && !page.contains("<img"));
    assert!(page.contains("&lt;script&gt;"));
    assert_balanced(&page);
}

#[test]
fn what_was_not_measured_is_a_dash() {
    let mut report = report();
    report.pretrained = None;
    report.retrain = None;
    report.recovered.clear();
    report.search = None;
    report.events.clear();
    report.stop.clear();
    report.warnings.clear();
    report.data = DataSummary { forget: 12, ..DataSummary::default() };
    for method in &mut report.methods {
        (method.ra, method.ta, method.mia, method.mia_attack_accuracy, method.average_gap) =
            (None, None, None, None, None);
        method.curve.iter_mut().for_each(|point| point.test_accuracy = None);
        method.rounds.iter_mut().for_each(|record| record.validation_accuracy = None);
    }
    let page = render(&report);
    assert!(page.contains("<td>–</td>"));
    assert!(page.contains("was not measured"));
    assert!(page.contains("No membership attack was run"));
    assert!(!page.contains("Won back of"));
    assert_finite(&page);
    assert_balanced(&page);
}

#[test]
fn a_report_without_methods_is_a_page() {
    let mut report = report();
    report.methods.clear();
    report.recovered.clear();
    report.stop.clear();
    let page = render(&report);
    assert!(page.contains("No unlearning step ran"));
    assert_balanced(&page);
}

#[test]
fn figures_that_are_no_numbers_are_not_drawn() {
    let mut report = report();
    for (index, bad) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].into_iter().enumerate() {
        let method = &mut report.methods[index];
        method.ta = Some(bad);
        method.average_gap = Some(bad);
        method.seconds = bad;
        method.curve[2].forget_accuracy = bad;
        method.curve[3].test_accuracy = Some(bad);
        method.rounds[1].validation_accuracy = Some(bad);
        method.rounds[2].loss = bad;
        report.recovered[index].percent = bad;
    }
    let page = render(&report);
    assert_finite(&page);
    assert!(!page.contains("NaN"));
}

#[test]
fn an_unknown_search_log_is_shown_as_it_is() {
    let mut report = report();
    report.search = Some(serde_json::json!({ "something": ["else", 42.5] }));
    let page = render(&report);
    assert!(page.contains("something") && page.contains("42.5"));
}

/// With everything that can be measured.
fn closer_report() -> Report {
    let mut report = report();
    let measured = report.pretrained.iter_mut().chain(&mut report.retrain).chain(&mut report.methods);
    for (at, measured) in (0..).zip(measured) {
        let Measured { distance, line, relearning, .. } = sample::probed(&measured.name, at, 1);
        (measured.distance, measured.line, measured.relearning) = (distance, line, relearning);
        measured.forgotten_class_accuracy = Some(if at == 1 { 0.0 } else { 95.0 - 7.0 * at as f64 });
        measured.backdoor = Some(BackdoorSuccess { forget: 40.0, held_out: Some(95.5 - 4.0 * at as f64) });
        measured.loss_attack = Some(LossAttack { accuracy: Some(50.4 + at as f64), samples: 240, reason: None });
        for point in &mut measured.curve {
            point.forgotten_class_accuracy = Some(0.9 * point.forget_accuracy);
            point.backdoor_held_out = Some(20.0 + 0.7 * point.forget_accuracy);
        }
        for record in &mut measured.rounds {
            (record.device_seconds, record.peak_memory) = (6.5 * f64::from(record.round.0), 431_000_000);
        }
    }
    let references = ["pretrained", "retrain"].map(str::to_owned);
    let names: Vec<String> = references.into_iter().chain(report.methods.iter().map(|of| of.name.clone())).collect();
    report.data.class_apart = Some(ClassApart { label: 3, test: 51, validation: 26, attack: 24 });
    report.data.triggered = Some(449);
    report.activation = Some(sample::activation(&names));
    report.landscape = Some(sample::landscape(&names));
    report
}

#[test]
fn closer_measurements_stand_on_a_jobs_page_only_where_they_were_made() {
    let (page, without) = (render(&closer_report()), render(&report()));
    let titles = ["Does it come back?", "How far the weights went", "look at</h2>", "Landscape</h2>", "device time"];
    for title in titles {
        assert!(page.contains(title) && !without.contains(title), "{title}");
    }
    // 12 rounds.
    assert!(page.contains("<td>1 min 18 s</td>") && page.contains("<td>431 MB</td>"));
    assert_loads_nothing(&page);
    assert_finite(&page);
    assert_balanced(&page);
}

#[test]
fn a_distance_to_retrain_says_where_retrain_started() {
    let same = "Retrain started from the same initial weights as the network before unlearning";
    let mut report = closer_report();
    // Beside the distances, and where its place on the plane is drawn.
    assert_eq!(render(&report).matches(same).count(), 2);
    report.pretrained = None;
    let page = render(&report);
    assert!(!page.contains(same) && page.contains("had, is not known here"));
    report.retrain = None;
    assert!(!render(&report).contains("Retrain started"));
}

#[test]
#[ignore = "writes target/sample-report.html, to be looked at in a browser"]
fn draws_the_sample() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/sample-report");
    std::fs::write(format!("{path}.html"), render(&closer_report())).unwrap();
    std::fs::write(format!("{path}.json"), serde_json::to_string_pretty(&closer_report()).unwrap()).unwrap();
}

#[test]
fn a_trained_predictor_is_shown_beside_its_rivals() {
    let mut report = report();
    let fitted = |lambda: f64, error: f64| FittedLambda { lambda, error };
    let row = |operation, predictor: f64| PredictorError {
        snapshots: 15,
        horizon: 8,
        operation,
        coordinates: 4096,
        predictor,
        linear_extrapolation: 0.931,
        task_vector: fitted(1.23, 0.912),
        task_vector_per_operation: fitted(0.86, 0.903),
        task_vector_per_layer: Some(0.907),
        oracle: Some(0.85),
    };
    report.predictor = Some(PredictorReport {
        name: "predictor".into(),
        weights: Digest("ab".repeat(32)),
        histories: 31,
        held_out: 7,
        left_out: 3,
        families: Families::default(),
        selected: Round(2),
        stop: StopReason { rule: "patience".into(), text: "no lower validation error since epoch 2".into() },
        rounds: (1..=4).map(|round| RoundRecord { validation_loss: Some(0.9), ..record(round, 0.0, 0.0) }).collect(),
        errors: vec![row(OperationType::Convolution, 0.871), row(OperationType::Bias, 0.951)],
        fits: Vec::new(),
        readings: vec![PredictorReading {
            snapshots: 15,
            horizon: 8,
            operation: OperationType::Convolution,
            jacobian: vec![0.5, 0.0, -0.5],
            resting: 3e-3,
            correlation: 0.412,
            points: vec![[-1.0, -0.5], [2.0, 0.75]],
        }],
    });
    let page = render(&report);
    assert!(page.contains("better than every simpler rule in <strong>1 of 2</strong> cases"), "{page}");
    assert!(page.contains("<strong>0.871</strong>") && page.contains("<td>0.951</td>"));
    assert!(page.contains("<strong>0.903</strong> (λ 0.86)"));
    assert!(page.contains("<td>0.907</td>") && page.contains("<td>0.850</td>"));
    assert!(page.contains("predictor, snapshot 2: −0.500") && page.contains("Correlation 0.412"));
    assert!(page.contains("moved by +3.0e-3: a false signal"));
    assert!(page.contains("no lower validation error since epoch 2") && page.contains("epoch 2 (kept): 0.9000"));
    assert!(!page.contains("Round by round"), "no method ran");
}
