//! `rewind doctor` beside the programs that it was built with.

use rewind_tests::rewind;
use serde_json::Value;

#[test]
fn programs_of_the_same_version_are_told_from_missing_ones() {
    let output = rewind(&["doctor", "--json"]);
    let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = findings.to_string();
    for program in ["rewind-coordinator", "rewind-worker"] {
        let found = findings.as_array().and_then(|all| all.iter().find(|finding| finding["what"] == program));
        let found = found.unwrap_or_else(|| panic!("{program} is not in {text}"));
        assert_eq!(found["found"], true, "{found}");
    }
}
