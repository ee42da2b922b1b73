//! Methods, schedules and roll-back in a specification: their groups, their defaults, and refusals by field.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use rewind_job::{
    Action, BatchNormPolicy, FisherForm, Group, LabelsDrawn, Method, RemainingPass, Schedule, Scrub, Specification,
    Unlearn,
};

const FORGET: &str = "random = { share = 0.5, seed = 7 }";

/// A job that unlearns; `unlearn` are lines of its table, `more` stands in its `forward`.
fn job(forget: &str, unlearn: &str, more: &str) -> String {
    format!(
        r#"
        format = 2
        name = "unlearns"
        model = {{ architecture = "mlp", weights = "w" }}
        [data]
        pool = {{ images = "i", labels = "l" }}
        split = {{ train = 40, test = 10, validation = 10, attack = 10 }}
        forget = {{ {forget} }}
        [[step]]
        name = "unlearned"
        [step.unlearn]
        forward = {{ optimiser = {{ sgd = {{ learning-rate = 0.1 }} }}, batch-size = 8 {more} }}
        stop = {{ rounds = 2 }}
        {unlearn}
        "#
    )
}

fn parse(text: &str) -> Result<Specification, String> {
    Specification::parse(text, Path::new("/")).map_err(|refusal| refusal.to_string())
}

fn unlearn(text: &str) -> Unlearn {
    let specification = parse(text).unwrap();
    assert_eq!(parse(&specification.to_toml()), Ok(specification.clone()), "comes back");
    match &specification.steps[0].action {
        Action::Unlearn(unlearn) => unlearn.clone(),
        other => panic!("{other:?}"),
    }
}

fn method(text: &str) -> Method {
    unlearn(&job(FORGET, &format!("method = {{ {text} }}"), "")).method
}

#[test]
fn random_labels_are_published_with_a_pass_over_remaining_data_and_variants_are_called_so() {
    for (text, group) in [
        ("random-label = {}", Group::RetainUsing),
        ("random-label-forget-only = {}", Group::ForgetOnly),
        ("salun = {}", Group::RetainUsing),
        ("salun-forget-only = {}", Group::ForgetOnly),
    ] {
        let method = method(text);
        assert_eq!((format!("{} = {{}}", method.name()).as_str(), method.group()), (text, group));
    }
    let Method::Salun(published) = method("salun = {}") else { panic!("salun") };
    assert_eq!((published.share, published.wrong_only), (0.5, false));
    assert_eq!((published.labels, published.remaining), (LabelsDrawn::EachEpoch, RemainingPass::After));
    let amnesiac = "random-label = { wrong-only = true, labels = \"once\", remaining = \"mixed\" }";
    let Method::RandomLabel(amnesiac) = method(amnesiac) else { panic!("random label") };
    assert!(amnesiac.wrong_only);
    assert_eq!((amnesiac.labels, amnesiac.remaining), (LabelsDrawn::Once, RemainingPass::Mixed));
}

#[test]
fn scrubs_defaults_are_those_of_the_membership_experiments_and_are_written_out() {
    let Method::Scrub(scrub) = method("scrub = {}") else { panic!("scrub") };
    let published = Scrub {
        ascent_rounds: Some(3),
        gamma: Some(1.0),
        alpha: Some(0.5),
        temperature: Some(4.0),
        ..Scrub::default()
    };
    assert_eq!(scrub, published);
    let own = "scrub = { forget-batch-size = 32, remaining-batch-size = 128, alpha = 0.001 }";
    let Method::Scrub(own) = method(own) else { panic!("scrub") };
    assert_eq!((own.forget_batch_size, own.remaining_batch_size, own.alpha), (Some(32), Some(128), Some(0.001)));
}

#[test]
fn scrub_as_published_can_be_said() {
    let more = r#", batch-norm = "train", schedule = { milestones = { epochs = [3, 5], factor = 0.1 } }"#;
    let text = job(FORGET, "method = { scrub = {} }\nroll-back = \"hold-out-forget-error\"", more)
        .replace("learning-rate = 0.1", "learning-rate = 5e-4, momentum = 0.9, weight-decay = 5e-4");
    let unlearn = unlearn(&text);
    assert_eq!(unlearn.forward.schedule, Schedule::Milestones { epochs: vec![3, 5], factor: 0.1 });
    assert_eq!(unlearn.forward.batch_norm, BatchNormPolicy::Train);
}

#[test]
fn fishers_form_must_be_said() {
    for (name, form) in
        [("empirical", FisherForm::Empirical), ("expected", FisherForm::Expected), ("clamped", FisherForm::Clamped)]
    {
        let Method::Fisher(fisher) = method(&format!("fisher = {{ form = \"{name}\", alpha = 1e-6 }}")) else {
            panic!("fisher")
        };
        assert_eq!(fisher.form, Some(form));
    }
}

#[test]
fn impossible_settings_of_methods_are_refused_by_field() {
    for (method, expected) in [
        ("fisher = { alpha = 1e-6 }", "fisher.form: is missing: empirical, expected or clamped, which differ much"),
        ("fisher = { form = \"golatkar\", alpha = 1e-6 }", "fisher.form"),
        (
            "fisher = { form = \"expected\", alpha = 1e-6, clamp = 9.0 }",
            "fisher.clamp: is of the form `clamped` alone: the bounds of the others are part of them",
        ),
        ("fisher = { form = \"clamped\", alpha = 1e-6, clamp = 0.0 }", "fisher.clamp: must be greater than 0"),
        ("fisher = { form = \"empirical\", alpha = 0.0 }", "fisher.alpha: must be greater than 0"),
        ("fisher = { form = \"empirical\", alpha = 1.0, samples = 0 }", "fisher.samples: must be at least 1"),
        ("salun = { share = 1.0 }", "salun.share: must be between 0 and 1, both excluded"),
        ("salun-forget-only = { share = 0.0 }", "salun-forget-only.share: must be between 0 and 1, both excluded"),
        ("salun-forget-only = { remaining = \"after\" }", "salun-forget-only.remaining"),
        ("random-label = { labels = \"twice\" }", "random-label.labels"),
        ("scrub = { forget-batch-size = 0 }", "scrub.forget-batch-size: must be at least 1"),
        ("scrub = { remaining-batch-size = 0 }", "scrub.remaining-batch-size: must be at least 1"),
        ("scrub = { gamma = -1.0 }", "scrub.gamma: must be at least 0"),
        ("scrub = { temperature = 0.0 }", "scrub.temperature: must be greater than 0"),
    ] {
        let refusal = parse(&job(FORGET, &format!("method = {{ {method} }}"), "")).expect_err(method);
        assert!(refusal.starts_with(&format!("step[0].unlearn.method.{expected}")), "{method}: {refusal}");
    }
}

#[test]
fn a_schedule_is_refused_where_it_is_impossible_or_nothing_follows_it() {
    let refused = |method: &str, schedule: &str| {
        parse(&job(FORGET, &format!("method = {{ {method} }}"), &format!(", schedule = {schedule}"))).unwrap_err()
    };
    assert_eq!(
        refused("neg-grad = {}", "{ milestones = { epochs = [5, 3], factor = 0.1 } }"),
        "step[0].unlearn.forward.schedule.milestones.epochs: must be in ascending order"
    );
    for method in ["fisher = { form = \"expected\", alpha = 1e-6 }", "weight-noise = { sigma = 0.1 }"] {
        let refusal = refused(method, "\"cosine\"");
        assert!(refusal.starts_with("step[0].unlearn.forward.schedule: `"), "{refusal}");
        assert!(refusal.ends_with("takes no steps of the optimiser"), "{refusal}");
    }
}

#[test]
fn a_round_is_not_chosen_by_the_error_on_forget_data_that_has_wrong_labels() {
    let lines = "method = { scrub = {} }\nroll-back = \"hold-out-forget-error\"";
    for forget in ["label-noise = { share = 0.2, seed = 0 }", "backdoor = { share = 0.2, seed = 0, label = 1 }"] {
        let refusal = parse(&job(forget, lines, "")).unwrap_err();
        assert!(refusal.starts_with("step[0].unlearn.roll-back: hold-out-forget-error compares"), "{refusal}");
        parse(&job(forget, &lines.replace("hold-out-forget-error", "hold-out-error-of-all"), "")).unwrap();
    }
    for forget in [FORGET, "class = { label = 3 }"] {
        parse(&job(forget, lines, "")).unwrap();
    }
}

#[test]
fn methods_that_read_remaining_data_are_refused_where_none_remains() {
    for method in ["salun = {}", "random-label = {}"] {
        let text =
            job(FORGET, &format!("method = {{ {method} }}"), "").replace(&format!("{{ {FORGET} }}"), "\"everything\"");
        let refusal = parse(&text).unwrap_err();
        assert!(refusal.contains(": reads the remaining data"), "{refusal}");
    }
    let text = job(FORGET, "method = { salun-forget-only = {} }", "");
    parse(&text.replace(&format!("{{ {FORGET} }}"), "\"everything\"")).unwrap();
}
