use rewind_job::*;

use super::{
    comparison::sample,
    draw_report as render,
    samples::{assert_balanced, assert_finite, assert_loads_nothing, record, sample_report as report},
};

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
        method.rounds.iter_mut().for_each(|record| record.scores.set(Figure::VALIDATION_ACCURACY, None));
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
        method.rounds[1].scores.set(Figure::VALIDATION_ACCURACY, bad);
        method.rounds[2].loss = bad.into();
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
        rounds: (1..=4)
            .map(|round| RoundRecord {
                scores: Scores::from([(Figure::PREDICTOR_ERROR, 0.9)]),
                ..record(round, 0.0, 0.0)
            })
            .collect(),
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

#[test]
fn given_weights_are_no_method() {
    let mut report = report();
    let mut given = report.methods[0].clone();
    (given.name, given.group, given.average_gap, given.ta) =
        ("given".into(), "reference".into(), Some(0.0), Some(100.0));
    report.methods.truncate(1);
    report.methods.insert(0, given);
    let page = render(&report);
    assert!(page.contains("The method <bdi>rewinding</bdi> was run on 2 workers"));
    assert!(page.contains("<bdi>rewinding</bdi> in figures"));
    assert!(!page.contains("<span class=\"tag\">closest</span>"));
    report.methods.truncate(1);
    assert!(render(&report).contains("No unlearning step ran"));
}

#[test]
fn the_first_sentence_is_the_verdict_and_a_report_without_one_says_so() {
    let first = |report: &Report| {
        let page = render(report);
        assert_balanced(&page);
        let first = page.split("<p class=\"lede\">").nth(1).unwrap_or_default();
        first.split("</p>").next().unwrap_or_default().to_owned()
    };
    let mut report = report();
    assert!(first(&report).starts_with("<strong>No verdict.</strong>"), "{}", first(&report));
    let stop = Stop { ua_at_least: Some(98.0), ..Stop::after(3) };
    let (before, after) = (Scores::from([(Figure::FORGET_ACCURACY, 99.7)]), |forget: f64| {
        Scores::from([(Figure::FORGET_ACCURACY, forget), (Figure::STATISTICS, f64::NAN)])
    });
    let judged = |after: &Scores| Some(judge(&stop, &DamageLimits::default(), &before, after));
    report.methods.truncate(2);
    report.methods[0].judgement = judged(&Scores::from([(Figure::FORGET_ACCURACY, 1.0)]));
    report.methods[1].judgement = report.methods[0].judgement.clone();
    assert!(first(&report).contains("All 2 unlearning steps forgot"), "{}", first(&report));
    report.methods[1].judgement = judged(&after(99.7));
    let text = first(&report);
    assert!(text.contains(">Damaged</strong> is the worst verdict of 2") && text.contains("1 step forgot"), "{text}");
    let page = render(&report);
    for cell in ["≥ 98.0", "0.3 %", "99.0 %", "reached", "missed", "not finite", "damaged"] {
        assert!(page.contains(&format!(">{cell}<")), "{cell} is missing");
    }
    report.methods.truncate(1);
    report.methods[0].name = "<b>".into();
    let text = first(&report);
    assert!(
        text.contains(">Forgot.</strong> <bdi>&lt;b&gt;</bdi>: UA of at least 98.0 % was wanted and reached"),
        "{text}"
    );
}
