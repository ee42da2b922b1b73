//! docs/promises.md names tests that exist.

use std::fs;

use rewind_tests::repository;

#[test]
fn every_test_that_guards_a_promise_exists() {
    let text = fs::read_to_string(repository().join("docs/promises.md")).expect("docs/promises.md is there");
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|name| name.contains(".rs")).collect();
    assert!(quoted.len() >= 15, "{quoted:?}");
    for name in quoted {
        let (file, test) = name.split_once("::").map_or((name, None), |(file, test)| (file, Some(test)));
        let source = fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let test = test.unwrap_or_else(|| panic!("{name} names no test"));
        let (before, _) = source.split_once(&format!("fn {test}(")).unwrap_or_else(|| panic!("{name} is not there"));
        let attributes = before.rsplit(['}', ';']).next().unwrap_or_default();
        let runs = attributes.contains("test]") || attributes.contains("test(");
        assert!(runs && !attributes.contains("ignore"), "{name} is not run");
    }
    for number in 1..=13 {
        assert!(text.contains(&format!("| {number} | ")), "promise {number}");
    }
}
