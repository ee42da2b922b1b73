//! SIGKILL in the middle of a job: it is reported, waits for a worker, and ends in the bits of an undisturbed run.

use rewind_job::{JobState, Round, StepIndex};
use rewind_tests::{Fleet, small_job};

#[test]
fn a_killed_worker_costs_no_committed_round_and_no_bit() {
    let fleet = Fleet::start(2);
    let undisturbed = fleet.submit(&small_job(2));
    let expected = fleet.report(&undisturbed);

    let job = fleet.submit(&small_job(2));
    let committed = fleet.eventually("some rounds are committed", || {
        let status = fleet.status(&job);
        assert!(!status.state.is_final(), "{}", status.reason);
        status.committed.filter(|&committed| committed >= (StepIndex(0), Round(3)))
    });
    fleet.kill(fleet.worker(2));
    fleet.eventually("a new generation runs", || {
        let status = fleet.status(&job);
        (status.generation.0 == 2 && matches!(status.state, JobState::Running | JobState::Finished)).then_some(())
    });
    let report = fleet.report(&job);

    let said: Vec<&str> = report.events.iter().map(|event| event.text.as_str()).collect();
    assert!(said.iter().any(|text| text.contains("worker-2 was lost")), "{said:#?}");
    assert!(said.iter().any(|text| text.contains("waiting for workers: 1 of 2")), "{said:#?}");
    assert!(said.iter().any(|text| text.contains("generation 2: assigned to worker-1, worker-2")), "{said:#?}");
    assert!(committed >= (StepIndex(0), Round(3)));
    for (a, b) in expected.methods.iter().zip(&report.methods) {
        assert_eq!(a.weights, b.weights, "the bits of {}", a.name);
    }
    assert_eq!(expected.pretrained.map(|p| p.weights), report.pretrained.map(|p| p.weights));
}
