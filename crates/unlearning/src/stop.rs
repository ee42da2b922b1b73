//! When a step ends, and which round's weights it leaves. Pure: reads the records of committed rounds.

use rewind_job::{Figure, GoalRule, RollBack, Round, RoundRecord, Stop, StopReason};

/// The first rule that fires after the last of `records`.
pub fn stop_reason(stop: &Stop, records: &[RoundRecord]) -> Option<StopReason> {
    let last = records.last()?;
    let reason = |rule: &str, text: String| Some(StopReason { rule: rule.into(), text });
    let reached = stop.reached(&last.scores);
    if let Some(first) = reached.first() {
        let told = reached.iter().filter_map(|goal| Some(goal.tell_reached(last.number(goal.rule.figure())?)));
        return reason(first.rule.name(), format!("{} in round {}", told.collect::<Vec<_>>().join(", "), last.round));
    }
    if let (Some(budget), Some(validation)) = (stop.utility_budget, last.number(Figure::VALIDATION_ACCURACY)) {
        let start = last.at_start.number(Figure::VALIDATION_ACCURACY);
        let seen = records.iter().filter_map(|record| record.number(Figure::VALIDATION_ACCURACY));
        let best = seen.chain(start).fold(f64::MIN, f64::max);
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
    if let Some(limit) = stop.wall_time
        && last.seconds >= limit.as_secs_f64()
    {
        return reason("wall-time", format!("{:.0} s have passed after round {}", last.seconds, last.round));
    }
    if last.round.0 >= stop.rounds {
        return reason("rounds", format!("all {} rounds are done", stop.rounds));
    }
    None
}

/// The round whose weights become the step's result, after `stop` has ended it.
///
/// Weights that miss what the rule was for are never selected: a rule that waits for something keeps the round that
/// reached it, and without roll-back `utility-budget` keeps the round before the one that broke it.
pub fn select_round(roll_back: RollBack, stop: &StopReason, records: &[RoundRecord]) -> Round {
    let last = records.last().map_or(Round(0), |record| record.round);
    if GoalRule::named(&stop.rule).is_some() {
        return last;
    }
    if stop.rule == "utility-budget" && roll_back == RollBack::None {
        return records.iter().rev().nth(1).map_or(last, |record| record.round);
    }
    match roll_back {
        RollBack::None => last,
        RollBack::BestValidation => records
            .iter()
            .filter(|record| record.number(Figure::VALIDATION_ACCURACY).is_some())
            .max_by(|a, b| {
                let accuracy = |record: &RoundRecord| record.number(Figure::VALIDATION_ACCURACY).unwrap_or(f64::MIN);
                let loss = |record: &RoundRecord| record.number(Figure::VALIDATION_LOSS).unwrap_or(f64::MAX);
                // Of equal ones the latest: max_by keeps the last of equals.
                accuracy(a).total_cmp(&accuracy(b)).then(loss(b).total_cmp(&loss(a)))
            })
            .map_or(last, |best| best.round),
        RollBack::BestValidationLoss => {
            let losses =
                records.iter().rev().filter_map(|record| Some((record.number(Figure::VALIDATION_LOSS)?, record.round)));
            // Of equal ones the latest: min_by keeps the first of equals.
            losses.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(last, |(_, round)| round)
        }
        RollBack::HoldOutForgetError => {
            let unseen = records.last().and_then(|record| record.number(Figure::VALIDATION_ACCURACY_OF_FORGET_CLASSES));
            as_wrong_as(unseen, records.iter()).unwrap_or(last)
        }
        RollBack::HoldOutErrorOfAll => {
            let unseen = records.last().and_then(|record| record.number(Figure::VALIDATION_ACCURACY));
            as_wrong_as(unseen, records.iter().rev()).unwrap_or(last)
        }
    }
}

/// The round whose accuracy on `D_f` is the nearest to the one on unseen data; of equal ones the first in this order.
fn as_wrong_as<'a>(unseen: Option<f64>, records: impl Iterator<Item = &'a RoundRecord>) -> Option<Round> {
    let distance = |record: &RoundRecord| Some((record.number(Figure::FORGET_ACCURACY)? - unseen?).abs());
    let distances = records.filter_map(|record| Some((distance(record)?, record.round)));
    // min_by keeps the first of equals.
    distances.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, round)| round)
}

#[cfg(test)]
mod tests {
    use rewind_job::{Enough, Scores};

    use super::*;

    fn records(rounds: &[(f64, f64)]) -> Vec<RoundRecord> {
        rounds
            .iter()
            .zip(1..)
            .map(|(&(forget, validation), round)| RoundRecord {
                round: Round(round),
                loss: 0.0.into(),
                scores: Scores::from([
                    (Figure::FORGET_ACCURACY, forget),
                    (Figure::VALIDATION_ACCURACY, validation),
                    (Figure::VALIDATION_LOSS, 1.0),
                ]),
                at_start: Scores::from([(Figure::VALIDATION_ACCURACY, 88.0)]),
                ..RoundRecord::default()
            })
            .collect()
    }

    fn stop() -> Stop {
        Stop::after(3)
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

    /// The rule that fires after each round, and the round that is kept.
    fn fires(stop: &Stop, records: &[RoundRecord]) -> Option<(String, Round)> {
        let reason = stop_reason(stop, records)?;
        let kept = select_round(RollBack::BestValidation, &reason, records);
        Some((reason.rule, kept))
    }

    #[test]
    fn a_backdoor_that_fails_often_enough_ends_a_step_and_that_round_is_kept() {
        let stop = Stop { forget_accuracy_at_most: Some(20.0), ..stop() };
        let records = records(&[(90.0, 88.0), (20.0, 70.0)]);
        assert_eq!(fires(&stop, &records[..1]), None);
        assert_eq!(fires(&stop, &records), Some(("forget-accuracy-at-most".into(), Round(2))));
    }

    #[test]
    fn forget_data_like_unseen_data_end_a_step_and_that_round_is_kept() {
        let mut records = records(&[(90.0, 88.0), (80.0, 70.0)]);
        records[0].scores.set(Figure::LIKE_UNSEEN, 0.04);
        records[1].scores.set(Figure::LIKE_UNSEEN, 0.05);
        let stop = Stop { like_unseen: Some(0.05), ..stop() };
        assert_eq!(fires(&stop, &records[..1]), None);
        assert_eq!(fires(&stop, &records), Some(("like-unseen".into(), Round(2))));
    }

    #[test]
    fn an_attack_that_guesses_ends_a_step_and_that_round_is_kept() {
        let mut records = records(&[(90.0, 88.0), (80.0, 70.0)]);
        records[0].scores.set(Figure::MEMBERSHIP_AUC, 0.61);
        records[1].scores.set(Figure::MEMBERSHIP_AUC, 0.55);
        let stop = Stop { membership_auc_at_most: Some(0.55), ..stop() };
        assert_eq!(fires(&stop, &records[..1]), None);
        assert_eq!(fires(&stop, &records), Some(("membership-auc-at-most".into(), Round(2))));
    }

    #[test]
    fn all_goals_are_wanted_in_one_round_unless_one_is_enough() {
        let mut records = records(&[(10.0, 88.0), (40.0, 70.0), (15.0, 70.0)]);
        for (record, auc) in records.iter_mut().zip([0.7, 0.5, 0.5]) {
            record.scores.set(Figure::MEMBERSHIP_AUC, auc);
        }
        let all = Stop { ua_at_least: Some(80.0), membership_auc_at_most: Some(0.55), ..Stop::after(9) };
        let one = Stop { enough: Enough::One, ..all.clone() };
        assert_eq!((fires(&all, &records[..1]), fires(&all, &records[..2])), (None, None));
        assert_eq!(fires(&all, &records), Some(("ua-at-least".into(), Round(3))));
        assert_eq!(fires(&one, &records[..1]), Some(("ua-at-least".into(), Round(1))));
        assert_eq!(fires(&one, &records[..2]), Some(("membership-auc-at-most".into(), Round(2))));
        let told = stop_reason(&all, &records).expect("fires").text;
        assert!(told.contains("UA 85.0 reached") && told.contains("an area of 0.500"), "{told}");
    }

    #[test]
    fn time_that_has_passed_ends_a_step_and_the_best_round_is_kept() {
        let mut records = records(&[(90.0, 88.0), (80.0, 70.0)]);
        records[0].seconds = 59.0;
        records[1].seconds = 61.0;
        let stop = Stop { wall_time: Some(std::time::Duration::from_secs(60)), ..stop() };
        assert_eq!(fires(&stop, &records[..1]), None);
        assert_eq!(fires(&stop, &records), Some(("wall-time".into(), Round(1))));
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
    fn roll_back_takes_the_round_as_wrong_on_forget_data_as_the_last_one_is_on_unseen_data_of_its_classes() {
        let mut rounds = records(&[(99.0, 96.0), (92.0, 95.0), (88.0, 91.0), (92.0, 90.0), (40.0, 90.0)]);
        let rule = StopReason { rule: "rounds".into(), text: String::new() };
        assert_eq!(select_round(RollBack::HoldOutErrorOfAll, &rule, &rounds), Round(4), "of equal ones the latest");
        for (record, accuracy) in rounds.iter_mut().zip([99.0, 99.0, 99.0, 99.0, 90.0]) {
            record.scores.set(Figure::VALIDATION_ACCURACY_OF_FORGET_CLASSES, accuracy);
        }
        // 88 and 92 are as near to 90 as each other.
        assert_eq!(select_round(RollBack::HoldOutForgetError, &rule, &rounds), Round(2), "of equal ones the earliest");
        rounds[4].scores.set(Figure::VALIDATION_ACCURACY_OF_FORGET_CLASSES, 50.0);
        assert_eq!(select_round(RollBack::HoldOutForgetError, &rule, &rounds), Round(5));
    }

    #[test]
    fn roll_back_takes_the_round_of_the_lowest_loss_on_unseen_data_whatever_its_accuracy() {
        let mut rounds = records(&[(90.0, 88.0), (80.0, 91.0), (70.0, 87.0), (60.0, 89.0)]);
        let rule = StopReason { rule: "rounds".into(), text: String::new() };
        for (record, loss) in rounds.iter_mut().zip([1.5, 1.0, 0.75, 0.75]) {
            record.scores.set(Figure::VALIDATION_LOSS, loss);
        }
        assert_eq!(select_round(RollBack::BestValidationLoss, &rule, &rounds), Round(4));
        rounds[3].scores.set(Figure::VALIDATION_LOSS, 2.0);
        assert_eq!(select_round(RollBack::BestValidationLoss, &rule, &rounds), Round(3));
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
        records[1].scores.set(Figure::VALIDATION_LOSS, 0.5);
        assert_eq!(select_round(RollBack::BestValidation, &rule("rounds"), &records), Round(2));
    }
}
