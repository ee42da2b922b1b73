//! Programs are killed and frozen every few seconds through complete jobs, at every edge of a commit and anywhere else,
//! and each job ends in the bits of the undisturbed run. `REWIND_SEED` chooses another sequence.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rewind_tests::{
    cluster::{Cluster, bits},
    small_job,
};

const FAULTS: usize = 24;
/// No fault begins later.
const LONGEST: Duration = Duration::from_secs(420);

/// A small generator, so that a seed is a sequence on any machine (xorshift; Marsaglia, 2003).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The workers of the job's present gang, by rank.
fn gang(cluster: &Cluster, job: &str) -> Vec<String> {
    let events = cluster.events(job);
    let line = events.lines().rev().find(|line| line.contains("assigned to "));
    let names = line.and_then(|line| line.split("assigned to ").nth(1)).unwrap_or_default();
    let names = names.split(" goes on").next().unwrap_or_default();
    names.split(',').map(|name| name.trim().to_owned()).filter(|name| name.starts_with("worker-")).collect()
}

#[test]
fn killed_and_frozen_programs_change_no_bit() {
    let seed = std::env::var("REWIND_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    println!("REWIND_SEED={seed}");
    let mut draw = Draw(seed);
    let mut cluster = Cluster::start(1, 2, 3);
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));

    let begun = Instant::now();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut faults, mut jobs) = (0, 0);
    // Edges first, each once killed; then anything.
    let edges = [
        ("training", 0),
        ("gather", 0),
        ("checkpoint", 0),
        ("durable", 1),
        ("before-commit", 9),
        ("after-commit", 9),
        ("gather", 1),
        ("checkpoint", 1),
        ("training", 1),
        ("before-commit", 9),
    ];
    while faults < FAULTS && begun.elapsed() < LONGEST {
        let job = cluster.submit(&small_job(2));
        jobs += 1;
        while faults < FAULTS && begun.elapsed() < LONGEST {
            if cluster.status(&job).is_some_and(|status| status.state.is_final()) {
                break;
            }
            let wish = if draw.below(4) == 0 { "stop" } else { "kill" };
            let members = gang(&cluster, &job);
            let (leader, _) = cluster.leader();
            let (what, name, hit) = match edges.get(faults) {
                Some(&(point, 9)) => {
                    (point, leader.clone(), cluster.fails_at(&leader, point, wish, Duration::from_secs(8)))
                }
                Some(&(point, rank)) => {
                    let Some(name) = members.get(rank).cloned() else {
                        thread::sleep(Duration::from_millis(100));
                        continue;
                    };
                    let hit = cluster.fails_at(&name, point, wish, Duration::from_secs(8));
                    (point, name, hit)
                }
                None => {
                    let names = cluster.names();
                    let name = names[draw.below(names.len() as u64) as usize].clone();
                    if wish == "stop" {
                        cluster.freeze(&name)
                    } else {
                        cluster.kill(&name)
                    }
                    ("anywhere", name, true)
                }
            };
            if !hit {
                // The job ended, or the gang changed: another try.
                continue;
            }
            faults += 1;
            println!("{:>6.1} s  {wish} {name} {what}", begun.elapsed().as_secs_f64());
            *counts.entry(what.to_owned()).or_default() += 1;
            *counts.entry(wish.to_owned()).or_default() += 1;
            if name == leader {
                *counts.entry("leader".into()).or_default() += 1;
            }
            if members.first() == Some(&name) {
                *counts.entry("rank 0".into()).or_default() += 1;
            }
            // Frozen ones are found by their silence, or come back before.
            let pause = if wish == "stop" { 1000 + draw.below(7000) } else { 200 + draw.below(1500) };
            thread::sleep(Duration::from_millis(pause));
            cluster.supervise();
            thread::sleep(Duration::from_millis(500 + draw.below(1500)));
        }
        cluster.supervise();
        let report = cluster.report(&job);
        assert_eq!(bits(&report), expected, "{job}: {}", cluster.events(&job));
    }
    println!("{faults} faults in {jobs} jobs and {:.0} s: {counts:?}", begun.elapsed().as_secs_f64());
    assert!(faults >= 20, "{faults} faults");
    for what in
        ["training", "gather", "checkpoint", "before-commit", "after-commit", "leader", "rank 0", "kill", "stop"]
    {
        assert!(counts.get(what).is_some_and(|count| *count > 0), "none {what}: {counts:?}");
    }
}
