//! Boundary Shrink: train on `D_f` with the nearest wrong labels (Chen et al., 2023).

use rewind_models::{Mode, Network};
use tch::{Reduction, Tensor, no_grad};

use crate::{Batch, LabelledSamples, Learner, Pass, RoundMethod, UnlearningError, objective::to_labels};

pub struct BoundaryShrink<'a> {
    settings: rewind_job::BoundaryShrink,
    pass: Pass,
    forget: &'a LabelledSamples,
    original: Network,
    /// `[samples]`; found in the first round.
    nearest: Option<Tensor>,
}

impl<'a> BoundaryShrink<'a> {
    pub fn new(
        settings: rewind_job::BoundaryShrink,
        pass: Pass,
        forget: &'a LabelledSamples,
        original: Network,
    ) -> Self {
        Self { settings, pass, forget, original, nearest: None }
    }

    /// The labels that every rank's part of `D_f` gets, joined.
    fn find_nearest(&self, learner: &mut Learner) -> Result<Tensor, UnlearningError> {
        let (gang, len) = (&mut learner.gang, self.forget.len());
        let mine: Vec<i64> = gang.part_of(len).map(|position| position as i64).collect();
        let mut labels: Vec<f64> = Vec::with_capacity(mine.len());
        for positions in mine.chunks(self.pass.batch_size) {
            let batch = self.forget.batch(positions, &self.original, Mode::Inference);
            let nearest = nearest_labels(&self.original, &batch.images, &batch.labels, self.settings.step)?;
            labels.extend(Vec::<i64>::try_from(nearest)?.into_iter().map(|label| label as f64));
        }
        let world = gang.world_size().0 as usize;
        let rows = gang.gather_rows(&labels, len.div_ceil(world))?;
        let joined = rows.iter().zip(0..).flat_map(|(row, rank)| {
            let part = len * (rank + 1) / world - len * rank / world;
            row[..part].iter().map(|&label| label as i64)
        });
        Ok(Tensor::from_slice(&joined.collect::<Vec<i64>>()))
    }
}

impl RoundMethod for BoundaryShrink<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let nearest = match self.nearest.take() {
            Some(nearest) => nearest,
            None => self.find_nearest(learner)?,
        };
        let loss = learner.epoch_of(self.forget, &self.pass, &mut |batch: &Batch| {
            to_labels(batch, &nearest.index_select(0, &Tensor::from_slice(batch.positions)))
        });
        self.nearest = Some(nearest);
        loss
    }

    /// One more than rounds: the labels are found first.
    fn forget_epochs(&self, rounds: u32) -> f64 {
        1.0 + f64::from(rounds)
    }
}

/// What the network answers to images moved by `step`: `[n]`.
fn nearest_labels(network: &Network, images: &Tensor, labels: &Tensor, step: f64) -> Result<Tensor, UnlearningError> {
    let moved = moved(network, images, labels, step)?;
    Ok(no_grad(|| network.forward(&moved, Mode::Inference)).argmax(1, false))
}

/// `x + step · sign(∇ₓ CE(x, y))`, kept from 0 to 1 (FGSM; Goodfellow et al., 2015).
fn moved(network: &Network, images: &Tensor, labels: &Tensor, step: f64) -> Result<Tensor, UnlearningError> {
    let images = images.detach().set_requires_grad(true);
    let logits = network.forward(&images, Mode::Inference);
    let loss = logits.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Sum, -100, 0.0)?;
    let gradient = Tensor::f_run_backward(&[&loss], &[&images], false, false)?.swap_remove(0);
    Ok(no_grad(|| (&images + gradient.sign() * step).clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind_job::Architecture;
    use tch::{Device, Kind};

    #[test]
    fn images_move_towards_a_higher_loss_and_the_network_stays_as_it_was() {
        let network = Network::build(Architecture::Mlp, 4, [1, 8, 8], 1);
        let images = (Tensor::arange(12 * 64, (Kind::Float, Device::Cpu)) * 0.37).sin().view([12, 1, 8, 8]) * 0.4 + 0.5;
        let labels = no_grad(|| network.forward(&images, Mode::Inference)).argmax(1, false);
        let before = network.flat().copy();
        assert_eq!(nearest_labels(&network, &images, &labels, 0.0).expect("finds"), labels, "no step, no other label");
        let moved = moved(&network, &images, &labels, 0.05).expect("moves");
        let change = (&moved - &images).abs();
        assert!((change.max().double_value(&[]) - 0.05).abs() < 1e-6);
        let loss = |images: &Tensor| {
            let logits = no_grad(|| network.forward(images, Mode::Inference));
            let losses: Tensor = logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::None, -100, 0.0);
            losses
        };
        assert!(loss(&moved).gt_tensor(&loss(&images)).all().int64_value(&[]) == 1, "each sample's loss rises");
        assert_eq!(*network.flat(), before);
        let gradient = network.flat().zeros_like();
        network.collect_gradients(&gradient);
        assert_eq!(gradient.abs().max().double_value(&[]), 0.0, "no gradient is left behind");
    }
}
