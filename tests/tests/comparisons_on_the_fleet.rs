//! `rewind compare` on a real fleet: searched on validation data, measured on other seeds, and nothing is run twice.

use std::fs;

use rewind_tests::{Fleet, complaint, repository, rewind};
use serde_json::Value;

/// Every method but rewinding's slower kin, small enough for a test.
fn comparison(tries: &str) -> String {
    let root = repository();
    let root = root.display();
    let contestant = |name: &str, method: &str, group_batch_norm: &str| {
        format!(
            r#"
[[method]]
name = "{name}"
[method.unlearn]
method = {{ {method} }}
forward = {{ optimiser = {{ adam = {{ learning-rate = 1e-4 }} }}, batch-size = 32, batch-norm = "{group_batch_norm}" }}
stop = {{ rounds = 2 }}
[method.search]
"forward.optimiser.adam.learning-rate" = {tries}
"#
        )
    };
    format!(
        r#"
name = "small standard"
question = "Which method comes closest?"
choose-by = "average-gap"
tries = 2
search-seed = 0
training-seeds = [1, 2]
unlearning-seeds = [7]
stop-at-retrains-ua = true
[base]
format = 2
name = "models"
model = {{ architecture = "depthwise-small" }}
[base.data]
pool = {{ images = "{root}/.data/digits/images-idx3-ubyte", labels = "{root}/.data/digits/labels-idx1-ubyte" }}
split = {{ train = 600, test = 100, validation = 100, attack = 100 }}
forget = {{ random = {{ share = 0.5, seed = 0 }} }}
[[base.step]]
name = "pretrained"
pretrain = {{ epochs = 6, batch-size = 32, optimiser = {{ adam = {{ learning-rate = 3e-3 }} }}, schedule = "cosine" }}
[[base.step]]
name = "retrain"
retrain = {{ epochs = 6, batch-size = 32, optimiser = {{ adam = {{ learning-rate = 3e-3 }} }}, schedule = "cosine" }}
{}{}{}{}"#,
        contestant(
            "rewinding",
            &format!(
                "rewinding = {{ predictor = \"{root}/predictors/conditioned.safetensors\", horizon = 15, scale = 0.2, \
                 trajectory = {{ snapshots = 5 }} }}"
            ),
            "recompute"
        ),
        contestant("neg-grad", "neg-grad = {}", "recompute"),
        contestant("boundary-expand", "boundary-expand = {}", "recompute"),
        contestant("scrub", "scrub = { ascent-rounds = 1 }", "train"),
    )
}

fn json(file: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(file).expect("is written")).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn methods_are_searched_on_validation_data_measured_on_other_seeds_and_nothing_is_run_twice() {
    let fleet = Fleet::start(2);
    let file = fleet.folder.path().join("comparison.toml");
    let out = fleet.folder.path().join("out");
    let compare = |text: &str| {
        fs::write(&file, text).expect("writes");
        let arguments =
            ["compare", file.to_str().expect("printable"), "--out", out.to_str().expect("printable"), "--json"];
        let output = fleet.ask(&arguments);
        assert!(output.status.success(), "{}", complaint(&output));
        output
    };
    let jobs = || {
        let listed: Vec<Value> = serde_json::from_slice(&fleet.ask(&["jobs", "--json"]).stdout).expect("a list");
        listed.len()
    };
    let output = compare(&comparison("[1e-4, 1e-3]"));
    // Three models, four searches, four methods on two pairs of seeds.
    assert_eq!(jobs(), 3 + 4 + 8);

    let figures: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list of figures");
    assert_eq!(json(&out.join("results.json")), Value::from(figures.clone()));
    let figure = |method: &str, metric: &str| {
        let found = figures.iter().find(|row| row["method"] == method && row["metric"] == metric);
        found.unwrap_or_else(|| panic!("{method} has no {metric}")).clone()
    };
    for (method, group) in [
        ("retrain", "reference"),
        ("rewinding", "forget-only"),
        ("neg-grad", "forget-only"),
        ("boundary-expand", "forget-only"),
        ("scrub", "retain-using"),
    ] {
        for metric in ["ra", "ua", "ta", "mia"] {
            let row = figure(method, metric);
            assert_eq!((row["group"].as_str(), row["seeds"].as_u64()), (Some(group), Some(2)));
            assert_eq!(row["protocol"], "small standard");
            assert!(number(&row["low"]) <= number(&row["mean"]) && number(&row["mean"]) <= number(&row["high"]));
        }
    }

    let found = &json(&out.join("comparison.json"))[0];
    let references = found["references"].as_array().expect("a list");
    for method in found["methods"].as_array().expect("a list") {
        // The search has seen no test data, and takes the smallest gap on validation data.
        let tries = method["tries"].as_array().expect("a list");
        assert_eq!(tries.len(), 2);
        for tried in tries {
            assert!(tried["measured"]["ta"].is_null() && tried["measured"]["va"].is_number());
            assert!(
                tried["measured"]["curve"].as_array().expect("a list").iter().all(|p| p["test_accuracy"].is_null())
            );
        }
        let chosen = method["chosen"].as_u64().expect("a place") as usize;
        let merits: Vec<f64> = tries.iter().map(|tried| number(&tried["merit"])).collect();
        assert!(merits.iter().all(|&merit| merits[chosen] <= merit), "{merits:?}");
        let runs = method["runs"].as_array().expect("a list");
        assert_eq!(runs.len(), 2);
        // The mean gap is that of the runs, each to the Retrain of its own seed.
        let mut sum = 0.0;
        for run in runs {
            let retrain =
                &references.iter().find(|of| of["training_seed"] == run["training_seed"]).expect("has one")["retrain"];
            let distance = |metric: &str| (number(&run["measured"][metric]) - number(&retrain[metric])).abs();
            sum += ["ra", "ua", "ta", "mia"].map(distance).iter().sum::<f64>() / 4.0;
            if run["rule"] == "ua-at-least" {
                let last = run["measured"]["rounds"].as_array().and_then(|rounds| rounds.last()).expect("has rounds");
                assert!(last["step_length"].as_f64().is_some_and(|length| length > 0.0 && length <= 1.0), "{last}");
                assert!(number(&run["measured"]["ua"]) >= number(&retrain["ua"]));
            }
        }
        let name = method["name"].as_str().expect("a name");
        assert!((number(&figure(name, "average-gap")["mean"]) - sum / 2.0).abs() < 1e-9, "{name}");
    }
    let csv = fs::read_to_string(out.join("results.csv")).expect("is written");
    assert_eq!(csv.lines().count(), 1 + figures.len());
    let page = fs::read_to_string(out.join("comparison.html")).expect("is written");
    for said in ["Not proven.", "How the settings were found", "boundary-expand", "The whole configuration"] {
        assert!(page.contains(said), "{said}");
    }

    // Again: the same figures, and not one more job.
    assert_eq!(compare(&comparison("[1e-4, 1e-3]")).stdout, output.stdout);
    assert_eq!(jobs(), 15);
    // Another grid: new searches and, where another setting is chosen, new runs; the models are there.
    compare(&comparison("[2e-4, 2e-3]"));
    assert_eq!(jobs(), 15 + 4 + 8);
}

#[test]
fn a_comparison_that_cannot_be_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("comparison.toml");
    let refusal = |text: &str, more: &[&str]| {
        fs::write(&file, text).expect("writes");
        // No fleet is there: the file is read first.
        let missing = folder.path().join("no-fleet");
        let dir = ["--dir", missing.to_str().expect("printable")];
        let output = rewind(&[&["compare", file.to_str().expect("printable")], more, &dir].concat());
        assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
        complaint(&output)
    };
    let good = comparison("[1e-4, 1e-3]");
    let uneven = refusal(&comparison("[1e-4]"), &[]);
    assert!(uneven.contains("makes 1 settings, but every method tries 2"), "{uneven}");
    let unknown = refusal(&good, &["--methods", "nobody"]);
    assert!(unknown.contains("--methods: small standard has no method `nobody`"), "{unknown}");
    let missing = refusal(&good.replace("labels-idx1-ubyte", "nothing"), &[]);
    assert!(missing.contains("base.data.pool.labels") && missing.contains("is missing"), "{missing}");
    let missing = refusal(&good.replace("conditioned.safetensors", "nothing.safetensors"), &[]);
    assert!(
        missing.contains("method[0] (rewinding)") && missing.contains("nothing.safetensors is missing"),
        "{missing}"
    );
}

#[test]
fn the_benchmarks_comparisons_are_whole() {
    let mut found = 0;
    for entry in fs::read_dir(repository().join("benchmarks/small")).expect("is there").flatten() {
        let file = entry.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            // Read and checked, every setting of every method, before the fleet is looked for.
            let output = rewind(&["compare", file.to_str().expect("printable"), "--dir", "target/no-fleet"]);
            assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
            assert!(complaint(&output).contains("no fleet runs in target/no-fleet"), "{}", complaint(&output));
            found += 1;
        }
    }
    assert_eq!(found, 4);
}

/// The comparison with gradient ascent alone and one setting.
fn with_neg_grad_alone(more: &str) -> String {
    let whole = comparison("[1e-4]").replace("tries = 2", "tries = 1");
    let (head, methods) = whole.split_once("[[method]]").expect("has methods");
    let neg_grad = methods.split("[[method]]").find(|of| of.contains("name = \"neg-grad\"")).expect("has it");
    format!("{}\n[[method]]{neg_grad}", head.replacen("[base]", &format!("{more}\n[base]"), 1))
}

fn compared(fleet: &Fleet, text: &str) -> (Value, Value) {
    let file = fleet.folder.path().join("comparison.toml");
    let out = fleet.folder.path().join("out");
    fs::write(&file, text).expect("writes");
    let output =
        fleet.ask(&["compare", file.to_str().expect("printable"), "--out", out.to_str().expect("printable"), "--json"]);
    assert!(output.status.success(), "{}", complaint(&output));
    let figures = serde_json::from_slice(&output.stdout).expect("a list of figures");
    (json(&out.join("comparison.json"))[0].take(), figures)
}

#[test]
fn networks_are_probed_attacked_with_shadow_models_and_drawn_on_their_plane() {
    let fleet = Fleet::start(2);
    let probes = r#"
        shadow-seeds = [3, 4]
        [probes]
        line = { from = "pretrained", points = 3 }
        relearning = { epochs = 1, batch-size = 32, optimiser = { adam = { learning-rate = 1e-3 } } }
        activation-maps = { samples = 2 }
        landscape = { points = 3, samples = 50 }
    "#;
    let (found, figures) = compared(&fleet, &with_neg_grad_alone(probes));
    let figure = |method: &str, metric: &str| {
        let rows = figures.as_array().expect("a list");
        rows.iter().find(|row| row["method"] == method && row["metric"] == metric).map(|row| number(&row["mean"]))
    };

    // Shadow models teach the attack, and no figure is theirs.
    let seeds = |of: &Value| -> Vec<u64> {
        of.as_array().expect("a list").iter().map(|of| of["training_seed"].as_u64().expect("a seed")).collect()
    };
    assert_eq!((seeds(&found["references"]), seeds(&found["probed"])), (vec![1, 2], vec![1, 2]));
    assert_eq!(seeds(&found["methods"][0]["runs"]), [1, 2]);
    let attack = |name: &str| {
        let all = found["likelihood"].as_array().expect("a list");
        all.iter().find(|of| of["name"] == name).expect("is attacked")["attack"].clone()
    };
    assert_eq!(number(&attack("retrain")["auc"]), 0.5, "Retrain is not told from itself");
    let strength = number(&attack("pretrained")["auc"]);
    assert!(strength > 0.6, "the attack tells trained samples from others: {strength}");
    assert_eq!(figure("pretrained", "likelihood-ratio-auc"), Some(strength));

    // The probes measure what the runs measured, and the line begins at the model that all began with.
    for probed in found["probed"].as_array().expect("a list") {
        let networks = probed["networks"].as_array().expect("a list");
        let names: Vec<&str> = networks.iter().map(|of| of["name"].as_str().expect("a name")).collect();
        assert_eq!(names, ["pretrained", "retrain", "neg-grad"]);
        assert_eq!(number(&networks[0]["distance"]), 0.0);
        assert!(number(&networks[2]["distance"]) > 0.0);
        let line = networks[2]["line"].as_array().expect("a line");
        assert_eq!(line.len(), 3);
        for (end, place) in [(0, 0), (2, 2)] {
            let accuracy = number(&line[end]["forget_accuracy"]);
            assert!((accuracy + number(&networks[place]["ua"]) - 100.0).abs() < 1e-9);
        }
        assert_eq!(networks[1]["relearning"]["from_remaining"].as_array().map(Vec::len), Some(2));
    }
    assert!(figure("neg-grad", "distance").is_some_and(|distance| distance > 0.0));
    assert!(figure("retrain", "relearned").is_some());

    // Pictures are of the first seed.
    assert_eq!(found["probed"][0]["activation"]["samples"].as_array().map(Vec::len), Some(2));
    assert!(found["probed"][1]["activation"].is_null());
    let landscape = &found["landscape"];
    let path = &landscape["paths"].as_array().expect("paths")[1];
    assert_eq!((path["name"].as_str(), path["points"].as_array().map(Vec::len)), (Some("neg-grad"), Some(3)));
    assert_eq!(landscape["test_accuracy"].as_array().map(Vec::len), Some(3));
}

#[test]
fn where_everything_is_forgotten_methods_are_compared_without_retrain() {
    let fleet = Fleet::start(2);
    let text = with_neg_grad_alone("")
        .replace("forget = { random = { share = 0.5, seed = 0 } }", "forget = \"everything\"")
        .replace("train = 600", "train = 60")
        .replace("average-gap", "validation-loss")
        .replace("stop-at-retrains-ua = true\n", "");
    let (head, rest) = text.split_once("[[base.step]]\nname = \"retrain\"").expect("has it");
    let (_, methods) = rest.split_once("[[method]]").expect("has methods");
    let (found, figures) = compared(&fleet, &format!("{head}[[method]]{methods}"));
    assert!(found["references"][0]["retrain"].is_null());
    let rows = figures.as_array().expect("a list");
    assert!(rows.iter().all(|row| row["method"] != "retrain" && row["metric"] != "average-gap"));
    assert!(rows.iter().any(|row| row["method"] == "neg-grad" && row["metric"] == "test-loss"));
    let curve = found["methods"][0]["runs"][0]["measured"]["curve"].as_array().expect("a curve");
    assert!(curve.iter().all(|point| number(&point["test_loss"]) > 0.0 && number(&point["forget_loss"]) > 0.0));
}
