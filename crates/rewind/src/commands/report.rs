//! `rewind report` and `rewind page`: what a finished job leaves.

use std::path::Path;

use rewind_job::{JobId, Report};

use crate::{arguments, client::Client, commands::compare::Compared, error::Error, output, page, screen::Screen};

pub async fn run(arguments: arguments::Report) -> Result<(), Error> {
    let screen = Screen::new();
    let mut client = Client::connect(&arguments.at).await?;
    fetch(&mut client, &JobId(arguments.job), &arguments.out, arguments.weights, &screen).await?;
    Ok(())
}

/// Writes report.json and report.html, and the weights if they are wanted.
pub async fn fetch(
    client: &mut Client,
    job: &JobId,
    out: &Path,
    weights: bool,
    screen: &Screen,
) -> Result<Report, Error> {
    let (report, step_weights) = client.report(job).await?;
    write(&report, out)?;
    if weights {
        let folder = out.join("weights");
        std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        for step in &step_weights {
            let file = folder.join(format!("{}.safetensors", file_name(&step.step)));
            client.artifact(&step.weights, &file).await?;
            screen.say(&format!("wrote {}", file.display()));
        }
    }
    output::line(out.join("report.html").display());
    Ok(report)
}

fn write(report: &Report, out: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(out).map_err(Error::file("create", out))?;
    let json = serde_json::to_string_pretty(report)
        .map_err(|error| Error::NotAReport { path: out.join("report.json"), problem: error.to_string() })?;
    for (name, text) in [("report.json", json), ("report.html", page::render(report))] {
        let file = out.join(name);
        std::fs::write(&file, text).map_err(Error::file("write", file))?;
    }
    Ok(())
}

/// Draws the page of a report.json or a comparison.json again.
pub fn page(arguments: &arguments::Page) -> Result<(), Error> {
    let json = std::fs::read_to_string(&arguments.report).map_err(Error::file("read", &arguments.report))?;
    let drawn = drawn(&json)
        .map_err(|error| Error::NotAReport { path: arguments.report.clone(), problem: error.to_string() })?;
    let out = arguments.out.clone().unwrap_or_else(|| arguments.report.with_extension("html"));
    std::fs::write(&out, drawn).map_err(Error::file("write", &out))?;
    output::line(out.display());
    Ok(())
}

/// A list is what comparisons found, anything else a job's report.
fn drawn(json: &str) -> Result<String, serde_json::Error> {
    if json.trim_start().starts_with('[') {
        return Ok(page::comparison(&serde_json::from_str::<Vec<Compared>>(json)?));
    }
    Ok(page::render(&serde_json::from_str::<Report>(json)?))
}

/// A step's name as a file name that stays in its folder.
fn file_name(step: &str) -> String {
    let name: String =
        step.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::drawn;
    use crate::page;

    #[test]
    fn a_comparison_is_drawn_again_as_it_was_without_a_fleet() {
        let all = page::sample_comparisons();
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(drawn(&json).unwrap(), page::comparison(&all));
    }

    #[test]
    fn what_is_neither_report_nor_comparison_is_refused() {
        assert!(drawn("[{}]").is_err() && drawn("{}").is_err() && drawn("").is_err());
    }

    #[test]
    fn step_names_cannot_leave_their_folder() {
        assert_eq!(super::file_name("task-vector"), "task-vector");
        assert_eq!(super::file_name("../../x"), "_.._.._x");
        assert_eq!(super::file_name("a/b c"), "a_b_c");
    }
}
