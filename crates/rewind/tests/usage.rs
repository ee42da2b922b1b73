//! What a user sees who asks for the wrong thing, or before any fleet runs.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

use std::process::{Command, Output};

fn rewind(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rewind"));
    command.args(arguments).current_dir(folder.path()).env_remove("REWIND_COORDINATOR").output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_fleet_every_question_says_how_to_start_one() {
    for arguments in [&["jobs"][..], &["watch", "job-1"], &["cancel", "job-1"], &["events", "job-1"]] {
        let output = rewind(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(error(&output).contains("no fleet runs in .rewind; start one with `rewind up --dir .rewind`"));
    }
}

#[test]
fn a_fleet_that_was_killed_is_no_fleet() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens on port 1.
    std::fs::write(folder.path().join("coordinator.addr"), "http://127.0.0.1:1\n").unwrap();
    let output = rewind(&["jobs", "--dir", folder.path().to_str().unwrap()]);
    assert!(error(&output).contains("no fleet runs in"), "{}", error(&output));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    assert_eq!(rewind(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(rewind(&["submit", "no-such.toml"]).status.code(), Some(2));
    assert_eq!(rewind(&["jobs", "--coordinator", "not an address"]).status.code(), Some(2));
}

#[test]
fn a_bad_specification_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spec.toml");
    std::fs::write(&file, "name = \"x\"\ncolour = \"red\"\n").unwrap();
    let output = rewind(&["submit", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("colour"), "{}", error(&output));
}

#[test]
fn the_demonstration_without_its_data_says_what_to_do() {
    let output = rewind(&["demo"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("rewind doctor"), "{}", error(&output));
}

#[test]
fn the_doctor_reports_what_is_missing_as_json() {
    let output = rewind(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let digits = findings.as_array().unwrap().iter().find(|finding| finding["what"] == "digits").unwrap();
    assert_eq!(digits["found"], false);
}

#[test]
fn the_shipped_predictor_is_shown() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../predictors/equivariant.safetensors");
    let output = rewind(&["predictor", "show", file, "--json"]);
    let card: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(card["architecture"], "equivariant");
    assert!(card["snapshots"]["15"]["parameters"].as_u64().unwrap() > 0);
    let text = String::from_utf8(rewind(&["predictor", "show", file]).stdout).unwrap();
    assert!(text.contains("K = 15, horizons 8, 15") && text.contains("λ per operation"), "{text}");
}

#[test]
fn what_is_no_predictor_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("network.h5");
    std::fs::write(&file, "no network").unwrap();
    let file = file.to_str().unwrap();
    let output = rewind(&["predictor", "convert", file, "--out", "out.safetensors"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("network.h5: not an HDF5 file"), "{}", error(&output));
    assert!(error(&rewind(&["predictor", "show", file])).contains("no safetensors file"));
    let output = rewind(&["predictor", "convert", "--bias", file, "--out", "out.safetensors"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("--convolution FILE.h5"), "{}", error(&output));
}

#[test]
fn help_lists_every_command() {
    let output = rewind(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for command in [
        "up",
        "submit",
        "jobs",
        "watch",
        "cancel",
        "report",
        "verify",
        "events",
        "demo",
        "doctor",
        "histories",
        "page",
        "predictor",
    ] {
        assert!(text.contains(&format!("\n  {command} ")), "{command}");
    }
}

/// `program` in a shell, where `rewind` is this program's name; its exit code and what it complains of.
fn in_a_shell(script: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let script = script.replace("rewind ", &format!("{} ", env!("CARGO_BIN_EXE_rewind")));
    let output = Command::new("bash").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    (output.status.code(), error(&output))
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_reader_that_has_gone_is_none() {
    let (code, said) = in_a_shell("rewind doctor --json >/dev/full");
    assert_eq!(code, Some(1));
    assert!(said.contains("failed to write to standard output") || said.contains("checks failed"), "{said}");
    // What fails for a reason of its own keeps its exit code, and nothing panics where errors cannot be told either.
    assert_eq!(in_a_shell("rewind jobs >/dev/full 2>/dev/full").0, Some(1));
    assert_eq!(in_a_shell("rewind submit no-such.toml 2>/dev/full").0, Some(2));
    assert_eq!(in_a_shell("set -o pipefail; rewind --help | head -1").0, Some(0));
}

#[test]
fn a_specification_from_a_pipe_is_read() {
    let spec = r#"printf 'format = 3\nname = "x"\nmodel = { architecture = "mlp" }\ndata.pool = { images = "i", labels = "l" }\n'"#;
    for script in [format!("{spec} | rewind submit /dev/stdin"), format!("rewind submit <({spec})")] {
        let (code, said) = in_a_shell(&script);
        assert_eq!(code, Some(2));
        assert!(said.contains("data.split: data.pool and data.split go together"), "{said}");
    }
}

#[test]
fn seeds_that_could_not_be_written_are_refused_by_their_fields() {
    let large = "18446744073709551615";
    for (field, lines) in [
        ("seed", format!("seed = {large}")),
        (
            "data.split.seed",
            format!("data.split = {{ seed = {large}, train = 9, test = 1, validation = 1, attack = 1 }}"),
        ),
        ("data.forget.random.seed", format!("data.forget = {{ random = {{ share = 0.5, seed = {large} }} }}")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spec.toml");
        std::fs::write(&file, format!("name = \"x\"\n{lines}\nmodel = {{ architecture = \"mlp\" }}\n")).unwrap();
        let output = rewind(&["submit", file.to_str().unwrap()]);
        let said = error(&output);
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(&format!(": {field}: is {large}, and must be at most 9223372036854775807")), "{said}");
    }
}
