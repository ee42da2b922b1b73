//! `rewind compare`: methods under one protocol, searched alike, measured over seeds.

#[cfg(test)]
mod benchmarks;
mod figures;
mod plan;

use std::path::{Path, PathBuf};

use rewind_job::{ActivationReport, JobId, LandscapeReport, LikelihoodRatio, Measured, MeasuredOn, Report};
use serde::{Deserialize, Serialize};

pub use figures::{Figure, METRICS, Metric, mean_over};
use figures::{csv, figures, merit};
pub use plan::{ChooseBy, Comparison};
use plan::{PRETRAINED, Plan, RETRAIN, Start, step_name};

use crate::{arguments::Compare, client::Client, commands::runs::Runs, error::Error, output, page, screen::Screen};

/// A comparison, and everything that was found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Compared {
    pub comparison: Comparison,
    /// One a training seed.
    pub references: Vec<References>,
    /// In the comparison's order.
    pub methods: Vec<MethodResult>,
    /// Closer measurements (`probes`), one entry a training seed; empty where none were asked for.
    #[serde(default)]
    pub probed: Vec<Probed>,
    /// Of `pretrained`, `retrain` and each method, by name; empty where the comparison has no shadow seeds.
    #[serde(default)]
    pub likelihood: Vec<Likelihood>,
    /// Of the first training seed.
    #[serde(default)]
    pub landscape: Option<LandscapeReport>,
}

/// The networks of one training seed, measured more closely.
#[derive(Debug, Serialize, Deserialize)]
pub struct Probed {
    pub training_seed: u64,
    pub job: JobId,
    /// `pretrained`, `retrain`, and each method's network of the first unlearning seed, by name: `distance`, `line`,
    /// `relearning` and `confidences` are filled.
    pub networks: Vec<Measured>,
    /// Of the first training seed.
    pub activation: Option<ActivationReport>,
}

/// What the likelihood-ratio attack finds of one contestant.
#[derive(Debug, Serialize, Deserialize)]
pub struct Likelihood {
    pub name: String,
    pub attack: LikelihoodRatio,
}

/// The model and its reference, of one training seed.
#[derive(Debug, Serialize, Deserialize)]
pub struct References {
    pub training_seed: u64,
    pub job: JobId,
    pub pretrained: Measured,
    /// None where nothing remains to train on.
    pub retrain: Option<Measured>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct MethodResult {
    pub name: String,
    pub group: String,
    pub tries: Vec<Tried>,
    /// Among the tries.
    pub chosen: usize,
    pub runs: Vec<MethodRun>,
}

/// A setting on the search seed, measured on validation data.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tried {
    pub setting: String,
    pub unlearn: rewind_job::Unlearn,
    pub measured: Measured,
    /// The rule that ended it.
    pub rule: String,
    /// What it is chosen by: smaller is better. Null where what was asked for was not forgotten.
    pub merit: Option<f64>,
}

/// The chosen setting on one pair of seeds, measured on test data.
#[derive(Debug, Serialize, Deserialize)]
pub struct MethodRun {
    pub training_seed: u64,
    pub unlearning_seed: u64,
    pub job: JobId,
    pub rule: String,
    pub measured: Measured,
}

pub async fn run(arguments: Compare) -> Result<(), Error> {
    let screen = Screen::new();
    let plans =
        arguments.comparisons.iter().map(|file| read(file, &arguments.methods)).collect::<Result<Vec<_>, _>>()?;
    let mut client = Client::connect(&arguments.at).await?;
    let runs = Runs { fresh: arguments.fresh, screen: &screen };
    let mut all = Vec::new();
    for plan in &plans {
        all.push(compare(&mut client, &runs, plan).await?);
        // What is found so far is not lost if the next comparison is interrupted.
        write(&arguments.out, &all)?;
    }
    let figures: Vec<Figure> = all.iter().flat_map(figures).collect();
    if arguments.json {
        output::json(&figures);
    } else {
        all.iter().for_each(|compared| output::line(figures::table(compared)));
        output::line(arguments.out.join("comparison.html").display());
    }
    Ok(())
}

fn read(file: &Path, only: &[String]) -> Result<Plan, Error> {
    let refused = |problem: String| Error::Specification(format!("{}: {problem}", file.display()));
    let plan = Plan::read(file).map_err(refused)?;
    for (field, path) in plan.files() {
        if !path.is_file() {
            return Err(refused(format!("{field}: {} is missing", path.display())));
        }
    }
    plan.only(only).map_err(Error::Usage)
}

async fn compare(client: &mut Client, runs: &Runs<'_>, plan: &Plan) -> Result<Compared, Error> {
    let comparison = &plan.comparison;
    let (seeds, methods) = (&comparison.training_seeds, comparison.methods.len());
    let pairs = seeds.len() * comparison.unlearning_seeds.len();
    runs.screen.say(&format!(
        "{}: {} models, then {methods} methods with {} settings each on one seed, then each on {pairs} pairs of seeds",
        comparison.name,
        seeds.len() + 1,
        comparison.tries,
    ));
    let search_models = runs.submit_one(client, &plan.training(comparison.search_seed, MeasuredOn::Validation)).await?;
    let models = runs.submit(client, seeds.iter().map(|&seed| plan.training(seed, MeasuredOn::Test))).await?;
    let (searched, start) = references(client, runs, comparison.search_seed, search_models).await?;
    let searches = runs.submit(client, (0..methods).map(|method| plan.search(method, &start))).await?;
    let (mut found, mut starts) = (Vec::new(), Vec::new());
    for (&seed, job) in seeds.iter().zip(models) {
        let (references, start) = references(client, runs, seed, job).await?;
        found.push(references);
        starts.push(start);
    }
    let mut under_way = Vec::new();
    for (method, job) in searches.into_iter().enumerate() {
        let (report, _) = runs.result(client, &job).await?;
        let tries = tried(plan, method, &report, &searched)?;
        let chosen = best(&tries);
        let name = &comparison.methods[method].name;
        runs.screen.say(&format!("{name}: {} is chosen", tries[chosen].setting));
        let mut jobs = Vec::new();
        for (&training_seed, start) in seeds.iter().zip(&starts) {
            for &unlearning_seed in &comparison.unlearning_seeds {
                let specification = plan.run(method, chosen, training_seed, unlearning_seed, start);
                jobs.push((training_seed, unlearning_seed, runs.submit_one(client, &specification).await?));
            }
        }
        under_way.push((name.clone(), tries, chosen, jobs));
    }
    let mut results = Vec::new();
    for (name, tries, chosen, jobs) in under_way {
        let mut of_method = Vec::new();
        for (training_seed, unlearning_seed, job) in jobs {
            let (mut report, _) = runs.result(client, &job).await?;
            let rule = rule_of(&report, 0);
            let measured = report.methods.pop().ok_or_else(|| Error::Refused(format!("{job} has no result")))?;
            of_method.push(MethodRun { training_seed, unlearning_seed, job, rule, measured });
        }
        let group = tries[chosen].measured.group.clone();
        results.push(MethodResult { name, group, tries, chosen, runs: of_method });
    }
    Ok(Compared {
        comparison: comparison.clone(),
        references: found,
        methods: results,
        probed: Vec::new(),
        likelihood: Vec::new(),
        landscape: None,
    })
}

async fn references(
    client: &mut Client,
    runs: &Runs<'_>,
    training_seed: u64,
    job: JobId,
) -> Result<(References, Start), Error> {
    let (report, made) = runs.result(client, &job).await?;
    let lacks = |what: &str| Error::Refused(format!("{job} has left no {what}"));
    let weights =
        made.into_iter().find(|made| made.step == PRETRAINED).ok_or_else(|| lacks("pretrained weights"))?.weights;
    let pretrained = report.pretrained.ok_or_else(|| lacks("measure of the pretrained model"))?;
    let retrain = report.retrain;
    let retrains_ua = retrain.as_ref().and_then(|retrain| retrain.ua);
    Ok((
        References { training_seed, job, pretrained, retrain, warnings: report.warnings },
        Start { weights, retrains_ua },
    ))
}

fn tried(plan: &Plan, method: usize, report: &Report, searched: &References) -> Result<Vec<Tried>, Error> {
    let mut tries = Vec::new();
    for (index, setting) in plan.tries(method).iter().enumerate() {
        let name = step_name(index, setting);
        let found = report.methods.iter().position(|measured| measured.name == name);
        let at = found.ok_or_else(|| Error::Refused(format!("{} says nothing of `{name}`", report.job)))?;
        let measured = report.methods[at].clone();
        let rule = rule_of(report, at);
        let merit = merit(plan.comparison.choose_by, &setting.unlearn.stop, &measured, searched.retrain.as_ref());
        tries.push(Tried { setting: setting.setting.clone(), unlearn: setting.unlearn.clone(), measured, rule, merit });
    }
    Ok(tries)
}

fn rule_of(report: &Report, at: usize) -> String {
    report.stop.get(at).map_or_else(String::new, |stop| stop.rule.clone())
}

/// Of equal merits the first; without any the one that forgot most.
fn best(tries: &[Tried]) -> usize {
    let key = |tried: &Tried| (tried.merit.is_none(), tried.merit.unwrap_or(-tried.measured.ua.unwrap_or(0.0)));
    let better = |a: &usize, b: &usize| {
        let (a, b) = (key(&tries[*a]), key(&tries[*b]));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    };
    (0..tries.len()).min_by(better).unwrap_or(0)
}

fn write(out: &PathBuf, all: &[Compared]) -> Result<(), Error> {
    std::fs::create_dir_all(out).map_err(Error::file("create", out))?;
    let figures: Vec<Figure> = all.iter().flat_map(figures).collect();
    let rows: Vec<String> = figures.iter().map(|row| serde_json::to_string(row).unwrap_or_default()).collect();
    for (name, text) in [
        ("results.json", format!("[\n{}\n]\n", rows.join(",\n"))),
        ("results.csv", csv(&figures)),
        ("comparison.json", serde_json::to_string(all).unwrap_or_default() + "\n"),
        ("comparison.html", page::comparison(all)),
    ] {
        let file = out.join(name);
        std::fs::write(&file, text).map_err(Error::file("write", file))?;
    }
    Ok(())
}
