//! Each comparison at the size of the papers, on a handful of drawn images in its data set's own format: its network trains
//! for one epoch, and every method unlearns for one round. What the files say stays, but for what is listed in [`shrink`].

mod drawn_files;

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use drawn_files::{write_cifar10, write_cifar100, write_tiny_imagenet};
use rewind_job::{JobState, Report};
use rewind_tests::{Fleet, repository};
use toml::{Table, Value};

/// A job of all of a comparison's steps may take so long.
const PATIENCE: Duration = Duration::from_secs(3600);

fn table<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Table {
    let value = path.iter().fold(value, |value, key| value.get_mut(key).unwrap_or_else(|| panic!("{key} is missing")));
    value.as_table_mut().expect("a table")
}

/// Text of TOML as a value.
fn read(text: &str) -> Value {
    Value::Table(toml::from_str(text).expect("is TOML"))
}

/// Fewer samples, workers, epochs, rounds and points, and the drawn files; nothing else of the base is changed.
fn shrink(base: &mut Value, data: &Path, start: Option<&Path>) {
    table(base, &["fleet"]).clone_from(read("world-size = 1\nthreads = 2").as_table().expect("a table"));
    let pool = table(base, &["data", "pool"]);
    for (_, folder) in pool.iter_mut() {
        *folder = Value::from(data.display().to_string());
    }
    let split = table(base, &["data", "split"]);
    for (part, count) in [("train", 10), ("test", 4), ("validation", 4), ("attack", 4)] {
        split.insert(part.into(), Value::from(count));
    }
    for step in base["step"].as_array_mut().expect("steps") {
        let action = step.as_table_mut().expect("a table").iter_mut().find(|(key, _)| *key != "name");
        let (_, training) = action.expect("does something");
        let training = training.as_table_mut().expect("a table");
        training.insert("epochs".into(), Value::from(1));
        training.insert("batch-size".into(), Value::from(8));
        if let (Some(given), Some(start)) = (training.get_mut("start"), start) {
            let given = given.as_table_mut().expect("a table");
            given.insert("weights".into(), Value::from(start.display().to_string()));
        }
    }
}

/// The comparison's base, with a step for each method and one that measures them all as the comparison does.
fn one_round_of(mut comparison: Value, data: &Path, start: Option<&Path>) -> (String, Vec<String>) {
    let methods = comparison["method"].as_array().expect("methods").clone();
    let mut base = comparison["base"].clone();
    shrink(&mut base, data, start);
    let steps = base["step"].as_array_mut().expect("steps");
    let mut names = Vec::new();
    for mut method in methods {
        let name = method["name"].as_str().expect("a name").to_owned();
        let unlearn = table(&mut method, &["unlearn"]);
        unlearn.insert("from".into(), Value::from("pretrained"));
        let stop = unlearn["stop"].as_table_mut().expect("a table");
        stop.insert("rounds".into(), Value::from(1));
        if stop.contains_key("bisections") {
            stop.insert("bisections".into(), Value::from(1));
        }
        if let Some(rewinding) = unlearn["method"].get_mut("rewinding") {
            let predictor = repository().join("predictors/conditioned.safetensors");
            table(rewinding, &[]).insert("predictor".into(), Value::from(predictor.display().to_string()));
        }
        let mut step = Table::new();
        step.insert("name".into(), Value::from(name.as_str()));
        step.insert("unlearn".into(), Value::Table(unlearn.clone()));
        steps.push(Value::Table(step));
        names.push(name);
    }
    let probes = table(&mut comparison, &["probes"]);
    for (probe, option) in [("relearning", "epochs"), ("line", "points"), ("activation-maps", "samples")] {
        if let Some(probe) = probes.get_mut(probe).and_then(Value::as_table_mut) {
            probe.insert(option.into(), Value::from(if option == "points" { 3 } else { 1 }));
            if probe.contains_key("forget-samples") {
                probe.insert("forget-samples".into(), Value::from(1));
            }
        }
    }
    let mut evaluation = Table::new();
    evaluation.insert("name".into(), Value::from("evaluation"));
    evaluation.insert("evaluate".into(), Value::Table(probes.clone()));
    steps.push(Value::Table(evaluation));
    (toml::to_string(&base).expect("is TOML"), names)
}

/// Waits longer than for other jobs; then the report.
fn report(fleet: &Fleet, specification: &str) -> Report {
    let job = fleet.submit(specification);
    let begun = Instant::now();
    while !fleet.status(&job).state.is_final() {
        assert!(begun.elapsed() < PATIENCE, "{job} has not ended within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(200));
    }
    let status = fleet.status(&job);
    assert_eq!(status.state, JobState::Finished, "{}", status.reason);
    fleet.report(&job)
}

/// Weights of the same network for 17 other classes, as a file: what stands for those trained on ImageNet.
fn weights_of_other_classes(fleet: &Fleet, base: &Value, data: &Path) -> std::path::PathBuf {
    let mut base = base.clone();
    shrink(&mut base, data, None);
    table(&mut base, &["model"]).insert("classes".into(), Value::from(17));
    base.as_table_mut().expect("a table").insert("seed".into(), Value::from(9));
    let steps = base["step"].as_array_mut().expect("steps");
    steps.truncate(1);
    table(&mut steps[0], &["pretrain"]).remove("start");
    let job = fleet.submit(&toml::to_string(&base).expect("is TOML"));
    fleet.report(&job);
    fleet.report_folder(&job).join("weights/pretrained.safetensors")
}

/// Runs `benchmarks/full/{file}.toml` in small.
fn runs(file: &str, write: fn(&Path)) {
    let text = fs::read_to_string(repository().join(format!("benchmarks/full/{file}.toml"))).expect("is there");
    let comparison = read(&text);
    let fleet = Fleet::start(1);
    let data = fleet.folder.path().join("data");
    write(&data);
    let begins_elsewhere = comparison["base"]["step"][0]["pretrain"].get("start").is_some();
    let start = begins_elsewhere.then(|| weights_of_other_classes(&fleet, &comparison["base"], &data));
    let (specification, methods) = one_round_of(comparison, &data, start.as_deref());
    let report = report(&fleet, &specification);

    let pretrained = report.pretrained.as_ref().expect("was trained");
    assert!(methods.len() >= 8, "{methods:?}");
    let done: Vec<&str> = report.methods.iter().map(|measured| measured.name.as_str()).collect();
    assert_eq!(done, methods);
    for measured in &report.methods {
        let name = &measured.name;
        assert!(measured.ua.is_some() && measured.ta.is_some(), "{name} is measured");
        assert_ne!(measured.weights, pretrained.weights, "{name} moves the network");
    }
    if let Some(start) = start {
        assert!(report.data.files.iter().any(|(path, _)| Path::new(path) == start), "{:?}", report.data.files);
    }
}

#[test]
fn label_noise_on_cifar100_with_the_pyramid_vision_transformer_runs_on_drawn_data() {
    runs("label-noise-cifar100-pvtv2", write_cifar100);
}

#[test]
#[ignore = "minutes"]
fn the_standard_protocol_on_cifar10_with_resnet18_runs_on_drawn_data() {
    runs("standard-cifar10-resnet18", write_cifar10);
}

#[test]
#[ignore = "minutes"]
fn label_noise_on_cifar10_with_resnet18_runs_on_drawn_data() {
    runs("label-noise-cifar10-resnet18", write_cifar10);
}

#[test]
#[ignore = "minutes"]
fn overfitting_on_cifar10_with_resnet18_runs_on_drawn_data() {
    runs("overfitting-cifar10-resnet18", write_cifar10);
}

#[test]
#[ignore = "minutes"]
fn a_backdoor_on_cifar10_with_resnet18_runs_on_drawn_data() {
    runs("backdoor-cifar10-resnet18", write_cifar10);
}

#[test]
#[ignore = "minutes"]
fn label_noise_on_tiny_imagenet_with_convnext_runs_on_drawn_data() {
    runs("label-noise-tinyimagenet-convnext", write_tiny_imagenet);
}
