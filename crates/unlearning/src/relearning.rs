//! How fast does what was forgotten come back?

use crate::{LabelledSamples, Learner, Pass, UnlearningError, accuracy};

/// `D_f` divided: a few samples that relearning may read, and the others, which it is measured on.
pub struct Sparing {
    pub read: LabelledSamples,
    pub unread: LabelledSamples,
}

impl Sparing {
    /// `count` samples to read, drawn by the seed: the same for every network. Panics if that is more than there are.
    pub fn draw(forget: &LabelledSamples, count: usize, seed: u64) -> Self {
        let order: Vec<i64> =
            rewind_datasets::order(seed, "relearning", 0, forget.len()).into_iter().map(i64::from).collect();
        let (read, unread) = order.split_at(count);
        Self { read: forget.at(read), unread: forget.at(unread) }
    }
}

/// Trains on `data` for the pass's epochs; returns accuracy on `unread` in percent, before the first epoch and after
/// each.
pub fn relearn(
    learner: &mut Learner,
    data: &LabelledSamples,
    pass: &Pass,
    unread: &LabelledSamples,
) -> Result<Vec<f64>, UnlearningError> {
    let mut accuracies = vec![accuracy(&learner.network, &mut learner.gang, unread)?];
    for _ in 0..pass.epochs {
        learner.epoch(data, pass)?;
        accuracies.push(accuracy(&learner.network, &mut learner.gang, unread)?);
    }
    Ok(accuracies)
}
