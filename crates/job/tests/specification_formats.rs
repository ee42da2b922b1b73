//! What was written by an earlier version is read as it was meant.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use rewind_job::{
    Action, BatchNormPolicy, Group, Report, RollBack, SPECIFICATION_FORMAT, Schedule, Specification, Unlearn,
};

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

/// A specification with a step of each word whose meaning changed since version 0.1.
fn with_unlearning(head: &str, unlearn: &str) -> String {
    format!("{head}\n{OLD}\n[[step]]\nname = \"unlearned\"\n[step.unlearn]\nfrom = \"pretrained\"\n{unlearn}\n")
}

fn unlearned(text: &str) -> Unlearn {
    let specification = parse(text).unwrap();
    assert_eq!(parse(&specification.to_toml()), Ok(specification.clone()));
    match &specification.steps[1].action {
        Action::Unlearn(unlearn) => unlearn.clone(),
        other => panic!("{other:?}"),
    }
}

const FORWARD: &str = r#"forward = { optimiser = { sgd = { learning-rate = 0.1 } }, batch-size = 8 }
    stop = { rounds = 2 }"#;

#[test]
fn a_method_of_format_1_is_what_it_was_under_its_present_name() {
    let of =
        |head: &str, method: &str| unlearned(&with_unlearning(head, &format!("method = {method}\n{FORWARD}"))).method;
    for (written, then) in [
        ("{ salun = { share = 0.3 } }", "{ salun-forget-only = { share = 0.3 } }"),
        ("{ salun = {} }", "{ salun-forget-only = { share = 0.5 } }"),
        ("{ random-label = {} }", "{ random-label-forget-only = {} }"),
        ("{ fisher = { alpha = 1e-7 } }", "{ fisher = { form = \"clamped\", alpha = 1e-7, clamp = 1000.0 } }"),
        (
            "{ fisher = { alpha = 1e-7, clamp = 5.0, samples = 9 } }",
            "{ fisher = { form = \"clamped\", alpha = 1e-7, clamp = 5.0, samples = 9 } }",
        ),
        ("{ scrub = {} }", "{ scrub = { gamma = 0.99, alpha = 0.5, ascent-rounds = 2, temperature = 4.0 } }"),
        (
            "{ scrub = { gamma = 0.5, ascent-rounds = 7 } }",
            "{ scrub = { gamma = 0.5, alpha = 0.5, ascent-rounds = 7, temperature = 4.0 } }",
        ),
        ("{ neg-grad = {} }", "{ neg-grad = {} }"),
    ] {
        assert_eq!(of("", written), of("format = 2", then), "{written}");
    }
    let published = "{ scrub = { gamma = 1.0, alpha = 0.5, ascent-rounds = 3, temperature = 4.0 } }";
    assert_eq!(of("format = 2", "{ scrub = {} }"), of("format = 2", published));
    for named in ["salun", "random-label"] {
        let method = of("format = 2", &format!("{{ {named} = {{}} }}"));
        assert_eq!((method.name(), method.group()), (named, Group::RetainUsing));
    }
}

#[test]
fn policies_and_roll_back_of_format_1_are_what_they_were() {
    let forward = |policy: &str| FORWARD.replace("= 8 }", &format!("= 8, batch-norm = \"{policy}\" }}"));
    let of = |head: &str, policy: &str, roll_back: &str| {
        let lines = format!("method = {{ neg-grad = {{}} }}\nroll-back = \"{roll_back}\"\n{}", forward(policy));
        let text = with_unlearning(head, &lines).replace("} } }\n", &format!("}} }}, batch-norm = \"{policy}\" }}\n"));
        let unlearn = unlearned(&text);
        let Action::Pretrain(pretrain) = parse(&text).unwrap().steps.remove(0).action else { panic!("pretrains") };
        (pretrain.batch_norm, unlearn.forward.batch_norm, unlearn.roll_back)
    };
    let (frozen, inference) = (BatchNormPolicy::Frozen, BatchNormPolicy::Inference);
    let (of_all, of_forget) = (RollBack::HoldOutErrorOfAll, RollBack::HoldOutForgetError);
    assert_eq!(of("", "frozen", "hold-out-forget-error"), (inference, inference, of_all));
    assert_eq!(of("format = 2", "frozen", "hold-out-forget-error"), (frozen, frozen, of_forget));
    assert_eq!(
        of("", "train", "best-validation"),
        (BatchNormPolicy::Train, BatchNormPolicy::Train, RollBack::BestValidation)
    );
}

#[test]
fn the_cosine_after_a_warm_up_is_in_format_1_what_it_was() {
    let warm_up = "schedule = { warm-up = { epochs = 1, then = \"cosine\" } }";
    let of = |head: &str| {
        let forward = FORWARD.replace("= 8 }", &format!("= 8, {warm_up} }}"));
        let text = with_unlearning(head, &format!("method = {{ neg-grad = {{}} }}\n{forward}"));
        let (mut specification, told) = Specification::parse_telling(&text, Path::new("/")).unwrap();
        let Action::Unlearn(unlearn) = specification.steps.remove(1).action else { panic!("unlearns") };
        let Schedule::WarmUp { then, .. } = unlearn.forward.schedule else { panic!("warms up") };
        (*then, told.len())
    };
    assert_eq!(of(""), (Schedule::CosineFromStart, 1));
    assert_eq!(of("format = 2"), (Schedule::Cosine, 0));
}

#[test]
fn what_is_called_otherwise_is_told_in_a_sentence_each() {
    let forward = FORWARD.replace("= 8 }", "= 8, batch-norm = \"frozen\" }");
    let text = with_unlearning("", &format!("method = {{ salun = {{}} }}\n{forward}"));
    let (_, told) = Specification::parse_telling(&text, Path::new("/")).unwrap();
    assert_eq!(
        told,
        [
            "step[1].unlearn.forward.batch-norm: `frozen` of version 0.1 is `inference` now",
            "step[1].unlearn.method: `salun` of version 0.1 is `salun-forget-only` now",
        ]
    );
    let (specification, _) = Specification::parse_telling(&text, Path::new("/")).unwrap();
    let (_, told) = Specification::parse_telling(&specification.to_toml(), Path::new("/")).unwrap();
    assert_eq!(told, [""; 0]);
}

#[test]
fn options_of_format_2_beside_a_word_of_format_1_are_refused_by_field() {
    for (name, option) in [
        ("salun", "remaining = \"mixed\""),
        ("salun", "wrong-only = true"),
        ("random-label", "labels = \"once\""),
        ("scrub", "forget-batch-size = 4"),
    ] {
        let method = |head: &str| with_unlearning(head, &format!("method = {{ {name} = {{ {option} }} }}\n{FORWARD}"));
        let refusal = parse(&method("")).unwrap_err();
        assert!(refusal.starts_with(&format!("step[1].unlearn.method.{name}: has options of format 2")), "{refusal}");
        parse(&method("format = 2")).unwrap();
    }
}

#[test]
fn a_report_of_version_0_1_calls_its_methods_by_their_present_names() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/kept/0.1/report/report.json");
    let report: Report = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    let names = |name: &str| report.methods.iter().find(|measured| measured.name == name).unwrap().method.clone();
    assert_eq!(
        (names("salun"), names("random-label")),
        ("salun-forget-only".into(), "random-label-forget-only".into())
    );
    assert_eq!((report.format, names("fisher")), (1, "fisher".into()));
    let again: Report = serde_json::from_slice(&serde_json::to_vec(&report).unwrap()).unwrap();
    assert_eq!(again, report);
}

#[test]
fn fresh_weights_and_jumps_of_format_1_are_drawn_and_made_as_they_were() {
    let jumping = "nowcast = { predictor = \"w.safetensors\" }";
    let text = OLD
        .replace("\"mlp\"", "\"vgg-small\"")
        .replace("pretrain = { epochs", &format!("pretrain = {{ {jumping}, epochs"));
    let [old, new] = [text.clone(), format!("format = 2\n{text}")].map(|text| parse(&text).unwrap().to_toml());
    for words in ["[model.initialisation.small]\ngain = 1.0", "norms-jump = true"] {
        assert!(old.contains(words), "{old}");
        assert!(!new.contains(words), "{new}");
    }
    let other = parse(OLD).unwrap().to_toml();
    assert!(!other.contains("initialisation"), "other networks are drawn as they were: {other}");
}

#[test]
fn predictors_that_bore_a_published_name_are_not_trained_on_as_others() {
    let text = |architecture: &str| {
        format!(
            "name = \"p\"\n[[step]]\nname = \"predictor\"\n[step.train-predictor]\nhistories = [\"job-1\"]\n\
             horizons = [8]\narchitecture = \"{architecture}\"\n"
        )
    };
    let refusal = parse(&text("paper")).unwrap_err();
    assert!(refusal.starts_with("step[0].train-predictor.architecture: `paper` of version 0.1"), "{refusal}");
    for fine in [format!("format = 2\n{}", text("paper")), text("conditioned")] {
        parse(&fine).unwrap();
    }
    // A stored job is read all the same: what is refused is going on with it.
    let table: toml::Table = toml::from_str(&text("paper")).unwrap();
    let stored: Specification = serde_json::from_value(serde_json::to_value(table).unwrap()).unwrap();
    let (_, wanted) = stored.train_predictor().unwrap();
    wanted.check_architecture("step[0].train-predictor").unwrap_err();
    let again: Specification = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
    assert_eq!(again, stored, "and stays refused once it is written in the present form");
}
