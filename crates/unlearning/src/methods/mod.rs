//! What a step does in one round; each method in a file of its own.

mod boundary_expand;
mod boundary_shrink;
mod fine_tune;
mod fisher;
mod neg_grad;
mod random_label;
mod rewinding;
mod saliency;
mod salun;
mod scrub;
mod task_vector;
mod training;
mod weight_noise;

use boundary_expand::BoundaryExpand;
use boundary_shrink::BoundaryShrink;
use fine_tune::FineTune;
use fisher::Fisher;
use neg_grad::NegGrad;
use random_label::RandomLabel;
use rewind_job::{Forward, Method, Schedule};
use rewind_models::Network;
use rewind_predictor::Predictor;
use rewinding::Rewinding;
use salun::Salun;
use scrub::Scrub;
use task_vector::TaskVector;
use weight_noise::WeightNoise;

pub use self::training::Training;
use crate::{Descent, LabelledSamples, Learner, Pass, UnlearningError, learner::PassMode};

/// One way to change the weights, round by round.
pub trait RoundMethod {
    /// Runs one round; returns the mean training loss of its epochs.
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError>;

    /// Epochs over `D_f` that the first `rounds` rounds take.
    fn forget_epochs(&self, rounds: u32) -> f64;
}

/// What a method may be given; a forget-only one gets `forget`, and no other sample.
pub struct Materials<'a> {
    pub forget: &'a LabelledSamples,
    /// `D_r`; there where the method is retain-using.
    pub remaining: Option<&'a LabelledSamples>,
    /// There where the method is rewinding.
    pub predictor: Option<&'a Predictor>,
    /// The model's.
    pub classes: u32,
}

impl<'a> Materials<'a> {
    fn remaining(&self) -> &'a LabelledSamples {
        self.remaining.expect("a retain-using method comes with the remaining data")
    }
}

/// The method of an unlearning step. `original` makes another network with the weights that the step began with.
///
/// # Errors
/// A predictor that does not cover the trajectory's number of snapshots.
pub fn method_for<'a>(
    method: &'a Method,
    forward: &Forward,
    materials: &Materials<'a>,
    original: &dyn Fn() -> Network,
) -> Result<Box<dyn RoundMethod + 'a>, UnlearningError> {
    let pass = forward_pass(forward);
    let Materials { forget, .. } = *materials;
    Ok(match method {
        Method::Rewinding(settings) => {
            let predictor = materials.predictor.expect("a rewinding step comes with its predictor");
            Box::new(Rewinding::new(settings, pass, forget, predictor)?)
        }
        Method::TaskVector(settings) => Box::new(TaskVector::new(settings, pass, forget)),
        Method::NegGrad {} => Box::new(NegGrad::new(pass, forget)),
        Method::RandomLabel {} => Box::new(RandomLabel::new(pass, forget, materials.classes)),
        Method::Salun(settings) => Box::new(Salun::new(*settings, pass, forget, materials.classes)),
        Method::BoundaryShrink(settings) => Box::new(BoundaryShrink::new(*settings, pass, forget, original())),
        Method::BoundaryExpand {} => Box::new(BoundaryExpand::new(forward, pass, forget, materials.classes)),
        Method::WeightNoise(settings) => Box::new(WeightNoise::new(*settings, pass, forget)),
        Method::FineTune {} => Box::new(FineTune::new(pass, materials.remaining())),
        Method::Fisher(settings) => Box::new(Fisher::new(*settings, materials.remaining())),
        Method::Scrub(settings) => Box::new(Scrub::new(*settings, pass, forget, materials.remaining(), original())),
    })
}

fn forward_pass(forward: &Forward) -> Pass {
    Pass {
        batch_size: forward.batch_size as usize,
        descent: Descent::Down,
        mode: PassMode::of(forward.batch_norm),
        schedule: Schedule::Constant,
        epochs: 1,
    }
}
