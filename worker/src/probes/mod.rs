//! What an evaluation asks of finished weights beyond their accuracies.

mod confidences;
mod line;
mod relearning;

use rewind_artifacts::Shard;
use rewind_job::{Action, Evaluate, Measured, MeasuredOn, Specification, SpecificationError, StepIndex};
use rewind_models::Network;
use rewind_unlearning::{Gang, LabelledSamples, load_weights};

use crate::{inputs::JobData, run::Run, run_error::RunError};

/// A step whose weights are probed.
struct Probed<'a> {
    run: &'a Run,
    evaluate: &'a Evaluate,
    step: StepIndex,
    /// Its name.
    name: &'a str,
    result: &'a Shard,
}

/// Fills in what the evaluation asks for. The network is left with the step's weights.
pub fn probe(
    run: &Run,
    mut gang: Gang,
    network: &Network,
    evaluate: &Evaluate,
    (step, result): (StepIndex, &Shard),
    measured: &mut Measured,
) -> Result<Gang, RunError> {
    let name = run.assignment.specification.steps[step.0 as usize].name.as_str();
    let probed = Probed { run, evaluate, step, name, result };
    load_weights(network, result);
    if evaluate.confidences {
        probed.mention("confidences", 0.0);
        measured.confidences = Some(confidences::keep(&probed, &mut gang, network)?);
    }
    if let Some(line) = &evaluate.line {
        probed.mention(&format!("the line from {}", line.from), 0.25);
        line::measure(&probed, line, &mut gang, network, measured)?;
    }
    if let Some(wanted) = &evaluate.relearning {
        let relearned;
        (gang, relearned) = relearning::measure(&probed, wanted, gang)?;
        measured.relearning = Some(relearned);
    }
    Ok(gang)
}

/// Refuses, before any work is done, a probe that the data has too few samples for.
pub fn check(specification: &Specification, data: &JobData) -> Result<(), SpecificationError> {
    for (index, step) in specification.steps.iter().enumerate() {
        if let Action::Evaluate(Evaluate { relearning: Some(relearning), .. }) = &step.action
            && relearning.forget_samples as usize >= data.forget.len()
        {
            let problem = format!("must be less than the {} samples of the forget data", data.forget.len());
            return Err(SpecificationError::new(format!("step[{index}].evaluate.relearning.forget-samples"), problem));
        }
    }
    Ok(())
}

impl Probed<'_> {
    /// None where test data must stay unread, or is not there.
    fn test(&self) -> Option<&LabelledSamples> {
        self.run.data.test.as_ref().filter(|_| self.evaluate.read == MeasuredOn::Test)
    }

    /// Says what is being measured; `fraction` is the share of this step's probes that are done.
    fn mention(&self, what: &str, fraction: f64) {
        tracing::info!(step = %self.name, "probed: {what}");
        self.run.mention(self.step, &format!("probed: {what}"), fraction);
    }
}
