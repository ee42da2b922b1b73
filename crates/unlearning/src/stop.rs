//! When a step ends, and which round's weights it leaves. Pure: reads the records of committed rounds.

use rewind_job::{RollBack, Round, RoundRecord, Stop, StopReason};

/// The first rule that fires after the last of `records`.
pub fn stop_reason(stop: &Stop, records: &[RoundRecord]) -> Option<StopReason> {
    let last = records.last()?;
    let reason = |rule: &str, text: String| Some(StopReason { rule: rule.into(), text });
    if let (Some(wanted), Some(forget)) = (stop.ua_at_least, last.forget_accuracy)
        && 100.0 - forget >= wanted
    {
        return reason(
            "ua-at-least",
            format!("UA {:.1} reached the wanted {wanted:.1} in round {}", 100.0 - forget, last.round),
        );
    }
    if let (Some(budget), Some(validation)) = (stop.utility_budget, last.validation_accuracy) {
        let start = last.validation_at_start;
        let best = records.iter().filter_map(|record| record.validation_accuracy).chain(start).fold(f64::MIN, f64::max);
        if best - validation > budget {
            return reason(
                "utility-budget",
                format!(
                    "validation accuracy {validation:.1} in round {} is more than {budget} below the best, {best:.1}",
                    last.round
                ),
            );
        }
    }
    if last.round.0 >= stop.rounds {
        return reason("rounds", format!("all {} rounds are done", stop.rounds));
    }
    None
}

/// The round whose weights become the step's result, after `stop` has ended it.
///
/// Weights that miss what the rule was for are never selected: `ua-at-least` keeps the round that reached it, and
/// without roll-back `utility-budget` keeps the round before the one that broke it.
pub fn select_round(roll_back: RollBack, stop: &StopReason, records: &[RoundRecord]) -> Round {
    let last = records.last().map_or(Round(0), |record| record.round);
    if stop.rule == "ua-at-least" {
        return last;
    }
    if stop.rule == "utility-budget" && roll_back == RollBack::None {
        return records.iter().rev().nth(1).map_or(last, |record| record.round);
    }
    match roll_back {
        RollBack::None => last,
        RollBack::BestValidation => records
            .iter()
            .filter(|record| record.validation_accuracy.is_some())
            .max_by(|a, b| {
                let accuracy = |record: &RoundRecord| record.validation_accuracy.unwrap_or(f64::MIN);
                let loss = |record: &RoundRecord| record.validation_loss.unwrap_or(f64::MAX);
                // Of equal ones the latest: max_by keeps the last of equals.
                accuracy(a).total_cmp(&accuracy(b)).then(loss(b).total_cmp(&loss(a)))
            })
            .map_or(last, |best| best.round),
        RollBack::HoldOutForgetError => {
            let unseen = records.last().and_then(|record| record.validation_accuracy);
            let distance = |record: &RoundRecord| Some((record.forget_accuracy? - unseen?).abs());
            let distances = records.iter().rev().filter_map(|record| Some((distance(record)?, record.round)));
            // Of equal ones the latest: min_by keeps the first of equals.
            distances.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(last, |(_, round)| round)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(rounds: &[(f64, f64)]) -> Vec<RoundRecord> {
        rounds
            .iter()
            .zip(1..)
            .map(|(&(forget, validation), round)| RoundRecord {
                round: Round(round),
                loss: 0.0,
                forget_accuracy: Some(forget),
                validation_accuracy: Some(validation),
                validation_loss: Some(1.0),
                validation_at_start: Some(88.0),
                weight_change: 0.0,
                seconds: 0.0,
                forget_epochs: 0.0,
                bytes_moved: 0,
            })
            .collect()
    }

    fn stop() -> Stop {
        Stop { rounds: 3, ua_at_least: None, utility_budget: None }
    }

    #[test]
    fn rounds_end_a_step() {
        assert_eq!(stop_reason(&stop(), &records(&[(90.0, 80.0), (80.0, 81.0)])), None);
        let reason = stop_reason(&stop(), &records(&[(90.0, 80.0), (80.0, 81.0), (70.0, 82.0)])).expect("fires");
        assert_eq!(reason.rule, "rounds");
    }

    #[test]
    fn the_first_round_with_enough_ua_ends_a_step() {
        let stop = Stop { ua_at_least: Some(15.0), ..stop() };
        assert_eq!(stop_reason(&stop, &records(&[(90.0, 80.0)])), None);
        assert_eq!(stop_reason(&stop, &records(&[(90.0, 80.0), (85.0, 81.0)])).expect("fires").rule, "ua-at-least");
    }

    #[test]
    fn a_spent_utility_budget_ends_a_step() {
        let stop = Stop { utility_budget: Some(2.0), ..stop() };
        assert_eq!(stop_reason(&stop, &records(&[(90.0, 88.0), (80.0, 86.0)])), None);
        assert_eq!(stop_reason(&stop, &records(&[(90.0, 88.0), (80.0, 85.9)])).expect("fires").rule, "utility-budget");
    }

    #[test]
    fn the_utility_budget_counts_from_the_start() {
        let stop = Stop { utility_budget: Some(2.0), ..stop() };
        assert_eq!(stop_reason(&stop, &records(&[(90.0, 85.0)])).expect("fires").rule, "utility-budget");
    }

    #[test]
    fn roll_back_takes_the_round_as_wrong_on_forget_data_as_the_last_one_is_on_unseen_data() {
        let rounds = records(&[(99.0, 96.0), (92.0, 95.0), (88.0, 91.0), (92.0, 90.0), (40.0, 90.0)]);
        let rule = StopReason { rule: "rounds".into(), text: String::new() };
        assert_eq!(select_round(RollBack::HoldOutForgetError, &rule, &rounds), Round(4));
    }

    #[test]
    fn roll_back_takes_the_best_round_and_of_equal_ones_that_of_lower_loss() {
        let records = records(&[(90.0, 88.0), (80.0, 91.0), (70.0, 91.0), (60.0, 89.0)]);
        let rule = |rule: &str| StopReason { rule: rule.into(), text: String::new() };
        assert_eq!(select_round(RollBack::BestValidation, &rule("rounds"), &records), Round(3));
        assert_eq!(select_round(RollBack::None, &rule("rounds"), &records), Round(4));
        assert_eq!(select_round(RollBack::BestValidation, &rule("ua-at-least"), &records), Round(4));
        assert_eq!(select_round(RollBack::None, &rule("utility-budget"), &records), Round(3));
        let mut records = records;
        records[1].validation_loss = Some(0.5);
        assert_eq!(select_round(RollBack::BestValidation, &rule("rounds"), &records), Round(2));
    }
}
