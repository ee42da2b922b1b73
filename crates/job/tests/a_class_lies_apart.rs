//! Where held-out samples of a forgotten class belong: said in a specification, and what older ones meant.

use std::path::Path;

use rewind_job::{Forget, HeldOutClass, Specification};

fn parse(format: &str, class: &str) -> Result<Specification, String> {
    let text = format!(
        r#"
{format}
name = "class"
[model]
architecture = "mlp"
[data]
pool = {{ images = "i", labels = "l" }}
split = {{ train = 10, test = 10, validation = 10, attack = 10 }}
forget = {{ class = {{ {class} }} }}
[[step]]
name = "pretrained"
pretrain = {{ epochs = 1, batch-size = 4, optimiser = {{ sgd = {{ learning-rate = 0.1 }} }} }}
"#
    );
    Specification::parse(&text, Path::new("/")).map_err(|error| error.to_string())
}

fn held_out(specification: &Specification) -> HeldOutClass {
    match &specification.data.forget {
        Forget::Class(class) => class.held_out,
        other => panic!("{other:?}"),
    }
}

#[test]
fn they_lie_apart_unless_it_is_said_that_they_are_kept() {
    let default = parse("format = 2", "label = 3").expect("is valid");
    assert_eq!((held_out(&default), default.data.forget.class_apart()), (HeldOutClass::Apart, Some(3)));
    let kept = parse("format = 2", "label = 3, held-out = \"kept\"").expect("is valid");
    assert_eq!((held_out(&kept), kept.data.forget.class_apart()), (HeldOutClass::Kept, None));
    for specification in [default, kept] {
        assert_eq!(Specification::parse(&specification.to_toml(), Path::new("/")), Ok(specification));
    }
    let refusal = parse("format = 2", "label = 3, held-out = \"gone\"").expect_err("is refused");
    assert!(refusal.contains("data.forget") && refusal.contains("gone"), "{refusal}");
}

#[test]
fn specifications_of_version_0_1_kept_them_in_toml_and_at_rest() {
    let first = parse("", "label = 3").expect("is valid");
    assert_eq!(held_out(&first), HeldOutClass::Kept);
    let mut at_rest = serde_json::to_value(&first).expect("is JSON");
    at_rest.as_object_mut().expect("is a table").remove("format");
    at_rest["data"]["forget"] = serde_json::json!({ "class": { "label": 3 } });
    let again: Specification = serde_json::from_value(at_rest).expect("is read");
    assert_eq!(again, first);
}
