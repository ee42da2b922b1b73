//! What lies between two networks.

use rewind_artifacts::Shard;
use rewind_job::LinePoint;
use rewind_models::Network;

use crate::{Gang, LabelledSamples, Predictions, UnlearningError, load_weights, predictions};

/// Loss and accuracy at `points` evenly spaced places of the straight line from the whole state `from` to `to`, both
/// ends included. `test` is none where test data must stay unread. The network is left with the weights of `to`.
pub fn on_the_line(
    network: &Network,
    gang: &mut Gang,
    (from, to): (&Shard, &Shard),
    points: u32,
    forget: &LabelledSamples,
    test: Option<&LabelledSamples>,
) -> Result<Vec<LinePoint>, UnlearningError> {
    let mut line = Vec::new();
    for point in 0..points {
        let share = f64::from(point) / f64::from((points - 1).max(1));
        load_weights(network, &from.towards(to, share));
        let forget = predictions(network, gang, forget)?;
        let test = test.map(|test| predictions(network, gang, test)).transpose()?;
        line.push(LinePoint {
            share,
            forget_loss: forget.loss(),
            forget_accuracy: forget.accuracy(),
            test_loss: test.as_ref().map(Predictions::loss),
            test_accuracy: test.as_ref().map(Predictions::accuracy),
        });
    }
    Ok(line)
}
