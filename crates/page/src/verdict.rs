//! How each unlearning step ended: the page's first sentence, and what it rests on.

use rewind_job::{Figure, GoalRule, Judgement, Measured, Report, ScoreValue, Unit, Verdict};

use super::{
    headline::unlearned,
    text::{Escaped, NOTHING, decimal, name, percent, plural},
};

/// The first sentence: the verdict, and the goal that it is about. Empty where nothing was unlearned.
pub fn first_sentence(report: &Report) -> String {
    let steps = unlearned(report);
    let judged: Vec<(&Measured, &Judgement)> =
        steps.iter().filter_map(|step| Some((*step, step.judgement.as_ref()?))).collect();
    let text = match &judged[..] {
        [] if steps.is_empty() => return String::new(),
        [] => "<strong>No verdict.</strong> Version 0.2 and older gave none.".to_owned(),
        [(step, judgement)] => format!(
            "<strong class=\"verdict {class}\">{verdict}.</strong> {name}: {sentence}.",
            class = class(judgement.verdict),
            verdict = in_capitals(judgement.verdict),
            name = name(&step.name),
            sentence = Escaped(&judgement.sentence),
        ),
        several if several.iter().all(|(_, judgement)| judgement.verdict == Verdict::Forgot) => format!(
            "<strong class=\"verdict good\">All {} unlearning steps forgot</strong>: each reached its goal, and none is damaged.",
            several.len()
        ),
        several => {
            let worst = several.iter().map(|(_, judgement)| judgement.verdict).max().unwrap_or(Verdict::NotKnown);
            let counts = Verdict::ALL.into_iter().filter_map(|verdict| {
                let steps = several.iter().filter(|(_, judgement)| judgement.verdict == verdict).count() as u64;
                (steps > 0).then(|| format!("{} {}", plural(steps, "step", "steps"), verdict.name()))
            });
            format!(
                "<strong class=\"verdict {class}\">{verdict}</strong> is the worst verdict of {all}: {counts}.",
                class = class(worst),
                verdict = in_capitals(worst),
                all = plural(several.len() as u64, "unlearning step", "unlearning steps"),
                counts = counts.collect::<Vec<_>>().join(", "),
            )
        }
    };
    format!("<p class=\"lede\">{text}</p>\n")
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forgot => "good",
        Verdict::NotKnown => "open",
        Verdict::NotForgotten | Verdict::ForgotAndDamaged | Verdict::Damaged => "bad",
    }
}

fn in_capitals(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forgot => "Forgot",
        Verdict::NotKnown => "Not known",
        Verdict::NotForgotten => "Not forgotten",
        Verdict::ForgotAndDamaged => "Forgot and damaged",
        Verdict::Damaged => "Damaged",
    }
}

/// Every rule and every sign of damage, step by step.
pub fn render(report: &Report) -> String {
    let judged = unlearned(report).into_iter().filter_map(|step| Some((step, step.judgement.as_ref()?)));
    let rows: String = judged.map(|(step, judgement)| rows(step, judgement)).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        r#"<section>
<h2>Verdicts</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Table of verdicts">
<table class="methods">
<thead><tr><th scope="col">step</th><th scope="col">verdict</th><th scope="col">figure</th><th scope="col">before</th><th scope="col">after</th><th scope="col">wanted</th><th scope="col">so</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
<p class="notes">Measured again on the weights that are handed out. A step <em>forgot</em> where every rule of its <code>stop</code> that waits for something holds; it is <em>damaged</em> where validation accuracy fell by more than the limit of its <code>damage</code>, or, without validation data, where nearly all answers on the forget data are one class that they were not before, or their cross-entropy says that logits have exploded, and where weights or BatchNorm’s statistics are not finite or have exploded. Without a goal the verdict is <em>not known</em>.</p>
</section>
"#
    )
}

fn rows(step: &Measured, judgement: &Judgement) -> String {
    let mut cells: Vec<[String; 5]> = Vec::new();
    for goal in &judgement.goals {
        let (title, wanted) = match goal.rule {
            GoalRule::UaAtLeast => ("UA".to_owned(), format!("≥ {}", decimal(goal.wanted, 1))),
            GoalRule::ForgetAccuracyAtMost => (goal.figure.title(), format!("≤ {}", decimal(goal.wanted, 1))),
            GoalRule::LikeUnseen => (goal.figure.title(), format!("≥ {}", decimal(goal.wanted, 3))),
            GoalRule::MembershipAucAtMost => (goal.figure.title(), format!("≤ {}", decimal(goal.wanted, 3))),
        };
        let told = |of: Option<ScoreValue>| match (goal.rule, of) {
            (GoalRule::UaAtLeast, Some(ScoreValue::Number(accuracy))) => percent(100.0 - accuracy),
            (_, of) => value(goal.figure, of),
        };
        let so = if goal.met { "reached" } else { "missed" };
        cells.push([title, told(goal.before), told(goal.found), wanted, so.to_owned()]);
    }
    for sign in &judgement.damage {
        let wanted = match sign.figure {
            Figure::VALIDATION_ACCURACY => format!("at most {} below", decimal(sign.limit, 1)),
            Figure::MOST_ANSWERED => format!("at most {} above", decimal(sign.limit, 1)),
            Figure::WEIGHTS | Figure::STATISTICS => format!("at most × {}", decimal(sign.limit, 0)),
            Figure::FORGET_LOSS if sign.limit < f64::MAX => format!("at most {} nats", decimal(sign.limit, 0)),
            _ => "a number".to_owned(),
        };
        let so = if sign.damaged { "damaged" } else { "kept" };
        let title = sign.figure.title();
        cells.push([title, value(sign.figure, sign.before), value(sign.figure, sign.after), wanted, so.to_owned()]);
    }
    if cells.is_empty() {
        cells.push(std::array::from_fn(|_| NOTHING.to_owned()));
    }
    let all = cells.len();
    let line = |(index, cells): (usize, &[String; 5])| {
        let head = match index {
            0 => format!(
                "<th scope=\"rowgroup\" rowspan=\"{all}\">{}</th><td rowspan=\"{all}\"><span class=\"verdict {}\">{}</span></td>",
                name(&step.name),
                class(judgement.verdict),
                judgement.verdict.name()
            ),
            _ => String::new(),
        };
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", Escaped(cell))).collect();
        format!("<tr>{head}{cells}</tr>\n")
    };
    cells.iter().enumerate().map(line).collect()
}

fn value(figure: Figure, value: Option<ScoreValue>) -> String {
    match (value, figure.score.unit()) {
        (None, _) => NOTHING.to_owned(),
        (Some(ScoreValue::NotFinite), _) => "not finite".to_owned(),
        (Some(ScoreValue::Number(number)), Unit::Percent) => percent(number),
        (Some(ScoreValue::Number(number)), _) => decimal(number, 3),
    }
}
