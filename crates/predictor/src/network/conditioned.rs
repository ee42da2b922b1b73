use tch::Tensor;

use super::dense::{Initial, Source};
use crate::{PredictorError, Statistics};

/// `1, u, ρ, ρu`.
const CONDITIONS: i64 = 4;

/// A linear reading of the differences whose coefficients depend on how far the tensor moves beside its weights.
///
/// With `x` the differences in units of the tensor's drift scale, oldest first, `u = U / K` and `ρ` the tensor's
/// [reach](Statistics::reach), it answers
///
/// ```text
/// drift = (A₀ + A₁ u + A₂ ρ + A₃ ρ u) · x        residual = U · scale · drift
/// ```
///
/// So each tensor has a λ of its own that was fitted on other tensors: where forward training hardly moves what training
/// moved far, much is to be taken back. It answers 0 to a tensor at rest (still), the mirrored drift to a mirrored one
/// (odd), and the answer scales with the tensor, weights and drift together. `K − 1` multiply-adds a coordinate.
#[derive(Debug)]
pub(super) struct ConditionedNetwork {
    snapshots: usize,
    /// `A`, `[conditions, snapshots − 1]`.
    linear: Tensor,
}

impl ConditionedNetwork {
    pub(super) fn build(snapshots: usize, source: Source) -> Result<Self, PredictorError> {
        let shape = [CONDITIONS, snapshots as i64 - 1];
        // Small outputs: training starts near "no change".
        Ok(Self { snapshots, linear: source("linear.kernel", &shape, Initial::VarianceScaling(0.1))? })
    }

    /// Differences `[coordinates, snapshots − 1]` and, behind them, each coordinate's `ρ`.
    pub(super) fn input(x: &Tensor, statistics: &Statistics) -> Tensor {
        Tensor::cat(&[x, &x.narrow(1, 0, 1).full_like(statistics.reach)], 1)
    }

    /// What [`input`](Self::input) makes → drift an epoch, `[coordinates]`.
    pub(super) fn forward(&self, input: &Tensor, horizon: u32) -> Tensor {
        let differences = self.snapshots as i64 - 1;
        let (x, reach) = (input.narrow(1, 0, differences), input.narrow(1, differences, 1));
        let coefficients = self.coefficients(&reach, horizon);
        (x * coefficients).sum_dim_intlist([1_i64].as_slice(), false, input.kind())
    }

    /// As [`forward`](Self::forward), where all coordinates are of one tensor.
    pub(super) fn forward_one(&self, x: &Tensor, statistics: &Statistics, horizon: u32) -> Tensor {
        let reach = x.narrow(0, 0, 1).narrow(1, 0, 1).full_like(statistics.reach);
        x.mv(&self.coefficients(&reach, horizon).squeeze_dim(0))
    }

    /// `ρ`, `[rows, 1]` → `[rows, snapshots − 1]`.
    fn coefficients(&self, reach: &Tensor, horizon: u32) -> Tensor {
        let u = f64::from(horizon) / self.snapshots as f64;
        let conditions = Tensor::cat(&[&reach.ones_like(), &reach.full_like(u), reach, &(reach * u)], 1);
        conditions.matmul(&self.linear)
    }
}
