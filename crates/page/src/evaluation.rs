//! Whether a predictor is better than what is simpler, as one page.

use super::{
    predictor::picture,
    text::{NOTHING, decimal, name, plural},
};
use rewind_comparison::{
    Interval,
    predictors::{ErrorRow, Evaluation, METHODS, RIVALS, UnlearningRow, cells, is_lowest, is_surely_lowest},
};

pub fn render(evaluation: &Evaluation) -> String {
    header(evaluation)
        + &over_all(evaluation)
        + &by_family(evaluation)
        + &unlearning(evaluation)
        + &pictures(evaluation)
}

fn architecture(evaluation: &Evaluation) -> &'static str {
    evaluation.architecture
}

fn header(evaluation: &Evaluation) -> String {
    let places = cells(&evaluation.errors, architecture(evaluation));
    let all = places.len();
    let below = places.iter().filter(|cells| is_lowest(cells)).count();
    let sure = places.iter().filter(|cells| is_surely_lowest(cells)).count();
    format!(
        r#"<header>
<p class="eyebrow">Predictor · evaluation</p>
<h1>{title}</h1>
<p class="lede">Measured on {families} that it was not trained on, each left out in turn, with {seeds}: the mean error is below that of every simpler rule in <strong>{below} of {all}</strong> cases; in {sure} of them the 95 % interval over families says so too.</p>
</header>
"#,
        title = name(&evaluation.name),
        families = plural(evaluation.families.len() as u64, "family", "families"),
        seeds = plural(evaluation.seeds as u64, "seed", "seeds"),
    )
}

/// `0.912 ± 0.004`.
fn with_half(value: f64, half: Option<f64>, places: usize) -> String {
    let half = half.map_or(String::new(), |half| format!(" ± {}", decimal(half, places)));
    decimal(value, places) + &half
}

fn half(row: &ErrorRow) -> Option<f64> {
    row.interval.map(|[low, high]| (high - low) / 2.0)
}

fn over_all(evaluation: &Evaluation) -> String {
    let mut rows = String::new();
    for cells in cells(&evaluation.errors, architecture(evaluation)) {
        let Some(first) = cells[0] else { continue };
        let best =
            cells[..RIVALS.end].iter().flatten().map(|row| row.l1_relative_to_no_change).fold(f64::INFINITY, f64::min);
        let columns: String = cells
            .iter()
            .enumerate()
            .map(|(method, row)| {
                let Some(row) = row else { return format!("<td>{NOTHING}</td>") };
                let text = with_half(row.l1_relative_to_no_change, half(row).filter(|_| method == 0), 3);
                let is_best = method < RIVALS.end && row.l1_relative_to_no_change <= best;
                let text = if is_best { format!("<strong>{text}</strong>") } else { text };
                let difference = row.predictor_minus_this.map_or(String::new(), |difference| {
                    format!("<br><small>{}</small>", with_half(difference.mean, difference.half(), 3))
                });
                format!("<td>{text}{difference}</td>")
            })
            .collect();
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td>{columns}</tr>\n",
            first.operation_type.name(),
            first.snapshots,
            first.horizon
        ));
    }
    let heads: String = METHODS[1..].iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    format!(
        r#"<section>
<h2>Error on families that were left out</h2>
<p>L1 error relative to “no change” (1.000), mean over {families}; smaller is better. Beside the predictor’s: half its 95 % interval over seeds. Small, below a rival: the predictor’s error minus the rival’s, with its 95 % interval over families; below zero the predictor is better. λ is fitted on the same histories; the oracle’s, for each tensor, on the very answers.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Table of errors">
<table class="methods">
<thead><tr><th scope="col">operation type</th><th scope="col"><abbr title="number of snapshots">K</abbr></th><th scope="col"><abbr title="horizon, in epochs">U</abbr></th><th scope="col">{architecture}</th>{heads}</tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
</section>
"#,
        families = name(&evaluation.families.join(", ")),
        architecture = architecture(evaluation),
    )
}

fn by_family(evaluation: &Evaluation) -> String {
    let architecture = architecture(evaluation);
    let mut rows = String::new();
    let own = evaluation.errors.iter().filter(|row| row.predictor == architecture && row.held_out != "all");
    for row in own {
        let same = |other: &&ErrorRow| {
            (other.operation_type, other.snapshots, other.horizon, &other.held_out)
                == (row.operation_type, row.snapshots, row.horizon, &row.held_out)
        };
        let of = |method: &str| {
            let found = evaluation.errors.iter().filter(same).find(|other| other.predictor == method);
            decimal(found.map(|row| row.l1_relative_to_no_change), 3)
        };
        let rivals: String = METHODS[1..].iter().map(|method| format!("<td>{}</td>", of(method))).collect();
        rows.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>{rivals}</tr>\n",
            name(&row.held_out),
            row.operation_type.name(),
            row.snapshots,
            row.horizon,
            with_half(row.l1_relative_to_no_change, half(row), 3),
        ));
    }
    let heads: String = METHODS[1..].iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    format!(
        r#"<section>
<details><summary>Family by family</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Table of errors by family">
<table class="methods">
<thead><tr><th scope="col">left out</th><th scope="col">operation type</th><th scope="col">K</th><th scope="col">U</th><th scope="col">{architecture}</th>{heads}</tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
</details>
</section>
"#
    )
}

fn unlearning(evaluation: &Evaluation) -> String {
    let mut sections = String::new();
    for protocol in &evaluation.protocols {
        let all: Vec<&UnlearningRow> = evaluation.unlearning.iter().filter(|row| row.protocol == *protocol).collect();
        let chosen: String = all.iter().filter(|row| row.chosen || row.factor.is_none()).map(|row| line(row)).collect();
        let tries: String = all.iter().map(|row| line(row)).collect();
        let table = |rows: &str| {
            format!(
                r#"<div class="scroll" tabindex="0" role="region" aria-label="Table of unlearning">
<table class="methods">
<thead><tr><th scope="col">method</th><th scope="col">factor</th><th scope="col">reached</th><th scope="col">validation</th><th scope="col">test</th><th scope="col">forget data</th><th scope="col">forget data, true labels</th><th scope="col">test, over the best λ</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
"#
            )
        };
        sections.push_str(&format!(
            "<h3>{}</h3>\n{}<details><summary>All factors that were tried</summary>\n{}</details>\n",
            name(protocol),
            table(&chosen),
            table(&tries)
        ));
    }
    if sections.is_empty() {
        return String::new();
    }
    format!(
        "<section>\n<h2>Unlearning</h2>\n<p>Accuracies in percent, mean over seeds ± half the 95 % interval. Each method tried the same factors; the factor was chosen by how many seeds reached the wanted forgetting and then by mean validation accuracy. The last column compares test accuracies seed by seed with the Task Vector that validation puts first.</p>\n{sections}</section>\n"
    )
}

fn line(row: &UnlearningRow) -> String {
    let cell = |interval: Option<Interval>| {
        interval.map_or(NOTHING.to_owned(), |interval| with_half(interval.mean, interval.half(), 1))
    };
    let reached = row.reached.map_or(NOTHING.to_owned(), |reached| format!("{reached} of {}", row.seeds));
    let factor = row.factor.map_or(NOTHING.to_owned(), |factor| factor.to_string());
    let cells = [
        factor,
        reached,
        cell(row.validation_accuracy),
        cell(row.test_accuracy),
        cell(row.forget_accuracy),
        cell(row.clean_accuracy),
        cell(row.over_best_task_vector),
    ];
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", name(&row.method))
}

/// Of one family in full, of the others behind a fold.
fn pictures(evaluation: &Evaluation) -> String {
    let mut index = 0;
    let mut parts = String::new();
    for (place, (family, report)) in evaluation.reports.iter().enumerate() {
        let longest = report.readings.iter().map(|reading| reading.horizon).max();
        let drawn: String = report
            .readings
            .iter()
            .filter(|reading| Some(reading.horizon) == longest)
            .map(|reading| {
                index += 1;
                picture(report, evaluation.direction, index, reading)
            })
            .collect();
        let open = if place == 0 { " open" } else { "" };
        parts.push_str(&format!("<details{open}><summary>{} left out</summary>\n{drawn}</details>\n", name(family)));
    }
    if index == 0 {
        return String::new();
    }
    format!(
        "<section>\n<h2>What the networks do</h2>\n<p>Left: the Jacobian at rest, beside the Task Vector with the fitted λ of the operation type. Right: predicted against true residuals of the family that was left out, in units of their tensors’ drift scales. First seed, longest horizon.</p>\n{parts}</section>\n"
    )
}
