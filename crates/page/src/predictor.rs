//! A trained predictor: how well it rewinds histories that it was not trained on, beside what is simpler.

use rewind_job::{Direction, Figure, PredictorReading, PredictorReport, Report};

use super::{
    chart::{Frame, Labels, SMALL, Scale, Series},
    text::{NOTHING, count, decimal, name, plural, seconds},
};

pub fn render(report: &Report, predictor: &PredictorReport) -> String {
    header(report, predictor) + &errors(predictor) + &pictures(report, predictor) + &epochs(predictor)
}

fn header(report: &Report, predictor: &PredictorReport) -> String {
    let time = predictor.rounds.last().map_or(0.0, |record| record.seconds);
    let better = predictor.errors.iter().filter(|row| row.predictor < row.best_rival()).count();
    let close = match predictor.errors.len() {
        0 => "Nothing was held out, so nothing is known about histories that it has not seen.".to_owned(),
        all => format!(
            "On {} that it was not trained on it is better than every simpler rule in <strong>{better} of {all}</strong> cases.",
            plural(predictor.held_out, "history", "histories")
        ),
    };
    format!(
        r#"<header>
<p class="eyebrow">Predictor · report of {job}</p>
<h1>{title}</h1>
<p class="lede">A predictor was trained on <strong>{histories}</strong> by {workers} in {time}; epoch {selected} was selected ({stop}).</p>
<p class="lede">{close}{left_out}</p>
<p class="caution"><strong>Not proven.</strong> A low error on histories is not yet good unlearning: compare methods by the jobs that use it.</p>
</header>
"#,
        job = name(&report.job),
        left_out = match predictor.left_out {
            0 => String::new(),
            some => format!(
                " {} gave nothing to learn from: of another kind, too short, or of networks that had learned too little of what was to be rewound.",
                plural(some, "more history", "more histories")
            ),
        },
        title = name(&report.specification.name),
        histories = plural(predictor.histories, "history", "histories"),
        workers = plural(report.world_size.0.into(), "worker", "workers"),
        time = seconds(time),
        selected = predictor.selected,
        stop = name(&predictor.stop.text),
    )
}

fn errors(predictor: &PredictorReport) -> String {
    if predictor.errors.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for row in &predictor.errors {
        let best = row.best_rival().min(row.predictor);
        let cell = |error: f64, more: String| {
            let text = decimal(error, 3);
            let text = if error <= best { format!("<strong>{text}</strong>") } else { text };
            format!("<td>{text}{more}</td>")
        };
        let lambda = |lambda: f64| format!(" (λ {})", decimal(lambda, 2));
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>{}{}{}{}{}<td>{}</td></tr>\n",
            row.operation.name(),
            row.snapshots,
            row.horizon,
            count(row.coordinates),
            cell(row.predictor, String::new()),
            cell(row.linear_extrapolation, String::new()),
            cell(row.task_vector.error, lambda(row.task_vector.lambda)),
            cell(row.task_vector_per_operation.error, lambda(row.task_vector_per_operation.lambda)),
            row.task_vector_per_layer.map_or_else(|| format!("<td>{NOTHING}</td>"), |error| cell(error, String::new())),
            decimal(row.oracle, 3),
        ));
    }
    format!(
        r#"<section>
<h2>Error on held-out histories</h2>
<p>L1 error of the predicted past weights, relative to “no change” (1.000); smaller is better. λ is fitted on the histories that were trained on; layers of other networks have other names, so “per layer” is per operation type and third of the depth. The oracle has a λ for each tensor, fitted on the very answers that are measured: no Task Vector can be better.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Table of errors">
<table class="methods">
<thead><tr><th scope="col">operation type</th><th scope="col"><abbr title="number of snapshots">K</abbr></th><th scope="col"><abbr title="horizon, in epochs">U</abbr></th><th scope="col">coordinates</th><th scope="col">predictor</th><th scope="col">linear extrapolation</th><th scope="col">Task Vector, one λ</th><th scope="col">Task Vector, λ per type</th><th scope="col">λ per layer</th><th scope="col">oracle</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
</section>
"#
    )
}

/// What the networks do: their effective linear maps, and predicted against true residuals.
fn pictures(report: &Report, predictor: &PredictorReport) -> String {
    if predictor.readings.is_empty() {
        return String::new();
    }
    let direction =
        report.specification.train_predictor().map_or_else(Direction::default, |(_, wanted)| wanted.direction);
    let figures: String = predictor
        .readings
        .iter()
        .enumerate()
        .map(|(index, reading)| picture(predictor, direction, index, reading))
        .collect();
    format!(
        r#"<section>
<h2>What the networks do</h2>
<p>Left: by how much a coordinate at rest is moved when one of its snapshots is raised (the network’s Jacobian at rest; the rest of its tensor moves as usual). The second line is the Task Vector with the fitted λ of this operation type. Right: predicted against true residuals of held-out histories, in units of their tensors’ drift scales; on the line they agree.</p>
{figures}</section>
"#
    )
}

pub fn picture(predictor: &PredictorReport, direction: Direction, index: usize, reading: &PredictorReading) -> String {
    let PredictorReading { snapshots, horizon, operation, jacobian, resting, correlation, points } = reading;
    let of = format!("{}, K = {snapshots}, U = {horizon}", operation.name());
    let same = |row: &&rewind_job::PredictorError| {
        (row.operation, row.snapshots, row.horizon) == (*operation, *snapshots, *horizon)
    };
    let row = predictor.errors.iter().find(same);
    let numbered = |values: &[f64]| -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(k, &value)| (k as f64, value)).collect()
    };
    let network = numbered(jacobian);
    let rival = row.map(|row| {
        let lambda = row.task_vector_per_operation.lambda;
        let last = jacobian.len().saturating_sub(1);
        // Back: Φ_0 − λ (Φ_{K−1} − Φ_0); ahead: Φ_{K−1} + λ (Φ_{K−1} − Φ_0).
        let ends = if direction == Direction::Past { [lambda, -lambda] } else { [-lambda, lambda] };
        let at = |k: usize| {
            if k == 0 {
                ends[0]
            } else if k == last {
                ends[1]
            } else {
                0.0
            }
        };
        numbered(&(0..jacobian.len()).map(at).collect::<Vec<_>>())
    });
    let map = SMALL.map(|size| {
        let description = format!("Jacobian at rest, {of}");
        let id = format!("map-{index}");
        let labels = Labels { id: &id, description: &description, x: "snapshot", y: "∂ residual / ∂ snapshot" };
        let all = network.iter().chain(rival.iter().flatten());
        let x = Scale::covering(network.iter().map(|point| point.0), (0.0, f64::INFINITY), 6);
        let y = Scale::covering_finely(all.map(|point| point.1).chain([0.0]), (f64::NEG_INFINITY, f64::INFINITY), 5);
        let mut frame = Frame::new(size, labels, x, y, false);
        frame.level(0.0, "", true, None);
        if let Some(rival) = &rival {
            frame.line(Series(1), rival, false);
            rival.iter().for_each(|&point| {
                frame.mark(
                    Series(1),
                    point,
                    false,
                    &format!("Task Vector, snapshot {}: {}", point.0, decimal(point.1, 3)),
                );
            });
        }
        frame.line(Series(0), &network, false);
        network.iter().for_each(|&point| {
            frame.mark(Series(0), point, false, &format!("predictor, snapshot {}: {}", point.0, decimal(point.1, 3)));
        });
        frame.finish()
    });
    let pairs: Vec<(f64, f64)> = points.iter().map(|&[truth, found]| (truth, found)).collect();
    let scatter = SMALL.map(|size| {
        let description = format!("predicted against true residuals, {of}");
        let id = format!("pairs-{index}");
        let labels = Labels { id: &id, description: &description, x: "true residual", y: "predicted residual" };
        let limits = (f64::NEG_INFINITY, f64::INFINITY);
        let x = Scale::covering_finely(pairs.iter().map(|pair| pair.0), limits, 6);
        let y = Scale::covering_finely(pairs.iter().map(|pair| pair.1), limits, 5);
        let mut frame = Frame::new(size, labels, x, y, false);
        let widest = pairs.iter().map(|pair| pair.0.abs()).fold(0.0, f64::max);
        frame.dots(Series(0), &pairs);
        frame.line(Series(2), &[(-widest, -widest), (widest, widest)], false);
        frame.finish()
    });
    let still = if resting.abs() < 1e-12 {
        "A coordinate that rests stays where it is.".to_owned()
    } else {
        format!("A coordinate that rests at 0.5 is moved by {resting:+.1e}: a false signal.")
    };
    let even = even_drift(jacobian, direction);
    format!(
        "<h3>{of}</h3>\n<p>Correlation {}. {even} {still}</p>\n<div class=\"pair\">\n<figure>\n{}</figure>\n<figure>\n{}</figure>\n</div>\n",
        decimal(*correlation, 3),
        map.concat(),
        scatter.concat(),
    )
}

/// What the network answers to a coordinate that drifts evenly: the λ of the Task Vector that it resembles.
fn even_drift(jacobian: &[f64], direction: Direction) -> String {
    let last = jacobian.len().saturating_sub(1).max(1) as f64;
    let answer: f64 = jacobian.iter().enumerate().map(|(k, slope)| slope * k as f64 / last).sum();
    // residual = −λ (Φ_{K−1} − Φ_0) back, λ (Φ_{K−1} − Φ_0) ahead.
    let (lambda, wrong) = match direction {
        Direction::Past => (-answer, "it walks forward where it should look back"),
        Direction::Future => (answer, "it walks back where it should look ahead"),
    };
    let even = format!("Of an even drift it is a Task Vector with λ {}", decimal(lambda, 2));
    if lambda < 0.0 { format!("{even}: <strong>{wrong}</strong>.") } else { format!("{even}.") }
}

fn epochs(predictor: &PredictorReport) -> String {
    let loss = curve(predictor, "loss", "loss", |record| record.loss.number());
    let held_out =
        curve(predictor, "held-out", "error on held-out histories", |record| record.number(Figure::PREDICTOR_ERROR));
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
        let y = Scale::covering_finely(points.iter().map(|point| point.1), (0.0, f64::INFINITY), 5);
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
