//! A comparison from its models to its probes: submits what has not been run, waits, chooses, goes on.

use rewind_job::{Digest, JobId, MeasuredOn, Report};

use rewind_client::Client;

use crate::{commands::runs::Runs, error::Error};
use rewind_comparison::{
    Answers, COMPARED_FORMAT, Compared, Likelihood, MethodResult, MethodRun, Network, PRETRAINED, Plan, Probed,
    RETRAIN, References, Start, Tried, likelihood, merit, step_name,
};

/// Runs what has not been run, and gathers everything.
pub(super) async fn compare(client: &mut Client, runs: &Runs<'_>, plan: &Plan) -> Result<Compared, Error> {
    let comparison = &plan.comparison;
    let (measured_seeds, methods) = (comparison.training_seeds.len(), comparison.methods.len());
    let pairs = measured_seeds * comparison.unlearning_seeds.len();
    let shadows = comparison.shadow_seeds.len();
    let also = if shadows > 0 { format!(", and on {shadows} for shadow models") } else { String::new() };
    runs.screen.say(&format!(
        "{}: {} models, then {methods} methods with {} settings each on one seed, then each on {pairs} pairs of seeds{also}",
        comparison.name,
        measured_seeds + shadows + 1,
        comparison.tries,
    ));
    let search_models = runs.submit_one(client, &plan.training(comparison.search_seed, MeasuredOn::Validation)).await?;
    let seeds: Vec<u64> = comparison.training_seeds.iter().chain(&comparison.shadow_seeds).copied().collect();
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
        for (at, (&training_seed, start)) in seeds.iter().zip(&starts).enumerate() {
            let of_shadow = &comparison.unlearning_seeds[..1];
            let unlearning_seeds = if at < measured_seeds { &comparison.unlearning_seeds[..] } else { of_shadow };
            for &unlearning_seed in unlearning_seeds {
                let specification = plan.run(method, chosen, training_seed, unlearning_seed, start);
                jobs.push((training_seed, unlearning_seed, runs.submit_one(client, &specification).await?));
            }
        }
        under_way.push((name.clone(), tries, chosen, jobs));
    }
    let mut methods = Vec::new();
    for (name, tries, chosen, jobs) in under_way {
        let mut of_method = Vec::new();
        for (training_seed, unlearning_seed, job) in jobs {
            let (mut report, _) = runs.result(client, &job).await?;
            let rule = rule_of(&report, 0);
            let measured = report.methods.pop().ok_or_else(|| Error::Refused(format!("{job} has no result")))?;
            of_method.push(MethodRun { training_seed, unlearning_seed, job, rule, measured });
        }
        let group = tries[chosen].measured.group.clone();
        methods.push(MethodResult { name, group, tries, chosen, runs: of_method });
    }
    let probed = probes(client, runs, plan, &seeds, &starts, &methods).await?;
    let landscape = match plan.landscape(seeds[0], &starts[0], &methods) {
        Some(specification) => {
            let job = runs.submit_one(client, &specification).await?;
            runs.result(client, &job).await?.0.landscape
        }
        None => None,
    };
    let likelihood = if shadows > 0 { attacked(client, &probed, &methods).await? } else { Vec::new() };
    // Shadow models teach the attack; no figure is theirs.
    let is_measured = |seed: u64| comparison.training_seeds.contains(&seed);
    methods.iter_mut().for_each(|method| method.runs.retain(|run| is_measured(run.training_seed)));
    found.retain(|references| is_measured(references.training_seed));
    let probed = probed.into_iter().filter(|probed| is_measured(probed.training_seed)).collect();
    Ok(Compared {
        format: COMPARED_FORMAT,
        comparison: comparison.clone(),
        references: found,
        methods,
        probed,
        likelihood,
        landscape,
    })
}

/// Measures the networks of every seed more closely.
async fn probes(
    client: &mut Client,
    runs: &Runs<'_>,
    plan: &Plan,
    seeds: &[u64],
    starts: &[Start],
    methods: &[MethodResult],
) -> Result<Vec<Probed>, Error> {
    let mut jobs = Vec::new();
    for (&seed, start) in seeds.iter().zip(starts) {
        if let Some(specification) = plan.probes(seed, &networks(seed, start, methods)) {
            jobs.push((seed, runs.submit_one(client, &specification).await?));
        }
    }
    let mut probed = Vec::new();
    for (training_seed, job) in jobs {
        let (report, _) = runs.result(client, &job).await?;
        for network in &report.methods {
            let run = methods.iter().find(|method| method.name == network.name);
            let run = run.and_then(|method| method.runs.iter().find(|run| run.training_seed == training_seed));
            if run.is_some_and(|run| run.measured.ta != network.ta || run.measured.ua != network.ua) {
                let problem = format!("{job} measures other accuracies of {} than the job that made it", network.name);
                return Err(Error::Refused(problem));
            }
        }
        probed.push(Probed { training_seed, job, networks: report.methods, activation: report.activation });
    }
    Ok(probed)
}

/// What a training seed has left: the references, and each method's network of its first unlearning seed.
fn networks<'a>(seed: u64, start: &'a Start, methods: &'a [MethodResult]) -> Vec<Network<'a>> {
    let mut networks = vec![Network { name: PRETRAINED, weights: &start.weights }];
    networks.extend(start.retrain.iter().map(|weights| Network { name: RETRAIN, weights }));
    networks.extend(methods.iter().filter_map(|method| {
        let run = method.runs.iter().find(|run| run.training_seed == seed)?;
        Some(Network { name: &method.name, weights: &run.measured.weights })
    }));
    networks
}

/// The likelihood-ratio attack on each contestant.
async fn attacked(client: &mut Client, probed: &[Probed], methods: &[MethodResult]) -> Result<Vec<Likelihood>, Error> {
    let names = [PRETRAINED, RETRAIN].into_iter().chain(methods.iter().map(|method| method.name.as_str()));
    let mut answers = Vec::new();
    for of_seed in probed {
        for network in &of_seed.networks {
            let lacks = || Error::Refused(format!("{} has left no confidences of {}", of_seed.job, network.name));
            let digest: &Digest = network.confidences.as_ref().ok_or_else(lacks)?;
            let bytes = client.artifact_bytes(digest).await?;
            answers.push(Answers::read(of_seed.training_seed, &network.name, &bytes).map_err(Error::Refused)?);
        }
    }
    Ok(names
        .filter_map(|name| Some(Likelihood { name: name.to_owned(), attack: likelihood(&answers, name)? }))
        .collect())
}

async fn references(
    client: &mut Client,
    runs: &Runs<'_>,
    training_seed: u64,
    job: JobId,
) -> Result<(References, Start), Error> {
    let (report, made) = runs.result(client, &job).await?;
    let lacks = |what: &str| Error::Refused(format!("{job} has left no {what}"));
    let made = |step: &str| made.iter().find(|made| made.step == step).map(|made| made.weights.clone());
    let (weights, retrained) = (made(PRETRAINED).ok_or_else(|| lacks("pretrained weights"))?, made(RETRAIN));
    let pretrained = report.pretrained.ok_or_else(|| lacks("measure of the pretrained model"))?;
    let retrain = report.retrain;
    let retrains_ua = retrain.as_ref().and_then(|retrain| retrain.ua);
    Ok((
        References { training_seed, job, pretrained, retrain, warnings: report.warnings },
        Start { weights, retrain: retrained, retrains_ua },
    ))
}

fn tried(plan: &Plan, method: usize, report: &Report, searched: &References) -> Result<Vec<Tried>, Error> {
    let mut tries = Vec::new();
    let retrain = searched.retrain.as_ref();
    for (index, setting) in plan.tries(method).iter().enumerate() {
        let name = step_name(index, setting);
        let found = report.methods.iter().position(|measured| measured.name == name);
        let at = found.ok_or_else(|| Error::Refused(format!("{} says nothing of `{name}`", report.job)))?;
        let measured = report.methods[at].clone();
        let rule = rule_of(report, at);
        let stop = plan.stop(&setting.unlearn.stop, retrain.and_then(|retrain| retrain.ua));
        let merit = merit(plan.comparison.choose_by, &stop, &measured, retrain);
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
