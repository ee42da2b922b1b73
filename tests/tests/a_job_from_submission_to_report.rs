//! One fleet, one job twice: the report says what happened, and both runs end in the same bits.

use rewind_job::Round;
use rewind_tests::{Fleet, report_json, small_job};

#[test]
fn a_job_runs_from_submission_to_report_and_gives_the_same_bits_twice() {
    let mut fleet = Fleet::start(2);
    let (once, again) = (fleet.submit(&small_job(2)), fleet.submit(&small_job(2)));
    assert_eq!((once.as_str(), again.as_str()), ("job-1", "job-2"));
    let (first, second) = (fleet.report(&once), fleet.report(&again));

    assert_eq!(first.measured().count(), second.measured().count());
    for (a, b) in first.measured().zip(second.measured()) {
        assert_eq!(a.weights, b.weights, "the bits of {}", a.name);
        assert_eq!((a.ra, a.ua, a.ta, a.mia, &a.curve), (b.ra, b.ua, b.ta, b.mia, &b.curve));
    }

    let names: Vec<&str> = first.methods.iter().map(|method| method.name.as_str()).collect();
    assert_eq!(names, ["rewinding", "task-vector", "neg-grad"]);
    for method in &first.methods {
        let at = |round: Round| method.curve.iter().find(|point| point.round == round).expect("a point a round");
        assert_eq!(method.curve.len(), method.rounds.len() + 1);
        // The selected round's point is what was measured, and the start is the pretrained network.
        assert_eq!(Some(100.0 - at(method.selected).forget_accuracy), method.ua);
        assert_eq!(at(method.selected).test_accuracy, method.ta);
        assert_eq!(at(Round(0)).test_accuracy, first.pretrained.as_ref().and_then(|p| p.ta));
        assert!(method.seconds > 0.0 && method.forget_epochs > 0.0 && method.bytes_moved > 0);
        assert!(method.average_gap.is_some());
    }
    assert_eq!(first.stop.iter().map(|stop| stop.rule.as_str()).next(), Some("rounds"));

    let folder = fleet.report_folder(&once);
    let json = report_json(&folder);
    assert_eq!(json["world_size"], 2);
    for key in ["methods", "pretrained", "retrain", "specification", "stop"] {
        assert!(!json[key].is_null(), "{key}");
    }
    let point = &json["methods"][0]["curve"][0];
    assert!(point["round"].is_u64() && point["forget_accuracy"].is_f64() && point["test_accuracy"].is_f64());
    let page = std::fs::read_to_string(folder.join("report.html")).expect("there is a page");
    assert!(page.contains("<svg") && page.contains("task-vector"));
    for step in ["pretrained", "retrain", "rewinding", "task-vector", "neg-grad"] {
        assert!(folder.join(format!("weights/{step}.safetensors")).exists(), "weights of {step}");
    }

    assert!(!fleet.processes().is_empty());
    assert!(fleet.stop(), "Ctrl-C ends the fleet well");
    assert!(fleet.processes().is_empty(), "nothing is left behind");
}
