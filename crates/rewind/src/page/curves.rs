//! The curves: test accuracy while the forgotten labels fade, and what each round did.

use rewind_job::{Measured, Report, RoundRecord};

use super::{
    chart::{Frame, LARGE, Labels, SMALL, Scale, Series, Size, marker},
    text::{decimal, name},
};

const PERCENT: (f64, f64) = (0.0, 100.0);

/// What is drawn: one line a method, and crosses for the references.
pub struct Lines<'a> {
    /// Begins the ids of its charts.
    pub id: String,
    pub pretrained: Option<&'a Measured>,
    pub retrain: Option<&'a Measured>,
    pub methods: Vec<&'a Measured>,
}

impl Lines<'_> {
    fn references(&self) -> impl Iterator<Item = &Measured> {
        [self.pretrained, self.retrain].into_iter().flatten()
    }

    fn methods(&self) -> impl Iterator<Item = &Measured> {
        self.methods.iter().copied()
    }
}

pub fn render(report: &Report) -> String {
    let lines = Lines {
        id: String::new(),
        pretrained: report.pretrained.as_ref(),
        retrain: report.retrain.as_ref(),
        methods: report.methods.iter().collect(),
    };
    let mut page = String::new();
    if report.methods.iter().any(|method| !path(method).is_empty()) {
        page.push_str(&forgetting(&lines));
    }
    if report.methods.iter().any(|method| !method.rounds.is_empty()) {
        page.push_str(&rounds(&lines));
    }
    page
}

/// Accuracy on the forget data, test accuracy.
fn path(method: &Measured) -> Vec<(f64, f64)> {
    method
        .curve
        .iter()
        .filter_map(|point| point.test_accuracy.map(|test| (point.forget_accuracy, test)))
        .filter(|(forget, test)| forget.is_finite() && test.is_finite())
        .collect()
}

fn place(measured: &Measured) -> Option<(f64, f64)> {
    Some((100.0 - measured.ua?, measured.ta?)).filter(|(forget, test)| forget.is_finite() && test.is_finite())
}

pub fn forgetting(lines: &Lines) -> String {
    let places = || lines.references().filter_map(place);
    let tests = || lines.methods().flat_map(path).map(|(_, test)| test).chain(places().map(|(_, test)| test));
    // The part of the frame where methods can be told apart: the references and the best point of each.
    let best = lines.methods().filter_map(|method| path(method).into_iter().map(|(_, test)| test).reduce(f64::max));
    let whole = Scale::covering(tests(), PERCENT, 5);
    let close_up = close_up(places().map(|(_, test)| test).chain(best), tests());
    let draw = |id: &str, y: Scale| -> String { LARGE.map(|size| forgetting_chart(lines, size, id, y)).concat() };
    let further = if close_up.is_some() {
        format!(
            "<p class=\"notes\">Lines that leave the frame below fall further.</p>\n<details><summary>The same over the whole range</summary>\n{}</details>\n",
            draw("whole", whole)
        )
    } else {
        String::new()
    };
    format!(
        r#"<section>
<h2>Forgetting, and what it does to everything else</h2>
<p>Each line is one method, round by round. It starts at the trained network on the left, where the samples to forget are still remembered, and moves right as they fade. Higher is better: the network works better on images it has never seen. A ring marks the round that was kept.</p>
<figure>
{chart}{legend}</figure>
{further}<p class="notes">Measured after the job had made every choice, on test data that no choice has read.</p>
</section>
"#,
        chart = draw("forgetting", close_up.unwrap_or(whole)),
        legend = legend(lines, true),
    )
}

fn forgetting_chart(lines: &Lines, size: Size, id: &str, y: Scale) -> String {
    let forgets = lines.methods().flat_map(path).chain(lines.references().filter_map(place)).map(|(forget, _)| forget);
    let x = Scale::covering(forgets, PERCENT, if size.width > 500.0 { 10 } else { 5 });
    let labels = Labels {
        id: &format!("{}{id}", lines.id),
        description: "Test accuracy over accuracy on the forgotten labels, one line a method",
        x: "accuracy on the samples to forget, %  →  forgotten",
        y: "test accuracy, %",
    };
    let mut frame = Frame::new(size, labels, x, y, true);
    let (retrain, pretrained) = (lines.retrain.and_then(place), lines.pretrained.and_then(place));
    let retrain_is_above = !matches!((retrain, pretrained), (Some(after), Some(before)) if after.1 < before.1);
    if let Some((forget, test)) = retrain {
        frame.level(test, &format!("Retrain {}", decimal(test, 1)), retrain_is_above, Some(forget));
    }
    if let Some((forget, test)) = pretrained {
        frame.level(test, &format!("before unlearning {}", decimal(test, 1)), !retrain_is_above, Some(forget));
    }
    for (index, method) in lines.methods().enumerate() {
        frame.line(Series(index), &path(method), true);
    }
    for (index, method) in lines.methods().enumerate() {
        for point in &method.curve {
            let Some(test) = point.test_accuracy else { continue };
            let selected = point.round == method.selected;
            let hint = format!(
                "{}, {}{}: test {} %, samples to forget {} %",
                method.name,
                if point.round.0 == 0 { "start".to_owned() } else { format!("round {}", point.round) },
                if selected { " (kept)" } else { "" },
                decimal(test, 1),
                decimal(point.forget_accuracy, 1),
            );
            frame.mark(Series(index), (point.forget_accuracy, test), selected, &hint);
        }
    }
    for (what, measured) in [("before unlearning", lines.pretrained), ("Retrain", lines.retrain)] {
        let Some(measured) = measured else { continue };
        if let Some(place) = place(measured) {
            let hint = format!(
                "{what} ({}): test {} %, samples to forget {} %",
                measured.name,
                decimal(place.1, 1),
                decimal(place.0, 1)
            );
            frame.reference(place, &hint);
        }
    }
    frame.finish()
}

fn rounds(lines: &Lines) -> String {
    let validation =
        per_round(lines, "validation", "validation accuracy, %", true, |record| record.validation_accuracy);
    let forget =
        per_round(lines, "fading", "accuracy on the samples to forget, %", false, |record| record.forget_accuracy);
    if validation.is_empty() && forget.is_empty() {
        return String::new();
    }
    format!(
        r#"<section>
<h2>Round by round</h2>
<p>What the job itself could see while it ran: validation data on which it chooses, and the samples to forget.</p>
<div class="pair">
{validation}{forget}</div>
{legend}</section>
"#,
        legend = legend(lines, false),
    )
}

fn per_round(
    lines: &Lines,
    id: &str,
    label: &str,
    higher_is_better: bool,
    figure: fn(&RoundRecord) -> Option<f64>,
) -> String {
    let line = |method: &Measured| -> Vec<(f64, f64)> {
        method
            .rounds
            .iter()
            .filter_map(|record| figure(record).map(|value| (f64::from(record.round.0), value)))
            .filter(|(_, value)| value.is_finite())
            .collect()
    };
    let all: Vec<(f64, f64)> = lines.methods().flat_map(line).collect();
    if all.is_empty() {
        return String::new();
    }
    let description = format!("{label} over rounds, one line a method");
    let chart = SMALL.map(|size| {
        let labels = Labels { id, description: &description, x: "round", y: label };
        let x = Scale::covering(all.iter().map(|point| point.0).chain([0.0]), (0.0, f64::INFINITY), 6);
        let values = || all.iter().map(|point| point.1);
        let firsts = lines.methods().filter_map(|method| line(method).first().map(|point| point.1));
        let best = lines.methods().filter_map(|m| line(m).into_iter().map(|point| point.1).reduce(f64::max));
        let y = close_up(firsts.chain(best), values()).filter(|_| higher_is_better);
        let y = y.unwrap_or_else(|| Scale::covering(values(), PERCENT, 5));
        let mut frame = Frame::new(size, labels, x, y, false);
        for (index, method) in lines.methods().enumerate() {
            frame.line(Series(index), &line(method), false);
        }
        for (index, method) in lines.methods().enumerate() {
            for (round, value) in line(method) {
                let selected = round == f64::from(method.selected.0);
                let kept = if selected { " (kept)" } else { "" };
                let hint = format!("{}, round {}{kept}: {} %", method.name, decimal(round, 0), decimal(value, 1));
                frame.mark(Series(index), (round, value), selected, &hint);
            }
        }
        frame.finish()
    });
    format!("<figure>\n{}</figure>\n", chart.concat())
}

fn legend(lines: &Lines, references: bool) -> String {
    let mut entries = String::new();
    for (index, method) in lines.methods().enumerate() {
        let series = Series(index);
        entries.push_str(&format!(
            "<li><svg class=\"key\" viewBox=\"0 0 34 16\" aria-hidden=\"true\"><polyline class=\"line s{} d{}\" points=\"1,8 33,8\"/>{}</svg>{}</li>\n",
            series.color(),
            index % 5,
            marker(series, 17.0, 8.0, 4.0),
            name(&method.name)
        ));
    }
    if references && (lines.pretrained.is_some() || lines.retrain.is_some()) {
        entries.push_str("<li><svg class=\"key\" viewBox=\"0 0 34 16\" aria-hidden=\"true\"><path class=\"cross\" d=\"M12 3L22 13M12 13L22 3\"/></svg>before unlearning, Retrain</li>\n");
    }
    entries.push_str("<li><svg class=\"key\" viewBox=\"0 0 34 16\" aria-hidden=\"true\"><circle class=\"ring plain\" cx=\"17\" cy=\"8\" r=\"6.5\"/></svg>round that was kept</li>\n");
    format!("<ul class=\"legend\">\n{entries}</ul>\n")
}

/// A scale around the notable values, if others lie so far below that they would squeeze these together.
fn close_up(notable: impl IntoIterator<Item = f64>, all: impl IntoIterator<Item = f64>) -> Option<Scale> {
    let (low, high) = span(notable);
    let floor = low - 0.5 * (high - low).max(4.0);
    (span(all).0 < floor - 3.0).then(|| Scale::covering([floor, high], PERCENT, 5))
}

fn span(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    values.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}
