//! Errors on histories: each family is left out in turn, with every seed.

use rewind_comparison::predictors::{ErrorRow, Errors, Evaluation, METHODS, cells, is_lowest};
use rewind_job::{Action, HeldOut, PredictorReport, Specification};

use super::{Plan, Runs, predictor_of};
use rewind_client::Client;

use crate::{error::Error, output};

pub(super) async fn measure(
    client: &mut Client,
    runs: &Runs<'_>,
    plan: &Plan,
    families: &[String],
) -> Result<(Vec<ErrorRow>, Vec<(String, PredictorReport)>), Error> {
    let axis = plan.arguments.leave_out;
    if families.len() < 2 {
        let found = families.join(", ");
        return Err(Error::Usage(format!(
            "--leave-out needs at least two {}; the histories have {found}",
            axis.name()
        )));
    }
    runs.screen.say(&format!("leaving out {}, one after another: {}", axis.name(), families.join(", ")));
    let mut jobs = Vec::new();
    for (index, family) in families.iter().enumerate() {
        // Epochs are chosen by another family than the one that is measured.
        let choosing = plan.wanted().patience.map(|_| families[(index + 1) % families.len()].as_str());
        let left_out = axis.held_out(family)?;
        let choosing = choosing.map(|family| axis.held_out(family)).transpose()?.unwrap_or_default();
        for &seed in &plan.arguments.seeds {
            let specification = without(plan, seed, family, &left_out, &choosing);
            jobs.push((family, seed, runs.submit_one(client, &specification).await?));
        }
    }
    let (mut errors, mut reports) = (Errors::default(), Vec::new());
    for (family, seed, job) in jobs {
        let report = predictor_of(runs.result(client, &job).await?.0)?;
        if report.errors.is_empty() {
            runs.screen.say(&format!("{family} has no history to measure on"));
        }
        errors.add(family, &report);
        if seed == plan.arguments.seeds[0] {
            reports.push((family.clone(), report));
        }
    }
    let name = plan.wanted().architecture.name();
    Ok((errors.rows(name), reports))
}

/// The specification, with one family to measure on alone.
fn without(plan: &Plan, seed: u64, family: &str, left_out: &HeldOut, choosing: &HeldOut) -> Specification {
    let mut specification = plan.seeded(seed);
    specification.name = format!("{} without {family}", plan.specification.name);
    for step in &mut specification.steps {
        if let Action::TrainPredictor(wanted) = &mut step.action {
            wanted.test = left_out.clone();
            wanted.held_out = choosing.clone();
        }
    }
    specification
}

/// Means over the families, one line an operation type, `K` and `U`.
pub(super) fn table(evaluation: &Evaluation) -> String {
    let architecture = evaluation.architecture;
    let mut table = vec![["", "K", "U"].into_iter().chain([architecture]).map(str::to_owned).collect::<Vec<_>>()];
    table[0].extend(METHODS[1..].iter().map(|&name| name.to_owned()));
    for places in cells(&evaluation.errors, architecture) {
        let first = places[0].expect("the predictor was measured wherever anything was");
        let is_lowest = is_lowest(&places);
        let mut line =
            vec![first.operation_type.name().to_owned(), first.snapshots.to_string(), first.horizon.to_string()];
        line.extend(places.iter().map(|row| {
            row.map_or("-".to_owned(), |row| {
                let mark = if row.predictor == architecture && is_lowest { "*" } else { "" };
                format!("{mark}{:.3}", row.l1_relative_to_no_change)
            })
        }));
        table.push(line);
    }
    let families = evaluation.families.join(", ");
    let seeds = evaluation.seeds;
    format!(
        "\nL1 error relative to no change, mean over {families}, each left out in turn, {seeds} seeds; \
         * lower than every rival:\n{}",
        output::table(&table)
    )
}
