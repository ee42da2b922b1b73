//! A predictor is trained on the fleet, on histories that the fleet made, and rewinds.

use std::fs;

use rewind_job::{JobState, PredictorReport, Report};
use rewind_tests::{Fleet, complaint, repository, small_job};

fn example(name: &str) -> String {
    let text = fs::read_to_string(repository().join("examples").join(name)).expect("reads");
    text.replace("../.data", &repository().join(".data").display().to_string())
}

fn predictor_of(report: &Report) -> &PredictorReport {
    report.predictor.as_ref().expect("the job trained a predictor")
}

#[test]
fn a_predictor_learns_from_the_fleets_histories_and_survives_a_killed_worker() {
    let fleet = Fleet::start(2);
    let histories =
        example("histories.toml").replace("networks = 24", "networks = 16").replace("epochs = [4, 6]", "epochs = [3]");
    let histories = fleet.submit(&histories);
    let wanted = example("predictor.toml").replace("patience = 5\n", "").replace("epochs = 20", "epochs = 12");
    let wanted = wanted.replace("horizons = [8]", "horizons = [8]\nlearned = 20.0");
    let write = |text: &str| {
        let file = fleet.folder.path().join("predictor.toml");
        fs::write(&file, text).expect("writes");
        file.display().to_string()
    };

    // Before they are made, and of what makes none.
    let early = fleet.ask(&["submit", &write(&wanted)]);
    assert!(
        complaint(&early).contains("step[0].train-predictor.histories[0]: job-1 has made "),
        "{}",
        complaint(&early)
    );
    let unknown = fleet.ask(&["submit", &write(&wanted.replace("job-1", "job-9"))]);
    assert!(complaint(&unknown).contains("there is no job job-9"), "{}", complaint(&unknown));
    let state = fleet.eventually("the histories are made", || {
        Some(fleet.status(&histories)).filter(|status| status.state.is_final())
    });
    assert_eq!(state.state, JobState::Finished, "{}", state.reason);

    let undisturbed = fleet.submit(&wanted);
    let expected = fleet.report(&undisturbed);
    let predictor = predictor_of(&expected);
    assert!(predictor.histories >= 4 && predictor.held_out >= 1, "{predictor:?}");
    assert_eq!(predictor.rounds.len(), 12);
    let (first, last) = (&predictor.rounds[0], &predictor.rounds[11]);
    assert!(last.loss.number() < first.loss.number(), "{} {}", first.loss, last.loss);
    for row in &predictor.errors {
        assert!(row.predictor.is_finite() && row.predictor < 1.5, "{row:?}");
    }
    assert!(!predictor.errors.is_empty());
    let page = fs::read_to_string(fleet.report_folder(&undisturbed).join("report.html")).expect("reads");
    assert!(page.contains("Error on held-out histories"));

    // Killed while it trains: the same bits.
    let job = fleet.submit(&wanted);
    fleet.eventually("some epochs are committed", || fleet.status(&job).committed.filter(|(_, round)| round.0 >= 3));
    fleet.kill(fleet.worker(2));
    let report = fleet.report(&job);
    assert_eq!(predictor_of(&report).weights, predictor.weights, "the same bits");

    // One worker alone learns as well, with other roundings.
    let alone = fleet.submit(&wanted.replace("world-size = 2", "world-size = 1"));
    let alone = fleet.report(&alone);
    for (one, two) in predictor_of(&alone).errors.iter().zip(&predictor.errors) {
        println!("{:.4} on one worker, {:.4} on two", one.predictor, two.predictor);
        assert!((one.predictor - two.predictor).abs() < 0.05, "{one:?} {two:?}");
    }

    // What came out rewinds.
    let out = fleet.folder.path().join("weights");
    let fetched = fleet.ask(&["report", &undisturbed, "--weights", "--out", out.to_str().expect("printable")]);
    assert!(fetched.status.success(), "{}", complaint(&fetched));
    let file = out.join("weights/predictor.safetensors");
    let shipped = repository().join("predictors/equivariant.safetensors").display().to_string();
    let unlearning = small_job(1).replace(&shipped, &file.display().to_string());
    let unlearning = unlearning.replace("horizon = 8,", "horizon = 8, trajectory = { snapshots = 5 },");
    let unlearned = fleet.report(&fleet.submit(&unlearning));
    assert!(unlearned.methods.iter().any(|method| method.method == "rewinding"));
    let none = fleet.ask(&["submit", &write(&wanted.replace("job-1", &undisturbed))]);
    assert!(complaint(&none).contains("makes no histories"), "{}", complaint(&none));
}
