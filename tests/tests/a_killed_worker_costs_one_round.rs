//! SIGKILL in the middle of a job: it is reported, waits for a worker, and ends in the bits of an undisturbed run.

use rewind_job::{JobState, Round, StepIndex};
use rewind_tests::{Fleet, small_job};

/// Kills a worker once `at` is committed; returns what was committed when the next generation began.
fn kill_after(fleet: &Fleet, job: &str, worker: u32, at: (StepIndex, Round), next: u64) -> (StepIndex, Round) {
    fleet.eventually("the round is committed", || {
        let status = fleet.status(job);
        assert!(!status.state.is_final(), "{}", status.reason);
        status.committed.filter(|&committed| committed >= at)
    });
    fleet.kill(fleet.worker(worker));
    let status = fleet.eventually("a new generation runs", || {
        let status = fleet.status(job);
        let runs = matches!(status.state, JobState::Preparing | JobState::Running | JobState::Finished);
        (status.generation.0 == next && runs).then_some(status)
    });
    let committed = status.committed.expect("something is committed");
    assert!(committed >= at, "{committed:?} was committed, {at:?} had been");
    committed
}

#[test]
fn a_killed_worker_costs_no_committed_round_and_no_bit() {
    let fleet = Fleet::start(2);
    let undisturbed = fleet.submit(&small_job(2));
    let expected = fleet.report(&undisturbed);

    // Once while it trains, once while it rewinds.
    let job = fleet.submit(&small_job(2));
    let training = kill_after(&fleet, &job, 2, (StepIndex(0), Round(3)), 2);
    let rewinding = kill_after(&fleet, &job, 1, (StepIndex(2), Round(1)), 3);
    let report = fleet.report(&job);

    let said: Vec<&str> = report.events.iter().map(|event| event.text.as_str()).collect();
    assert!(said.iter().any(|text| text.contains("worker-2 was lost")), "{said:#?}");
    assert!(said.iter().any(|text| text.contains("needs 2 workers")), "{said:#?}");
    // A new generation goes on where the last commit was, or one round on when that was committed meanwhile.
    let log = fleet.log("worker-2");
    for (_, Round(round)) in [training, rewinding] {
        let goes_on = |round: u32| log.contains(&format!("goes on after round {round}"));
        assert!(goes_on(round) || goes_on(round + 1), "after round {round}:\n{log}");
    }
    for (a, b) in expected.methods.iter().zip(&report.methods) {
        assert_eq!(a.weights, b.weights, "the bits of {}", a.name);
    }
    assert_eq!(expected.pretrained.map(|p| p.weights), report.pretrained.map(|p| p.weights));
}
