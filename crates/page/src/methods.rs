//! The table of methods, and what each won back of Retrain's gain.

use rewind_job::{Measured, Report};

use super::{
    chart::Series,
    comparison::{device_seconds, peak_memory},
    headline::{WEAK_ATTACK_POINTS, best, unlearned},
    text::{Escaped, NOTHING, bytes, count, decimal, name, seconds},
};

type Metric = fn(&Measured) -> Option<f64>;

/// SalUn's attack: there are others.
const SVC: &str = "MIA: SVC, confidence";

const METRICS: [(&str, &str, Metric); 4] = [
    ("RA", "accuracy on the remaining data, %", |measured| measured.ra),
    ("UA", "100 − accuracy on the forget data, %", |measured| measured.ua),
    ("TA", "accuracy on test data, %", |measured| measured.ta),
    (SVC, "share of the forget data that a support-vector classifier on confidences calls non-member, %", |m| m.mia),
];

pub fn render(report: &Report) -> String {
    let mut head = String::new();
    for (short, long, _) in METRICS {
        // In two lines, so that the table fits.
        let short = short.replace(": ", ":<br>");
        head.push_str(&format!("<th scope=\"col\"><abbr title=\"{long}\">{short}</abbr></th>"));
    }
    let (has_device, has_memory) = measured_cost(report);
    let mut rows = String::new();
    for reference in [&report.pretrained, &report.retrain].into_iter().flatten() {
        rows.push_str(&row(report, reference, None));
    }
    for (index, method) in report.methods.iter().enumerate() {
        rows.push_str(&row(report, method, Some(index)));
    }
    if rows.is_empty() {
        rows = "<tr><td colspan=\"11\">Nothing was measured.</td></tr>".to_owned();
    }
    format!(
        r#"<section>
<h2>Methods</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Table of methods">
<table class="methods">
<thead><tr><th scope="col">method</th>{head}<th scope="col"><abbr title="mean distance of RA, UA, TA and MIA from Retrain’s, points; smaller is better">average gap</abbr></th><th scope="col">time</th>{device}{memory}<th scope="col"><abbr title="epochs over the forget data">epochs on D<sub>f</sub></abbr></th><th scope="col">bytes moved</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
{notes}<p class="notes">What each method’s name stands for, where it is published and what differs here: docs/methods.md of this program’s source.</p>
</section>
{recovered}"#,
        device = if has_device {
            "<th scope=\"col\"><abbr title=\"summed over the workers; on a CPU, processor time\">device time</abbr></th>"
        } else {
            ""
        },
        memory = if has_memory {
            "<th scope=\"col\"><abbr title=\"the most that one worker held at once, the program itself included\">peak memory</abbr></th>"
        } else {
            ""
        },
        notes = notes(report),
        recovered = recovered(report),
    )
}

/// Whether any network has time on the device, and peak memory: reports of older versions have neither.
fn measured_cost(report: &Report) -> (bool, bool) {
    let all = || report.measured();
    (all().any(|measured| device_seconds(measured).is_some()), all().any(|measured| peak_memory(measured).is_some()))
}

fn row(report: &Report, measured: &Measured, series: Option<usize>) -> String {
    let (has_device, has_memory) = measured_cost(report);
    let is_best = series.is_some() && best(report).is_some_and(|best| std::ptr::eq(best, measured));
    let mut cells = String::new();
    for (short, _, metric) in METRICS {
        let doubt = if short == SVC && attack_is_weak(measured) { "†" } else { "" };
        cells.push_str(&cell(report, measured, series.is_some(), metric, doubt));
    }
    let gap = if is_best && measured.average_gap.is_some() {
        format!("<td><strong>{}</strong></td>", decimal(measured.average_gap, 1))
    } else {
        format!("<td>{}</td>", decimal(measured.average_gap, 1))
    };
    let swatch = series.map_or(String::new(), |index| Series(index).swatch());
    let tag = if is_best && unlearned(report).len() > 1 { " <span class=\"tag\">closest</span>" } else { "" };
    let kind = if series.is_none() { "reference" } else { measured.group.as_str() };
    let method = if measured.method == measured.name || series.is_none() {
        String::new()
    } else {
        format!("{} · ", Escaped(&measured.method))
    };
    format!(
        "<tr class=\"{class}\"><th scope=\"row\"><div class=\"method\">{swatch}<span>{name}{tag}<small>{method}{kind}</small></span></div></th>{cells}{gap}<td>{seconds}</td>{device}{memory}<td>{epochs}</td><td>{bytes}</td></tr>\n",
        class = match (series, is_best) {
            (None, _) => "reference",
            (Some(_), true) => "best",
            (Some(_), false) => "plain",
        },
        name = name(&measured.name),
        kind = Escaped(kind),
        seconds = seconds(measured.seconds),
        device = if has_device {
            format!("<td>{}</td>", device_seconds(measured).map_or_else(|| NOTHING.to_owned(), seconds))
        } else {
            String::new()
        },
        memory = if has_memory {
            format!("<td>{}</td>", peak_memory(measured).map_or_else(|| NOTHING.to_owned(), bytes))
        } else {
            String::new()
        },
        epochs = if measured.forget_epochs > 0.0 { decimal(measured.forget_epochs, 0) } else { NOTHING.to_owned() },
        bytes = bytes(measured.bytes_moved),
    )
}

/// A figure, and beside it its distance from Retrain's.
fn cell(report: &Report, measured: &Measured, is_method: bool, metric: Metric, doubt: &str) -> String {
    let Some(value) = metric(measured).filter(|value| value.is_finite()) else {
        return format!("<td>{NOTHING}</td>");
    };
    let reference = report.retrain.as_ref().and_then(metric);
    let Some(reference) = reference.filter(|_| is_method) else {
        return format!("<td>{}{doubt}</td>", decimal(value, 1));
    };
    let gap = value - reference;
    let smallest =
        unlearned(report).into_iter().filter_map(metric).map(|other| (other - reference).abs()).min_by(f64::total_cmp);
    let nearest = measured.group != "reference" && smallest.is_some_and(|smallest| gap.abs() <= smallest);
    let sign = if gap > 0.0 { "+" } else { "" };
    let figure = decimal(value, 1);
    let figure = if nearest && unlearned(report).len() > 1 { format!("<strong>{figure}</strong>") } else { figure };
    format!("<td>{figure}{doubt}<small>{sign}{}</small></td>", decimal(gap, 1))
}

fn notes(report: &Report) -> String {
    let mut notes =
        "Small figures are distances from Retrain in points; the nearest in each column is bold. ".to_owned();
    if let (Some(ta), Some(test)) = (best(report).and_then(|method| method.ta), report.data.test)
        && test > 0
        && (0.0..=100.0).contains(&ta)
    {
        // Agresti and Coull (1998): two hits and two misses more, so that 100 % is not free of error.
        let samples = test as f64 + 4.0;
        let share = (ta / 100.0 * test as f64 + 2.0) / samples;
        let error = 100.0 * (share * (1.0 - share) / samples).sqrt();
        notes.push_str(&format!(
            "With {} test samples a test accuracy has a standard error of about {} points: smaller differences mean nothing. ",
            count(test),
            decimal(error, 1)
        ));
    }
    notes.push_str(&attack(report));
    if report.retrain.is_none() {
        notes.push_str("Without a retrained reference there are no gaps. ");
    }
    notes.push_str("Bytes are those rank 0 sent.");
    format!("<p class=\"notes\">{notes}</p>\n")
}

fn attack_is_weak(measured: &Measured) -> bool {
    measured.mia_attack_accuracy.is_some_and(|accuracy| (accuracy - 50.0).abs() < WEAK_ATTACK_POINTS)
}

/// How far the membership attack can be believed.
fn attack(report: &Report) -> String {
    let all = || report.measured();
    let accuracies = || all().filter_map(|measured| measured.mia_attack_accuracy).filter(|value| value.is_finite());
    let (Some(low), Some(high)) = (accuracies().reduce(f64::min), accuracies().reduce(f64::max)) else {
        return String::new();
    };
    let range =
        if high - low < 0.05 { decimal(low, 1) } else { format!("{} to {}", decimal(low, 1), decimal(high, 1)) };
    let doubt =
        if all().any(attack_is_weak) { ", and where it is near 50 % (†) its figure says nothing" } else { "" };
    format!("On held-out samples the membership attack “SVC, confidence” is right in {range} % of cases{doubt}. ")
}

fn recovered(report: &Report) -> String {
    if report.recovered.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for recovered in &report.recovered {
        let index = report.methods.iter().position(|method| method.name == recovered.name).unwrap_or(0);
        let length = |percent: f64| if percent.is_finite() { percent.clamp(0.0, 100.0) * 3.0 } else { 0.0 };
        let selected = length(recovered.percent);
        let oracle = length(recovered.oracle_percent);
        rows.push_str(&format!(
            concat!(
                "<tr><th scope=\"row\">{name}</th><td class=\"bar\"><svg viewBox=\"0 0 304 18\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
                "<rect class=\"track\" x=\"2\" y=\"4\" width=\"300\" height=\"10\" rx=\"2\"/>",
                "<rect class=\"fill s{color}\" x=\"2\" y=\"4\" width=\"{selected:.1}\" height=\"10\" rx=\"2\"/>",
                "<rect class=\"tick\" x=\"{oracle:.1}\" y=\"1\" width=\"2\" height=\"16\"/></svg></td>",
                "<td><strong>{percent} %</strong></td><td>{oracle_percent} %</td></tr>\n"
            ),
            name = name(&recovered.name),
            selected = selected,
            color = Series(index).color(),
            oracle = oracle + 1.0,
            percent = decimal(recovered.percent, 1),
            oracle_percent = decimal(recovered.oracle_percent, 1),
        ));
    }
    format!(
        r#"<section>
<h2>Won back of Retrain’s gain in test accuracy</h2>
<div class="scroll"><table class="recovered">
<thead><tr><th scope="col">method</th><th scope="col">0 % = before unlearning, 100 % = Retrain</th><th scope="col">selected round</th><th scope="col">best round on test data (oracle)</th></tr></thead>
<tbody>
{rows}</tbody></table></div>
<p class="notes">The bar is the round that the job selected without test data. The tick is the best round in hindsight: an <em>oracle</em> figure, which no user could have chosen.</p>
</section>
"#
    )
}
