//! From runs to figures: means over seeds with their intervals, and what settings are chosen by.

use rewind_job::{LikelihoodRatio, Measured, Stop};
use serde::Serialize;

use crate::{ChooseBy, Compared, Interval, MethodResult, PRETRAINED, RETRAIN};

/// One figure of one method in one protocol, over training seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    pub protocol: String,
    pub method: String,
    /// `reference`, `forget-only` or `retain-using`.
    pub group: String,
    pub metric: &'static str,
    pub mean: f64,
    /// Ends of the 95 % interval of the mean; null of one seed.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Training seeds, each with the mean of its seeds of unlearning; of the likelihood-ratio attack, those that it
    /// learned from too.
    pub seeds: usize,
}

type Read = fn(&Measured) -> Option<f64>;
type ReadAttack = fn(&LikelihoodRatio) -> f64;

/// A metric: its name in results.json, its short and its long name in the report.
pub struct Metric {
    pub name: &'static str,
    pub short: &'static str,
    pub long: &'static str,
    pub read: Read,
}

pub const METRICS: [Metric; 18] = [
    Metric { name: "ra", short: "RA", long: "accuracy on the remaining data, %", read: |m| m.ra },
    Metric { name: "ua", short: "UA", long: "100 − accuracy on the forget data, %", read: |m| m.ua },
    Metric { name: "ta", short: "TA", long: "accuracy on test data, %", read: |m| m.ta },
    Metric {
        name: "mia",
        short: "MIA: SVC, confidence",
        long: "share of the forget data that a support-vector classifier on confidences calls non-member, %",
        read: |m| m.mia,
    },
    Metric {
        name: "mia-logistic",
        short: "MIA: logistic, loss",
        long: "how often a logistic regression on losses tells the forget data from held-out samples of the same classes, %; 50 is guessing",
        read: |m| m.loss_attack.as_ref()?.accuracy,
    },
    Metric {
        name: "forgotten-class-accuracy",
        short: "class, held-out",
        long: "accuracy on held-out samples of the class to forget, %",
        read: |m| m.forgotten_class_accuracy,
    },
    Metric {
        name: "backdoor-forget",
        short: "backdoor, forget data",
        long: "share of the forget data that get the label of the backdoor, %",
        read: |m| Some(m.backdoor?.forget),
    },
    Metric {
        name: "backdoor-held-out",
        short: "backdoor, held-out",
        long: "share of unseen images of other classes that get the label of the backdoor when the trigger is drawn on them, %",
        read: |m| m.backdoor?.held_out,
    },
    Metric {
        name: "mia-attack-accuracy",
        short: "attack",
        long: "balanced accuracy of the attack “SVC, confidence” on held-out members and non-members, %; near 50 its figure says nothing",
        read: |m| m.mia_attack_accuracy,
    },
    Metric {
        name: "clean-accuracy",
        short: "true labels",
        long: "accuracy on the forget data with the labels that its samples really have, %",
        read: |m| m.clean,
    },
    Metric {
        name: "best-ta-oracle",
        short: "best TA",
        long: "test accuracy of the round that is best on test data, %: an oracle’s choice",
        read: best_on_test,
    },
    Metric {
        name: "forget-loss",
        short: "forget loss",
        long: "mean cross-entropy on the forget data, nats",
        read: |m| m.forget_loss,
    },
    Metric {
        name: "test-loss",
        short: "test loss",
        long: "mean cross-entropy on test data, nats",
        read: |m| m.test_loss,
    },
    Metric {
        name: "forget-epochs",
        short: "epochs",
        long: "epochs over the forget data",
        read: |m| Some(m.forget_epochs),
    },
    Metric { name: "seconds", short: "time", long: "wall time of the rounds, s", read: |m| Some(m.seconds) },
    Metric {
        name: "device-seconds",
        short: "device time",
        long: "processor time of the rounds, summed over the workers, s",
        read: |m| m.rounds.last().map(|record| record.device_seconds),
    },
    Metric {
        name: "peak-megabytes",
        short: "memory",
        long: "the most memory that a worker held at once, the program itself included, MB",
        read: |m| m.rounds.last().map(|record| record.peak_memory as f64 / 1e6),
    },
    Metric {
        name: "megabytes",
        short: "moved",
        long: "megabytes that rank 0 sent",
        read: |m| Some(m.bytes_moved as f64 / 1e6),
    },
];

/// Read off the probes of each training seed.
const PROBED: [(&str, Read); 3] = [
    // Euclidean, from the network before unlearning. Retrain started from the same initial weights as that.
    ("distance", |m| m.distance),
    // Accuracy on forget data that the probe does not train on, after its first epoch and after its last, %.
    ("relearned-after-one-epoch", |m| m.relearning.as_ref()?.from_remaining.get(1).copied()),
    ("relearned", |m| m.relearning.as_ref()?.from_remaining.last().copied()),
];

/// Of the likelihood-ratio attack over all seeds: there is one figure, and no interval.
const ATTACKED: [(&str, ReadAttack); 3] = [
    ("likelihood-ratio-auc", |attack| attack.auc),
    ("likelihood-ratio-tpr-at-1", |attack| attack.at_1),
    ("likelihood-ratio-tpr-at-0.1", |attack| attack.at_01),
];

/// Name of the figure that is no metric of one run alone.
pub const AVERAGE_GAP: &str = "average-gap";

fn best_on_test(measured: &Measured) -> Option<f64> {
    measured.curve.iter().filter_map(|point| point.test_accuracy).reduce(f64::max)
}

/// Mean of |metric − Retrain's| over RA, UA, TA and MIA; none if one was not measured.
fn gap_to(retrain: &Measured, measured: &Measured) -> Option<f64> {
    mean_distance(retrain, measured, |m| m.ta)
}

/// The same with validation accuracy for test accuracy: what a choice may read.
fn validation_gap(retrain: &Measured, measured: &Measured) -> Option<f64> {
    mean_distance(retrain, measured, |m| m.va)
}

fn mean_distance(retrain: &Measured, measured: &Measured, held_out: Read) -> Option<f64> {
    let reads: [Read; 4] = [|m| m.ra, |m| m.ua, |m| m.mia, held_out];
    let distances = reads.map(|read| Some((read(measured)? - read(retrain)?).abs()));
    Some(distances.into_iter().collect::<Option<Vec<f64>>>()?.iter().sum::<f64>() / 4.0)
}

/// What a setting is chosen by; smaller is better. None: it is out, for it did not forget what was asked for.
pub fn merit(by: ChooseBy, stop: &Stop, measured: &Measured, retrain: Option<&Measured>) -> Option<f64> {
    let selected = measured.rounds.iter().find(|record| record.round == measured.selected);
    let has_forgotten = stop.wanted_ua().is_none_or(|wanted| measured.ua.is_some_and(|ua| ua >= wanted));
    let figure = match by {
        ChooseBy::AverageGap => return validation_gap(retrain?, measured).filter(|gap| gap.is_finite()),
        ChooseBy::ValidationAccuracy => measured.va.map(|accuracy| -accuracy),
        ChooseBy::ValidationLoss => selected.and_then(|record| record.number(rewind_job::Figure::VALIDATION_LOSS)),
    };
    figure.filter(|figure| figure.is_finite() && has_forgotten)
}

/// The mean over training seeds, each with the mean of its seeds of unlearning; none if a run lacks the figure.
pub fn mean_over(seeds: &[Vec<&Measured>], read: impl Fn(&Measured) -> Option<f64>) -> Option<Interval> {
    let of_seeds = seeds.iter().map(|runs| mean(runs.iter().map(|run| read(run))));
    Interval::of(&of_seeds.collect::<Option<Vec<f64>>>()?)
}

/// None of no values, or if one is lacking.
pub fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    Some(Interval::of(&values.collect::<Option<Vec<f64>>>()?)?.mean)
}

impl Compared {
    /// What a method left, by training seed in the order of the references, then by seed of unlearning.
    pub fn by_seed<'a>(&'a self, method: &'a MethodResult) -> Vec<Vec<&'a Measured>> {
        let of_seed = |seed: u64| method.runs.iter().filter(move |run| run.training_seed == seed);
        self.references.iter().map(|of| of_seed(of.training_seed).map(|run| &run.measured).collect()).collect()
    }

    /// The average gap of each training seed, in the order of the references.
    pub fn gaps(&self, method: &str) -> Option<Vec<f64>> {
        let method = self.methods.iter().find(|of| of.name == method)?;
        let seeds = self.references.iter().zip(self.by_seed(method));
        seeds.map(|(of, runs)| mean(runs.into_iter().map(|run| gap_to(of.retrain.as_ref()?, run)))).collect()
    }

    /// Every contestant with its group and its networks by training seed, references first.
    pub fn contestants(&self) -> Vec<(&str, &str, Vec<Vec<&Measured>>)> {
        let references = self.references.iter();
        let retrain: Vec<_> = references.clone().filter_map(|of| Some(vec![of.retrain.as_ref()?])).collect();
        let mut all = vec![(PRETRAINED, "reference", references.map(|of| vec![&of.pretrained]).collect())];
        if !retrain.is_empty() {
            all.push((RETRAIN, "reference", retrain));
        }
        let methods = self.methods.iter();
        all.extend(methods.map(|method| (method.name.as_str(), method.group.as_str(), self.by_seed(method))));
        all
    }
}

/// Every figure of a comparison.
pub fn figures(compared: &Compared) -> Vec<Figure> {
    let mut figures = Vec::new();
    let comparison = &compared.comparison;
    for (method, group, networks) in compared.contestants() {
        let mut add = |metric, interval: Option<Interval>, seeds: usize| {
            if let Some(Interval { mean, low, high }) = interval {
                let (protocol, method, group) = (comparison.name.clone(), method.to_owned(), group.to_owned());
                figures.push(Figure { protocol, method, group, metric, mean, low, high, seeds });
            }
        };
        for metric in &METRICS {
            add(metric.name, mean_over(&networks, metric.read), networks.len());
        }
        let gaps = match method {
            PRETRAINED => compared.references.iter().map(|of| gap_to(of.retrain.as_ref()?, &of.pretrained)).collect(),
            RETRAIN => None,
            _ => compared.gaps(method),
        };
        let gaps: Vec<f64> = gaps.unwrap_or_default();
        add(AVERAGE_GAP, Interval::of(&gaps), gaps.len());
        let probed = compared.probed.iter().filter_map(|of| of.networks.iter().find(|of| of.name == method));
        let probed: Vec<Vec<&Measured>> = probed.map(|measured| vec![measured]).collect();
        for (name, read) in PROBED {
            add(name, mean_over(&probed, read), probed.len());
        }
        let attack = compared.likelihood.iter().find(|of| of.name == method).map(|of| &of.attack);
        for (name, read) in ATTACKED {
            let seeds = comparison.training_seeds.len() + comparison.shadow_seeds.len();
            add(name, attack.map(|attack| Interval { mean: read(attack), low: None, high: None }), seeds);
        }
    }
    figures
}

/// Writes figures for spreadsheets (RFC 4180).
pub fn csv(figures: &[Figure]) -> String {
    let mut text = "protocol,method,group,metric,mean,low,high,seeds\n".to_owned();
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for Figure { protocol, method, group, metric, mean, low, high, seeds } in figures {
        let (protocol, method) = (quoted(protocol), quoted(method));
        text += &format!("{protocol},{method},{group},{metric},{mean},{},{},{seeds}\n", number(*low), number(*high));
    }
    text
}

/// RFC 4180.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// Cells of a table: the heads, then one line a contestant.
pub fn cells(compared: &Compared) -> Vec<Vec<String>> {
    let figures = figures(compared);
    // The first ones stand whatever was measured.
    let always =
        [("ra", "ra"), ("ua", "ua"), ("ta", "ta"), ("mia", "mia: svc, confidence"), (AVERAGE_GAP, AVERAGE_GAP)];
    let further = [
        ("mia-logistic", "mia: logistic, loss"),
        ("forgotten-class-accuracy", "class, held-out"),
        ("backdoor-held-out", "backdoor, held-out"),
        ("clean-accuracy", "clean-accuracy"),
        ("forget-epochs", "forget-epochs"),
    ];
    let is_measured = |(metric, _): &(&str, &str)| figures.iter().any(|figure| figure.metric == *metric);
    let columns: Vec<(&str, &str)> = always.into_iter().chain(further.into_iter().filter(is_measured)).collect();
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(columns.iter().map(|(_, head)| (*head).to_owned()));
    for (method, _, _) in compared.contestants() {
        let mut row = vec![method.to_owned()];
        for (column, _) in &columns {
            let found = figures.iter().find(|figure| figure.method == method && figure.metric == *column);
            row.push(found.map_or("-".to_owned(), |figure| match figure.high {
                Some(high) => format!("{:.1} ± {:.1}", figure.mean, high - figure.mean),
                None => format!("{:.1}", figure.mean),
            }));
        }
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(ra: f64, ua: f64, ta: f64, mia: f64, va: f64) -> Measured {
        serde_json::from_value(serde_json::json!({
            "name": "m", "method": "neg-grad", "group": "forget-only", "ra": ra, "ua": ua, "ta": ta, "va": va, "mia": mia,
            "mia_attack_accuracy": 60.0, "average_gap": null, "seconds": 1.0, "forget_epochs": 2.0, "bytes_moved": 0,
            "selected": 1, "weights": "00", "curve": [],
            "rounds": [{ "round": 1, "loss": 0.5, "forget_accuracy": null, "validation_accuracy": va,
                         "validation_loss": 0.25, "weight_change": 0.0, "seconds": 1.0, "forget_epochs": 2.0,
                         "bytes_moved": 0 }],
        }))
        .expect("is a measured step")
    }

    #[test]
    fn a_choice_reads_validation_data_and_the_figure_test_data() {
        let retrain = measured(100.0, 4.0, 96.0, 30.0, 97.0);
        let ours = measured(98.0, 5.0, 90.0, 33.0, 96.0);
        // (2 + 1 + 3 + 6) / 4 on test data, (2 + 1 + 3 + 1) / 4 on validation data.
        assert_eq!(gap_to(&retrain, &ours), Some(3.0));
        assert_eq!(merit(ChooseBy::AverageGap, &Stop::after(3), &ours, Some(&retrain)), Some(1.75));
        assert_eq!(merit(ChooseBy::ValidationAccuracy, &Stop::after(3), &ours, Some(&retrain)), Some(-96.0));
        assert_eq!(merit(ChooseBy::ValidationLoss, &Stop::after(3), &ours, Some(&retrain)), Some(0.25));
        let wanted = Stop { ua_at_least: Some(50.0), ..Stop::after(3) };
        assert_eq!(merit(ChooseBy::ValidationAccuracy, &wanted, &ours, Some(&retrain)), None, "it has not forgotten");
        assert!(merit(ChooseBy::AverageGap, &wanted, &ours, Some(&retrain)).is_some(), "its gap says so");
    }

    #[test]
    fn names_are_quoted_for_spreadsheets() {
        assert_eq!(quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(quoted("label noise"), "label noise");
    }
}
