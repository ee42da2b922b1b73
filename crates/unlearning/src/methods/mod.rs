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
use rewind_job::{Forward, Method, RemainingPass};
use rewind_models::Network;
use rewind_predictor::Predictor;
use rewinding::Rewinding;
use salun::Salun;
use scrub::Scrub;
use task_vector::TaskVector;
use weight_noise::WeightNoise;

pub use self::{boundary_expand::draw_extra_row, random_label::RandomLabels, training::Training};
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
    /// There where `D_f` is all of a class.
    pub forgotten_class: Option<u32>,
}

impl<'a> Materials<'a> {
    fn remaining(&self) -> &'a LabelledSamples {
        self.remaining.expect("a retain-using method comes with the remaining data")
    }
}

impl<'a> Materials<'a> {
    /// What a method is given that reads `D_f` alone and needs no predictor.
    pub fn forget_only(forget: &'a LabelledSamples, classes: u32) -> Self {
        Self { forget, remaining: None, predictor: None, classes, forgotten_class: None }
    }
}

/// The method of an unlearning step of so many rounds, which its schedule spans. `original` makes another network with
/// the weights that the step began with.
///
/// # Errors
/// A predictor that does not cover the trajectory's number of snapshots.
pub fn method_for<'a>(
    method: &'a Method,
    forward: &Forward,
    rounds: u32,
    materials: &Materials<'a>,
    original: &dyn Fn() -> Network,
) -> Result<Box<dyn RoundMethod + 'a>, UnlearningError> {
    let epochs = rounds.saturating_mul(method.trajectory().map_or(1, rewinding::epochs_a_round));
    let pass = forward_pass(forward, epochs);
    let Materials { forget, .. } = *materials;
    let random_label = |wrong_only, drawn, remaining: Option<RemainingPass>| {
        let labels = RandomLabels { classes: materials.classes, wrong_only, drawn };
        RandomLabel::new(labels, pass.clone(), forget, remaining.map(|how| (materials.remaining(), how)))
    };
    Ok(match method {
        Method::Rewinding(settings) => {
            let predictor = materials.predictor.expect("a rewinding step comes with its predictor");
            Box::new(Rewinding::new(settings, pass, forget, predictor)?)
        }
        Method::TaskVector(settings) => Box::new(TaskVector::new(settings, pass, forget)),
        Method::NegGrad {} => Box::new(NegGrad::new(pass, forget)),
        Method::RandomLabel(m) => Box::new(random_label(m.wrong_only, m.labels, Some(m.remaining))),
        Method::RandomLabelForgetOnly(m) => Box::new(random_label(m.wrong_only, m.labels, None)),
        Method::Salun(m) => {
            Box::new(Salun::new(m.share, &pass, forget, random_label(m.wrong_only, m.labels, Some(m.remaining))))
        }
        Method::SalunForgetOnly(m) => {
            Box::new(Salun::new(m.share, &pass, forget, random_label(m.wrong_only, m.labels, None)))
        }
        Method::BoundaryShrink(settings) => Box::new(BoundaryShrink::new(*settings, pass, forget, original())),
        Method::BoundaryExpand {} => Box::new(BoundaryExpand::new(forward, pass, forget, materials.classes)),
        Method::WeightNoise(settings) => Box::new(WeightNoise::new(*settings, pass, forget)),
        Method::FineTune {} => Box::new(FineTune::new(pass, materials.remaining())),
        Method::Fisher(m) => Box::new(Fisher::new(*m, materials.remaining(), materials.forgotten_class)),
        Method::Scrub(settings) => Box::new(Scrub::new(*settings, pass, forget, materials.remaining(), original())),
    })
}

/// `epochs` are what the schedule spans.
fn forward_pass(forward: &Forward, epochs: u32) -> Pass {
    Pass {
        batch_size: forward.batch_size as usize,
        descent: Descent::Down,
        mode: PassMode::of(forward.batch_norm),
        schedule: forward.schedule.clone(),
        epochs,
    }
}
