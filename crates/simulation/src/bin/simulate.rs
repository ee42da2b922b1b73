//! `make simulate`: thousands of schedules, and what they led to.

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use rewind_simulation::{Sum, run, run_many};

/// Runs the control plane under seeded schedules of faults, and checks its promises after every event.
#[derive(Parser)]
struct Arguments {
    /// How many schedules to run.
    #[arg(long, default_value_t = 10_000)]
    schedules: u64,
    /// The first schedule's seed; the others follow.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Go on for so many minutes, with ever new seeds.
    #[arg(long)]
    minutes: Option<u64>,
    /// Run this one schedule.
    #[arg(long)]
    seed: Option<u64>,
    /// Print every event of `--seed`.
    #[arg(long, requires = "seed")]
    trace: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let begun = Instant::now();
    let mut sum = Sum::default();
    match (arguments.seed, arguments.minutes) {
        (Some(seed), _) => sum.add(run(seed, None, arguments.trace)),
        (None, None) => sum = run_many(arguments.first_seed, arguments.schedules, arguments.threads, None),
        (None, Some(minutes)) => {
            let mut first = arguments.first_seed;
            while begun.elapsed().as_secs() < minutes * 60 {
                sum.join(run_many(first, 1000, arguments.threads, None));
                first += 1000;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} schedules, {} events in {seconds:.1} s: {:.0} schedules a second",
        sum.schedules,
        sum.events,
        sum.schedules as f64 / seconds
    );
    println!("faults: {:?}", sum.faults);
    println!("transitions: {:?}", sum.transitions);
    println!("decisions: {:?}", sum.counts);
    println!("violations: {}", sum.broken.len());
    for outcome in sum.broken.iter().take(5) {
        println!(
            "seed {} after {} events (simulate --seed {} --trace shows all):",
            outcome.seed, outcome.events, outcome.seed
        );
        for violation in &outcome.violations {
            println!("  {}: {}", violation.promise, violation.what);
        }
        outcome.recent.iter().for_each(|line| println!("    {line}"));
    }
    if sum.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
