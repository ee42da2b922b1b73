//! The comparisons in `benchmarks`: each is a plan of valid jobs, whether or not its data are here.

use std::path::{Path, PathBuf};

use rewind_job::{Digest, MeasuredOn};

use crate::{Plan, Start};

fn files_in(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchmarks").join(folder);
    let files = std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("reads").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect()
}

fn check_every_job(file: &Path) {
    let plan = Plan::read(file).unwrap_or_else(|problem| panic!("{}: {problem}", file.display()));
    let start =
        Start { weights: Digest("00".repeat(32)), retrain: Some(Digest("11".repeat(32))), retrains_ua: Some(8.11) };
    let comparison = &plan.comparison;
    let mut jobs = vec![plan.training(comparison.search_seed, MeasuredOn::Validation)];
    jobs.extend(comparison.training_seeds.iter().map(|&seed| plan.training(seed, MeasuredOn::Test)));
    for method in 0..comparison.methods.len() {
        jobs.push(plan.search(method, &start));
        for setting in 0..plan.tries(method).len() {
            jobs.extend(comparison.training_seeds.iter().map(|&seed| plan.run(method, setting, seed, 1, &start)));
        }
    }
    for job in jobs {
        job.check().unwrap_or_else(|refusal| panic!("{}, {}: {refusal}", file.display(), job.name));
    }
}

#[test]
fn every_small_comparison_is_a_plan_of_valid_jobs() {
    let files = files_in("small");
    assert!(files.len() >= 3, "{files:?}");
    files.iter().for_each(|file| check_every_job(file));
}

#[test]
fn every_full_comparison_is_a_plan_of_valid_jobs() {
    let files = files_in("full");
    assert_eq!(files.len(), 6, "{files:?}");
    files.iter().for_each(|file| check_every_job(file));
}
