//! How far a result is from the retrained reference.

use rewind_job::{Measured, Recovered, Report};

/// Mean of |metric − Retrain's| over UA, RA, TA and MIA; none if one of them was not measured.
pub fn average_gap(measured: &Measured, retrain: &Measured) -> Option<f64> {
    let metrics = |m: &Measured| Some([m.ua?, m.ra?, m.ta?, m.mia?]);
    let (ours, theirs) = (metrics(measured)?, metrics(retrain)?);
    Some(ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).sum::<f64>() / 4.0)
}

/// Fills in the average gap of every result.
pub fn fill_gaps(report: &mut Report) {
    let Some(retrain) = report.retrain.clone() else {
        return;
    };
    let results = report.pretrained.iter_mut().chain(&mut report.retrain).chain(&mut report.methods);
    for measured in results {
        measured.average_gap = average_gap(measured, &retrain);
    }
}

/// For each method the share of what Retrain gains in test accuracy over the pretrained weights.
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
    use rewind_job::{CurvePoint, Digest, Round};

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
            average_gap: None,
            seconds: 0.0,
            forget_epochs: 0.0,
            bytes_moved: 0,
            selected: Round(1),
            weights: Digest(String::new()),
            curve: vec![CurvePoint { round: Round(0), forget_accuracy: 0.0, test_accuracy: Some(96.0) }],
            rounds: Vec::new(),
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
}
