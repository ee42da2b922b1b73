//! A trained predictor: how well it rewinds histories that it was not trained on, beside what is simpler.

use rewind_job::{PredictorError, PredictorReport, Report};

use super::{
    chart::{Frame, Labels, SMALL, Scale, Series},
    text::{count, decimal, name, plural, seconds},
};

pub fn render(report: &Report, predictor: &PredictorReport) -> String {
    header(report, predictor) + &errors(predictor) + &epochs(predictor)
}

fn header(report: &Report, predictor: &PredictorReport) -> String {
    let time = predictor.rounds.last().map_or(0.0, |record| record.seconds);
    let better = predictor.errors.iter().filter(|row| row.predictor < best_rival(row)).count();
    let close = match predictor.errors.len() {
        0 => "Nothing was held out, so nothing is known about histories that it has not seen.".to_owned(),
        all => format!(
            "On {} that were held out it is better than every simpler rule in <strong>{better} of {all}</strong> cases.",
            plural(predictor.held_out, "history", "histories")
        ),
    };
    format!(
        r#"<header>
<p class="eyebrow">Predictor · report of {job}</p>
<h1>{title}</h1>
<p class="lede">A predictor was trained on <strong>{histories}</strong> by {workers} in {time}; epoch {selected} was selected ({stop}).</p>
<p class="lede">{close}</p>
<p class="caution"><strong>Not proven.</strong> A low error on histories is not yet good unlearning: compare methods by the jobs that use it.</p>
</header>
"#,
        job = name(&report.job),
        title = name(&report.specification.name),
        histories = plural(predictor.histories, "history", "histories"),
        workers = plural(report.world_size.0.into(), "worker", "workers"),
        time = seconds(time),
        selected = predictor.selected,
        stop = name(&predictor.stop.text),
    )
}

fn best_rival(row: &PredictorError) -> f64 {
    row.linear_extrapolation.min(row.task_vector.error).min(row.task_vector_per_operation.error).min(1.0)
}

fn errors(predictor: &PredictorReport) -> String {
    if predictor.errors.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for row in &predictor.errors {
        let best = best_rival(row).min(row.predictor);
        let cell = |error: f64, more: String| {
            let text = decimal(error, 3);
            let text = if error <= best { format!("<strong>{text}</strong>") } else { text };
            format!("<td>{text}{more}</td>")
        };
        let lambda = |lambda: f64| format!(" (λ {})", decimal(lambda, 2));
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>{}{}{}{}</tr>\n",
            row.operation.name(),
            row.snapshots,
            row.horizon,
            count(row.coordinates),
            cell(row.predictor, String::new()),
            cell(row.linear_extrapolation, String::new()),
            cell(row.task_vector.error, lambda(row.task_vector.lambda)),
            cell(row.task_vector_per_operation.error, lambda(row.task_vector_per_operation.lambda)),
        ));
    }
    format!(
        r#"<section>
<h2>Error on held-out histories</h2>
<p>L1 error of the predicted past weights, relative to “no change” (1.000); smaller is better. λ is fitted on the histories that were trained on.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Table of errors">
<table class="methods">
<thead><tr><th scope="col">operation type</th><th scope="col"><abbr title="number of snapshots">K</abbr></th><th scope="col"><abbr title="horizon, in epochs">U</abbr></th><th scope="col">coordinates</th><th scope="col">predictor</th><th scope="col">linear extrapolation</th><th scope="col">Task Vector, one λ</th><th scope="col">Task Vector, λ per type</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
</section>
"#
    )
}

fn epochs(predictor: &PredictorReport) -> String {
    let loss = curve(predictor, "loss", "loss", |record| Some(record.loss));
    let held_out = curve(predictor, "held-out", "error on held-out histories", |record| record.validation_loss);
    format!(
        "<section>\n<h2>Epoch by epoch</h2>\n<p>The ring marks the epoch that was selected.</p>\n<div class=\"pair\">\n{loss}{held_out}</div>\n</section>\n"
    )
}

fn curve(
    predictor: &PredictorReport,
    id: &str,
    label: &str,
    figure: fn(&rewind_job::RoundRecord) -> Option<f64>,
) -> String {
    let points: Vec<(f64, f64)> = predictor
        .rounds
        .iter()
        .filter_map(|record| figure(record).map(|value| (f64::from(record.round.0), value)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    if points.is_empty() {
        return String::new();
    }
    let description = format!("{label} over epochs");
    let chart = SMALL.map(|size| {
        let labels = Labels { id, description: &description, x: "epoch", y: label };
        let x = Scale::covering(points.iter().map(|point| point.0).chain([0.0]), (0.0, f64::INFINITY), 6);
        let y = Scale::covering(points.iter().map(|point| point.1), (0.0, f64::INFINITY), 5);
        let mut frame = Frame::new(size, labels, x, y, false);
        frame.line(Series(0), &points, false);
        for &(epoch, value) in &points {
            let selected = epoch == f64::from(predictor.selected.0);
            let kept = if selected { " (kept)" } else { "" };
            let hint = format!("epoch {}{kept}: {}", decimal(epoch, 0), decimal(value, 4));
            frame.mark(Series(0), (epoch, value), selected, &hint);
        }
        frame.finish()
    });
    format!("<figure>\n{}</figure>\n", chart.concat())
}
