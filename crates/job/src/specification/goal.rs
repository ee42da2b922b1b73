//! What a step is to reach: rules that its `stop` names, as one list.

use serde::{Deserialize, Serialize};

use super::{Action, Specification, Stop};
use crate::{Figure, Scores, Verdict};

/// A rule that waits for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GoalRule {
    UaAtLeast,
    ForgetAccuracyAtMost,
    LikeUnseen,
    MembershipAucAtMost,
}

impl GoalRule {
    const ALL: [Self; 4] = [Self::UaAtLeast, Self::ForgetAccuracyAtMost, Self::LikeUnseen, Self::MembershipAucAtMost];

    /// As the specification calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UaAtLeast => "ua-at-least",
            Self::ForgetAccuracyAtMost => "forget-accuracy-at-most",
            Self::LikeUnseen => "like-unseen",
            Self::MembershipAucAtMost => "membership-auc-at-most",
        }
    }

    /// The rule of this name; none where it waits for nothing.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// What it reads.
    pub fn figure(self) -> Figure {
        match self {
            Self::UaAtLeast | Self::ForgetAccuracyAtMost => Figure::FORGET_ACCURACY,
            Self::LikeUnseen => Figure::LIKE_UNSEEN,
            Self::MembershipAucAtMost => Figure::MEMBERSHIP_AUC,
        }
    }

    /// Whether it compares the forget data with validation data.
    pub fn needs_unseen(self) -> bool {
        matches!(self, Self::LikeUnseen | Self::MembershipAucAtMost)
    }
}

/// A rule with what it waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    pub rule: GoalRule,
    pub wanted: f64,
}

impl Goal {
    /// Whether a figure (in the unit of [`GoalRule::figure`]) reaches it.
    pub fn is_reached_by(self, found: f64) -> bool {
        match self.rule {
            GoalRule::UaAtLeast => 100.0 - found >= self.wanted,
            GoalRule::LikeUnseen => found >= self.wanted,
            GoalRule::ForgetAccuracyAtMost | GoalRule::MembershipAucAtMost => found <= self.wanted,
        }
    }

    /// Whether what was measured reaches it; what was not measured does not.
    pub fn is_met(self, scores: &Scores) -> bool {
        scores.number(self.rule.figure()).is_some_and(|found| self.is_reached_by(found))
    }

    /// How a figure that reaches it is told.
    pub fn tell_reached(self, found: f64) -> String {
        let wanted = self.wanted;
        match self.rule {
            GoalRule::UaAtLeast => format!("UA {:.1} reached the wanted {wanted:.1}", 100.0 - found),
            GoalRule::ForgetAccuracyAtMost => {
                format!("accuracy {found:.1} on the forget data fell to the wanted {wanted:.1}")
            }
            GoalRule::LikeUnseen => {
                format!("confidences on forget data are like those on unseen data (p {found:.3}, wanted {wanted})")
            }
            GoalRule::MembershipAucAtMost => {
                format!("confidence tells forget data from unseen data with an area of {found:.3} (wanted {wanted})")
            }
        }
    }

    /// A figure as the goal counts it.
    pub fn tell_found(self, found: f64) -> String {
        match self.rule {
            GoalRule::UaAtLeast => format!("{:.1} %", 100.0 - found),
            GoalRule::ForgetAccuracyAtMost => format!("{found:.1} %"),
            GoalRule::LikeUnseen | GoalRule::MembershipAucAtMost => format!("{found:.3}"),
        }
    }

    /// The goal in words, for a sentence that begins with what was or was not reached.
    pub fn tell(self) -> String {
        let wanted = self.wanted;
        match self.rule {
            GoalRule::UaAtLeast => format!("UA of at least {wanted:.1} %"),
            GoalRule::ForgetAccuracyAtMost => format!("accuracy of at most {wanted:.1} % on the forget data"),
            GoalRule::LikeUnseen => format!("confidences like those on unseen data (p of at least {wanted})"),
            GoalRule::MembershipAucAtMost => format!("a membership area of at most {wanted}"),
        }
    }
}

/// How many of a step's goals end it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enough {
    /// All of them, in the same round.
    #[default]
    All,
    /// The first that is reached, as up to format 2.
    One,
}

impl Specification {
    /// One sentence for each unlearning step without a goal: its verdict will be `not known`.
    pub fn propose_goals(&self) -> Vec<String> {
        let proposal = if self.data.split.as_ref().is_some_and(|split| split.validation > 0) {
            "like-unseen = 0.05"
        } else {
            "ua-at-least = 50.0"
        };
        let without = self.steps.iter().enumerate().filter_map(|(index, step)| match &step.action {
            Action::Unlearn(unlearn) if unlearn.stop.goals().next().is_none() => Some((index, step, unlearn)),
            _ => None,
        });
        let told = without.map(|(index, step, unlearn)| {
            format!(
                "step[{index}] ({}) names no goal, so that its verdict will be `not known`: try stop = {{ rounds = {}, {proposal} }}",
                step.name, unlearn.stop.rounds
            )
        });
        told.collect()
    }

    /// Whether a job that ends so has failed: with anything but `forgot`, unless `fail-if` says what.
    pub fn fails_with(&self, verdict: Verdict) -> bool {
        match &self.fail_if {
            Some(failures) => failures.contains(&verdict),
            None => verdict != Verdict::Forgot,
        }
    }
}

impl Stop {
    /// What the step is to reach, in the order in which rules are asked.
    pub fn goals(&self) -> impl Iterator<Item = Goal> {
        let wanted = [self.ua_at_least, self.forget_accuracy_at_most, self.like_unseen, self.membership_auc_at_most];
        let goals = GoalRule::ALL.into_iter().zip(wanted);
        goals.filter_map(|(rule, wanted)| Some(Goal { rule, wanted: wanted? }))
    }

    /// The goals that end the step with these scores; empty while it goes on.
    pub fn reached(&self, scores: &Scores) -> Vec<Goal> {
        let met: Vec<Goal> = self.goals().filter(|goal| goal.is_met(scores)).collect();
        match self.enough {
            Enough::All if met.len() == self.goals().count() => met,
            Enough::All => Vec::new(),
            Enough::One => met.into_iter().take(1).collect(),
        }
    }

    /// UA that is wanted, in percent, if any is.
    pub fn wanted_ua(&self) -> Option<f64> {
        let from_accuracy = self.forget_accuracy_at_most.map(|accuracy| 100.0 - accuracy);
        let both = [self.ua_at_least, from_accuracy].into_iter().flatten();
        match self.enough {
            Enough::All => both.reduce(f64::max),
            Enough::One => both.reduce(f64::min),
        }
    }
}
