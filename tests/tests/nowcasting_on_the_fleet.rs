//! A predictor that looks ahead is trained on the fleet's own trainings, jumps in a pretraining, and a killed worker
//! changes no bit of that. Then predictors are evaluated on families that were left out.

use std::fs;

use rewind_job::{JobState, Report, Round};
use rewind_tests::{Fleet, complaint, repository};
use serde_json::Value;

const DIGITS: &str = "pool = { images = \"DATA/digits/images-idx3-ubyte\", labels = \"DATA/digits/labels-idx1-ubyte\" }
split = { seed = 0, train = 600, test = 100, validation = 100, attack = 0 }";

fn with_data(text: &str) -> String {
    text.replace("DIGITS", DIGITS).replace("DATA", &repository().join(".data").display().to_string())
}

fn trainings() -> String {
    with_data(
        r#"
        name = "ordinary trainings"
        [data]
        DIGITS
        [[step]]
        name = "histories"
        [step.collect]
        networks = 6
        architectures = ["mlp", "lenet", "vgg-small"]
        data = [{ synthetic = { task = "stripes", classes = 6, side = 16, samples = 600 } }]
        optimisers = [{ adam = { learning-rate = 1e-3 } }]
        batch-sizes = [32]
        samples = [300]
        epochs = [14]
        kept = 500
        "#,
    )
}

const AHEAD: &str = r#"
    format = 2
    name = "nowcasting"
    [[step]]
    name = "predictor"
    [step.train-predictor]
    histories = ["job-1"]
    kinds = ["training"]
    direction = "future"
    architecture = "wnn"
    snapshots = [5]
    horizons = [5]
    epochs = 3
"#;

fn pretraining(predictor: &str) -> String {
    with_data(&format!(
        r#"
        name = "pretrained in jumps"
        fleet = {{ world-size = 2 }}
        model = {{ architecture = "mlp" }}
        [data]
        DIGITS
        forget = {{ random = {{ share = 0.2, seed = 0 }} }}
        [[step]]
        name = "pretrained"
        [step.pretrain]
        epochs = 13
        batch-size = 32
        optimiser = {{ adam = {{ learning-rate = 1e-3 }} }}
        {predictor}
        [[step]]
        name = "evaluation"
        [step.evaluate]
        "#
    ))
}

fn weights(report: &Report) -> &str {
    &report.pretrained.as_ref().expect("the job pretrains").weights.0
}

#[test]
fn pretraining_jumps_ahead_and_predictors_are_evaluated_on_families_left_out() {
    let fleet = Fleet::start(2);
    let histories = fleet.submit(&trainings());
    let state = fleet.eventually("the trainings are recorded", || {
        Some(fleet.status(&histories)).filter(|status| status.state.is_final())
    });
    assert_eq!(state.state, JobState::Finished, "{}", state.reason);

    let job = fleet.submit(AHEAD);
    let report = fleet.report(&job);
    let predictor = report.predictor.as_ref().expect("the job trained a predictor");
    assert_eq!(predictor.histories, 6);
    let digest = &predictor.weights.0;

    // The same training with jumps after epochs 5 and 10, and without.
    let nowcast = format!("nowcast = {{ predictor = \"sha256:{digest}\" }}");
    let plain = fleet.report(&fleet.submit(&pretraining("")));
    let jumping = fleet.report(&fleet.submit(&pretraining(&nowcast)));
    let rounds = |report: &Report| report.pretrained.as_ref().expect("the job pretrains").rounds.clone();
    let (before, after) = (rounds(&plain), rounds(&jumping));
    for epoch in 0..4 {
        assert_eq!(before[epoch].weight_change, after[epoch].weight_change, "no jump before epoch 5");
    }
    assert_ne!(before[4].weight_change, after[4].weight_change, "a jump after epoch 5");
    assert!(after.iter().all(|record| record.loss.number().is_some()));
    assert_ne!(weights(&plain), weights(&jumping));

    // Killed between two jumps: the snapshots since the last one are in the checkpoint.
    let job = fleet.submit(&pretraining(&nowcast));
    fleet.eventually("epoch 7 is committed", || fleet.status(&job).committed.filter(|(_, round)| *round >= Round(7)));
    fleet.kill(fleet.worker(2));
    assert_eq!(weights(&fleet.report(&job)), weights(&jumping), "the same bits");

    // What looks ahead does not rewind, and what looks back does not nowcast.
    let shipped = repository().join("predictors/equivariant.safetensors").display().to_string();
    let back = pretraining(&format!("nowcast = {{ predictor = \"{shipped}\", horizon = 8 }}"));
    let job = fleet.submit(&back);
    let state = fleet.eventually("it is refused", || Some(fleet.status(&job)).filter(|status| status.state.is_final()));
    assert!(
        state.reason.contains("step[0].pretrain.nowcast.predictor: the networks for 5 snapshots do not look"),
        "{}",
        state.reason
    );

    // Evaluated: each of the three architectures is left out in turn; a second time nothing is run again.
    let file = fleet.folder.path().join("ahead.toml");
    fs::write(&file, AHEAD.replace("architecture = \"wnn\"", "architecture = \"equivariant\"")).expect("writes");
    let out = fleet.folder.path().join("evaluation");
    let arguments =
        ["predictor", "evaluate", &file.display().to_string(), "--seeds", "1,2", "--out", &out.display().to_string()];
    let first = fleet.ask(&arguments);
    assert!(first.status.success(), "{}", complaint(&first));
    let jobs = |text: &[u8]| String::from_utf8_lossy(text).lines().count();
    let count = || jobs(&fleet.ask(&["jobs"]).stdout);
    let after_first = count();
    let text = fs::read_to_string(out.join("evaluation.json")).expect("reads");
    let again = fleet.ask(&arguments);
    assert!(again.status.success(), "{}", complaint(&again));
    assert_eq!(count(), after_first, "the jobs of the first evaluation are found again");
    assert_eq!(fs::read_to_string(out.join("evaluation.json")).expect("reads"), text);

    let rows: Vec<Value> = serde_json::from_str(&text).expect("a list");
    for field in ["predictor", "operation_type", "horizon", "held_out", "l1_relative_to_no_change", "interval"] {
        assert!(rows.iter().all(|row| row.get(field).is_some()), "{field}");
    }
    let of = |predictor: &str, held_out: &str| {
        rows.iter().filter(|row| row["predictor"] == predictor && row["held_out"] == held_out).count()
    };
    assert!(of("equivariant", "lenet") >= 2 && of("task-vector-per-layer", "lenet") >= 2);
    assert_eq!(of("equivariant", "all"), 3, "one an operation type");
    let page = fs::read_to_string(out.join("evaluation.html")).expect("reads");
    assert!(page.contains("Error on families that were left out") && page.contains("What the networks do"));

    // A protocol that the predictor cannot serve is refused before anything runs.
    let protocol = repository().join("predictors/label-noise.toml").display().to_string();
    let mut unfit = arguments.to_vec();
    unfit.extend(["--unlearn", &protocol]);
    let refused = fleet.ask(&unfit);
    assert!(complaint(&refused).contains("looks 15 epochs back"), "{}", complaint(&refused));
    assert_eq!(count(), after_first);
}
