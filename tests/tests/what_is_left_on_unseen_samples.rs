//! What was forgotten is asked for on samples that no training saw: of a whole class, and of a backdoor.

use std::path::Path;

use rewind_certificate::Disclosure;
use rewind_job::{Figure, Measured, Part, Report};
use rewind_tests::{Fleet, repository};

/// A small network, pretrained and retrained; then some rounds of gradient ascent.
fn job(forget: &str, stop: &str) -> String {
    let root = repository();
    let root = root.display();
    let train = "epochs = 6, batch-size = 32, optimiser = { adam = { learning-rate = 1e-3 } }";
    format!(
        r#"
format = 2
name = "unseen"
[fleet]
world-size = 2
[model]
architecture = "mlp"
[data]
pool = {{ images = "{root}/.data/digits/images-idx3-ubyte", labels = "{root}/.data/digits/labels-idx1-ubyte" }}
split = {{ train = 1000, test = 200, validation = 100, attack = 200 }}
forget = {{ {forget} }}
[[step]]
name = "pretrained"
pretrain = {{ {train} }}
[[step]]
name = "retrain"
retrain = {{ {train} }}
[[step]]
name = "neg-grad"
[step.unlearn]
from = "pretrained"
method = {{ neg-grad = {{}} }}
forward = {{ optimiser = {{ sgd = {{ learning-rate = 1e-2 }} }}, batch-size = 32 }}
stop = {{ rounds = 3{stop} }}
roll-back = "best-validation"
[[step]]
name = "evaluation"
evaluate = {{}}
"#
    )
}

/// What was measured, in whole samples of so many.
fn count(accuracy: Option<f64>, of: u64) -> f64 {
    accuracy.expect("is measured") * of as f64 / 100.0
}

fn references(report: &Report) -> [&Measured; 2] {
    [&report.pretrained, &report.retrain].map(|measured| measured.as_ref().expect("is measured"))
}

/// What was read, as the job's disclosure tells it.
fn disclosed(fleet: &Fleet, job: &str) -> Disclosure {
    let file = fleet.report_folder(job).join("disclosure.json");
    Disclosure::parse(&std::fs::read(file).expect("there is a disclosure")).expect("is one")
}

#[test]
fn a_class_that_is_forgotten_leaves_held_out_data_and_is_measured_apart() {
    let fleet = Fleet::start(2);
    let class = |held_out: &str| job(&format!("class = {{ label = 4, held-out = \"{held_out}\" }}"), "");
    let job = fleet.submit(&class("apart"));
    let report = fleet.report(&job);
    let kept = fleet.report(&fleet.submit(&class("kept")));

    let apart = report.data.class_apart.expect("its samples are counted");
    let left = |part: Option<u64>| part.expect("there is a pool");
    let parts = [left(report.data.test), left(report.data.validation), left(report.data.attack)];
    assert_eq!([parts[0] + apart.test, parts[1] + apart.validation, parts[2] + apart.attack], [200, 100, 200]);
    assert!(apart.label == 4 && apart.test > 10 && apart.validation > 5 && apart.attack > 10, "{apart:?}");
    assert_eq!((kept.data.class_apart, kept.data.test), (None, Some(200)));

    for (apart_from, whole) in references(&report).into_iter().zip(references(&kept)) {
        // The same weights: together, the figures are that of the whole part.
        assert_eq!(apart_from.weights, whole.weights);
        let of_class = count(apart_from.forgotten_class_accuracy, apart.test);
        let together = count(apart_from.ta, parts[0]) + of_class;
        assert!((together - count(whole.ta, 200)).abs() < 1e-6, "{together} {:?}", whole.ta);
        assert_eq!(whole.forgotten_class_accuracy, None);
        assert!(apart_from.va > whole.va || apart_from.name == "pretrained", "Retrain loses nothing by the class");
    }
    let [pretrained, retrain] = references(&report);
    assert!(pretrained.forgotten_class_accuracy > Some(70.0), "{:?}", pretrained.forgotten_class_accuracy);
    assert_eq!(retrain.forgotten_class_accuracy, Some(0.0));

    let method = &report.methods[0];
    let at = |point: usize| method.curve[point].forgotten_class_accuracy;
    assert_eq!((method.curve.len(), at(0)), (4, pretrained.forgotten_class_accuracy));
    assert_eq!(at(method.selected.0 as usize), method.forgotten_class_accuracy);
    let record_of = |round: usize| &method.rounds[round - 1];
    assert!(
        record_of(3).number(Figure::VALIDATION_ACCURACY).is_some()
            && record_of(3).number(Figure::LIKE_UNSEEN).is_some()
    );
    // Against its own held-out samples: members of the class and strangers are forgotten alike.
    assert!(record_of(3).number(Figure::MEMBERSHIP_AUC) < Some(0.9), "{:?}", record_of(3));

    for measured in report.measured() {
        let attack = measured.loss_attack.as_ref().expect("there are held-out samples for attacks");
        assert_eq!((attack.samples, &attack.reason), (apart.attack, &None));
        assert!(attack.accuracy.is_some_and(|accuracy| (20.0..=100.0).contains(&accuracy)), "{attack:?}");
    }
    // Notes are taken of the class's samples, too: all of the test part were read to measure, none to choose.
    for reads in disclosed(&fleet, &job).reads.iter().filter(|reads| reads.part == Part::Test) {
        assert_eq!((reads.by.name(), reads.ids.len()), ("evaluation", 200), "{}", reads.step);
    }
}

#[test]
fn success_of_a_backdoor_is_told_on_forget_data_and_on_unseen_images() {
    let fleet = Fleet::start(2);
    let stop = ", forget-accuracy-at-most = 20.0";
    let name = fleet.submit(&job("backdoor = { share = 0.2, seed = 3, label = 7 }", stop));
    let report = fleet.report(&name);
    let triggered = report.data.triggered.expect("they are counted");
    assert!((160..200).contains(&triggered), "{triggered} of 200 are of other classes");
    let success = |measured: &Measured| measured.backdoor.expect("is measured");
    let [pretrained, retrain] = references(&report);
    for measured in report.measured() {
        assert!((success(measured).forget - (100.0 - measured.ua.expect("is measured"))).abs() < 1e-9);
        assert!((count(success(measured).held_out, triggered).fract() - 0.5).abs() > 0.49, "whole samples");
    }
    assert!(success(pretrained).held_out > Some(90.0), "{:?}", success(pretrained));
    assert!(success(retrain).held_out < Some(20.0), "{:?}", success(retrain));
    let method = &report.methods[0];
    assert_eq!(method.curve[method.selected.0 as usize].backdoor_held_out, success(method).held_out);
    assert_eq!(method.curve[0].backdoor_held_out, success(pretrained).held_out);
    assert_eq!(method.forgotten_class_accuracy, None);

    let page = std::fs::read_to_string(Path::new(&fleet.report_folder(&name)).join("report.html")).expect("a page");
    assert!(page.contains("backdoor, held-out</abbr>") && page.contains("Does the backdoor open on unseen images?"));
    assert!(page.contains("SVC, confidence</abbr>") && page.contains("MIA: logistic, loss</abbr>"));
}
