//! How far the weights are from where they began, and what lies between.

use rewind_job::{Line, Measured};
use rewind_models::Network;
use rewind_unlearning::{Gang, on_the_line};

use super::Probed;
use crate::run_error::RunError;

/// Fills in the distance and the line; where the step is the beginning itself, there is no line.
pub fn measure(
    probed: &Probed,
    line: &Line,
    gang: &mut Gang,
    network: &Network,
    measured: &mut Measured,
) -> Result<(), RunError> {
    let run = probed.run;
    if line.from == probed.name {
        measured.distance = Some(0.0);
        return Ok(());
    }
    let from = run.assignment.specification.step_named(&line.from).expect("the specification was checked");
    let from = run.result_of(from)?;
    measured.distance = Some(from.distance(probed.result));
    let ends = (&from, probed.result);
    measured.line = on_the_line(network, gang, ends, line.points, &run.data.forget, probed.test())?;
    Ok(())
}
