//! The search that found the settings: one heat map a method, read from the log's JSON.

use serde_json::Value;

use super::text::{Escaped, NOTHING, decimal, name};

/// One grid point of the log.
struct Point {
    method: String,
    learning_rate: f64,
    scale: f64,
    accuracy: Option<f64>,
    round: Option<u64>,
}

pub fn render(search: Option<&Value>) -> String {
    let Some(search) = search else { return String::new() };
    let points = points(search, "results");
    let raw = format!(
        "<details><summary>The whole log</summary>\n<pre>{}</pre></details>\n",
        Escaped(&serde_json::to_string_pretty(search).unwrap_or_default())
    );
    let chosen = self::points(search, "chosen");
    let mut methods: Vec<&str> = Vec::new();
    for point in &points {
        if !methods.contains(&point.method.as_str()) {
            methods.push(&point.method);
        }
    }
    let tries: Vec<usize> =
        methods.iter().map(|method| points.iter().filter(|point| point.method == *method).count()).collect();
    let fairness = match tries.first() {
        Some(first) if tries.len() > 1 && tries.iter().all(|tries| tries == first) => {
            format!("Every method got the same number of tries: {first}. ")
        }
        Some(_) if tries.len() > 1 => {
            let counts: Vec<String> =
                methods.iter().zip(&tries).map(|(method, tries)| format!("{} {tries}", name(method))).collect();
            format!("The methods got different numbers of tries: {}. ", counts.join(", "))
        }
        _ => String::new(),
    };
    let maps: String = methods.iter().map(|method| map(method, &points, &chosen)).collect();
    format!(
        r#"<section>
<h2>How the settings were found</h2>
<p>{fairness}Each cell is the best validation accuracy of a try, in percent; test data was not read. The setting that was chosen is outlined.</p>
<div class="pair">
{maps}</div>
{raw}</section>
"#
    )
}

fn points(search: &Value, key: &str) -> Vec<Point> {
    let entries = match search.get(key) {
        Some(Value::Array(entries)) => entries.iter().collect(),
        Some(Value::Object(by_method)) => by_method.values().collect(),
        _ => Vec::new(),
    };
    entries
        .into_iter()
        .filter_map(|entry| {
            Some(Point {
                method: entry.get("method")?.as_str()?.to_owned(),
                learning_rate: entry.get("learning_rate")?.as_f64()?,
                scale: entry.get("scale")?.as_f64()?,
                accuracy: entry.get("best_validation_accuracy").and_then(Value::as_f64),
                round: entry.get("round").and_then(Value::as_u64),
            })
        })
        .collect()
}

fn map(method: &str, points: &[Point], chosen: &[Point]) -> String {
    let points: Vec<&Point> = points.iter().filter(|point| point.method == method).collect();
    let rates = distinct(points.iter().map(|point| point.learning_rate));
    let scales = distinct(points.iter().map(|point| point.scale));
    let accuracies: Vec<f64> = points.iter().filter_map(|point| point.accuracy).collect();
    let low = accuracies.iter().copied().fold(f64::INFINITY, f64::min);
    let high = accuracies.iter().copied().fold(f64::NEG_INFINITY, f64::max);

    let head: String = rates.iter().map(|rate| format!("<th scope=\"col\">{rate:e}</th>")).collect();
    let mut rows = String::new();
    for scale in &scales {
        rows.push_str(&format!("<tr><th scope=\"row\">{scale}</th>"));
        for rate in &rates {
            let is_here = |point: &&Point| point.scale == *scale && point.learning_rate == *rate;
            let point = points.iter().copied().find(is_here);
            let accuracy = point.and_then(|point| point.accuracy);
            let heat = accuracy.map_or(0, |value| heat(value, low, high));
            let is_chosen = chosen.iter().filter(|point| point.method == method).any(|point| is_here(&point));
            let round = point
                .and_then(|point| point.round)
                .map_or(String::new(), |round| format!(" title=\"at round {round}\""));
            let text = accuracy.map_or_else(|| NOTHING.to_owned(), |value| decimal(value, 1));
            let (class, text) = if is_chosen { (" chosen", format!("<strong>{text}</strong>")) } else { ("", text) };
            rows.push_str(&format!("<td class=\"h{heat}{class}\"{round}>{text}</td>"));
        }
        rows.push_str("</tr>\n");
    }
    let scale_name = if method == "task-vector" { "λ" } else { "scale" };
    format!(
        r#"<figure><figcaption>{name}</figcaption>
<div class="scroll"><table class="heat">
<thead><tr><th scope="col">{scale_name} ↓ · learning rate →</th>{head}</tr></thead>
<tbody>
{rows}</tbody></table></div></figure>
"#,
        name = name(method),
    )
}

/// 0 to 6, for the sheet's shades.
fn heat(value: f64, low: f64, high: f64) -> usize {
    if high - low < 1e-9 {
        return 6;
    }
    // Squared: the differences that matter are near the top.
    ((((value - low) / (high - low)).powi(2) * 6.0).round() as usize).min(6)
}

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}
