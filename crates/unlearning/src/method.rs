//! What a step does in one round.

use rewind_job::{Forward, Method, Schedule};
use rewind_predictor::Predictor;

use crate::{
    Descent, LabelledSamples, Learner, Pass, UnlearningError, learner::PassMode, neg_grad::NegGrad,
    rewinding::Rewinding, task_vector::TaskVector,
};

/// One way to change the weights, round by round.
pub trait RoundMethod {
    /// Runs one round; returns the mean training loss of its epochs.
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError>;

    /// Epochs over `D_f` that one round takes.
    fn forget_epochs_a_round(&self) -> f64;
}

/// The method of an unlearning step. It gets a handle on `D_f`'s samples and on nothing else.
///
/// # Errors
/// A predictor that does not cover the trajectory's number of snapshots.
pub fn method_for<'a>(
    method: &'a Method,
    forward: &Forward,
    forget: &'a LabelledSamples,
    predictor: Option<&'a Predictor>,
) -> Result<Box<dyn RoundMethod + 'a>, UnlearningError> {
    let pass = forward_pass(forward);
    Ok(match method {
        Method::Rewinding(rewinding) => {
            let predictor = predictor.expect("a rewinding step comes with its predictor");
            Box::new(Rewinding::new(rewinding, pass, forget, predictor)?)
        }
        Method::TaskVector(task_vector) => Box::new(TaskVector::new(task_vector, pass, forget)),
        Method::NegGrad {} => Box::new(NegGrad::new(pass, forget)),
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
