//! BatchNorm's running statistics across ranks. They are buffers: checkpointed, never rewound.

use std::collections::BTreeMap;

use rewind_models::{Mode, Network};
use tch::{Kind, Tensor, no_grad};

use crate::{Gang, LabelledSamples, UnlearningError};

/// Buffers by name: shape and values.
pub type Buffers = BTreeMap<String, (Vec<i64>, Vec<f32>)>;

/// Replaces each rank's running statistics by their mean over the ranks, weighted by `samples`, summed in rank order.
pub fn average_over_ranks(network: &Network, gang: &mut Gang, samples: usize) -> Result<(), UnlearningError> {
    let buffers = network.buffers();
    if buffers.is_empty() {
        return Ok(());
    }
    // One row a rank: its sample count, then count × statistics.
    let mut row = vec![samples as f64];
    for (_, buffer) in &buffers {
        let values: Vec<f64> = Vec::try_from(buffer.to_kind(Kind::Double).view([-1]))?;
        row.extend(values.iter().map(|value| value * samples as f64));
    }
    let total = gang.sum(&row)?;
    if total[0] == 0.0 {
        return Ok(());
    }
    let mut rest = &total[1..];
    for (_, buffer) in &buffers {
        let (values, after) = rest.split_at(buffer.numel());
        rest = after;
        let mean: Vec<f64> = values.iter().map(|value| value / total[0]).collect();
        no_grad(|| buffer.shallow_clone().copy_(&Tensor::from_slice(&mean).view_as(buffer)));
    }
    Ok(())
}

/// Takes the statistics anew on `data`: the cumulative mean of its batches' statistics, then the mean over the ranks.
///
/// Forget-only: it reads `data`'s images and nothing else.
pub fn recompute(
    network: &Network,
    gang: &mut Gang,
    data: &LabelledSamples,
    batch_size: usize,
) -> Result<(), UnlearningError> {
    if network.buffers().is_empty() {
        return Ok(());
    }
    // What stood there counts 0 times; but 0 times what is not finite is no number.
    for (_, buffer) in network.buffers() {
        no_grad(|| buffer.shallow_clone().copy_(&buffer.nan_to_num(0.0, 0.0, 0.0)));
    }
    // One fixed permutation: data often comes sorted by class, and every batch must be a fair sample of all of it.
    let order = rewind_datasets::order(0, "batch-norm", 0, data.len());
    let part = gang.part_of(data.len());
    let (mut start, end) = (part.start, part.end);
    // Nearly equal batches, smaller ones first, so that the cumulative mean is nearly the mean over samples.
    let batches = part.len().div_ceil(batch_size).max(1);
    for index in 0..batches {
        let len = (end - start) / (batches - index);
        if len == 0 {
            continue;
        }
        let positions: Vec<i64> = order[start..start + len].iter().map(|&position| i64::from(position)).collect();
        let images = data.select(&positions).0.to_device(network.device());
        start += len;
        let momentum = 1.0 / (index + 1) as f64;
        let _ = no_grad(|| network.forward(&images, Mode::Train { momentum }));
    }
    average_over_ranks(network, gang, part.len())
}

pub fn buffers_at_rest(network: &Network) -> Result<Buffers, UnlearningError> {
    network
        .buffers()
        .into_iter()
        .map(|(name, tensor)| Ok((name, (tensor.size(), Vec::try_from(tensor.contiguous().view([-1]))?))))
        .collect()
}

/// Fills the network's buffers; those that `buffers` lacks stay as they are.
pub fn load_buffers(network: &Network, buffers: &Buffers) {
    for (name, tensor) in network.buffers() {
        if let Some((_, values)) = buffers.get(&name) {
            no_grad(|| tensor.shallow_clone().copy_(&Tensor::from_slice(values).view_as(&tensor)));
        }
    }
}
