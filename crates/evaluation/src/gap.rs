//! How far a result is from the retrained reference.

use rewind_job::{Measured, Recovered, Report};

/// Mean of |metric − Retrain's| over UA, RA, TA and MIA; none if one of them was not measured.
pub fn average_gap(measured: &Measured, retrain: &Measured) -> Option<f64> {
    let metrics = |m: &Measured| Some([m.ua?, m.ra?, m.ta?, m.mia?]);
    let (ours, theirs) = (metrics(measured)?, metrics(retrain)?);
    Some(ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).sum::<f64>() / 4.0)
}

/// Fills in the average gap of every result; without Retrain nothing changes.
pub fn fill_gaps(report: &mut Report) {
    let Some(retrain) = report.retrain.clone() else {
        return;
    };
    let results = report.pretrained.iter_mut().chain(&mut report.retrain).chain(&mut report.methods);
    for measured in results {
        measured.average_gap = average_gap(measured, &retrain);
    }
}

/// For each method the share of what Retrain gains in test accuracy over the pretrained weights, in percent:
/// for its selected round, and for the best round on test data (an oracle's choice).
/// Empty where Retrain gains nothing; methods without test accuracy are left out, and so are references, whose weights
/// were given.
pub fn recovered(report: &Report) -> Vec<Recovered> {
    let accuracy = |measured: &Option<Measured>| measured.as_ref().and_then(|m| m.ta);
    let (Some(start), Some(goal)) = (accuracy(&report.pretrained), accuracy(&report.retrain)) else {
        return Vec::new();
    };
    if goal <= start {
        return Vec::new();
    }
    let percent = |accuracy: f64| 100.0 * (accuracy - start) / (goal - start);
    report
        .methods
        .iter()
        .filter(|measured| measured.group != "reference")
        .filter_map(|method| {
            let best = method.curve.iter().filter_map(|point| point.test_accuracy).fold(f64::MIN, f64::max);
            Some(Recovered {
                name: method.name.clone(),
                percent: percent(method.ta?),
                oracle_percent: percent(best.max(method.ta?)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use rewind_job::{CurvePoint, DataSummary, Machine, Round, Specification, WorldSize};

    fn measured(name: &str, [ua, ra, ta, mia]: [f64; 4]) -> Measured {
        Measured {
            name: name.into(),
            method: name.into(),
            group: "forget-only".into(),
            ra: Some(ra),
            ua: Some(ua),
            ta: Some(ta),
            mia: Some(mia),
            mia_attack_accuracy: Some(60.0),
            selected: Round(1),
            curve: vec![CurvePoint {
                round: Round(0),
                forget_accuracy: 0.0,
                test_accuracy: Some(96.0),
                ..CurvePoint::default()
            }],
            ..Measured::default()
        }
    }

    #[test]
    fn the_average_gap_of_the_papers_rewinding_row() {
        // Table 1 of the paper: 4.29 within its rounding.
        let retrain = measured("retrain", [8.11, 99.92, 91.45, 29.07]);
        let rewinding = measured("rewinding", [8.31, 92.24, 85.04, 31.94]);
        assert!((average_gap(&rewinding, &retrain).expect("all measured") - 4.29).abs() < 0.005);
        assert_eq!(average_gap(&retrain, &retrain), Some(0.0));
        let unknown = Measured { mia: None, ..rewinding };
        assert_eq!(average_gap(&unknown, &retrain), None);
    }

    fn report() -> Report {
        let specification = Specification::parse(
            r#"
            name = "n"
            [model]
            architecture = "mlp"
            [data.forget.files]
            images = "i"
            labels = "l"
            [[step]]
            name = "all"
            evaluate = {}
            "#,
            Path::new(""),
        );
        Report {
            format: 1,
            version: String::new(),
            commit: None,
            job: String::new(),
            world_size: WorldSize(1),
            specification: specification.expect("a valid specification"),
            data: DataSummary { forget: 1, ..DataSummary::default() },
            machine: Machine {
                threads: 1,
                libtorch: String::new(),
                cpu_capability: String::new(),
                device: "cpu".into(),
            },
            pretrained: Some(measured("pretrained", [0.0, 100.0, 86.0, 10.0])),
            retrain: Some(measured("retrain", [4.0, 100.0, 98.0, 30.0])),
            methods: vec![measured("a", [8.0, 98.0, 92.0, 20.0])],
            stop: Vec::new(),
            recovered: Vec::new(),
            events: Vec::new(),
            predictor: None,
            activation: None,
            landscape: None,
            samples: None,
            warnings: Vec::new(),
            search: None,
        }
    }

    #[test]
    fn every_result_gets_its_gap_to_retrain() {
        let mut report = report();
        fill_gaps(&mut report);
        let gap = |measured: &Option<Measured>| measured.as_ref().and_then(|m| m.average_gap);
        // (4 + 0 + 12 + 20) / 4 and (4 + 2 + 6 + 10) / 4.
        assert_eq!(gap(&report.pretrained), Some(9.0));
        assert_eq!(gap(&report.retrain), Some(0.0));
        assert_eq!(report.methods[0].average_gap, Some(5.5));

        report.retrain = None;
        report.methods[0].average_gap = None;
        fill_gaps(&mut report);
        assert_eq!(report.methods[0].average_gap, None);
    }

    #[test]
    fn recovered_is_the_share_of_retrains_gain() {
        let mut report = report();
        let found = |report: &Report| {
            recovered(report).into_iter().map(|r| (r.name, r.percent, r.oracle_percent)).collect::<Vec<_>>()
        };
        // From 86 to 92 and, in the best round, to 96, where Retrain goes to 98.
        let expected = ("a".to_owned(), 50.0, 100.0 * 10.0 / 12.0);
        assert_eq!(found(&report), [expected]);
        // Worse than the start is negative; a round no curve has counts by its result.
        report.methods[0].ta = Some(83.0);
        report.methods[0].curve.clear();
        assert_eq!(found(&report), [("a".to_owned(), -25.0, -25.0)]);
        report.methods[0].ta = None;
        assert_eq!(found(&report), []);
        // Given weights win nothing back.
        report.methods[0] = Measured { group: "reference".into(), ta: Some(97.0), ..report.methods[0].clone() };
        assert_eq!(found(&report), []);

        for (start, goal) in [(Some(98.0), Some(98.0)), (None, Some(98.0)), (Some(86.0), None)] {
            let mut report = self::report();
            report.pretrained.as_mut().expect("it has one").ta = start;
            report.retrain.as_mut().expect("it has one").ta = goal;
            assert_eq!(found(&report), []);
        }
    }
}
