//! Reports, comparisons and evaluations as one HTML page each: self-contained, no scripts, light and dark, narrow and
//! wide. Pure: text in, text out.

mod activation;
mod chart;
mod comparison;
mod curves;
mod evaluation;
mod headline;
mod landscape;
mod left;
mod methods;
mod picture;
mod plot;
mod predictor;
mod record;
mod relearning;
mod retrains_start;
mod rounds;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
mod search;
mod stage;
mod text;
mod verdict;

#[cfg(test)]
mod tests;

use retrains_start::RetrainsStart;
use rewind_comparison::{Compared, predictors::Evaluation};
use rewind_job::Report;

const SHEET: &str = include_str!("page.css");

/// Draws the page of a job. It loads nothing, and its policy forbids browsers to.
pub fn draw_report(report: &Report) -> String {
    let stage = stage::Stage::of_job(report);
    let body = match &report.predictor {
        Some(predictor) => predictor::render(report, predictor) + &record::warnings(report),
        None => [
            headline::render(report),
            record::warnings(report),
            verdict::render(report),
            methods::render(report),
            left::render(report),
            curves::render(&stage, report),
            relearning::of_job(&stage, report),
            activation::render(&stage, report.activation.as_ref()),
            landscape::render(
                &stage,
                report.landscape.as_ref(),
                report.retrain.as_ref().map(|retrain| (retrain.name.as_str(), RetrainsStart::of_job(report))),
            ),
            rounds::render(report),
        ]
        .concat(),
    };
    let search = search::render(report.search.as_ref());
    let record = record::render(report);
    let from = "<code>report.json</code>, which holds every figure of this page";
    document(&report.specification.name, &format!("{body}{search}{record}"), &program(report), from)
}

/// Version and commit of the program that made a report.
fn program(report: &Report) -> String {
    match &report.commit {
        Some(commit) => format!("{} ({commit})", report.version),
        None => report.version.clone(),
    }
}

/// Draws the page of an evaluation of predictors; `made_by` is the version of the program that draws it.
pub fn draw_evaluation(evaluation: &Evaluation, made_by: &str) -> String {
    let from = "<code>evaluation.json</code> and the jobs’ reports";
    document(&evaluation.name, &evaluation::render(evaluation), made_by, from)
}

/// Draws the page of comparisons of methods; `made_by` is the version of the program that draws it.
pub fn draw_comparisons(all: &[Compared], made_by: &str) -> String {
    let names: Vec<&str> = all.iter().map(|compared| compared.comparison.name.as_str()).collect();
    let from = "<code>comparison.json</code>, which holds every figure of this page";
    document(&names.join(", "), &comparison::render(all), made_by, from)
}

fn document(title: &str, body: &str, version: &str, from: &str) -> String {
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="color-scheme" content="light dark">
<title>{title} · Rewind</title>
<style>
{SHEET}</style>
</head>
<body>
<main>
{body}<footer>Made by Rewind {version} from {from}.</footer>
</main>
</body>
</html>
"#,
        title = text::Escaped(title),
        version = text::Escaped(version),
    )
}

pub use text::{bytes, decimal, instant, seconds};
