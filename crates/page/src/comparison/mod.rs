//! Methods under protocols: for each what was asked, done and found, and everything an expert checks.

mod cost;
mod curves;
mod lead;
mod likelihood;
mod ranking;
mod reading;
mod settings;
mod table;

#[cfg(any(test, feature = "samples"))]
pub mod sample;
#[cfg(test)]
mod tests;

use rewind_job::Measured;

#[cfg(any(test, feature = "samples"))]
pub use sample::sample_comparisons;

pub use cost::{device_seconds, peak_memory};

use super::{
    activation, landscape, relearning,
    retrains_start::RetrainsStart,
    stage::Stage,
    text::{Escaped, name},
};
use rewind_comparison::Compared;

pub fn render(all: &[Compared]) -> String {
    let names: Vec<String> = all.iter().map(|compared| name(&compared.comparison.name)).collect();
    let contents: String = if names.len() > 1 {
        let entries =
            names.iter().enumerate().map(|(at, name)| format!("<li><a href=\"#protocol-{at}\">{name}</a></li>\n"));
        format!("<nav aria-label=\"Protocols\"><ul>\n{}</ul></nav>\n", entries.collect::<String>())
    } else {
        String::new()
    };
    let protocols: String = all.iter().enumerate().map(|(index, compared)| protocol(index, compared)).collect();
    format!(
        r#"<header>
<p class="eyebrow">Machine unlearning · comparison of methods</p>
<h1>{names}</h1>
<p class="lede">Every method had the same model, the same data and the same number of settings to try. Settings were chosen on one seed by validation data, then frozen; every figure below is from other seeds and from test data that no choice has read.</p>
<p class="caution"><strong>Not proven.</strong> These are measurements of how networks behave. They do not prove that no trace of the samples is left in the weights, nor that a stronger attack could not find one.</p>
{contents}{words}</header>
{protocols}"#,
        names = names.join(", "),
        words = lead::words(),
    )
}

fn protocol(index: usize, compared: &Compared) -> String {
    let stage = Stage::of_comparison(index, compared);
    let networks = networks(compared);
    let activation = compared.probed.iter().find_map(|probed| probed.activation.as_ref());
    let sections = [
        lead::render(compared),
        warnings(compared),
        table::render(&stage, compared),
        curves::render(&stage, compared),
        cost::render(&stage, compared),
        relearning::relearning(&stage, &networks),
        relearning::way(&stage, &networks, RetrainsStart::of_comparison(compared)),
        likelihood::render(&stage, compared),
        activation::render(&stage, activation),
        landscape::render(&stage, compared.landscape.as_ref(), None),
        settings::render(&stage, compared),
    ];
    format!(
        "<article id=\"protocol-{index}\">\n<h2>{}</h2>\n{}</article>\n",
        name(&compared.comparison.name),
        sections.concat()
    )
}

/// The networks that were measured more closely, by name, one a training seed.
fn networks(compared: &Compared) -> Vec<(&str, Vec<&Measured>)> {
    let mut names: Vec<&str> = Vec::new();
    let all = || compared.probed.iter().flat_map(|probed| &probed.networks);
    for measured in all() {
        if !names.contains(&measured.name.as_str()) {
            names.push(&measured.name);
        }
    }
    names.into_iter().map(|name| (name, all().filter(|measured| measured.name == name).collect())).collect()
}

/// How a job warns that its one seed settles nothing; here there are as many as the page says.
const OF_ONE_JOB: &str = "One training seed and one unlearning seed";

/// What the jobs warned of, each warning once.
fn warnings(compared: &Compared) -> String {
    let mut warnings: Vec<&str> = compared.references.iter().flat_map(|of| &of.warnings).map(String::as_str).collect();
    warnings.retain(|warning| !warning.starts_with(OF_ONE_JOB));
    warnings.sort_unstable();
    warnings.dedup();
    if warnings.is_empty() {
        return String::new();
    }
    let items: String = warnings.iter().map(|warning| format!("<li>{}</li>\n", Escaped(warning))).collect();
    format!(
        "<section class=\"warnings\" aria-label=\"Warnings\">\n<h3>Before you trust the figures</h3>\n<ul>\n{items}</ul>\n</section>\n"
    )
}
