//! What was written by an earlier version is read as it was meant.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use rewind_job::{SPECIFICATION_FORMAT, Specification};

const OLD: &str = r#"
    name = "old"
    model = { architecture = "mlp" }
    data.pool = { images = "i", labels = "l" }
    data.split = { train = 40, test = 10, validation = 10, attack = 10 }
    data.forget = { random = { share = 0.5, seed = 7 } }
    [[step]]
    name = "pretrained"
    pretrain = { epochs = 2, batch-size = 8, optimiser = { adam = { learning-rate = 1e-3 } } }
"#;

fn parse(text: &str) -> Result<Specification, String> {
    Specification::parse(text, Path::new("/")).map_err(|refusal| refusal.to_string())
}

#[test]
fn a_specification_without_a_format_is_one_of_version_0_1_and_is_written_in_the_present_form() {
    let specification = parse(OLD).unwrap();
    assert_eq!(specification.format, SPECIFICATION_FORMAT);
    let written = specification.to_toml();
    assert!(written.starts_with(&format!("format = {SPECIFICATION_FORMAT}\n")), "{written}");
    assert_eq!(parse(&written), Ok(specification));
}

#[test]
fn json_goes_the_same_way_up_as_toml() {
    let table: toml::Table = toml::from_str(OLD).unwrap();
    let json = serde_json::to_value(table).unwrap();
    let specification: Specification = serde_json::from_value(json).unwrap();
    assert_eq!(specification.format, SPECIFICATION_FORMAT);
}

#[test]
fn formats_that_do_not_exist_are_refused_by_name() {
    for format in [0, SPECIFICATION_FORMAT + 1] {
        let refusal = parse(&format!("format = {format}\n{OLD}")).unwrap_err();
        assert!(refusal.starts_with(&format!("format: is {format}, and this version knows 1 to ")), "{refusal}");
    }
}
