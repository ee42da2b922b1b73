//! Quality of unlearning: the predictor and the Task Vectors fitted on the same histories, each with the same tries.

use rewind_job::{
    Action, Digest, Figure, FittedRivals, Lambda, LambdaOfType, LambdaPerOperation, Measured, Method, OperationType,
    PredictorReport, Report, Rewinding, Source, Specification, Step, TaskVector, TrainPredictor, Unlearn,
};
use serde::Serialize;

use crate::Interval;

const METHODS: [&str; 4] = ["predictor", "task-vector", "task-vector-per-operation", "task-vector-per-layer"];

/// One method with one factor in one protocol; accuracies in percent, of the round that was selected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnlearningRow {
    /// The specification's name.
    pub protocol: String,
    /// The predictor's architecture, a fitted Task Vector, `pretrained` or `retrain`.
    pub method: String,
    /// On everything that the method takes back in a round: one of --factors times the protocol's scale.
    pub factor: Option<f64>,
    pub seeds: usize,
    /// Seeds in which the wanted forgetting was reached, where the protocol asks for one.
    pub reached: Option<usize>,
    pub validation_accuracy: Option<Interval>,
    pub test_accuracy: Option<Interval>,
    /// On the forget data, with the labels that were trained with.
    pub forget_accuracy: Option<Interval>,
    /// On the forget data, with the labels that its samples really have.
    pub clean_accuracy: Option<Interval>,
    /// Whether this factor is the method's choice: most seeds that reached the wanted forgetting, then the best mean
    /// validation accuracy.
    pub chosen: bool,
    /// Of the chosen factors: test accuracy minus that of the Task Vector that validation puts first, by pairs of seeds.
    pub over_best_task_vector: Option<Interval>,
    #[serde(skip)]
    test_by_seed: Vec<f64>,
}

/// The one rewinding step of a protocol: what every method does like it.
fn template(protocol: &Specification) -> Result<(&Unlearn, &Rewinding), String> {
    let mut found = protocol.steps.iter().filter_map(|step| match &step.action {
        Action::Unlearn(unlearn) => match &unlearn.method {
            Method::Rewinding(rewinding) => Some((unlearn, rewinding)),
            _ => None,
        },
        _ => None,
    });
    let first = found.next().ok_or("step: needs one that unlearns by rewinding; the other methods are made like it")?;
    if found.next().is_some() {
        return Err("step: must have only one that unlearns by rewinding".into());
    }
    Ok(first)
}

/// Checks that predictors as wanted can unlearn as the protocol does.
///
/// # Errors
/// What the protocol lacks.
pub fn check_protocol(wanted: &TrainPredictor, protocol: &Specification) -> Result<(), String> {
    let (_, rewinding) = template(protocol)?;
    let (snapshots, horizon) = (rewinding.trajectory.snapshots, rewinding.horizon);
    if !wanted.snapshots.contains(&snapshots) || !wanted.horizons.contains(&horizon) {
        return Err(format!(
            "step: its rewinding reads {snapshots} snapshots and looks {horizon} epochs back, but the predictor is \
             trained for snapshots {:?} and horizons {:?}",
            wanted.snapshots, wanted.horizons
        ));
    }
    match protocol.data.split {
        Some(_) => Ok(()),
        None => Err("data.split: is needed, to choose factors by validation data and to measure on test data".into()),
    }
}

/// The predictor that one seed made of all that a specification trains on.
#[derive(Debug)]
pub struct Trained {
    pub seed: u64,
    pub report: PredictorReport,
    pub weights: Digest,
}

/// Turns factors around the protocol's own scale into what is multiplied with.
pub fn scale_factors(protocol: &Specification, factors: &[f64]) -> Vec<f64> {
    let scale = template(protocol).map_or(1.0, |(_, rewinding)| rewinding.scale);
    factors.iter().map(|factor| factor * scale).collect()
}

fn step_name(method: &str, factor: f64) -> String {
    format!("{method} × {factor}")
}

/// The protocol with the seed's predictor and Task Vectors, each with every factor.
///
/// # Errors
/// What the protocol or the predictor lacks.
pub fn expand_protocol(protocol: &Specification, of: &Trained, factors: &[f64]) -> Result<Specification, String> {
    let (template, rewinding) = template(protocol)?;
    let fits: Vec<&FittedRivals> = (of.report.fits.iter())
        .filter(|fit| (fit.snapshots, fit.horizon) == (rewinding.trajectory.snapshots, rewinding.horizon))
        .collect();
    let mut steps: Vec<Step> = Vec::new();
    for step in &protocol.steps {
        let Action::Unlearn(unlearn) = &step.action else {
            steps.push(step.clone());
            continue;
        };
        if unlearn != template {
            steps.push(step.clone());
            continue;
        }
        for &factor in factors {
            for name in METHODS {
                let method = match name {
                    "predictor" => Method::Rewinding(Rewinding {
                        predictor: Source::Artifact(of.weights.clone()),
                        scale: factor,
                        ..rewinding.clone()
                    }),
                    _ => Method::TaskVector(TaskVector {
                        lambda: lambda(name, &fits, factor).ok_or("no λ was fitted for an operation type")?,
                        trajectory: rewinding.trajectory.clone(),
                    }),
                };
                let unlearn = Unlearn { method, ..unlearn.clone() };
                steps.push(Step { name: step_name(name, factor), action: Action::Unlearn(unlearn) });
            }
        }
    }
    let mut data = protocol.data.clone();
    data.forget = data.forget.with_seed(of.seed);
    let specification = Specification { seed: of.seed, steps, data, ..protocol.clone() };
    specification.check().map_err(|error| error.to_string())?;
    Ok(specification)
}

/// λ as fitted on the predictor's histories, times the factor.
fn lambda(method: &str, fits: &[&FittedRivals], factor: f64) -> Option<Lambda> {
    if method == "task-vector" {
        return fits.first().map(|fit| Lambda::One(factor * fit.one));
    }
    let of_type = |operation| {
        let fit = fits.iter().find(|fit| fit.operation == operation)?;
        Some(match method {
            "task-vector-per-layer" => LambdaOfType::Thirds(fit.per_layer.map(|lambda| factor * lambda)),
            _ => LambdaOfType::All(factor * fit.per_operation),
        })
    };
    Some(Lambda::PerOperation(LambdaPerOperation {
        convolution: of_type(OperationType::Convolution)?,
        fully_connected: of_type(OperationType::FullyConnected)?,
        bias: of_type(OperationType::Bias)?,
    }))
}

/// One row a method and factor; one report a seed.
pub fn unlearning_rows(
    protocol: &Specification,
    architecture: &str,
    factors: &[f64],
    reports: &[Report],
) -> Vec<UnlearningRow> {
    let wanted = template(protocol).ok().and_then(|(unlearn, _)| unlearn.stop.ua_at_least);
    let row = |method: &str, factor, measured: &[&Measured]| {
        let over = |of: &dyn Fn(&Measured) -> Option<f64>| {
            let values: Vec<f64> = measured.iter().filter_map(|measured| of(measured)).collect();
            if values.len() == measured.len() { Interval::of(&values) } else { None }
        };
        let reached = |ua: f64| measured.iter().filter(|measured| measured.ua.is_some_and(|found| found >= ua)).count();
        UnlearningRow {
            protocol: protocol.name.clone(),
            method: method.to_owned(),
            factor,
            seeds: measured.len(),
            reached: wanted.filter(|_| factor.is_some()).map(reached),
            validation_accuracy: over(&validation_of),
            test_accuracy: over(&|measured| measured.ta),
            forget_accuracy: over(&|measured| Some(100.0 - measured.ua?)),
            clean_accuracy: over(&|measured| measured.clean),
            chosen: false,
            over_best_task_vector: None,
            test_by_seed: measured.iter().filter_map(|measured| measured.ta).collect(),
        }
    };
    let mut rows = Vec::new();
    for (name, of) in [
        ("pretrained", (|report: &Report| report.pretrained.as_ref()) as fn(&Report) -> Option<&Measured>),
        ("retrain", |report: &Report| report.retrain.as_ref()),
    ] {
        let measured: Vec<&Measured> = reports.iter().filter_map(of).collect();
        if !measured.is_empty() {
            rows.push(row(name, None, &measured));
        }
    }
    for name in METHODS {
        let shown = if name == "predictor" { architecture } else { name };
        let begun = rows.len();
        for &factor in factors {
            let step = step_name(name, factor);
            let of_step = |report: &'_ Report| report.methods.iter().position(|method| method.name == step);
            let measured: Vec<&Measured> =
                reports.iter().filter_map(|report| of_step(report).map(|at| &report.methods[at])).collect();
            rows.push(row(shown, Some(factor), &measured));
        }
        choose(&mut rows[begun..]);
    }
    compare(&mut rows);
    rows
}

/// Validation accuracy of the round that was selected.
fn validation_of(measured: &Measured) -> Option<f64> {
    let selected = measured.rounds.iter().find(|record| record.round == measured.selected);
    selected.and_then(|record| record.number(Figure::VALIDATION_ACCURACY))
}

fn merit(row: &UnlearningRow) -> (usize, f64) {
    (row.reached.unwrap_or(0), row.validation_accuracy.map_or(f64::NEG_INFINITY, |interval| interval.mean))
}

fn choose(rows: &mut [UnlearningRow]) {
    let better = |one: &UnlearningRow, other: &UnlearningRow| {
        let (one, other) = (merit(one), merit(other));
        one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
    };
    let best = (0..rows.len()).reduce(|best, next| if better(&rows[next], &rows[best]).is_gt() { next } else { best });
    if let Some(best) = best {
        rows[best].chosen = true;
    }
}

fn compare(rows: &mut [UnlearningRow]) {
    let task_vectors = rows.iter().filter(|row| row.chosen && row.method.starts_with("task-vector"));
    let best = task_vectors.reduce(|best, next| {
        let (one, other) = (merit(next), merit(best));
        if one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)).is_gt() { next } else { best }
    });
    let Some(reference) = best.map(|row| row.test_by_seed.clone()) else { return };
    for row in rows.iter_mut().filter(|row| row.chosen) {
        let differences: Vec<f64> = row.test_by_seed.iter().zip(&reference).map(|(one, other)| one - other).collect();
        row.over_best_task_vector = Interval::of(&differences);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: &str, factor: f64, reached: usize, validation: f64, test: &[f64]) -> UnlearningRow {
        UnlearningRow {
            protocol: "p".into(),
            method: method.into(),
            factor: Some(factor),
            seeds: test.len(),
            reached: Some(reached),
            validation_accuracy: Interval::of(&[validation]),
            test_accuracy: Interval::of(test),
            forget_accuracy: None,
            clean_accuracy: None,
            chosen: false,
            over_best_task_vector: None,
            test_by_seed: test.to_vec(),
        }
    }

    #[test]
    fn factors_are_chosen_by_what_was_reached_and_then_by_validation_and_never_by_test_data() {
        let mut rows =
            [row("a", 0.1, 2, 90.0, &[99.0]), row("a", 0.2, 3, 80.0, &[70.0]), row("a", 0.4, 3, 85.0, &[60.0])];
        choose(&mut rows);
        assert_eq!(rows.map(|row| row.chosen), [false, false, true]);
    }

    #[test]
    fn methods_are_compared_with_the_task_vector_that_validation_puts_first() {
        let mut rows = [
            row("conditioned", 0.1, 0, 91.0, &[90.0, 92.0]),
            row("task-vector", 0.1, 0, 90.0, &[89.0, 90.0]),
            row("task-vector-per-layer", 0.1, 0, 89.0, &[95.0, 96.0]),
        ];
        rows.iter_mut().for_each(|row| row.chosen = true);
        compare(&mut rows);
        let means = rows.map(|row| row.over_best_task_vector.expect("chosen").mean);
        assert_eq!(means, [1.5, 0.0, 6.0]);
    }
}
