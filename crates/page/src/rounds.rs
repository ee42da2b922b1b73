//! Why each method stopped, and what every round of it did.

use rewind_job::{Figure, Measured, Report};

use super::text::{Escaped, bytes, decimal, name, seconds};

pub fn render(report: &Report) -> String {
    stops(report) + &logs(report)
}

fn stops(report: &Report) -> String {
    if report.stop.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for stop in &report.stop {
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td class=\"words\"><code>{}</code></td><td class=\"words\">{}</td><td>{}</td><td>{}</td></tr>\n",
            name(&stop.name),
            Escaped(&stop.rule),
            Escaped(&stop.text),
            stop.rounds,
            if stop.selected.0 == 0 { "start".to_owned() } else { stop.selected.to_string() },
        ));
    }
    format!(
        r#"<section>
<h2>What stopped each method</h2>
<div class="scroll"><table>
<thead><tr><th scope="col">method</th><th scope="col" class="words">rule that fired</th><th scope="col" class="words">why</th><th scope="col">rounds run</th><th scope="col">round kept</th></tr></thead>
<tbody>
{rows}</tbody></table></div>
</section>
"#
    )
}

fn logs(report: &Report) -> String {
    let logs: String = report.measured().filter(|measured| !measured.rounds.is_empty()).map(log).collect();
    if logs.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>Log of every round</h2>\n{logs}</section>\n")
}

fn log(measured: &Measured) -> String {
    let has_curve = !measured.curve.is_empty();
    let mut rows = String::new();
    for record in &measured.rounds {
        let kept = record.round == measured.selected;
        let point = measured.curve.iter().find(|point| point.round == record.round);
        let test = if has_curve {
            format!("<td>{}</td>", decimal(point.and_then(|point| point.test_accuracy), 2))
        } else {
            String::new()
        };
        rows.push_str(&format!(
            "<tr{class}><th scope=\"row\">{round}{mark}</th><td>{loss}</td><td>{forget}</td><td>{validation}</td>{test}<td>{change}</td><td>{seconds}</td><td>{epochs}</td><td>{bytes}</td></tr>\n",
            class = if kept { " class=\"best\"" } else { "" },
            round = record.round,
            mark = if kept { " <span class=\"tag\">kept</span>" } else { "" },
            loss = decimal(record.loss.number(), 4),
            forget = decimal(record.number(Figure::FORGET_ACCURACY), 2),
            validation = decimal(record.number(Figure::VALIDATION_ACCURACY), 2),
            change = small(record.weight_change),
            seconds = seconds(record.seconds),
            epochs = decimal(record.forget_epochs, 0),
            bytes = bytes(record.bytes_moved),
        ));
    }
    let rounds = measured.rounds.len();
    let round = if matches!(measured.method.as_str(), "pretrain" | "retrain") { "epoch" } else { "round" };
    let test = if has_curve { "<th scope=\"col\">test</th>" } else { "" };
    format!(
        r#"<details><summary>{name} <span class="soft">{method}, {rounds} {round}{plural}</span></summary>
<div class="scroll"><table class="log">
<thead><tr><th scope="col">{round}</th><th scope="col">loss</th><th scope="col">samples to forget</th><th scope="col">validation</th>{test}<th scope="col"><abbr title="root mean square of the change of the weights">weight change</abbr></th><th scope="col">time</th><th scope="col">epochs on D<sub>f</sub></th><th scope="col">bytes moved</th></tr></thead>
<tbody>
{rows}</tbody></table></div></details>
"#,
        name = name(&measured.name),
        method = Escaped(&measured.method),
        plural = if rounds == 1 { "" } else { "s" },
    )
}

/// `3.2e-4` for what decimals would hide.
fn small(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.01 && value.is_finite() {
        format!("{value:.1e}").replace('-', "−")
    } else {
        decimal(value, 3)
    }
}
