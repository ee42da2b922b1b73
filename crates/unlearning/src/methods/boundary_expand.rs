//! Boundary Expanding: train on `D_f` with one class more that all of it gets, then drop that class (Chen et al., 2023).
//!
//! The extra class's row of the last layer is small and stands beside the network, the same on every rank: the network
//! itself never has that class, so that its logit is dropped by construction.

use rand::RngExt;
use rewind_job::{Forward, Optimiser};
use tch::{Kind, Reduction, Tensor, no_grad};

use crate::{
    Batch, Gang, LabelledSamples, Learner, Pass, RoundMethod, ShardOptimiser, UnlearningError, learner::Criterion,
};

/// Under which the row is kept beside the network; its optimiser's state has this and its own name.
const EXTRA: &str = "extra-class";

pub struct BoundaryExpand<'a> {
    optimiser: Optimiser,
    pass: Pass,
    forget: &'a LabelledSamples,
    classes: u32,
}

impl<'a> BoundaryExpand<'a> {
    pub fn new(forward: &Forward, pass: Pass, forget: &'a LabelledSamples, classes: u32) -> Self {
        Self { optimiser: forward.optimiser.clone(), pass, forget, classes }
    }
}

impl RoundMethod for BoundaryExpand<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let mut extra = ExtraClass::of(learner, &self.optimiser, self.forget, i64::from(self.classes))?;
        let loss = learner.epoch_of(self.forget, &self.pass, &mut extra)?;
        extra.keep_in(learner)?;
        Ok(loss)
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds)
    }
}

/// The row of the extra class, and the bias after it: `[features + 1]`.
struct ExtraClass {
    row: Tensor,
    optimiser: ShardOptimiser,
    label: i64,
}

impl ExtraClass {
    /// As the last round left it; before the first one as PyTorch draws a row of a linear layer.
    fn of(learner: &Learner, rule: &Optimiser, forget: &LabelledSamples, label: i64) -> Result<Self, UnlearningError> {
        let row = match learner.aside.get(EXTRA) {
            Some(row) => row.copy(),
            None => draw_extra_row(learner.seed(), features_of(learner, forget)).to_device(learner.network.device()),
        };
        let features = row.size()[0] - 1;
        // The last value is the class's bias, which is one-dimensional.
        let is_weight = Tensor::arange(features + 1, (Kind::Int64, row.device())).lt(features);
        let optimiser = ShardOptimiser::on(row.device(), rule.clone(), row.size()[0] as usize);
        let mut optimiser = optimiser.decaying_where(&is_weight);
        let state = learner.aside.iter().filter_map(|(name, values)| {
            let name = name.strip_prefix(EXTRA)?.strip_prefix('.')?;
            Some(Vec::try_from(values).map(|values| (name.to_owned(), values)))
        });
        optimiser.restore(learner.optimiser.steps(), &state.collect::<Result<_, _>>()?);
        Ok(Self { row: row.set_requires_grad(true), optimiser, label })
    }

    fn keep_in(&self, learner: &mut Learner) -> Result<(), UnlearningError> {
        learner.aside.insert(EXTRA.to_owned(), self.row.detach().copy());
        for (name, values) in self.optimiser.state()? {
            learner.aside.insert(format!("{EXTRA}.{name}"), Tensor::from_slice(&values));
        }
        Ok(())
    }
}

impl Criterion for ExtraClass {
    fn loss(&mut self, batch: &Batch) -> Result<Tensor, UnlearningError> {
        let features = batch.network.features(&batch.images, batch.mode);
        let (weights, bias) = (self.row.narrow(0, 0, self.row.size()[0] - 1), self.row.narrow(0, -1, 1));
        let extra = (features.matmul(&weights) + bias).unsqueeze(1);
        let logits = Tensor::cat(&[&batch.network.answer(&features), &extra], 1);
        let labels = batch.labels.full_like(self.label);
        Ok(logits.f_cross_entropy_loss::<Tensor>(&labels, None, Reduction::Sum, -100, 0.0)?)
    }

    fn step(&mut self, gang: &mut Gang, rate_factor: f64) -> Result<(), UnlearningError> {
        let mut gradient = self.row.grad();
        // A rank that had no sample of the batch has none.
        let mine = if gradient.defined() {
            Vec::try_from(gradient.to_kind(Kind::Double))?
        } else {
            vec![0.0; self.row.size()[0] as usize]
        };
        let summed = Tensor::from_slice(&gang.sum(&mine)?).to_kind(Kind::Float).to_device(self.row.device());
        self.optimiser.step(&self.row.detach(), &summed, rate_factor);
        if gradient.defined() {
            let _ = gradient.zero_();
        }
        Ok(())
    }
}

fn features_of(learner: &Learner, forget: &LabelledSamples) -> i64 {
    let batch = forget.batch(&[0], &learner.network, rewind_models::Mode::Inference);
    no_grad(|| learner.network.features(&batch.images, batch.mode)).size()[1]
}

/// The extra class's weights and, last, its bias, as PyTorch draws a row of a linear layer: uniform in ±1/√features,
/// `[features + 1]`, float32. A function of its arguments alone.
pub fn draw_extra_row(seed: u64, features: i64) -> Tensor {
    let bound = 1.0 / (features as f32).sqrt();
    let mut rng = rewind_datasets::generator(seed, EXTRA);
    let row: Vec<f32> = (0..=features).map(|_| rng.random_range(-bound..bound)).collect();
    Tensor::from_slice(&row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extra_row_is_uniform_between_its_bounds() {
        let row: Vec<f32> = Vec::try_from(draw_extra_row(3, 9_999)).expect("float32");
        let bound = 1.0 / 9_999_f64.sqrt();
        let mut counts = [0_u32; 10];
        for value in row {
            // From 0 to 1 between the bounds.
            let place = (f64::from(value) / bound + 1.0) / 2.0;
            assert!((0.0..1.0).contains(&place), "{value}");
            counts[(place * 10.0) as usize] += 1;
        }
        // Four standard deviations of a binomial count: 30 each.
        assert!(counts.iter().all(|count| count.abs_diff(1000) < 120), "{counts:?}");
    }
}
