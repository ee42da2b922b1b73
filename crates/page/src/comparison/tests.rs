use rewind_comparison::{Compared, figures};
use rewind_job::Digest;

use super::{
    ranking::{Measure, gap_before, has_forgotten, rank},
    sample::{activation, landscape},
    sample_comparisons,
};
use crate::draw_comparisons;
use crate::samples::{assert_balanced, assert_finite, assert_loads_nothing};

fn of(name: &str) -> Compared {
    sample_comparisons().into_iter().find(|compared| compared.comparison.name == name).unwrap()
}

fn page_of(compared: Compared) -> String {
    draw_comparisons(&[compared], "0.0.0 (test)")
}

#[test]
fn the_page_loads_nothing_and_is_well_formed() {
    let page = draw_comparisons(&sample_comparisons(), "0.0.0 (test)");
    assert_loads_nothing(&page);
    assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'; img-src data:"));
    assert_finite(&page);
    assert_balanced(&page);
    let ids: Vec<&str> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(ids.len(), distinct.len(), "ids are unique: {ids:?}");
}

#[test]
fn a_reader_who_reads_nothing_else_learns_what_was_asked_done_found_and_not_proven() {
    let page = page_of(of("label noise"));
    for words in
        ["<strong>Asked.</strong>", "<strong>Done.</strong>", "<strong>Found.</strong>", "<strong>Not proven.</strong>"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains("5 networks were trained; then 13 methods had each of them forget."));
    assert!(page.contains("<strong><bdi>rewinding</bdi></strong> left the best network"), "{page}");
    assert!(page.contains("Nearest to Retrain over all figures is <bdi>rewinding</bdi>"));
    assert!(page.contains("hardly tells members from others</strong> for <bdi>retrain</bdi> (52.1 %)"));
}

#[test]
fn methods_are_told_apart_by_paired_differences() {
    let mut compared = of("standard");
    // Both swing by 10 points from seed to seed, but on each seed the second is behind by 2 ± 0.2: intervals of the means
    // overlap, those of the differences do not.
    for (method, behind) in [(0, 0.0), (1, 2.0)] {
        for (at, run) in compared.methods[method].runs.iter_mut().enumerate() {
            run.measured.ta =
                Some(90.0 + 2.5 * at as f64 - behind + if method == 1 && at % 2 == 0 { 0.2 } else { 0.0 });
            run.measured.ua = Some(100.0);
        }
    }
    compared.methods.truncate(2);
    let ranking = rank(&compared, "forget-only", Measure::TestAccuracy);
    assert_eq!(ranking[0].method.name, compared.methods[0].name);
    // Differences 1.8, 2, 1.8, 2, 1.8.
    assert!((ranking[1].behind.mean - 1.88).abs() < 1e-9);
    assert!(!ranking[1].is_tied());
    assert!(ranking[0].mean.low.unwrap() < ranking[1].mean.high.unwrap(), "means alone would not tell");
    // On one seed the second is far ahead: now nothing is certain.
    compared.methods[1].runs[0].measured.ta = Some(93.0);
    assert!(rank(&compared, "forget-only", Measure::TestAccuracy)[1].is_tied());
    // One seed tells nothing.
    for method in &mut compared.methods {
        method.runs.truncate(1);
    }
    compared.references.truncate(1);
    assert!(rank(&compared, "forget-only", Measure::TestAccuracy)[1].is_tied());
    assert!(page_of(compared).contains("one seed tells no two methods apart"));
}

#[test]
fn the_gap_before_unlearning_is_the_mean_of_four_distances() {
    let mut compared = of("standard");
    for references in &mut compared.references {
        let retrain = references.retrain.as_mut().unwrap();
        (retrain.ra, retrain.ua, retrain.ta, retrain.mia) = (Some(99.0), Some(90.0), Some(97.0), Some(70.0));
        let before = &mut references.pretrained;
        (before.ra, before.ua, before.ta, before.mia) = (Some(100.0), Some(4.0), Some(86.0), Some(20.0));
    }
    // (1 + 86 + 11 + 50) / 4.
    assert_eq!(gap_before(&compared).map(|gap| gap.mean), Some(37.0));
    assert!(page_of(compared).contains("Before unlearning the network was 37.0 ± 0.0 points away."));
}

#[test]
fn seeds_of_unlearning_are_no_networks_of_their_own() {
    let mut compared = of("standard");
    // Five more runs a seed that repeat the first make nothing surer.
    let before: Vec<_> = rank(&compared, "forget-only", Measure::Gap).iter().map(|ranked| ranked.mean).collect();
    let figures_before = figures(&compared);
    let page_before = page_of(of("standard"));
    for method in &mut compared.methods {
        let again: Vec<_> = method.runs.iter().map(|run| serde_json::to_value(run).unwrap()).collect();
        method.runs.extend(again.into_iter().map(|run| serde_json::from_value(run).unwrap()));
    }
    let after: Vec<_> = rank(&compared, "forget-only", Measure::Gap).iter().map(|ranked| ranked.mean).collect();
    for (before, after) in before.iter().zip(&after) {
        assert!((before.low.unwrap() - after.low.unwrap()).abs() < 1e-9);
    }
    for (before, after) in figures_before.iter().zip(&figures(&compared)) {
        assert_eq!((before.metric, before.seeds), (after.metric, after.seeds));
        assert!(before.low.zip(after.low).is_none_or(|(a, b)| (a - b).abs() < 1e-6 * a.abs().max(1.0)), "{after:?}");
    }
    assert_eq!(page_of(compared), page_before, "table, cost and curves");
}

#[test]
fn figures_say_of_how_many_seeds_they_are() {
    let mut compared = of("label noise");
    compared.probed.truncate(3);
    compared.comparison.shadow_seeds = vec![11, 12];
    let figures = figures(&compared);
    let seeds = |metric: &str| {
        figures.iter().find(|figure| figure.method == "rewinding" && figure.metric == metric).unwrap().seeds
    };
    assert_eq!(["ta", "average-gap", "distance", "likelihood-ratio-auc"].map(seeds), [5, 5, 3, 7]);
}

#[test]
fn a_distance_to_retrain_says_where_retrain_started() {
    let said = "Retrain started from the same initial weights as the network before unlearning";
    assert!(page_of(of("label noise")).contains(said));
    let mut compared = of("label noise");
    compared.references.iter_mut().for_each(|of| of.retrain = None);
    assert!(!page_of(compared).contains("Retrain started"));
}

#[test]
fn what_is_left_on_unseen_images_is_a_figure_for_spreadsheets() {
    let figures = figures(&of("backdoor"));
    for metric in ["backdoor-forget", "backdoor-held-out", "mia-logistic"] {
        let found = figures.iter().find(|figure| figure.method == "rewinding" && figure.metric == metric);
        assert_eq!(found.map(|figure| figure.seeds), Some(5), "{metric}");
    }
    assert!(figures.iter().all(|figure| figure.metric != "forgotten-class-accuracy"), "no class is forgotten there");
}

#[test]
fn methods_that_ended_before_retrains_ua_are_named() {
    let mut compared = of("standard");
    assert!(!page_of(of("standard")).contains("Fell short"));
    compared.methods[0].runs[2].rule = "rounds".into();
    compared.methods[1].runs.iter_mut().for_each(|run| run.rule = "rounds".into());
    let names = [0, 1].map(|at| format!("<bdi>{}</bdi>", compared.methods[at].name));
    let page = page_of(compared);
    let said = format!("to be forgotten: {} (in 1 of 5 runs) and {} (in 5 of 5 runs).", names[0], names[1]);
    assert!(page.contains(&said) && page.contains("or after its last round"), "{said}");
}

#[test]
fn what_must_be_forgotten_is_retrains_ua_of_the_same_seed() {
    let mut compared = of("standard");
    assert!(compared.methods.iter().all(|method| !has_forgotten(&compared, method)), "all are below in the sample");
    let wanted: Vec<f64> = compared.references.iter().map(|of| of.retrain.as_ref().unwrap().ua.unwrap()).collect();
    for (run, wanted) in compared.methods[0].runs.iter_mut().zip(wanted) {
        run.measured.ua = Some(wanted);
    }
    assert!(has_forgotten(&compared, &compared.methods[0]));
}

#[test]
fn methods_that_make_it_worse_are_not_praised() {
    let verdict = "<strong>No method improved on the network before unlearning</strong>";
    assert!(!page_of(of("label noise")).contains(verdict));
    let mut compared = of("label noise");
    for references in &mut compared.references {
        references.pretrained.ta = Some(99.9);
    }
    assert!(page_of(compared).contains(verdict));
    let mut compared = of("standard");
    assert!(!page_of(of("standard")).contains(verdict));
    for references in &mut compared.references {
        references.pretrained = references.retrain.clone().unwrap();
    }
    assert!(page_of(compared).contains(verdict));
}

#[test]
fn pages_of_many_seeds_do_not_warn_of_one() {
    let mut compared = of("standard");
    let of_one = "One training seed and one unlearning seed: differences of about a point are noise.";
    compared.references[0].warnings.push(of_one.into());
    let page = page_of(compared);
    assert!(!page.contains("One training seed") && page.contains("hardly discriminates"));
}

#[test]
fn methods_that_did_not_forget_are_not_ranked() {
    let mut compared = of("backdoor");
    assert!(rank(&compared, "forget-only", Measure::TestAccuracy).iter().any(|r| r.method.name == "rewinding"));
    // 80 % are wanted.
    compared.methods[0].runs[3].measured.ua = Some(79.9);
    assert!(!rank(&compared, "forget-only", Measure::TestAccuracy).iter().any(|r| r.method.name == "rewinding"));
    assert!(
        page_of(compared)
            .contains("Did not forget what was asked on every network, and so are not ranked: <bdi>rewinding</bdi>.")
    );
}

#[test]
fn curves_follow_what_was_measured() {
    let standard = page_of(of("standard"));
    assert!(standard.contains("Forgetting, and what") && !standard.contains("true labels back"));
    let backdoor = page_of(of("backdoor"));
    assert!(backdoor.contains("Forgetting, and what") && backdoor.contains("true labels back"));
    assert!(backdoor.contains("<th scope=\"col\">at 20 %</th>"));
    let unseen = "Does the backdoor open on unseen images?";
    assert!(
        backdoor.contains(unseen) && backdoor.contains("backdoor,<br>held-out</abbr>") && !standard.contains(unseen)
    );
    assert!(standard.contains("MIA:<br>SVC, confidence</abbr>") && standard.contains("MIA:<br>logistic, loss</abbr>"));
    let overfitting = page_of(of("overfitting"));
    assert!(overfitting.contains("Undoing overfitting") && !overfitting.contains("Forgetting, and what"));
    assert!(overfitting.contains("<th scope=\"col\">at 1.5</th>"));
    assert!(overfitting.contains("cross-entropy) is <strong>"));
}

#[test]
fn readings_say_how_many_runs_reach() {
    let mut compared = of("label noise");
    for run in compared.methods[0].runs.iter_mut().take(2) {
        run.measured.curve.retain(|point| point.forget_accuracy > 30.0);
    }
    assert!(page_of(compared).contains("<small>3 of 5 seeds</small>"));
}

#[test]
fn cost_stands_beside_that_of_retrain() {
    let mut compared = of("standard");
    for run in &mut compared.methods[0].runs {
        run.measured.seconds = 30.5;
    }
    for references in &mut compared.references {
        references.retrain.as_mut().unwrap().seconds = 61.0;
    }
    let page = page_of(compared);
    assert!(page.contains("31 s ± 0.0 s<small>0.50 × Retrain’s</small>"));
    // 12 rounds of 4.6 s on the device; 412 MB and 12 × 3 MB at most.
    assert!(page.contains("<td>55 s<small>0.80 × Retrain’s</small></td>"));
    assert!(page.contains("<td>448 MB<small>0.98 × Retrain’s</small></td>"));
}

#[test]
fn closer_measurements_are_there_only_where_they_were_made() {
    let titles =
        ["Does it come back?", "How far the weights went", "Can an attacker tell", "look at</h3>", "Landscape"];
    let all = page_of(of("label noise")) + &page_of(of("backdoor"));
    let none = page_of(of("standard"));
    for title in titles {
        assert!(all.contains(title) && !none.contains(title), "{title}");
    }
    assert!(all.contains("<strong>0.912</strong>") && all.contains("<strong>0.500</strong>"));
    assert!(all.contains("<li>211 <small>3.20 nats, 4 networks</small></li>"));
    assert!(all.contains("alt=\"pretrained on sample 17: answers 0, probability of label 0 is 100 %\""));
    assert!(all.contains("first component (61.2 % of the variance)"));
}

#[test]
fn every_parameter_of_every_method_is_listed() {
    let compared = of("label noise");
    let page = page_of(of("label noise"));
    for method in &compared.methods {
        let unlearn = toml::Value::try_from(&method.tries[method.chosen].unlearn).unwrap();
        let optimiser = unlearn.get("forward").and_then(|forward| forward.get("optimiser"));
        if let Some(rate) = optimiser.and_then(|of| of.get("adam")).and_then(|adam| adam.get("learning-rate")) {
            assert!(page.contains(&format!("forward.optimiser.adam.learning-rate = {rate}")), "{}", method.name);
        }
    }
    assert!(page.contains("method.rewinding.horizon = 15"));
}

#[test]
fn hostile_names_stay_text() {
    let hostile = "\"><script>alert(1)</script><img src=x onerror='y'>";
    let mut all = sample_comparisons();
    for compared in &mut all {
        let comparison = &mut compared.comparison;
        (comparison.name, comparison.question) = (hostile.into(), hostile.into());
        for references in &mut compared.references {
            references.warnings = vec![hostile.into()];
        }
        let names: Vec<String> = (0..compared.methods.len()).map(|at| format!("{hostile}{at}")).collect();
        for (method, name) in compared.methods.iter_mut().zip(&names) {
            method.name.clone_from(name);
            for tried in &mut method.tries {
                (tried.setting, tried.rule) = (hostile.into(), hostile.into());
            }
            for run in &mut method.runs {
                (run.measured.name, run.measured.weights) = (hostile.into(), Digest(hostile.into()));
            }
        }
        for measured in compared.probed.iter_mut().flat_map(|probed| &mut probed.networks) {
            measured.name = hostile.into();
        }
        for likelihood in &mut compared.likelihood {
            likelihood.name = hostile.into();
        }
        if let Some(probed) = compared.probed.first_mut() {
            probed.activation = Some(activation(&names));
        }
        compared.landscape = Some(landscape(&names));
    }
    let page = draw_comparisons(&all, "0.0.0 (test)");
    assert!(!page.contains("<script") && !page.contains("<img src=x"));
    assert!(page.contains("&lt;script&gt;"));
    assert_loads_nothing(&page);
    assert_balanced(&page);
}

#[test]
fn figures_that_are_no_numbers_are_not_drawn() {
    let mut all = sample_comparisons();
    for compared in &mut all {
        for (at, bad) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].into_iter().enumerate() {
            let measured = &mut compared.methods[at].runs[at].measured;
            (measured.ta, measured.test_loss, measured.seconds) = (Some(bad), Some(bad), bad);
            measured.curve[2].forget_accuracy = bad;
            measured.curve[3].test_accuracy = Some(bad);
            measured.curve[4].test_loss = Some(bad);
            measured.curve[5].clean_accuracy = Some(bad);
        }
        for measured in compared.probed.iter_mut().flat_map(|probed| &mut probed.networks) {
            measured.distance = Some(f64::NAN);
            if let Some(point) = measured.line.get_mut(3) {
                (point.forget_loss, point.test_loss) = (f64::INFINITY, Some(f64::NAN));
            }
            if let Some(relearning) = &mut measured.relearning {
                relearning.from_remaining[1] = f64::NAN;
            }
        }
        if let Some(landscape) = &mut compared.landscape {
            landscape.forget_accuracy[3][4] = f64::NAN;
            landscape.paths[3].points[2] = [f64::NAN, f64::INFINITY];
        }
    }
    let page = draw_comparisons(&all, "0.0.0 (test)");
    assert_finite(&page);
    assert!(!page.contains("NaN"));
    assert_balanced(&page);
}

#[test]
fn a_comparison_without_runs_is_a_page() {
    let mut compared = of("standard");
    compared.references.clear();
    compared.methods.iter_mut().for_each(|method| method.runs.clear());
    assert_balanced(&page_of(compared));
}

#[test]
#[ignore = "writes target/sample-comparison.html, to be looked at in a browser"]
fn draws_the_sample() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/sample-comparison");
    let all = sample_comparisons();
    std::fs::write(format!("{path}.html"), draw_comparisons(&all, "0.0.0 (test)")).unwrap();
    std::fs::write(format!("{path}.json"), serde_json::to_string(&all).unwrap()).unwrap();
}
