//! `rewind compare`: methods under one protocol, searched alike, measured over seeds.

mod conduct;

use std::path::{Path, PathBuf};

use rewind_comparison::{Compared, Figure, Plan, cells, csv, figures};

use rewind_client::Client;

use crate::{arguments::Compare, commands::runs::Runs, error::Error, output, screen::Screen};

pub async fn run(arguments: Compare) -> Result<(), Error> {
    let screen = Screen::new();
    let plans =
        arguments.comparisons.iter().map(|file| read(file, &arguments.methods)).collect::<Result<Vec<_>, _>>()?;
    for plan in plans.iter().filter(|plan| !plan.comparison.base.contains_key("format")) {
        screen.say(&format!(
            "{}: [base] has no `format`: what it says means what version 0.1 meant by it (CHANGELOG.md)",
            plan.comparison.name
        ));
    }
    let mut client = Client::connect(&arguments.at.address()).await?;
    let runs = Runs { fresh: arguments.fresh, screen: &screen };
    let mut all = Vec::new();
    for plan in &plans {
        all.push(conduct::compare(&mut client, &runs, plan).await?);
        // What is found so far is not lost if the next comparison is interrupted.
        write(&arguments.out, &all)?;
    }
    let figures: Vec<Figure> = all.iter().flat_map(figures).collect();
    if arguments.json {
        output::json(&figures);
    } else {
        all.iter().for_each(|compared| output::line(table(compared)));
        output::line(arguments.out.join("comparison.html").display());
    }
    Ok(())
}

fn read(file: &Path, only: &[String]) -> Result<Plan, Error> {
    let refused = |problem: String| Error::Specification(format!("{}: {problem}", file.display()));
    let plan = Plan::read(file).map_err(refused)?;
    for (field, path) in plan.files() {
        if !path.is_file() {
            return Err(refused(format!("{field}: {} is missing", path.display())));
        }
    }
    plan.only(only).map_err(Error::Usage)
}

fn write(out: &PathBuf, all: &[Compared]) -> Result<(), Error> {
    std::fs::create_dir_all(out).map_err(Error::file("create", out))?;
    let figures: Vec<Figure> = all.iter().flat_map(figures).collect();
    let rows: Vec<String> = figures.iter().map(|row| serde_json::to_string(row).unwrap_or_default()).collect();
    for (name, text) in [
        ("results.json", format!("[\n{}\n]\n", rows.join(",\n"))),
        ("results.csv", csv(&figures)),
        ("comparison.json", serde_json::to_string(all).unwrap_or_default() + "\n"),
        ("comparison.html", rewind_page::draw_comparisons(all, rewind_version::VERSION_AND_COMMIT)),
    ] {
        let file = out.join(name);
        std::fs::write(&file, text).map_err(Error::file("write", file))?;
    }
    Ok(())
}

/// One line a contestant.
fn table(compared: &Compared) -> String {
    format!(
        "\n{} ({} seeds, mean ± half the 95 % interval):\n{}",
        compared.comparison.name,
        compared.references.len(),
        output::table(&cells(compared))
    )
}
