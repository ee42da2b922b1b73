//! Errors on histories: each family is left out in turn, with every seed.

use std::collections::BTreeMap;

use rewind_job::{OperationType, PredictorError, PredictorReport};
use serde::Serialize;

use crate::Interval;

/// What is compared, as rows name it; the predictor itself has the name of its architecture.
pub const METHODS: [&str; 7] = [
    "predictor",
    "no-change",
    "linear-extrapolation",
    "task-vector",
    "task-vector-per-operation",
    "task-vector-per-layer",
    "task-vector-oracle",
];

/// Those of which the predictor has to be better: everything that could be used without knowing the answer.
pub const RIVALS: std::ops::Range<usize> = 1..6;

/// The L1 error of one method on the histories of one family that was left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorRow {
    /// The predictor's architecture, or one of [`METHODS`].
    pub predictor: String,
    pub operation_type: OperationType,
    /// `K`.
    pub snapshots: u32,
    /// `U`.
    pub horizon: u32,
    /// The family, or `all`: the mean over families.
    pub held_out: String,
    /// Mean over seeds.
    pub l1_relative_to_no_change: f64,
    /// 95 %, over seeds.
    pub interval: Option<[f64; 2]>,
    pub seeds: usize,
    /// Of `all` alone: the predictor's error minus this one's, and its 95 % interval over families.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictor_minus_this: Option<Interval>,
}

/// Operation type, `K`, `U`.
type Place = (OperationType, u32, u32);

/// Errors by place, method, family, one a seed.
#[derive(Debug, Default)]
pub struct Errors(BTreeMap<Place, BTreeMap<usize, BTreeMap<String, Vec<f64>>>>);

impl Errors {
    /// Takes in what a predictor that one seed trained without a family does on that family.
    pub fn add(&mut self, family: &str, report: &PredictorReport) {
        for row in &report.errors {
            for (method, error) in all_of(row) {
                self.note((row.operation, row.snapshots, row.horizon), method, family, error);
            }
        }
    }

    fn note(&mut self, place: Place, method: usize, family: &str, error: f64) {
        let of_place = self.0.entry(place).or_default();
        of_place.entry(method).or_default().entry(family.to_owned()).or_default().push(error);
    }

    /// Means over seeds of each family, and of all families; `predictor` names the predictor's own rows.
    pub fn rows(&self, predictor: &str) -> Vec<ErrorRow> {
        let mut rows = Vec::new();
        for (&(operation_type, snapshots, horizon), methods) in &self.0 {
            for (&method, families) in methods {
                let row = |held_out: &str, values: &[f64], predictor_minus_this| {
                    let interval = Interval::of(values)?;
                    Some(ErrorRow {
                        predictor: if method == 0 { predictor.to_owned() } else { METHODS[method].to_owned() },
                        operation_type,
                        snapshots,
                        horizon,
                        held_out: held_out.to_owned(),
                        l1_relative_to_no_change: interval.mean,
                        interval: interval.low.zip(interval.high).map(|(low, high)| [low, high]),
                        seeds: values.len(),
                        predictor_minus_this,
                    })
                };
                rows.extend(families.iter().filter_map(|(family, values)| row(family, values, None)));
                let difference = Interval::of(&differences(&methods[&0], families)).filter(|_| method > 0);
                rows.extend(row("all", &over_families(families), difference));
            }
        }
        rows
    }
}

/// Each method's error, by its place in [`METHODS`].
fn all_of(row: &PredictorError) -> impl Iterator<Item = (usize, f64)> {
    let errors = [
        Some(row.predictor),
        Some(1.0),
        Some(row.linear_extrapolation),
        Some(row.task_vector.error),
        Some(row.task_vector_per_operation.error),
        row.task_vector_per_layer,
        row.oracle,
    ];
    errors.into_iter().enumerate().filter_map(|(method, error)| error.map(|error| (method, error)))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// One value a seed: the mean over families.
fn over_families(families: &BTreeMap<String, Vec<f64>>) -> Vec<f64> {
    let seeds = families.values().map(Vec::len).min().unwrap_or(0);
    (0..seeds).map(|seed| mean(&families.values().map(|values| values[seed]).collect::<Vec<_>>())).collect()
}

/// One value a family: the first's mean over seeds minus the other's.
fn differences(first: &BTreeMap<String, Vec<f64>>, other: &BTreeMap<String, Vec<f64>>) -> Vec<f64> {
    let both = first.iter().filter_map(|(family, values)| Some((values, other.get(family)?)));
    both.map(|(values, others)| mean(values) - mean(others)).collect()
}

/// One place's rows over all families, in the order of [`METHODS`].
pub type Cells<'a> = [Option<&'a ErrorRow>; METHODS.len()];

/// Whether the predictor's error is below that of every rival.
pub fn is_lowest(cells: &Cells) -> bool {
    let error = |row: &ErrorRow| row.l1_relative_to_no_change;
    cells[0].is_some_and(|own| cells[RIVALS].iter().flatten().all(|rival| error(own) < error(rival)))
}

/// Whether the intervals over families say so too.
pub fn is_surely_lowest(cells: &Cells) -> bool {
    let is_below = |rival: &&ErrorRow| {
        rival.predictor_minus_this.and_then(|difference| difference.high).is_some_and(|high| high < 0.0)
    };
    cells[RIVALS].iter().flatten().all(is_below)
}

/// The rows over all families, by place.
pub fn cells<'a>(errors: &'a [ErrorRow], architecture: &str) -> Vec<Cells<'a>> {
    let mut places: BTreeMap<Place, Cells<'a>> = BTreeMap::new();
    for row in errors.iter().filter(|row| row.held_out == "all") {
        let method = METHODS.iter().position(|&name| name == row.predictor);
        let method = if row.predictor == architecture { Some(0) } else { method };
        if let Some(method) = method {
            places.entry((row.operation_type, row.snapshots, row.horizon)).or_default()[method] = Some(row);
        }
    }
    places.into_values().filter(|cells| cells[0].is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_means_over_seeds_and_differences_are_over_families() {
        let place = (OperationType::Bias, 5, 8);
        let mut errors = Errors::default();
        for (family, of_seeds) in [("lenet", [0.8, 0.9]), ("mlp", [0.6, 0.7])] {
            for error in of_seeds {
                for (method, error) in [(0, error), (3, 0.9)] {
                    errors.note(place, method, family, error);
                }
            }
        }
        let rows = errors.rows("conditioned");
        assert_eq!(rows.len(), 6);
        let find = |predictor: &str, held_out: &str| {
            rows.iter().find(|row| row.predictor == predictor && row.held_out == held_out).expect("a row")
        };
        let close = |one: f64, other: f64| (one - other).abs() < 1e-12;
        assert!(close(find("conditioned", "mlp").l1_relative_to_no_change, 0.65));
        let all = find("conditioned", "all");
        assert!(close(all.l1_relative_to_no_change, 0.75) && all.seeds == 2);
        let [low, high] = all.interval.expect("two seeds");
        // t with 1 degree of freedom: 12.706; the seeds' means are 0.7 and 0.8.
        assert!((high - low - 2.0 * 12.706 * 0.05).abs() < 1e-3);
        // -0.05 on lenet and -0.25 on mlp.
        let difference = find("task-vector", "all").predictor_minus_this.expect("two families");
        assert!(close(difference.mean, -0.15), "{difference:?}");
        assert_eq!(find("task-vector", "mlp").interval, Some([0.9, 0.9]));
        let cells = cells(&rows, "conditioned");
        assert!(cells.len() == 1 && cells[0][0].is_some() && cells[0][3].is_some() && cells[0][1].is_none());
    }
}
