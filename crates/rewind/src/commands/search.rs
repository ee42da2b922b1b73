//! `rewind demo --search`: the same number of tries for rewinding and for task-vector, chosen on validation data.

use std::path::Path;

use rewind_job::{Action, Figure, Lambda, Method, Optimiser, Report, Specification, Step, Unlearn};
use serde::Serialize;

use rewind_client::Client;

use crate::{
    arguments::Grid,
    commands::follow::{finished, follow},
    error::Error,
    output,
    screen::Screen,
};

const METHODS: [&str; 2] = ["task-vector", "rewinding"];

/// One grid point, averaged over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Try {
    method: &'static str,
    learning_rate: f64,
    /// λ of task-vector, scale of rewinding.
    scale: f64,
    /// Percent; null when no seed gave a figure.
    best_validation_accuracy: Option<f64>,
    /// Round of the best one, of the first seed.
    round: u32,
    by_seed: Vec<Best>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Best {
    seed: u64,
    best_validation_accuracy: Option<f64>,
    round: u32,
}

/// Runs one job a seed, writes OUT/demo-search.json, and returns what to print.
pub async fn search(
    client: &mut Client,
    base: &Specification,
    grid: &Grid,
    out: &Path,
    screen: &Screen,
) -> Result<String, Error> {
    let mut tries = tries(grid)?;
    let specification = expand(base, &tries)?;
    for seed in &grid.seeds {
        let specification = Specification { seed: *seed, ..specification.clone() };
        let job = client.submit(&specification).await?;
        screen.say(&format!("seed {seed}: {job} tries {} settings of each method", tries.len() / METHODS.len()));
        finished(&follow(client, &job, screen).await?)?;
        let (report, _) = client.report(&job).await?;
        for (index, point) in tries.iter_mut().enumerate() {
            point.by_seed.push(best(&report, &step_name(index, point), *seed));
        }
    }
    tries.iter_mut().for_each(average);
    let chosen: Vec<Try> = METHODS.iter().filter_map(|method| choose(&tries, method)).collect();

    let log = serde_json::json!({
        "chosen_by": "best validation accuracy, mean over seeds; test data was not read",
        "grid": {
            "learning_rates": grid.learning_rates,
            "task_vector_lambdas": grid.lambdas,
            "rewinding_scales": grid.scales,
            "seeds": grid.seeds,
            "tries_a_method": tries.len() / METHODS.len(),
            "rounds": rounds(base),
        },
        "results": tries,
        "chosen": chosen,
    });
    let file = out.join("demo-search.json");
    std::fs::create_dir_all(out).map_err(Error::file("create", out))?;
    let text = serde_json::to_string_pretty(&log).unwrap_or_default() + "\n";
    std::fs::write(&file, text).map_err(Error::file("write", &file))?;
    Ok(describe(&tries, &chosen, &file))
}

fn tries(grid: &Grid) -> Result<Vec<Try>, Error> {
    if grid.lambdas.len() != grid.scales.len() {
        return Err(Error::Usage(format!(
            "--lambdas has {} values and --scales {}: both methods must get the same number of tries",
            grid.lambdas.len(),
            grid.scales.len()
        )));
    }
    let mut tries = Vec::new();
    for (method, scales) in METHODS.into_iter().zip([&grid.lambdas, &grid.scales]) {
        for &scale in scales {
            for &learning_rate in &grid.learning_rates {
                tries.push(Try {
                    method,
                    learning_rate,
                    scale,
                    best_validation_accuracy: None,
                    round: 0,
                    by_seed: Vec::new(),
                });
            }
        }
    }
    Ok(tries)
}

fn step_name(index: usize, point: &Try) -> String {
    format!("{} {}: scale {}, learning rate {:e}", index + 1, point.method, point.scale, point.learning_rate)
}

/// Pretrains once, then one unlearning step a try; no evaluation, so test data stays unread.
fn expand(base: &Specification, tries: &[Try]) -> Result<Specification, Error> {
    let pretrain = base.steps.iter().find(|step| matches!(step.action, Action::Pretrain(_)));
    let mut steps: Vec<Step> = pretrain.cloned().into_iter().collect();
    for (index, point) in tries.iter().enumerate() {
        let template = base.steps.iter().find_map(|step| match &step.action {
            Action::Unlearn(unlearn) if step.name == point.method => Some(unlearn.clone()),
            _ => None,
        });
        let mut unlearn: Unlearn = template
            .ok_or_else(|| Error::Specification(format!("the demonstration has no step `{}`", point.method)))?;
        match &mut unlearn.forward.optimiser {
            Optimiser::Sgd(sgd) => sgd.learning_rate = point.learning_rate,
            Optimiser::Adam(adam) => adam.learning_rate = point.learning_rate,
            Optimiser::Adamw(adamw) => adamw.learning_rate = point.learning_rate,
        }
        match &mut unlearn.method {
            Method::TaskVector(task_vector) => task_vector.lambda = Lambda::One(point.scale),
            Method::Rewinding(rewinding) => rewinding.scale = point.scale,
            _ => {}
        }
        steps.push(Step { name: step_name(index, point), action: Action::Unlearn(unlearn) });
    }
    let name = format!("search: {}", base.name);
    let specification = Specification { name, steps, search_log: None, ..base.clone() };
    specification.check().map_err(|error| Error::Specification(error.to_string()))?;
    Ok(specification)
}

/// The best round of a step; of equal ones the earliest.
fn best(report: &Report, step: &str, seed: u64) -> Best {
    let records = report.methods.iter().filter(|method| method.name == step).flat_map(|method| &method.rounds);
    let best = records
        .filter_map(|record| record.number(Figure::VALIDATION_ACCURACY).map(|v| (v, record.round.0)))
        .reduce(|best, next| if next.0 > best.0 { next } else { best });
    Best {
        seed,
        best_validation_accuracy: best.map(|(accuracy, _)| accuracy),
        round: best.map_or(0, |(_, round)| round),
    }
}

fn average(point: &mut Try) {
    let accuracies: Vec<f64> = point.by_seed.iter().filter_map(|best| best.best_validation_accuracy).collect();
    point.round = point.by_seed.first().map_or(0, |best| best.round);
    // A seed without a figure must not make the others look better.
    point.best_validation_accuracy = (!accuracies.is_empty() && accuracies.len() == point.by_seed.len())
        .then(|| accuracies.iter().sum::<f64>() / accuracies.len() as f64);
}

/// The highest accuracy; of equal ones the first in the grid's order.
fn choose(tries: &[Try], method: &str) -> Option<Try> {
    tries
        .iter()
        .filter(|point| point.method == method && point.best_validation_accuracy.is_some())
        .reduce(|best, next| if next.best_validation_accuracy > best.best_validation_accuracy { next } else { best })
        .cloned()
}

fn rounds(base: &Specification) -> Option<u32> {
    base.steps.iter().find_map(|step| match &step.action {
        Action::Unlearn(unlearn) if METHODS.contains(&step.name.as_str()) => Some(unlearn.stop.rounds),
        _ => None,
    })
}

fn describe(tries: &[Try], chosen: &[Try], file: &Path) -> String {
    let head = ["method", "λ or scale", "learning rate", "best validation %", "round", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for point in tries {
        rows.push(vec![
            point.method.to_owned(),
            point.scale.to_string(),
            format!("{:e}", point.learning_rate),
            rewind_page::decimal(point.best_validation_accuracy, 2),
            point.round.to_string(),
            if chosen.contains(point) { "← chosen".to_owned() } else { String::new() },
        ]);
    }
    let lines: String = chosen
        .iter()
        .map(|point| {
            let setting = if point.method == "task-vector" { "lambda" } else { "scale" };
            format!(
                "\n# step \"{}\": in forward.optimiser.adam, and in its method\nlearning-rate = {:e}\n{setting} = {:?}\n",
                point.method, point.learning_rate, point.scale
            )
        })
        .collect();
    format!("\n{}\n\nFor examples/demo.toml:\n{lines}\nThe log: {}", output::table(&rows), file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid {
            learning_rates: vec![1e-4, 1e-3],
            lambdas: vec![0.2, 0.3, 0.5],
            scales: vec![0.5, 1.0, 2.0],
            seeds: vec![1],
        }
    }

    #[test]
    fn both_methods_get_the_same_number_of_tries_and_test_data_stays_unread() {
        let base = Specification::parse(include_str!("../../../../examples/demo.toml"), Path::new("examples")).unwrap();
        let tries = tries(&grid()).unwrap();
        let job = expand(&base, &tries).unwrap();
        let of = |name| {
            job.steps
                .iter()
                .filter(|step| matches!(&step.action, Action::Unlearn(u) if u.method.name() == name))
                .count()
        };
        assert_eq!((of("task-vector"), of("rewinding")), (6, 6));
        assert!(!job.steps.iter().any(|step| matches!(step.action, Action::Evaluate(_) | Action::Retrain(_))));
        assert_eq!(job.steps.len(), 13);
        let Action::Unlearn(last) = &job.steps[12].action else { panic!("unlearn") };
        assert_eq!(last.forward.optimiser.learning_rate(), 1e-3);
        assert!(matches!(&last.method, Method::Rewinding(rewinding) if rewinding.scale == 2.0));
    }

    #[test]
    fn unequal_grids_are_refused() {
        let error = tries(&Grid { scales: vec![1.0], ..grid() }).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn the_best_mean_over_seeds_is_chosen_and_a_missing_seed_disqualifies() {
        let mut tries = tries(&grid()).unwrap();
        for (index, point) in tries.iter_mut().enumerate() {
            let value = [90.0, 94.0, 91.0, 99.0, 94.0, 80.0][index % 6];
            point.by_seed = vec![
                Best { seed: 1, best_validation_accuracy: Some(value), round: 3 },
                Best { seed: 2, best_validation_accuracy: (value < 99.0).then_some(value - 1.0), round: 4 },
            ];
            average(point);
        }
        let chosen = choose(&tries, "task-vector").unwrap();
        assert_eq!((chosen.scale, chosen.learning_rate, chosen.round), (0.2, 1e-3, 3));
        assert_eq!(chosen.best_validation_accuracy, Some(93.5));
        assert_eq!(choose(&tries, "nobody"), None);
    }
}
