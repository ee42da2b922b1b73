//! Spoilt files that `rewind` reads are refused with a reason, or make a page that loads nothing.

use std::path::Path;

use rewind_hostile_bytes::{Answer, Parser};
use rewind_job::MeasuredOn;

use crate::{
    commands::{compare::Plan, predictor::read_card, report::drawn},
    page,
};

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

fn draw(bytes: &[u8]) -> Answer {
    let page = drawn(text(bytes)?)?;
    page::assert_balanced(&page);
    page::assert_loads_nothing(&page);
    Ok(())
}

#[test]
fn spoilt_reports_are_refused_or_drawn() {
    let seed = serde_json::to_vec(&page::sample_report()).unwrap();
    Parser::of("report.json").cases(1500).memory(64 << 20).run(&[seed], draw);
}

#[test]
fn spoilt_comparisons_are_refused_or_drawn() {
    let mut all = page::sample_comparisons();
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
