//! The coordinator is killed and started again on its store: the work goes on as if nothing had happened.

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
    // Its worker went on meanwhile: no round was done twice, no new generation began.
    let generations: Vec<u64> = report.events.iter().map(|event| event.generation.0).collect();
    assert!(generations.iter().all(|generation| *generation <= 1), "{:#?}", report.events);
    assert!(fleet.log("coordinator").contains("leads term=2"), "another coordinator led: {}", fleet.log("coordinator"));
    for (a, b) in expected.methods.iter().zip(&report.methods) {
        assert_eq!(a.weights, b.weights, "the bits of {}", a.name);
    }
}
