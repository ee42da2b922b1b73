//! Ten thousand schedules of faults keep the promises, and the checks find bugs that are planted.

use rewind_job::JobState::{Cancelled, Failed, Finished, Paused, Preparing, Running, Waiting};
use rewind_simulation::{Fault, Plant, Sum, run, run_many};

const SCHEDULES: u64 = 10_000;
/// Everything that may happen happens at least so often.
const OFTEN: u64 = 100;

/// `REWIND_SEED=17` runs that one schedule.
fn schedules() -> Sum {
    match std::env::var("REWIND_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => {
            let mut sum = Sum::default();
            sum.add(run(seed, None, true));
            sum
        }
        None => run_many(0, SCHEDULES, 2, None),
    }
}

#[test]
fn the_promises_hold_in_ten_thousand_schedules() {
    let sum = schedules();
    for outcome in &sum.broken {
        println!("seed {}: {:#?}\n{}", outcome.seed, outcome.violations, outcome.recent.join("\n"));
    }
    assert!(sum.broken.is_empty(), "{} schedules broke a promise", sum.broken.len());
    if sum.schedules < SCHEDULES {
        return;
    }
    println!(
        "{} schedules, {} events\n{:?}\n{:?}\n{:?}",
        sum.schedules, sum.events, sum.faults, sum.transitions, sum.counts
    );
    let faults: u64 = sum.faults.values().sum();
    assert!(faults >= 10 * SCHEDULES, "{faults} faults");
    for fault in Fault::ALL {
        let count = sum.faults.get(&format!("{fault:?}")).copied().unwrap_or(0);
        assert!(count >= OFTEN, "{fault:?} happened {count} times");
    }
    // All that there are: what has finished or was cancelled changes no more.
    let transitions = [
        (Waiting, Preparing),
        (Waiting, Running),
        (Waiting, Paused),
        (Waiting, Cancelled),
        (Waiting, Failed),
        (Preparing, Waiting),
        (Preparing, Running),
        (Preparing, Paused),
        (Preparing, Cancelled),
        (Preparing, Failed),
        (Running, Waiting),
        (Running, Paused),
        (Running, Cancelled),
        (Running, Failed),
        (Running, Finished),
        (Paused, Waiting),
        (Paused, Cancelled),
        (Paused, Failed),
        (Failed, Waiting),
        (Failed, Cancelled),
    ];
    for transition in transitions {
        let count = sum.transitions.get(&transition).copied().unwrap_or(0);
        assert!(count >= OFTEN, "{transition:?} happened {count} times");
    }
    assert!(sum.transitions.keys().all(|transition| transitions.contains(transition)), "{:?}", sum.transitions);
    let decisions = [
        "BitsCompared",
        "CheckpointDiscarded",
        "Committed",
        "DeadlinePassed",
        "Drained",
        "FewerWorkers",
        "Leads",
        "Lost(NewSession)",
        "Lost(SessionEnded)",
        "Lost(Silent)",
        "Reattached",
        "Refused",
        "StaleMessage",
        "StandsBy",
        "TaskDone",
        "TaskPreempted",
    ];
    for decision in decisions {
        let count = sum.counts.get(decision).copied().unwrap_or(0);
        assert!(count >= OFTEN, "{decision} was decided {count} times");
    }
}

#[test]
fn the_same_seed_is_the_same_schedule() {
    for seed in 0..50 {
        let (once, again) = (run(seed, None, false), run(seed, None, false));
        assert_eq!((once.events, once.counts, once.recent), (again.events, again.counts, again.recent), "seed {seed}");
    }
}

#[test]
fn planted_bugs_are_found() {
    for plant in Plant::ALL {
        let found = (0..3000).find(|&seed| !run(seed, Some(plant), false).violations.is_empty());
        let Some(seed) = found else { panic!("{plant:?} was not found in 3000 schedules") };
        let outcome = run(seed, Some(plant), false);
        println!("{plant:?}: found after {} schedules: {}", seed + 1, outcome.violations[0].what);
    }
}
