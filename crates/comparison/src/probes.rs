//! Jobs that measure finished networks more closely: probes of every seed, and the landscape of one.

use rewind_job::{Action, Digest, Evaluate, Given, Group, Method, Source, Specification, Step};

use crate::{
    MethodResult, PRETRAINED, RETRAIN,
    plan::{EVALUATION, Plan, Start, seed_of_run},
};

/// A finished network, by the name that its step gets.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    pub name: &'a str,
    pub weights: &'a Digest,
}

impl Network<'_> {
    fn step(&self) -> Step {
        let given = Given { weights: Source::Artifact(self.weights.clone()) };
        Step { name: self.name.to_owned(), action: Action::Given(given) }
    }
}

impl Plan {
    /// Measures these networks of a training seed; none where nothing is asked for.
    pub fn probes(&self, training_seed: u64, networks: &[Network]) -> Option<Specification> {
        let comparison = &self.comparison;
        let is_shadow = comparison.shadow_seeds.contains(&training_seed);
        let is_first = comparison.training_seeds.first() == Some(&training_seed);
        let wanted = comparison.probes.clone().filter(|_| !is_shadow).unwrap_or_default();
        let evaluate = Evaluate {
            confidences: wanted.confidences || !comparison.shadow_seeds.is_empty(),
            activation_maps: wanted.activation_maps.filter(|_| is_first),
            landscape: None,
            ..wanted
        };
        if evaluate == Evaluate::default() {
            return None;
        }
        let name = format!("{}: probes of seed {training_seed}", comparison.name);
        let steps = networks.iter().map(Network::step).collect();
        Some(self.evaluated(name, training_seed, training_seed, steps, evaluate))
    }

    /// Runs the chosen settings of the forget-only methods once more in one job, which sees all their rounds; none where no
    /// landscape is asked for. Methods that add noise, train on the remaining data or begin anew go so far, each in a
    /// direction of its own, that on a plane with them all others are one point: they are left out.
    pub fn landscape(&self, training_seed: u64, start: &Start, methods: &[MethodResult]) -> Option<Specification> {
        let landscape = self.comparison.probes.as_ref()?.landscape.clone()?;
        let name = format!("{}: landscape of seed {training_seed}", self.comparison.name);
        let mut steps = vec![Network { name: PRETRAINED, weights: &start.weights }.step()];
        for (at, method) in methods.iter().enumerate() {
            let Step { action, .. } = self.step(method.chosen, &self.tries(at)[method.chosen], start);
            let Action::Unlearn(unlearn) = action else { continue };
            if unlearn.method.group() == Group::RetainUsing || matches!(unlearn.method, Method::WeightNoise(_)) {
                continue;
            }
            let unlearn = rewind_job::Unlearn { from: Some(PRETRAINED.into()), ..unlearn };
            steps.push(Step { name: method.name.clone(), action: Action::Unlearn(unlearn) });
        }
        let seed = seed_of_run(training_seed, self.comparison.unlearning_seeds[0]);
        let evaluate = Evaluate { landscape: Some(landscape), ..Evaluate::default() };
        Some(self.evaluated(name, training_seed, seed, steps, evaluate))
    }

    /// # Errors
    /// Names the field.
    pub(crate) fn check_probes(&self) -> Result<(), String> {
        let comparison = &self.comparison;
        if let Some(probes) = &comparison.probes
            && (probes.of.is_some() || probes.read != rewind_job::MeasuredOn::Test)
        {
            return Err("probes: `of` and `read` are set by the comparison".into());
        }
        let retrains = self.has_retrain();
        if !comparison.shadow_seeds.is_empty() && !retrains {
            return Err("shadow-seeds: the attack compares with Retrain, but nothing remains to train on".into());
        }
        for reserved in [PRETRAINED, RETRAIN, EVALUATION] {
            if comparison.methods.iter().any(|method| method.name == reserved) {
                return Err(format!("method: `{reserved}` is the name of a step of the comparison’s own"));
            }
        }
        let nothing = Digest("00".repeat(32));
        let mut networks = vec![Network { name: PRETRAINED, weights: &nothing }];
        networks.extend(retrains.then_some(Network { name: RETRAIN, weights: &nothing }));
        let first = comparison.training_seeds[0];
        let start = Start {
            weights: nothing.clone(),
            retrain: retrains.then(|| nothing.clone()),
            retrains_ua: retrains.then_some(1.0),
        };
        let methods: Vec<MethodResult> = comparison.methods.iter().map(|method| nothing_of(&method.name)).collect();
        let jobs = [self.probes(first, &networks), self.landscape(first, &start, &methods)];
        jobs.into_iter().flatten().try_for_each(|job| job.check().map_err(|error| format!("probes: {error}")))
    }
}

/// A method of which nothing has been found yet.
fn nothing_of(name: &str) -> MethodResult {
    MethodResult { name: name.to_owned(), group: String::new(), tries: Vec::new(), chosen: 0, runs: Vec::new() }
}
