use tch::Tensor;

use super::dense::{Initial, Source};
use crate::PredictorError;

/// Width of the hidden layers.
const HIDDEN: i64 = 16;
/// The horizon enters as `1, u, u²` with `u = U / K`.
const POWERS: i64 = 3;

/// Our own network: the mean drift of the `U` epochs before `Φ_0`, read from the `K − 1` differences after it.
///
/// With `x` the differences in units of their tensor's drift scale, oldest first, it answers
///
/// ```text
/// drift = a(U) · x + v(U) · φ(W₂ (g(U) ⊙ φ(W₁ x)))        residual = U · scale · drift
/// ```
///
/// with `φ(h) = h / (1 + |h|)`, without any bias, and with coefficients `a`, `g`, `v` that are polynomials of the horizon alone. So it gives exactly
/// 0 for `x = 0` (still), −drift for −x (odd), and sees neither the weights (shift) nor their size (scale).
/// 510 multiply-adds and 32 divisions a coordinate at `K = 15`.
#[derive(Debug)]
pub(super) struct EquivariantNetwork {
    snapshots: usize,
    /// `a`, `[powers, snapshots − 1]`.
    linear: Tensor,
    /// `W₁`, `[hidden, snapshots − 1]`.
    dense1: Tensor,
    /// `g − 1`, `[powers, hidden]`.
    gain: Tensor,
    /// `W₂`, `[hidden, hidden]`.
    dense2: Tensor,
    /// `v`, `[powers, hidden]`.
    head: Tensor,
    /// Of the lopsided network: coefficients of the hidden values' sizes, `[powers, hidden]`.
    even: Option<Tensor>,
}

impl EquivariantNetwork {
    pub(super) fn build(snapshots: usize, odd: bool, source: Source) -> Result<Self, PredictorError> {
        let inputs = snapshots as i64 - 1;
        Ok(Self {
            snapshots,
            // Small outputs: training starts near "no change".
            linear: source("linear.kernel", &[POWERS, inputs], Initial::VarianceScaling(0.1))?,
            dense1: source("dense1.kernel", &[HIDDEN, inputs], Initial::VarianceScaling(1.0))?,
            gain: source("gain.kernel", &[POWERS, HIDDEN], Initial::Zeros)?,
            dense2: source("dense2.kernel", &[HIDDEN, HIDDEN], Initial::VarianceScaling(1.0))?,
            head: source("head.kernel", &[POWERS, HIDDEN], Initial::VarianceScaling(0.1))?,
            even: match odd {
                true => None,
                false => Some(source("even.kernel", &[POWERS, HIDDEN], Initial::VarianceScaling(0.1))?),
            },
        })
    }

    /// Normalised differences, oldest first, `[coordinates, snapshots − 1]` → drift an epoch, `[coordinates]`.
    pub(super) fn forward(&self, x: &Tensor, horizon: u32) -> Tensor {
        let u = f64::from(horizon) / self.snapshots as f64;
        let powers = Tensor::from_slice(&[1.0, u, u * u]).to_kind(x.kind()).to_device(x.device()); // [powers]
        let a = self.linear.tr().mv(&powers); // [snapshots - 1]
        let g = self.gain.tr().mv(&powers) + 1.0; // [hidden]
        let v = self.head.tr().mv(&powers); // [hidden]

        let hidden = softsign(&x.matmul(&self.dense1.tr())); // [coordinates, hidden]
        let hidden = softsign(&hidden.matmul(&(&self.dense2 * g).tr())); // [coordinates, hidden]
        let drift = x.mv(&a) + hidden.mv(&v); // [coordinates]
        match &self.even {
            Some(even) => drift + hidden.abs().mv(&even.tr().mv(&powers)),
            None => drift,
        }
    }
}

/// `h / (1 + |h|)`: odd to the last bit, and a sixth of the cost of tanh.
fn softsign(h: &Tensor) -> Tensor {
    h / (h.abs() + 1.0)
}
