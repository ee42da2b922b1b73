//! `rewind verify` on files: what it says, and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rewind_artifacts::digest_of;
use rewind_certificate::{Facts, SigningKey, issue};
use rewind_job::*;
use tempfile::TempDir;

/// A folder as `rewind report --weights` writes it, and the key that signed.
struct Written {
    folder: TempDir,
    key: SigningKey,
}

const WEIGHTS: &[u8] = b"the weights of the step";

fn report() -> Report {
    let text = include_str!("../../../examples/quick.toml");
    let measured = Measured {
        name: "task-vector".into(),
        method: "task-vector".into(),
        group: "forget-only".into(),
        weights: digest_of(WEIGHTS),
        ua: Some(90.0),
        ..Measured::default()
    };
    let report = serde_json::json!({
        "version": "0.1.0",
        "job": "job-1",
        "world_size": 1,
        "specification": Specification::parse(text, Path::new("/examples")).unwrap(),
        "data": { "forget": 2, "files": [] },
        "machine": { "threads": 1, "libtorch": "2.13.0", "cpu_capability": "AVX2", "device": "cpu" },
        "methods": [measured],
        "stop": [],
        "recovered": [],
        "warnings": [],
    });
    serde_json::from_value(report).unwrap()
}

impl Written {
    /// With a certificate that says that the method read these samples.
    fn reading(part: Part, ids: &[u32]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap();
        let report = report();
        let text = serde_json::to_vec_pretty(&report).unwrap();
        let sample = |id: u32| SampleDigest { id, digest: digest_of(&id.to_be_bytes()) };
        let reads =
            StepReads { step: "task-vector".into(), by: Reader::Method, part, ids: ids.iter().copied().collect() };
        let facts = Facts {
            report: &report,
            report_bytes: &text,
            stored: &digest_of(b"stored"),
            record: SampleRecord { forget: vec![sample(5), sample(9)], reads: vec![reads] },
            generation: Generation(1),
            issued_at: 0,
        };
        let (certificate, disclosure) = issue(facts, &key);
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("report.json", &text);
        write("certificate.json", &certificate.to_bytes());
        write("disclosure.json", &disclosure.to_bytes());
        fs::create_dir(folder.path().join("weights")).unwrap();
        write("weights/task-vector.safetensors", WEIGHTS);
        write("key.pem", key.public().to_pem().as_bytes());
        Self { folder, key }
    }

    fn good() -> Self {
        Self::reading(Part::Forget, &[5, 9])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn verify(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rewind"));
        command.arg("verify").arg(self.folder.path()).args(arguments).current_dir(self.folder.path());
        command.output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_folder_is_checked_with_all_that_lies_in_it() {
    let written = Written::good();
    let output = written.verify(&["--signed-by", "key.pem"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let fingerprint = written.key.public().fingerprint();
    for line in [
        "✓ form: job-1, issued 1970-01-01T00:00:00Z",
        &format!("✓ signature: holds for the key with the fingerprint {fingerprint}"),
        "✓ key: is the one that you trust",
        "✓ report: ",
        "✓ weights of task-vector: ",
        "✓ disclosure: opens every seal: 2 samples to forget",
        "✓ ids read by task-vector: each is a sample to forget",
        "✓ reads of task-vector: its method read 2 of the 2 samples to forget, and no others",
        "– replay: not tried",
        "– limits: ",
    ] {
        assert!(said(&output).contains(line), "{line} in {}", said(&output));
    }
}

#[test]
fn without_a_key_it_says_that_nobody_vouches_for_the_signature() {
    let output = Written::good().verify(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("– key: whose key that is was not checked"), "{}", said(&output));
}

#[test]
fn another_key_and_altered_files_are_exit_code_1() {
    let written = Written::good();
    let other = SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap();
    fs::write(written.file("other.pem"), other.public().to_pem()).unwrap();
    let output = written.verify(&["--signed-by", "other.pem"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("✗ signature: signed with the key"), "{}", said(&output));
    for (file, line) in [
        ("weights/task-vector.safetensors", "✗ weights of task-vector"),
        ("report.json", "✗ report"),
        ("certificate.json", "✗ "),
        ("disclosure.json", "✗ disclosure"),
    ] {
        let whole = fs::read(written.file(file)).unwrap();
        let mut altered = whole.clone();
        altered[whole.len() / 2] ^= 1;
        fs::write(written.file(file), altered).unwrap();
        let output = written.verify(&[]);
        fs::write(written.file(file), whole).unwrap();
        assert_eq!(output.status.code(), Some(1), "{file}: {}", said(&output));
        assert!(said(&output).contains(line), "{file}: {}", said(&output));
    }
    let white = [&fs::read(written.file("certificate.json")).unwrap()[..], b" "].concat();
    fs::write(written.file("certificate.json"), white).unwrap();
    let output = written.verify(&[]);
    assert!(output.status.code() == Some(1) && said(&output).contains("✗ form: not in its canonical form"));
}

#[test]
fn a_forget_only_method_that_read_more_is_found_though_the_signature_holds() {
    let output = Written::reading(Part::Remaining, &[5]).verify(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("✗ reads of task-vector: forget-only"), "{}", said(&output));
    let output = Written::reading(Part::Forget, &[5, 6]).verify(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("✗ ids read by task-vector: sample 6 is none"), "{}", said(&output));
}

#[test]
fn one_sample_is_found_or_not_and_its_proof_stands_alone() {
    let written = Written::good();
    let output = written.verify(&["--sample", "9", "--write-proof", "proof.json"]);
    assert!(said(&output).contains("✓ sample 9: is one of the samples to forget"), "{}", said(&output));
    assert!(said(&output).contains("read by task-vector"), "{}", said(&output));
    assert_eq!(written.verify(&["--sample", "6"]).status.code(), Some(1));
    fs::remove_file(written.file("disclosure.json")).unwrap();
    let output = written.verify(&["--proof", "proof.json"]);
    assert!(said(&output).contains("✓ proof: sample 9"), "{}", said(&output));
    let altered = fs::read_to_string(written.file("proof.json")).unwrap().replace("\"id\": 9", "\"id\": 8");
    fs::write(written.file("proof.json"), altered).unwrap();
    assert_eq!(written.verify(&["--proof", "proof.json"]).status.code(), Some(1));
    assert_eq!(written.verify(&["--sample", "9"]).status.code(), Some(2), "nothing opens the seals any more");
}

#[test]
fn findings_are_json_for_machines_and_wrong_usage_is_exit_code_2() {
    let written = Written::good();
    let output = written.verify(&["--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let report = findings.as_array().unwrap().iter().find(|finding| finding["check"] == "report").unwrap();
    assert_eq!(report["outcome"], "holds");
    for arguments in [
        &["--weights", "no-such-step=key.pem"][..],
        &["--weights", "nonsense"],
        &["--signed-by", "report.json"],
        &["--report", "no-such-file"],
    ] {
        assert_eq!(written.verify(arguments).status.code(), Some(2), "{arguments:?}");
    }
    fs::remove_file(written.file("certificate.json")).unwrap();
    let output = written.verify(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("there is no certificate.json"), "{}", said(&output));
}
