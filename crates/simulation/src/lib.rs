//! The control plane under a seeded simulation: real coordinators, a simulated store, fake workers, clock and network.
//!
//! One thread, no real time: a seed is a schedule, and the same seed is the same schedule again.

mod artifacts;
mod checks;
mod faults;
mod jobs;
mod plants;
mod reasons;
mod watched;
mod worker;
mod world;

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use checks::Violation;
pub use faults::Fault;
pub use plants::Plant;
use rewind_job::JobState;
use world::{Happening, World};

/// Faults of a schedule, at least and at most.
const FAULTS: (u64, u64) = (6, 16);
/// Faults happen in this time, in milliseconds.
const TROUBLE: u64 = 25_000;
/// A healed world has this long to end every job, in milliseconds.
const RECOVERY: u64 = 300_000;

/// What a schedule led to.
#[derive(Debug, Default)]
pub struct Outcome {
    pub seed: u64,
    pub events: u64,
    pub faults: BTreeMap<String, u64>,
    pub transitions: BTreeMap<(JobState, JobState), u64>,
    pub counts: BTreeMap<String, u64>,
    pub violations: Vec<Violation>,
    /// The last things that happened.
    pub recent: Vec<String>,
}

/// Runs one schedule.
pub fn run(seed: u64, plant: Option<Plant>, trace: bool) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    use rand::RngExt;
    let (coordinators, workers) = (rng.random_range(2..=3), rng.random_range(3..=5));
    let mut world = World::new(rng, coordinators, workers, plant, trace);
    world.keep_recent();
    world.plan_users();
    let faults = world.between(FAULTS.0, FAULTS.1);
    for _ in 0..faults {
        let fault = Fault::ALL[world.between(0, Fault::ALL.len() as u64 - 1) as usize];
        let at = world.between(1000, TROUBLE);
        world.after(at, Happening::Fault(fault));
    }
    let begun = world.now;
    let mut resumed = 0;
    while world.checks.violations.is_empty() && world.step() {
        let past = world.now - begun;
        if past > TROUBLE + 16_000 && resumed < (past - TROUBLE - 16_000) / 10_000 + 1 {
            resumed += 1;
            world.resume_everything();
        }
        if past > TROUBLE + 20_000 && all_have_ended(&world) {
            break;
        }
        if past > TROUBLE + RECOVERY {
            let left: Vec<String> = unfinished(&world);
            world.checks.break_promise("every-job-ends", left.join("; "));
        }
    }
    Outcome {
        seed,
        events: world.events,
        faults: world.faults,
        transitions: world.checks.transitions,
        counts: world.counts,
        violations: world.checks.violations,
        recent: world.recent.into_iter().collect(),
    }
}

fn all_have_ended(world: &World) -> bool {
    world.checks.jobs.len() >= 3 && unfinished(world).is_empty()
}

fn unfinished(world: &World) -> Vec<String> {
    let heads = world.checks.jobs.iter().filter_map(|(job, known)| Some((job, known.head.as_ref()?)));
    let open = heads.filter(|(_, head)| {
        !head.state.is_final() || (head.state == JobState::Failed && !head.reason.contains("deadline"))
    });
    open.map(|(job, head)| format!("{job} is {:?}: {}", head.state, head.reason)).collect()
}

/// Adds up what schedules led to.
#[derive(Debug, Default)]
pub struct Sum {
    pub schedules: u64,
    pub events: u64,
    pub faults: BTreeMap<String, u64>,
    pub transitions: BTreeMap<(JobState, JobState), u64>,
    pub counts: BTreeMap<String, u64>,
    /// Schedules that broke a promise.
    pub broken: Vec<Outcome>,
}

impl Sum {
    pub fn add(&mut self, outcome: Outcome) {
        self.schedules += 1;
        self.events += outcome.events;
        for (fault, count) in &outcome.faults {
            *self.faults.entry(fault.clone()).or_default() += count;
        }
        for (transition, count) in &outcome.transitions {
            *self.transitions.entry(*transition).or_default() += count;
        }
        for (what, count) in &outcome.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            self.broken.push(outcome);
        }
    }

    pub fn join(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.events += other.events;
        other.faults.into_iter().for_each(|(fault, count)| *self.faults.entry(fault).or_default() += count);
        other.transitions.into_iter().for_each(|(key, count)| *self.transitions.entry(key).or_default() += count);
        other.counts.into_iter().for_each(|(what, count)| *self.counts.entry(what).or_default() += count);
        self.broken.extend(other.broken);
    }
}

/// Runs schedules `first..first + count` on some threads.
pub fn run_many(first: u64, count: u64, threads: u64, plant: Option<Plant>) -> Sum {
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let mut sum = Sum::default();
                    (first..first + count).filter(|seed| seed % threads == part).for_each(|seed| {
                        sum.add(run(seed, plant, false));
                    });
                    sum
                })
            })
            .collect();
        let mut all = Sum::default();
        for part in parts {
            all.join(part.join().expect("a schedule does not panic"));
        }
        all
    })
}
