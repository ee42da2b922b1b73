//! Every specification in examples/ runs; the demonstration has a test of its own, and forget-only another.

use std::fs;

use rewind_tests::{Fleet, complaint, repository};

#[test]
fn quick_and_random_half_run_as_they_are() {
    let fleet = Fleet::start(2);
    for example in ["quick", "random-half"] {
        let file = format!("examples/{example}.toml");
        let output = fleet.ask(&["submit", &file, "--watch"]);
        assert!(output.status.success(), "{example}: {}", complaint(&output));
    }
}

#[test]
fn every_example_is_run_by_a_test() {
    let mut names: Vec<String> = fs::read_dir(repository().join("examples"))
        .expect("there are examples")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["demo.toml", "forget-only.toml", "histories.toml", "predictor.toml", "quick.toml", "random-half.toml"]
    );
}
