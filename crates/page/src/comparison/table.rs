//! The paper's Table 1 over seeds: groups apart, the best of each group, and what cannot be told from it.

use rewind_job::Measured;

use super::ranking::{Measure, Ranked, gap_before, rank};
use crate::{
    chart::Series,
    stage::Stage,
    text::{NOTHING, name, with_half},
};
use rewind_comparison::{Compared, Interval, METRICS, Metric, mean_over};

/// Metrics that stand in the table; the others follow in results.json.
const SHOWN: [&str; 9] = [
    "ra",
    "ua",
    "ta",
    "mia",
    "mia-logistic",
    "forgotten-class-accuracy",
    "backdoor-forget",
    "backdoor-held-out",
    "clean-accuracy",
];
pub const GROUPS: [&str; 2] = ["forget-only", "retain-using"];

/// A method's place in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Best,
    /// The interval of its paired differences from the best contains zero.
    Tied,
    Other,
}

/// One row a contestant, references first, each group under its name.
pub fn rows(
    stage: &Stage,
    compared: &Compared,
    columns: usize,
    standing: impl Fn(&str) -> Standing,
    cells: impl Fn(&str, &str, &[Vec<&Measured>]) -> String,
) -> String {
    let mut rows = String::new();
    let mut contestants = compared.contestants();
    contestants.sort_by_key(|(_, group, _)| GROUPS.iter().position(|of| of == group).map_or(0, |at| at + 1));
    let mut last_group = "reference";
    for (method, group, runs) in &contestants {
        if *group != last_group {
            let title = match *group {
                "forget-only" => "forget-only: given nothing but the samples to forget",
                "retain-using" => "retain-using: given remaining training data too",
                other => other,
            };
            rows.push_str(&format!(
                "<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{columns}\">{}</th></tr>\n",
                crate::text::Escaped(title)
            ));
        }
        last_group = group;
        let standing = standing(method);
        let (class, tag) = match standing {
            Standing::Best => ("best", " <span class=\"tag\">best</span>"),
            Standing::Tied => ("plain", " <span class=\"tag tied\">not told apart</span>"),
            Standing::Other if *group == "reference" => ("reference", ""),
            Standing::Other => ("plain", ""),
        };
        rows.push_str(&format!(
            "<tr class=\"{class}\"><th scope=\"row\"><div class=\"method\">{}<span>{}{tag}</span></div></th>{}</tr>\n",
            stage.series(method).swatch(),
            name(method),
            cells(method, group, runs)
        ));
    }
    rows
}

pub fn render(stage: &Stage, compared: &Compared) -> String {
    let contestants = compared.contestants();
    let is_there = |metric: &&Metric| {
        SHOWN.contains(&metric.name) && contestants.iter().any(|(_, _, runs)| mean_over(runs, metric.read).is_some())
    };
    let metrics: Vec<&Metric> = METRICS.iter().filter(is_there).collect();
    let heads: String = metrics
        .iter()
        .map(|metric| {
            let short = metric.short.replace(": ", ":<br>").replace("backdoor, ", "backdoor,<br>");
            format!("<th scope=\"col\"><abbr title=\"{}\">{short}</abbr></th>", metric.long)
        })
        .collect();
    let headline = Measure::headline(compared);
    // Without Retrain there are no gaps: then what settings were chosen by stands in their place.
    let has_gaps = compared.methods.iter().any(|method| compared.gaps(&method.name).is_some());
    let measure = if has_gaps { Measure::Gap } else { headline };
    let rankings: Vec<Ranked> = GROUPS.iter().flat_map(|group| rank(compared, group, measure)).collect();
    let firsts: Vec<&str> = GROUPS
        .iter()
        .filter_map(|group| rankings.iter().find(|ranked| ranked.method.group == *group))
        .map(|ranked| ranked.method.name.as_str())
        .collect();
    let standing = |method: &str| match rankings.iter().find(|ranked| ranked.method.name == method) {
        Some(_) if firsts.contains(&method) => Standing::Best,
        Some(ranked) if ranked.behind.low.is_some() && ranked.is_tied() => Standing::Tied,
        _ => Standing::Other,
    };
    let figure = |method: &str, group: &str, runs: &[Vec<&Measured>]| {
        let interval = match measure {
            Measure::Gap if stage.series(method) == Series::PRETRAINED => gap_before(compared),
            Measure::Gap if group == "reference" => None,
            Measure::Gap => compared.gaps(method).and_then(|gaps| Interval::of(&gaps)),
            _ => mean_over(runs, |run| measure.read(run)),
        };
        interval.map_or_else(|| NOTHING.to_owned(), |interval| with_half(interval, measure.places()))
    };
    let cells = |method: &str, group: &str, runs: &[Vec<&Measured>]| -> String {
        let cell = |metric: &&Metric| {
            let interval = mean_over(runs, metric.read);
            interval.map_or(format!("<td>{NOTHING}</td>"), |interval| format!("<td>{}</td>", with_half(interval, 1)))
        };
        let cells: String = metrics.iter().map(cell).collect();
        format!("{cells}<td><strong>{}</strong></td>", figure(method, group, runs))
    };
    let last = match measure {
        Measure::Gap => {
            "<abbr title=\"mean distance of RA, UA, TA and MIA from Retrain’s of the same seed, points; smaller is better\">average gap</abbr>"
        }
        Measure::TestAccuracy => "<abbr title=\"percent; larger is better\">test accuracy</abbr>",
        Measure::TestLoss => {
            "<abbr title=\"mean cross-entropy on test data, nats; smaller is better\">test loss</abbr>"
        }
    };
    let body = format!(
        r#"<div class="scroll" tabindex="0" role="region" aria-label="Table of methods"><table class="methods">
<thead><tr><th scope="col">method</th>{heads}<th scope="col">{last}</th></tr></thead>
<tbody>
{rows}</tbody></table></div>
<p class="notes">Mean over training seeds ± half the 95 % interval of the mean (Student’s t); where a network forgot several times, the mean of those counts once. RA, UA, TA: accuracy on the remaining data, 100 − accuracy on the samples to forget, test accuracy, in percent; MIA: what simple membership attacks make of the samples to forget: “SVC, confidence” is the share that it takes for strangers, and Retrain’s value is its aim; “logistic, loss” is how often it tells them from unseen samples of their classes, where 50 is guessing, and the aim unless the forget data were taught with wrong labels: there it is Retrain’s value. “Best” has the best last figure of its group; “not told apart”: the 95 % interval of the differences from the best, network by network, contains zero.</p>
"#,
        rows = rows(stage, compared, metrics.len() + 2, standing, cells),
    );
    stage.section("The methods in figures", &body)
}
