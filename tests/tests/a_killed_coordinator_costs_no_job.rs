//! The coordinator is killed and started again on its store: the job goes on after its last committed round.

use rewind_job::Round;
use rewind_tests::{Fleet, small_job};

#[test]
fn a_killed_coordinator_costs_no_job() {
    let fleet = Fleet::start(1);
    let undisturbed = fleet.submit(&small_job(1));
    let expected = fleet.report(&undisturbed);

    let job = fleet.submit(&small_job(1));
    fleet.eventually("a round is committed", || {
        fleet.status(&job).committed.filter(|&(_, round)| round >= Round(2)).map(drop)
    });
    let (coordinator, _) = fleet
        .processes()
        .into_iter()
        .find(|(_, line)| line.contains("rewind-coordinator"))
        .expect("the coordinator runs");
    fleet.kill(coordinator);
    fleet.eventually("another coordinator answers", || fleet.ask(&["jobs", "--json"]).status.success().then_some(()));
    let report = fleet.report(&job);
    let said: Vec<&str> = report.events.iter().map(|event| event.text.as_str()).collect();
    assert!(said.contains(&"the coordinator was restarted"), "{said:#?}");
    let resumed = (2..=6).any(|round| fleet.log("worker-1").contains(&format!("goes on after round {round}")));
    assert!(resumed, "it does not begin again");
    for (a, b) in expected.methods.iter().zip(&report.methods) {
        assert_eq!(a.weights, b.weights, "the bits of {}", a.name);
    }
}
