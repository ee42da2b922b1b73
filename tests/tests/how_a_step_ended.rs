//! Verdicts, from the weights that a worker hands out to the report, the certificate, the page, `jobs` and exit codes.

#![allow(clippy::unwrap_used)]

use std::fs;

use rewind_certificate::Certificate;
use rewind_job::{Figure, Report, ScoreValue, Verdict};
use rewind_tests::{Fleet, complaint, first_of, report_json, repository, rewind, small_job};

/// Steps that end in every way, one after another; each begins with the pretrained network.
const STEPS: [(&str, &str, &str, Verdict); 5] = [
    ("hardly", "sgd = { learning-rate = 1e-9 }", "ua-at-least = 99.0", Verdict::NotForgotten),
    ("nothing wanted", "sgd = { learning-rate = 1e-9 }", "", Verdict::NotKnown),
    ("at once", "sgd = { learning-rate = 1e-9 }", "ua-at-least = 0.0, membership-auc-at-most = 1.0", Verdict::Forgot),
    ("wild", "adam = { learning-rate = 0.1 }", "ua-at-least = 60.0", Verdict::ForgotAndDamaged),
    ("diverging", "sgd = { learning-rate = 1e38, momentum = 0.9 }", "ua-at-least = 99.9", Verdict::Damaged),
];

fn step((name, optimiser, goal, _): &(&str, &str, &str, Verdict)) -> String {
    let comma = if goal.is_empty() { "" } else { ", " };
    format!(
        "[[step]]\nname = \"{name}\"\n[step.unlearn]\nfrom = \"pretrained\"\nmethod = {{ neg-grad = {{}} }}\n\
         forward = {{ optimiser = {{ {optimiser} }}, batch-size = 32, batch-norm = \"inference\" }}\n\
         stop = {{ rounds = 4{comma}{goal} }}\n"
    )
}

fn pretraining() -> String {
    let whole = small_job(1).replace("fail-if = []\n", "");
    whole[..whole.find("[[step]]\nname = \"retrain\"").unwrap()].to_owned()
}

/// What `rewind watch` ends with once the job has finished.
fn exit_code(fleet: &Fleet, job: &str) -> Option<i32> {
    fleet.ask(&["watch", job]).status.code()
}

#[test]
fn every_step_has_a_verdict_and_everything_that_tells_of_the_job_says_it() {
    let fleet = Fleet::start(1);
    let job = fleet.submit(&(pretraining() + &STEPS.iter().map(step).collect::<String>()));
    let report: Report = fleet.report(&job);
    let folder = fleet.report_folder(&job);
    for ((name, _, goal, verdict), measured) in STEPS.iter().zip(&report.methods) {
        let judgement = measured.judgement.as_ref().unwrap();
        assert_eq!((measured.name.as_str(), judgement.verdict), (*name, *verdict), "{}", judgement.sentence);
        assert_eq!(judgement.goals.is_empty(), goal.is_empty());
        assert!(judgement.damage.iter().any(|sign| sign.figure == Figure::VALIDATION_ACCURACY), "{judgement:?}");
    }
    let diverging = &report.methods[4];
    assert_eq!(diverging.rounds.last().unwrap().loss, ScoreValue::NotFinite);
    let json = report_json(&folder);
    assert_eq!(json["methods"][4]["rounds"].as_array().unwrap().last().unwrap()["loss"], "not finite");
    assert_eq!(json["methods"][0]["judgement"]["verdict"], "not-forgotten");
    assert_eq!(json["methods"][0]["judgement"]["goals"][0]["met"], false);

    let certificate = Certificate::parse(&fs::read(folder.join("certificate.json")).unwrap()).unwrap();
    let certified: Vec<Verdict> =
        (certificate.statement.steps.iter()).filter_map(|step| Some(step.judgement.as_ref()?.verdict)).collect();
    assert_eq!(certified, STEPS.map(|(_, _, _, verdict)| verdict));
    let verified = rewind(&["verify", folder.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", complaint(&verified));

    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    let first = page.split("<p class=\"lede\">").nth(1).unwrap();
    assert!(first.starts_with("<strong class=\"verdict bad\">Damaged</strong> is the worst verdict of 5"), "{first}");
    assert!(!page.contains("did so"), "whatever happened");

    let listed = String::from_utf8(fleet.ask(&["jobs"]).stdout).unwrap();
    assert!(listed.contains("all steps are done; verdict: damaged"), "{listed}");
    let status = fleet.status(&job);
    assert_eq!((status.verdict, status.fails), (Some(Verdict::Damaged), true));
    assert_eq!(exit_code(&fleet, &job), Some(4));
}

#[test]
fn a_network_that_was_destroyed_without_other_data_is_called_damaged() {
    let fleet = Fleet::start(2);
    let job = fleet.submit(&pretraining());
    let report = fleet.report(&job);
    assert_eq!((report.verdict(), exit_code(&fleet, &job)), (None, Some(0)), "nothing was unlearned");
    let folder = fleet.folder.path();
    let weights = fleet.report_folder(&job).join("weights/pretrained.safetensors");
    fs::copy(weights, folder.join("weights.safetensors")).unwrap();
    fs::write(folder.join("forget-images-idx3-ubyte"), first_of("images-idx3-ubyte", 16, 784, 60)).unwrap();
    fs::write(folder.join("forget-labels-idx1-ubyte"), first_of("labels-idx1-ubyte", 8, 1, 60)).unwrap();
    let example = fs::read_to_string(repository().join("examples/forget-only.toml")).unwrap();
    let example = example.replace("residual-small", "depthwise-small");
    let head = &example[..example.find("[[step]]").unwrap()];
    let alone = |fail_if: &str, optimiser: &str, goal: &str| {
        let step = step(&("unlearned", optimiser, goal, Verdict::Forgot)).replace("from = \"pretrained\"\n", "");
        let text = format!("{fail_if}\n{head}{step}");
        let file = folder.join("alone.toml");
        fs::write(&file, text).unwrap();
        let output = fleet.ask(&["submit", "--watch", file.to_str().unwrap()]);
        (output.status.code(), complaint(&output))
    };
    let (code, said) = alone("", "adam = { learning-rate = 0.1 }", "ua-at-least = 60.0");
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("verdict `forgot and damaged`"), "{said}");
    let (code, said) = alone("", "sgd = { learning-rate = 1e-9 }", "ua-at-least = 0.0");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = alone("", "sgd = { learning-rate = 1e-9 }", "");
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("names no goal") && said.contains("try stop = { rounds = 4, ua-at-least = 50.0 }"), "{said}");
    let (code, said) = alone("fail-if = [\"damaged\"]", "sgd = { learning-rate = 1e-9 }", "");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = alone("fail-if = [\"luck\"]", "sgd = { learning-rate = 1e-9 }", "");
    assert_eq!((code, said.contains("fail-if")), (Some(2), true), "{said}");
}

#[test]
fn a_training_that_diverges_fails_and_is_never_finished() {
    let fleet = Fleet::start(1);
    let wild = pretraining().replace("learning-rate = 3e-3", "learning-rate = 1e38");
    let job = fleet.submit(&wild);
    let reason = fleet.failure(&job);
    assert!(reason.contains("step `pretrained`") && reason.contains("diverged"), "{reason}");
}
