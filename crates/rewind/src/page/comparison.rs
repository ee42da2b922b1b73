//! Methods under one protocol: the table over seeds, the curves, the search, and what is not proven.

use rewind_job::Measured;

use super::{
    curves::{Lines, forgetting},
    text::{Escaped, NOTHING, decimal, name, plural},
};
use crate::{
    commands::compare::{Compared, METRICS, MethodResult, Metric, mean_over},
    interval::Interval,
};

/// Figures that stand in the table; the others follow in results.json.
const SHOWN: [&str; 8] = ["ra", "ua", "ta", "mia", "clean-accuracy", "best-ta-oracle", "forget-epochs", "seconds"];
/// Below this balanced accuracy, percent, the membership attack says little.
const WEAK_ATTACK: f64 = 55.0;

pub fn render(all: &[Compared]) -> String {
    let names: Vec<String> = all.iter().map(|compared| name(&compared.comparison.name)).collect();
    let sections: String = all.iter().enumerate().map(|(index, compared)| section(index, compared)).collect();
    format!(
        r#"<header>
<p class="eyebrow">Machine unlearning · comparison of methods</p>
<h1>{names}</h1>
<p class="lede">Every method had the same model, the same data and the same number of settings to try. Settings were chosen on one seed by validation data, then frozen; every figure below is from other seeds and from test data that no choice has read.</p>
<p class="caution"><strong>Not proven.</strong> These are measurements of how networks behave. They do not prove that no trace of the samples is left in the weights, nor that a stronger attack could not find one. Methods whose intervals overlap are not told apart.</p>
</header>
{sections}"#,
        names = names.join(", "),
    )
}

fn section(index: usize, compared: &Compared) -> String {
    let comparison = &compared.comparison;
    format!(
        r#"<section>
<h2>{title}</h2>
<p>{question}</p>
<p>{protocol}</p>
{closest}
{table}</section>
{attack}{curves}{search}{configuration}"#,
        title = name(&comparison.name),
        question = Escaped(&comparison.question),
        protocol = protocol(compared),
        closest = closest(compared),
        table = table(compared),
        attack = attack(compared),
        curves = curves(index, compared),
        search = search(compared),
        configuration = configuration(compared),
    )
}

fn protocol(compared: &Compared) -> String {
    let comparison = &compared.comparison;
    let stop = if comparison.stop_at_retrains_ua {
        " Each method stopped at the first round that forgot as much as Retrain, and that round was shortened to what was needed."
    } else {
        ""
    };
    format!(
        "{models}; {unlearning} of unlearning each. {tries} a method, chosen by {by}.{stop}",
        models = plural(comparison.training_seeds.len() as u64, "seed of training", "seeds of training"),
        unlearning = plural(comparison.unlearning_seeds.len() as u64, "seed", "seeds"),
        tries = plural(comparison.tries as u64, "setting", "settings"),
        by = comparison.choose_by.words(),
    )
}

/// Means over seeds of one group, the method with the smallest gap, and whether rewinding is it.
fn closest(compared: &Compared) -> String {
    let of_group = |group: &str| {
        let methods = compared.methods.iter().filter(|method| method.group == group);
        let gaps = methods.filter_map(|method| Some((method, Interval::of(&compared.gaps(&method.name)?)?)));
        let mut gaps: Vec<_> = gaps.collect();
        gaps.sort_by(|a, b| a.1.mean.total_cmp(&b.1.mean));
        gaps.first().map(|(method, gap)| {
            format!(
                "Of the {group} methods <strong>{}</strong> is closest to Retrain: average gap {}.",
                name(&method.name),
                with_half(*gap, 1)
            )
        })
    };
    let lines: Vec<String> = ["forget-only", "retain-using"].into_iter().filter_map(of_group).collect();
    if lines.is_empty() { String::new() } else { format!("<p class=\"lede\">{}</p>", lines.join(" ")) }
}

fn with_half(interval: Interval, places: usize) -> String {
    let half = interval.half().map_or(String::new(), |half| format!(" ± {}", decimal(half, places)));
    decimal(interval.mean, places) + &half
}

fn shown() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(|metric| SHOWN.contains(&metric.name))
}

fn table(compared: &Compared) -> String {
    let contestants = compared.contestants();
    let is_there = |metric: &&Metric| {
        contestants.iter().any(|(_, _, runs)| mean_over(runs.iter().copied(), metric.read).is_some())
    };
    let metrics: Vec<&Metric> = shown().filter(is_there).collect();
    let heads: String = metrics
        .iter()
        .map(|metric| format!("<th scope=\"col\"><abbr title=\"{}\">{}</abbr></th>", metric.long, metric.short))
        .collect();
    let mut rows = String::new();
    let mut last_group = "";
    for (method, group, runs) in &contestants {
        let is_reference = *group == "reference";
        if group != &last_group && !is_reference {
            let columns = metrics.len() + 2;
            rows.push_str(&format!(
                "<tr class=\"reference\"><th scope=\"rowgroup\" colspan=\"{columns}\">{group}</th></tr>\n"
            ));
        }
        last_group = group;
        let cells: String = metrics
            .iter()
            .map(|metric| {
                let interval = mean_over(runs.iter().copied(), metric.read);
                interval
                    .map_or(format!("<td>{NOTHING}</td>"), |interval| format!("<td>{}</td>", with_half(interval, 1)))
            })
            .collect();
        let gap = compared.gaps(method).and_then(|gaps| Interval::of(&gaps));
        let gap = gap.map_or(NOTHING.to_owned(), |gap| format!("<strong>{}</strong>", with_half(gap, 1)));
        let class = if is_reference { "reference" } else { "plain" };
        rows.push_str(&format!(
            "<tr class=\"{class}\"><th scope=\"row\">{}</th><td>{gap}</td>{cells}</tr>\n",
            name(method)
        ));
    }
    format!(
        r#"<div class="scroll" tabindex="0" role="region" aria-label="Table of methods, {protocol}">
<table class="methods">
<thead><tr><th scope="col">method</th><th scope="col"><abbr title="mean distance of RA, UA, TA and MIA from Retrain’s of the same seed, points; smaller is better">average gap</abbr></th>{heads}</tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
<p class="notes">Mean over seeds ± half the 95 % interval of the mean (Student’s t).</p>
"#,
        protocol = name(&compared.comparison.name),
    )
}

/// Where the membership attack does not discriminate, its figures say little.
fn attack(compared: &Compared) -> String {
    let weak: Vec<String> = compared
        .contestants()
        .iter()
        .filter_map(|(method, _, runs)| {
            let accuracy = mean_over(runs.iter().copied(), |measured| measured.mia_attack_accuracy)?;
            (accuracy.mean < WEAK_ATTACK).then(|| format!("{} ({} %)", name(method), decimal(accuracy.mean, 1)))
        })
        .collect();
    if weak.is_empty() {
        return String::new();
    }
    format!(
        "<section class=\"warnings\" aria-label=\"Warnings\">\n<h2>Before you trust the figures</h2>\n<ul>\n<li>The membership attack hardly tells members from others for {}: balanced accuracies near 50 %. Its figures (MIA), and their part of the average gap, say little there.</li>\n</ul>\n</section>\n",
        weak.join(", ")
    )
}

fn curves(index: usize, compared: &Compared) -> String {
    let (Some(references), Some(seed)) = (compared.references.first(), compared.comparison.training_seeds.first())
    else {
        return String::new();
    };
    // The curves' names are the methods', not their settings'.
    let of_first_seed = |method: &MethodResult| {
        let run = method.runs.first()?;
        Some(Measured { name: method.name.clone(), ..run.measured.clone() })
    };
    let methods: Vec<Measured> = compared.methods.iter().filter_map(of_first_seed).collect();
    if methods.iter().all(|method| method.curve.is_empty()) {
        return String::new();
    }
    let lines = Lines {
        id: format!("comparison-{index}-"),
        pretrained: Some(&references.pretrained),
        retrain: references.retrain.as_ref(),
        methods: methods.iter().collect(),
    };
    format!("{}<p class=\"notes\">Curves of training seed {seed}.</p>\n", forgetting(&lines))
}

fn search(compared: &Compared) -> String {
    let mut rows = String::new();
    for method in &compared.methods {
        for (at, tried) in method.tries.iter().enumerate() {
            let chosen = if at == method.chosen { " <span class=\"tag\">chosen</span>" } else { "" };
            let measured = &tried.measured;
            let cells: String = [measured.ra, measured.ua, measured.va, measured.mia, tried.merit]
                .map(|figure| format!("<td>{}</td>", decimal(figure, 2)))
                .concat();
            rows.push_str(&format!(
                "<tr{class}><th scope=\"row\">{method}{chosen}</th><td class=\"words\">{setting}</td>{cells}<td>{rounds}</td><td class=\"words\"><code>{rule}</code></td></tr>\n",
                class = if at == method.chosen { " class=\"best\"" } else { "" },
                method = name(&method.name),
                setting = Escaped(&tried.setting),
                rounds = measured.rounds.len(),
                rule = Escaped(&tried.rule),
            ));
        }
    }
    format!(
        r#"<section>
<h2>How the settings were found</h2>
<p>Each method tried {tries} on seed {seed}, which is in no figure above; chosen by {by} (last figure: smaller is better, none where what was asked for was not forgotten). Test data was not read.</p>
<details><summary>The whole grid</summary>
<div class="scroll" tabindex="0" role="region" aria-label="Every setting that was tried"><table class="log">
<thead><tr><th scope="col">method</th><th scope="col" class="words">setting</th><th scope="col">RA</th><th scope="col">UA</th><th scope="col">validation</th><th scope="col">MIA</th><th scope="col">chosen by</th><th scope="col">rounds</th><th scope="col" class="words">stopped by</th></tr></thead>
<tbody>
{rows}</tbody></table></div></details>
</section>
"#,
        tries = plural(compared.comparison.tries as u64, "setting", "settings"),
        seed = compared.comparison.search_seed,
        by = compared.comparison.choose_by.words(),
    )
}

fn configuration(compared: &Compared) -> String {
    let whole = toml::to_string(&compared.comparison).unwrap_or_default();
    format!(
        "<section>\n<details><summary>The whole configuration</summary>\n<pre>{}</pre></details>\n</section>\n",
        Escaped(&whole)
    )
}
