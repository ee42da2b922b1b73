//! The report as one HTML page: self-contained, no scripts, light and dark, narrow and wide.

mod chart;
mod curves;
mod headline;
mod methods;
mod predictor;
mod record;
mod rounds;
mod search;
mod text;

#[cfg(test)]
mod tests;

use rewind_job::Report;

const SHEET: &str = include_str!("page.css");

/// Draws the page. It loads nothing, and its policy forbids browsers to.
pub fn render(report: &Report) -> String {
    let body = match &report.predictor {
        Some(predictor) => predictor::render(report, predictor) + &record::warnings(report),
        None => [
            headline::render(report),
            record::warnings(report),
            methods::render(report),
            curves::render(report),
            rounds::render(report),
        ]
        .concat(),
    };
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title} · Rewind</title>
<style>
{SHEET}</style>
</head>
<body>
<main>
{body}{search}{record}<footer>Made by Rewind {version} from <code>report.json</code>, which holds every figure of this page.</footer>
</main>
</body>
</html>
"#,
        title = text::Escaped(&report.specification.name),
        search = search::render(report.search.as_ref()),
        record = record::render(report),
        version = text::Escaped(&report.version),
    )
}
pub use text::{bytes, decimal, instant, seconds};
