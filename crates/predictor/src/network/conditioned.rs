use tch::Tensor;

use super::dense::{Dense, Initial, Source};
use crate::{PredictorError, Statistics};

/// Directions of which the coefficients are made.
const DIRECTIONS: i64 = 3;
pub(super) const HIDDEN: i64 = 12;
/// Ratios of the tensor's statistics, its place in the network, and the horizon as `u = U / K`.
const CONDITIONS: i64 = 6;

/// A linear reading of the differences whose coefficients depend on how the whole tensor moves: a Task Vector with a λ
/// of its own for each tensor, that needs no fitting on that tensor.
///
/// With `x` the differences in units of the drift scale, oldest first, and `c` the conditions, it answers
///
/// ```text
/// drift = (Bᵀ w(c)) · x        w(c) = W₂ tanh(W₁ c + b₁) + b₂        residual = U · scale · drift
/// ```
///
/// The conditions are ratios: they do not change when the tensor is shifted, mirrored or scaled. So the answer is still,
/// shifts, scales and is odd; and it is linear in a tensor's coordinates, so that small drifts are not blown up.
/// `K − 1` multiply-adds a coordinate, and some two hundred a tensor.
#[derive(Debug)]
pub(super) struct ConditionedNetwork {
    snapshots: usize,
    /// `B`, `[directions, snapshots − 1]`.
    basis: Tensor,
    hidden: Dense,
    mixture: Dense,
}

impl ConditionedNetwork {
    pub(super) fn build(snapshots: usize, source: Source) -> Result<Self, PredictorError> {
        Ok(Self {
            snapshots,
            basis: source("basis.kernel", &[DIRECTIONS, snapshots as i64 - 1], Initial::VarianceScaling(1.0))?,
            hidden: Dense::build(source, "hidden", CONDITIONS, HIDDEN)?,
            mixture: Dense::build(source, "mixture", HIDDEN, DIRECTIONS)?,
        })
    }

    /// Differences `[coordinates, snapshots − 1]` and, behind them, each coordinate's conditions but the horizon.
    pub(super) fn input(x: &Tensor, statistics: &Statistics) -> Tensor {
        let ratios = ratios(x, statistics); // [1, conditions − 1]
        Tensor::cat(&[x.shallow_clone(), ratios.expand([x.size()[0], ratios.size()[1]], false)], 1)
    }

    /// What [`input`](Self::input) makes, taken apart: differences and ratios.
    pub(super) fn parts(&self, input: &Tensor) -> (Tensor, Tensor) {
        let differences = self.snapshots as i64 - 1;
        (input.narrow(1, 0, differences), input.narrow(1, differences, CONDITIONS - 1))
    }

    /// What [`input`](Self::input) makes → drift an epoch, `[coordinates]`.
    pub(super) fn forward(&self, input: &Tensor, horizon: u32) -> Tensor {
        let (x, ratios) = self.parts(input);
        self.answer(&x, &self.hidden(&ratios, horizon))
    }

    /// As [`forward`](Self::forward), where all coordinates are of one tensor.
    pub(super) fn forward_one(&self, x: &Tensor, statistics: &Statistics, horizon: u32) -> Tensor {
        self.answer(x, &self.hidden(&ratios(x, statistics), horizon))
    }

    /// `[coordinates, snapshots − 1]`, and one row of conditions a coordinate or one for all → `[coordinates]`.
    pub(super) fn answer(&self, x: &Tensor, hidden: &Tensor) -> Tensor {
        let coefficients = self.mixture.forward(hidden).matmul(&self.basis); // [rows, snapshots − 1]
        match coefficients.size()[0] {
            1 => x.mv(&coefficients.squeeze_dim(0)),
            _ => (x * coefficients).sum_dim_intlist([1_i64].as_slice(), false, x.kind()),
        }
    }

    /// `[rows, conditions − 1]` → `[rows, hidden]`.
    pub(super) fn hidden(&self, ratios: &Tensor, horizon: u32) -> Tensor {
        let u = f64::from(horizon) / self.snapshots as f64;
        let horizon = ratios.narrow(1, 0, 1).full_like(u);
        let conditions = Tensor::cat(&[ratios.shallow_clone(), horizon], 1); // [rows, conditions]
        self.hidden.forward(&conditions).tanh()
    }
}

/// The tensor's ratios as a row, `[1, conditions − 1]`.
pub(super) fn ratios(x: &Tensor, statistics: &Statistics) -> Tensor {
    Tensor::from_slice(&statistics.ratios()).to_kind(x.kind()).to_device(x.device()).unsqueeze(0)
}
