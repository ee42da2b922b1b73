//! A job's certificate on a real fleet: it verifies, no byte can change, it names no sample, and a replay gives its bits.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Output};

use rewind_tests::{Fleet, complaint, first_of, repository, rewind};
use serde_json::Value;

fn quick() -> String {
    let example = fs::read_to_string(repository().join("examples/quick.toml")).expect("reads");
    example.replace("../.data", &repository().join(".data").display().to_string())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn printable(path: &Path) -> &str {
    path.to_str().expect("printable")
}

fn certificate(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("certificate.json")).expect("is there")).expect("JSON")
}

/// What the readers of a step read: reader, part, samples.
fn reads(certificate: &Value, step: &str) -> Vec<(String, String, u64)> {
    let steps = certificate["statement"]["steps"].as_array().expect("steps");
    let step = steps.iter().find(|found| found["name"] == step).expect("the step is there");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let read = |reads: &Value| (word(&reads["by"]), word(&reads["part"]), reads["samples"].as_u64().expect("a number"));
    step["reads"].as_array().expect("reads").iter().map(read).collect()
}

fn by(reads: &[(String, String, u64)], reader: &str) -> Vec<(String, u64)> {
    let own = reads.iter().filter(|(by, _, _)| by == reader);
    own.map(|(_, part, samples)| (part.clone(), *samples)).collect()
}

/// Flips one bit in the middle of a file, asks, and puts it back.
fn with_a_flipped_bit(file: &Path, ask: impl Fn() -> Output) -> Output {
    let whole = fs::read(file).expect("is there");
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    fs::write(file, altered).expect("writes");
    let output = ask();
    fs::write(file, whole).expect("writes");
    output
}

#[test]
fn a_certificate_is_verified_and_its_job_replayed_to_the_same_bits() {
    let fleet = Fleet::start(1);
    let job = fleet.submit(&quick());
    let report = fleet.report(&job);
    let folder = fleet.report_folder(&job);
    let key = fleet.dir().join("signing.pub.pem");
    let mode = |file: &Path| fs::metadata(file).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&fleet.dir().join("signing.pem")), 0o600);
    assert_eq!(mode(&folder.join("disclosure.json")), 0o600);

    let verify = || rewind(&["verify", printable(&folder), "--signed-by", printable(&key)]);
    let output = verify();
    assert!(output.status.success(), "{}{}", said(&output), complaint(&output));
    for check in ["✓ form", "✓ key", "✓ report", "✓ weights of retrain", "✓ disclosure", "✓ ids read by task-vector"]
    {
        assert!(said(&output).contains(check), "{check} in {}", said(&output));
    }
    for file in ["certificate.json", "report.json", "disclosure.json", "weights/task-vector.safetensors"] {
        let output = with_a_flipped_bit(&folder.join(file), verify);
        assert_eq!(output.status.code(), Some(1), "{file}: {}", said(&output));
        assert!(said(&output).contains('✗'), "{file}: {}", said(&output));
    }

    // What was read: each trainer what it was given, the forget-only method D_f alone.
    let (data, certificate) = (&report.data, certificate(&folder));
    let remaining = data.remaining.expect("there is a pool");
    let of = |part: &str, samples: u64| vec![(part.to_owned(), samples)];
    assert_eq!(by(&reads(&certificate, "pretrained"), "method"), of("train", remaining + data.forget));
    assert_eq!(by(&reads(&certificate, "retrain"), "method"), of("remaining", remaining));
    assert_eq!(by(&reads(&certificate, "task-vector"), "method"), of("forget", data.forget));
    let rules = by(&reads(&certificate, "task-vector"), "rules");
    assert_eq!(rules, [of("forget", data.forget), of("validation", 100)].concat());
    assert!(by(&reads(&certificate, "task-vector"), "evaluation").contains(&("test".to_owned(), 200)));
    let text = fs::read_to_string(folder.join("certificate.json")).expect("reads");
    let disclosure: Value =
        serde_json::from_slice(&fs::read(folder.join("disclosure.json")).expect("reads")).expect("JSON");
    let forgotten = disclosure["forget"].as_array().expect("samples");
    assert_eq!(forgotten.len() as u64, data.forget);
    assert!(!text.contains(forgotten[0]["digest"].as_str().expect("a digest")), "the certificate tells no sample");

    let written = fs::read_to_string(folder.join("report.json")).expect("reads");
    let report: Value = serde_json::from_str(&written).expect("JSON");
    assert!(report["samples"].is_null() && !written.contains("\"positions\""), "the report leads to no ids");

    // One sample is shown to somebody who has the certificate alone.
    let alone = fleet.folder.path().join("alone.json");
    fs::copy(folder.join("certificate.json"), &alone).expect("copies");
    let proof = fleet.folder.path().join("proof.json");
    let id = forgotten[3]["id"].to_string();
    let output = rewind(&["verify", printable(&folder), "--sample", &id, "--write-proof", printable(&proof)]);
    assert!(output.status.success(), "{}", said(&output));
    let output = rewind(&["verify", printable(&alone), "--proof", printable(&proof)]);
    assert!(output.status.success() && said(&output).contains(&format!("✓ proof: sample {id} ")), "{}", said(&output));

    // A second fetch gives the same bytes, and a replay the same bits.
    let again = fleet.folder.path().join("again");
    let output = fleet.ask(&["report", &job, "--out", printable(&again)]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert_eq!(fs::read_to_string(again.join("certificate.json")).expect("reads"), text);
    let output = fleet.ask(&["verify", printable(&folder), "--signed-by", printable(&key), "--replay"]);
    assert!(output.status.success(), "{}{}", said(&output), complaint(&output));
    for step in ["pretrained", "retrain", "task-vector"] {
        assert!(said(&output).contains(&format!("✓ replay of {step}: the same bits")), "{}", said(&output));
    }
    for check in [
        "data read",
        "forget data, again",
        "ids read, again",
        "reads of retrain, again",
        "course of task-vector, again",
    ] {
        assert!(said(&output).contains(&format!("✓ {check}")), "{check} in {}", said(&output));
    }
}

#[test]
fn a_job_with_weights_and_forget_data_alone_has_a_certificate_that_says_so() {
    let fleet = Fleet::start(2);
    let pretraining = quick();
    let cut_at = pretraining.find("[[step]]\nname = \"retrain\"").expect("a retrain step");
    let job = fleet.submit(&pretraining[..cut_at]);
    let pretrained = fleet.report(&job).pretrained.expect("a pretrained network").weights;
    let folder = fleet.folder.path();
    fs::write(folder.join("images-idx3-ubyte"), first_of("images-idx3-ubyte", 16, 784, 40)).expect("writes");
    fs::write(folder.join("labels-idx1-ubyte"), first_of("labels-idx1-ubyte", 8, 1, 40)).expect("writes");
    let job = fleet.submit(&format!(
        r#"
name = "weights and forget data"
[fleet]
world-size = 2
[model]
architecture = "mlp"
weights = "sha256:{pretrained}"
[data]
forget = {{ files = {{ images = "images-idx3-ubyte", labels = "labels-idx1-ubyte" }} }}
[[step]]
name = "unlearned"
[step.unlearn]
method = {{ neg-grad = {{}} }}
forward = {{ optimiser = {{ sgd = {{ learning-rate = 1e-3 }} }}, batch-size = 16 }}
stop = {{ rounds = 2 }}
[[step]]
name = "evaluation"
evaluate = {{}}
"#
    ));
    fleet.report(&job);
    let certificate = certificate(&fleet.report_folder(&job));
    let all = reads(&certificate, "unlearned");
    assert!(all.iter().all(|(_, part, samples)| (part.as_str(), *samples) == ("forget", 40)), "{all:?}");
    assert_eq!(all.len(), 3, "the method, the rules and the evaluation, each of both ranks: {all:?}");
    let step = &certificate["statement"]["steps"][0];
    assert_eq!(step["weights_before"], pretrained.0.as_str());
    assert_eq!(certificate["statement"]["data"]["files"].as_array().expect("files").len(), 2);
    let unproven = certificate["statement"]["not_proven"].to_string();
    assert!(unproven.contains("no retrained reference") && unproven.contains("given to it as a file"), "{unproven}");
}
