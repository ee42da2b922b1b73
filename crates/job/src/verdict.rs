//! How an unlearning step ended: whether it reached its goals, and whether the network is damaged.

use serde::{Deserialize, Serialize};

use crate::{DamageLimits, Figure, GoalRule, ScoreValue, Scores, Stop, Unit};

/// From the best to the worst; of several steps the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All goals are reached, and no sign of damage.
    Forgot,
    /// There is no goal, or what it reads could not be measured; no sign of damage.
    NotKnown,
    NotForgotten,
    ForgotAndDamaged,
    Damaged,
}

impl Verdict {
    pub const ALL: [Self; 5] =
        [Self::Forgot, Self::NotKnown, Self::NotForgotten, Self::ForgotAndDamaged, Self::Damaged];

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forgot => "forgot",
            Self::NotKnown => "not known",
            Self::NotForgotten => "not forgotten",
            Self::ForgotAndDamaged => "forgot and damaged",
            Self::Damaged => "damaged",
        }
    }
}

/// A verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub verdict: Verdict,
    /// One sentence, which names the goal.
    pub sentence: String,
    /// One entry a rule that the step waited for.
    pub goals: Vec<GoalFound>,
    pub damage: Vec<DamageSign>,
}

/// What became of a goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalFound {
    pub rule: GoalRule,
    /// What the rule wants, as the specification says it.
    pub wanted: f64,
    /// What the rule reads. UA is 100 minus it.
    pub figure: Figure,
    pub before: Option<ScoreValue>,
    /// Null where it could not be measured.
    pub found: Option<ScoreValue>,
    pub met: bool,
}

/// A figure that shows damage where it changes too much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DamageSign {
    pub figure: Figure,
    pub before: Option<ScoreValue>,
    pub after: Option<ScoreValue>,
    /// The largest change that is none: points it may fall or rise, or, of weights, times it may grow.
    pub limit: f64,
    pub damaged: bool,
}

/// Judges a step by what was measured of the weights it began with and of those that are handed out.
///
/// Where there is validation data, its accuracy decides. Without, the answers on the forget data do: a network that
/// gives nearly all of them one class, which it did not before, knows nothing any more, nor does one whose logits have
/// exploded.
pub fn judge(stop: &Stop, limits: &DamageLimits, before: &Scores, after: &Scores) -> Judgement {
    let goals: Vec<GoalFound> = stop
        .goals()
        .map(|goal| {
            let figure = goal.rule.figure();
            GoalFound {
                rule: goal.rule,
                wanted: goal.wanted,
                figure,
                before: before.get(figure),
                found: after.get(figure),
                met: goal.is_met(after),
            }
        })
        .collect();
    let damage = signs(limits, before, after);
    let is_damaged = damage.iter().any(|sign| sign.damaged);
    let has_forgotten = !stop.reached(after).is_empty();
    let is_known = has_forgotten || (!goals.is_empty() && goals.iter().all(|goal| goal.found.is_some()));
    let verdict = match (has_forgotten, is_damaged) {
        (true, false) => Verdict::Forgot,
        (true, true) => Verdict::ForgotAndDamaged,
        (false, true) => Verdict::Damaged,
        (false, false) if is_known => Verdict::NotForgotten,
        (false, false) => Verdict::NotKnown,
    };
    let sentence = [tell_goals(stop, after), tell_damage(&damage)].into_iter().flatten().collect::<Vec<_>>().join("; ");
    Judgement { verdict, sentence, goals, damage }
}

fn signs(limits: &DamageLimits, before: &Scores, after: &Scores) -> Vec<DamageSign> {
    let sign = |figure: Figure, limit: f64, is_too_much: fn(Option<f64>, f64, f64) -> bool| {
        let (then, now) = (before.get(figure), after.get(figure));
        let damaged = match (then, now) {
            (_, Some(ScoreValue::NotFinite)) => true,
            (then, Some(ScoreValue::Number(now))) => is_too_much(then.and_then(ScoreValue::number), now, limit),
            (_, None) => false,
        };
        now.map(|_| DamageSign { figure, before: then, after: now, limit, damaged })
    };
    let fell: fn(Option<f64>, f64, f64) -> bool = |then, now, limit| then.is_some_and(|then| then - now > limit);
    let grew: fn(Option<f64>, f64, f64) -> bool =
        |then, now, limit| then.is_some_and(|then| now > limit * then.max(f64::MIN_POSITIVE));
    let (of_answers, of_loss) = match after.get(Figure::VALIDATION_ACCURACY) {
        Some(_) => (sign(Figure::VALIDATION_ACCURACY, limits.validation_accuracy, fell), None),
        None => (
            sign(Figure::MOST_ANSWERED, limits.most_answered, |then, now, limit| {
                then.is_some_and(|then| now - then > limit) && now > MOST_OF_ALL
            }),
            sign(Figure::FORGET_LOSS, limits.forget_loss, |then, now, limit| {
                now > limit && then.is_none_or(|then| now > then)
            }),
        ),
    };
    let weights = sign(Figure::WEIGHTS, limits.growth, grew);
    let statistics = sign(Figure::STATISTICS, limits.growth, grew);
    // A loss may be any number, but a number it must be: a round that left none was taken back.
    let lost = |figure| sign(figure, f64::MAX, |_, _, _| false).filter(|sign| sign.damaged);
    let of_loss = of_loss.or_else(|| lost(Figure::FORGET_LOSS));
    [of_answers, of_loss, weights, statistics, lost(Figure::TRAINING_LOSS)].into_iter().flatten().collect()
}

/// A class that gets fewer of the answers (percent) is no sign of a network that answers nothing else.
const MOST_OF_ALL: f64 = 80.0;

fn tell_goals(stop: &Stop, after: &Scores) -> Option<String> {
    let goals: Vec<_> = stop.goals().collect();
    if goals.is_empty() {
        return Some("no goal was named".into());
    }
    let told = goals.iter().map(|goal| {
        let wanted = goal.tell();
        match after.get(goal.rule.figure()) {
            Some(ScoreValue::Number(found)) if goal.is_reached_by(found) => {
                format!("{wanted} was wanted and reached: {}", goal.tell_found(found))
            }
            Some(ScoreValue::Number(found)) => format!("{wanted} was wanted, but it is {}", goal.tell_found(found)),
            Some(ScoreValue::NotFinite) => format!("{wanted} was wanted, but it is not finite"),
            None => format!("{wanted} was wanted, and could not be measured"),
        }
    });
    Some(told.collect::<Vec<_>>().join("; "))
}

fn tell_damage(signs: &[DamageSign]) -> Option<String> {
    let told = signs.iter().filter(|sign| sign.damaged).map(|sign| {
        let value = |value: Option<ScoreValue>| match value {
            Some(ScoreValue::Number(number)) => match sign.figure.score.unit() {
                Unit::Percent => format!("{number:.1} %"),
                _ => format!("{number:.3e}"),
            },
            Some(ScoreValue::NotFinite) => "not finite".into(),
            None => "not measured".into(),
        };
        format!("damaged: {} was {} and is {}", sign.figure.title(), value(sign.before), value(sign.after))
    });
    Some(told.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(stop: &Stop, before: &Scores, after: &Scores) -> Verdict {
        judge(stop, &DamageLimits::default(), before, after).verdict
    }

    fn scores(forget: f64, validation: Option<f64>) -> Scores {
        let mut scores = Scores::from([(Figure::FORGET_ACCURACY, forget), (Figure::MOST_ANSWERED, 12.0)]);
        scores.set(Figure::VALIDATION_ACCURACY, validation);
        scores
    }

    #[test]
    fn a_step_forgot_only_where_its_goal_is_reached_and_nothing_is_damaged() {
        let stop = Stop { ua_at_least: Some(60.0), ..Stop::after(3) };
        let before = scores(99.0, Some(90.0));
        for (after, verdict) in [
            (scores(40.0, Some(85.0)), Verdict::Forgot),
            (scores(40.1, Some(90.0)), Verdict::NotForgotten),
            (scores(10.0, Some(84.9)), Verdict::ForgotAndDamaged),
            (scores(90.0, Some(11.0)), Verdict::Damaged),
        ] {
            assert_eq!(judged(&stop, &before, &after), verdict, "{after:?}");
        }
        assert_eq!(judged(&Stop::after(3), &before, &scores(10.0, Some(90.0))), Verdict::NotKnown);
        assert_eq!(judged(&Stop::after(3), &before, &scores(10.0, Some(10.0))), Verdict::Damaged);
        let unseen = Stop { like_unseen: Some(0.05), ..Stop::after(3) };
        assert_eq!(judged(&unseen, &before, &scores(10.0, Some(90.0))), Verdict::NotKnown, "it was not measured");
    }

    #[test]
    fn without_validation_data_a_network_that_answers_one_class_alone_is_damaged() {
        let stop = Stop { ua_at_least: Some(60.0), ..Stop::after(3) };
        let (before, mut after) = (scores(99.0, None), scores(10.0, None));
        after.set(Figure::MOST_ANSWERED, 99.5);
        assert_eq!(judged(&stop, &before, &after), Verdict::ForgotAndDamaged);
        after.set(Figure::MOST_ANSWERED, 12.0);
        after.set(Figure::FORGET_LOSS, 690.0);
        assert_eq!(judged(&stop, &before, &after), Verdict::ForgotAndDamaged, "logits have exploded");
        after.set(Figure::FORGET_LOSS, 10.0);
        after.set(Figure::MOST_ANSWERED, 99.5);
        let mut of_one_class = before.clone();
        of_one_class.set(Figure::MOST_ANSWERED, 98.0);
        assert_eq!(judged(&stop, &of_one_class, &after), Verdict::Forgot, "one class was to be forgotten");
    }

    #[test]
    fn what_is_not_finite_is_damaged_whatever_else_was_measured() {
        let stop = Stop { ua_at_least: Some(60.0), ..Stop::after(3) };
        let before = Scores::from([(Figure::FORGET_ACCURACY, 99.0), (Figure::STATISTICS, 1.0)]);
        for bad in [f64::NAN, f64::INFINITY, 100.1] {
            let after = Scores::from([(Figure::FORGET_ACCURACY, 9.0), (Figure::STATISTICS, bad)]);
            assert_eq!(judged(&stop, &before, &after), Verdict::ForgotAndDamaged, "{bad}");
        }
    }

    #[test]
    fn the_sentence_names_the_goal_and_the_damage() {
        let stop = Stop { ua_at_least: Some(98.0), ..Stop::after(3) };
        let found = judge(&stop, &DamageLimits::default(), &scores(99.7, Some(90.0)), &scores(99.7, Some(50.0)));
        assert_eq!(
            found.sentence,
            "UA of at least 98.0 % was wanted, but it is 0.3 %; damaged: accuracy on validation data was 90.0 % and is 50.0 %"
        );
    }

    #[test]
    fn the_worst_step_counts() {
        let worst = Verdict::ALL.into_iter().max();
        assert_eq!(worst, Some(Verdict::Damaged));
        assert!(Verdict::Forgot < Verdict::NotKnown && Verdict::NotKnown < Verdict::NotForgotten);
    }
}
