//! What a network's answers cost.

use rewind_job::Objective;
use tch::{Reduction, Tensor};

use crate::{Batch, UnlearningError};

/// Which noise a sample gets: a function of these, the sample's position in its data, and nothing else.
#[derive(Clone, Copy)]
pub(crate) struct NoiseDraw {
    pub seed: u64,
    pub purpose: &'static str,
    pub epoch: u32,
}

/// The sum over some samples of each one's loss: a scalar to go backward from. For denoising a sample's loss is its
/// mean over the pixels; a network that gives one number a pixel will do as well as one that gives images.
///
/// # Errors
/// The network's answers do not fit the objective.
pub(crate) fn summed_loss(objective: Objective, batch: &Batch, draw: NoiseDraw) -> Result<Tensor, UnlearningError> {
    let images = &batch.images;
    match objective {
        Objective::Classification => cross_entropy(batch),
        Objective::Denoising { noise } => {
            let drawn = noise_on(batch.positions, &images.size(), draw).to_device(images.device());
            let noisy = images + drawn * noise;
            let clean = batch.network.forward(&noisy, batch.mode).f_view_as(images)?;
            let pixels = images.size()[1..].iter().product::<i64>();
            Ok(clean.f_mse_loss(images, Reduction::Sum)? / pixels as f64)
        }
    }
}

/// The sum over a batch of each sample's cross-entropy.
///
/// # Errors
/// The network's answers are no logits.
pub(crate) fn cross_entropy(batch: &Batch) -> Result<Tensor, UnlearningError> {
    to_labels(batch, &batch.labels)
}

/// The same with other labels than the samples', wherever these are. `labels` is `[n]`, int64.
///
/// # Errors
/// The network's answers are no logits.
pub(crate) fn to_labels(batch: &Batch, labels: &Tensor) -> Result<Tensor, UnlearningError> {
    let logits = batch.network.forward(&batch.images, batch.mode);
    let labels = labels.to_device(logits.device());
    Ok(logits.f_cross_entropy_loss::<Tensor>(&labels, None, Reduction::Sum, -100, 0.0)?)
}

/// N(0, 1) for each pixel of these samples; `shape` is `[samples, channels, height, width]`.
fn noise_on(positions: &[i64], shape: &[i64], draw: NoiseDraw) -> Tensor {
    let pixels = shape[1..].iter().product::<i64>() as usize;
    let noise = positions
        .iter()
        .flat_map(|&position| rewind_datasets::noise(draw.seed, draw.purpose, draw.epoch, position as u32, pixels));
    Tensor::from_slice(&noise.collect::<Vec<f32>>()).view(shape)
}
