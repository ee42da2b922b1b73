//! Spoilt files that `rewind` reads are refused with a reason, or make a page that loads nothing.

use std::path::Path;

use prost::Message;
use rewind_hostile_bytes::{Answer, Parser};
use rewind_job::{
    Digest, Generation, JobEvent, JobState, JobStatus, MeasuredOn, Priority, Progress, Round, StepIndex, StepWeights,
    TaskCount, WorldSize,
};
use rewind_proto::{
    to_json,
    v1::{JobReport, JobUpdate, TaskStatus},
};

use rewind_comparison::Plan;

use crate::commands::{
    jobs::{describe, describe_event, describe_task},
    predictor::read_card,
    report::drawn,
};

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

fn draw(bytes: &[u8]) -> Answer {
    let page = drawn(text(bytes)?)?;
    rewind_page::samples::assert_balanced(&page);
    rewind_page::samples::assert_loads_nothing(&page);
    Ok(())
}

#[test]
fn spoilt_reports_are_refused_or_drawn() {
    let seed = serde_json::to_vec(&rewind_page::samples::sample_report()).unwrap();
    Parser::of("report.json").cases(1500).memory(64 << 20).run(&[seed], draw);
}

#[test]
fn spoilt_comparisons_are_refused_or_drawn() {
    let mut all = rewind_page::samples::sample_comparisons();
    all.truncate(1);
    let seed = serde_json::to_vec(&all).unwrap();
    Parser::of("comparison.json").cases(500).memory(256 << 20).run(&[seed], draw);
}

#[test]
fn spoilt_protocols_are_refused_or_make_jobs_that_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchmarks/small");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let seeds = [read("backdoor.toml"), read("overfitting.toml")];
    Parser::of("protocols").cases(300).memory(64 << 20).run(&seeds, |bytes| {
        let plan = Plan::parse(text(bytes)?, Path::new("/data"))?;
        plan.training(plan.comparison.search_seed, MeasuredOn::Test).check().map_err(|refused| refused.to_string())
    });
}

/// Few lists of few values are more settings than there is memory for.
#[test]
fn a_grid_without_end_is_refused_before_it_is_made() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benchmarks/small");
    let good = std::fs::read_to_string(folder.join("overfitting.toml")).unwrap();
    let values = (1..=40).map(|value| format!("{value}e-4")).collect::<Vec<_>>().join(", ");
    let lists: String = (0..3).map(|list| format!("\"forward.axis-{list}\" = [{values}]\n")).collect();
    let (before, after) = good.split_once("[method.search]\n").unwrap();
    let vast = format!("{before}[method.search]\n{lists}{after}");
    Parser::of("vast grids").cases(100).memory(64 << 20).run(&[vast.into_bytes()], |bytes| {
        match Plan::parse(text(bytes)?, Path::new("/data")) {
            Err(refusal) if !refusal.contains("every method tries at most") => Err(refusal),
            _ => Ok(()),
        }
    });
}

#[test]
fn spoilt_predictors_are_refused_or_shown() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../predictors/conditioned.safetensors");
    let whole = std::fs::read(file).unwrap();
    Parser::of("cards of predictors").cases(500).memory(8 << 20).run(&[whole], |bytes| read_card(bytes).map(drop));
}

fn answer<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|error| error.to_string())
}

#[test]
fn what_a_coordinator_says_of_a_job_is_refused_or_shown() {
    let status = JobStatus {
        job: "job-7".into(),
        name: "quick".into(),
        state: JobState::Running,
        reason: "running on 2 workers".into(),
        generation: Generation(3),
        priority: Priority::Normal,
        world_size: WorldSize(2),
        progress: Some(Progress { step: StepIndex(1), text: "unlearned: half way".into(), fraction: 0.5 }),
        tasks: Some(TaskCount { total: 9, running: 2, done: 4, left: Some(90) }),
        committed: Some((StepIndex(1), Round(4))),
        steps: vec!["pretrained".into(), "unlearned".into()],
        submitted_at: 1_795_415_545,
        verdict: None,
        fails: false,
    };
    let event = JobEvent { sequence: 1, at: 1_795_415_545_456, generation: Generation(3), text: "submitted".into() };
    let seed = JobUpdate { status_json: to_json(&status), event_json: vec![to_json(&event); 2] };
    Parser::of("updates of jobs").cases(4000).memory(4 << 20).run(&[seed.encode_to_vec()], |bytes| {
        let update = rewind_client::read(answer::<JobUpdate>(bytes)?).map_err(|error| error.to_string())?;
        assert!(describe(&update.status).contains(&update.status.reason));
        assert!(update.events.iter().all(|event| describe_event(event).contains(&event.text)));
        Ok(())
    });
    let seed = TaskStatus { task: 7, worker: "worker-1".into(), failures: 2, output: "ab".repeat(32) };
    Parser::of("states of tasks").run(&[seed.encode_to_vec()], |bytes| {
        assert!(!describe_task(&answer(bytes)?).is_empty());
        Ok(())
    });
}

#[test]
fn spoilt_reports_of_a_coordinator_are_refused_or_written_under_names_that_stay_in_their_folder() {
    let weights = vec![StepWeights { step: "unlearned".into(), weights: Digest("ab".repeat(32)) }];
    let report_json = to_json(&rewind_page::samples::sample_report());
    let seed = JobReport { report_json, weights_json: to_json(&weights), ..JobReport::default() };
    Parser::of("reports of a coordinator").cases(700).memory(64 << 20).run(&[seed.encode_to_vec()], |bytes| {
        let (_, weights) = rewind_client::read_report(&answer(bytes)?).map_err(|error| error.to_string())?;
        let stays = |name: &str| !name.contains(['/', '\\']) && !name.starts_with('.');
        assert!(weights.iter().all(|weights| stays(&rewind_job::file_name(&weights.step))), "{weights:?}");
        Ok(())
    });
}
