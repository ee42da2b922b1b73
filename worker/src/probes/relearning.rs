//! How fast what was forgotten comes back: the step's weights are trained on, beside the job.

use rewind_job::{BatchNormPolicy, Relearned, Relearning, Schedule};
use rewind_unlearning::{Descent, Gang, LabelledSamples, Learner, Pass, PassMode, Sparing, relearn};

use super::Probed;
use crate::run_error::RunError;

/// Trains a copy of the step's weights on `D_r` alone, and another on `D_r` with a few samples of `D_f`.
pub fn measure(probed: &Probed, wanted: &Relearning, gang: Gang) -> Result<(Gang, Relearned), RunError> {
    let run = probed.run;
    let seed = run.assignment.specification.seed;
    let pass = Pass {
        batch_size: wanted.batch_size as usize,
        descent: Descent::Down,
        mode: PassMode::of(BatchNormPolicy::Train),
        schedule: Schedule::Constant,
        epochs: wanted.epochs,
    };
    let remaining = run.data.remaining.as_ref().expect("the specification was checked: something remains");
    let sparing = Sparing::draw(&run.data.forget, wanted.forget_samples as usize, seed);
    let train = |gang: Gang, data: &LabelledSamples| {
        let (optimiser, cancel) = (wanted.optimiser.clone(), run.link.cancel.clone());
        let mut learner = Learner::new(run.network(), gang, optimiser, seed, "relearning", cancel);
        learner.load_weights(probed.result);
        let accuracies = relearn(&mut learner, data, &pass, &sparing.unread)?;
        Ok::<_, RunError>((learner.into_gang(), accuracies))
    };
    probed.mention("relearning from the remaining data", 0.5);
    let (mut gang, from_remaining) = train(gang, remaining)?;
    let mut from_some = Vec::new();
    if wanted.forget_samples > 0 {
        probed.mention(&format!("relearning with {} samples of the forget data", wanted.forget_samples), 0.75);
        (gang, from_some) = train(gang, &remaining.with(&sparing.read))?;
    }
    Ok((gang, Relearned { from_remaining, from_some }))
}
