use tch::Tensor;

use super::activation::{Activation, leaky_relu};
use super::dense::{Dense, Initial, Source};
use super::differences;
use crate::PredictorError;

/// Width of a stream, and of what leaves it.
const WIDE: i64 = 64;
const LEAVING: i64 = 32;
/// Added to each coordinate's range: what moves less than this a window is hardly magnified.
const FLOOR: f64 = 1e-5;
/// Added before, so that nothing is divided by 0 even without the floor.
const LEAST_RANGE: f64 = 1e-8;

/// WNN of "Learning to Boost Training by Periodic Nowcasting Near Future Weights" (Jang et al., ICML 2023).
///
/// It reads a trajectory as it went, oldest first, each coordinate in a [unit](unit) of its own:
/// `x_k = (Φ_k − Φ_0) / unit`. One stream reads the `K` values `x`, another their `K − 1` differences
/// `d_j = x_{j+1} − x_j`; the answer is that many units ahead of the newest snapshot:
/// `Φ_{K−1} + unit · WNN(x, d) = (x_{K−1} + WNN(x, d)) · unit + Φ_0`. A coordinate at rest gets an answer, too.
/// 13 Dense layers with 9,425 parameters at `K = 5`.
///
/// The authors' scripts differ: the one for transformers does not normalise, and the one for convolutional networks adds
/// a bias' raw last value inside the scaled sum. This is the form that the latter has for weights, for all three
/// operation types.
#[derive(Debug)]
pub(super) struct WnnNetwork {
    weights_stream: Stream,
    differences_stream: Stream,
    out: Dense,
}

impl WnnNetwork {
    pub(super) fn build(snapshots: usize, source: Source) -> Result<Self, PredictorError> {
        let snapshots = snapshots as i64;
        Ok(Self {
            weights_stream: Stream::build(source, "weights_stream", snapshots)?,
            differences_stream: Stream::build(source, "differences_stream", snapshots - 1)?,
            out: Dense::build(source, "out", (2 * LEAVING, 1), Initial::GlorotUniform)?,
        })
    }

    /// `x`: snapshots oldest first, `[coordinates, snapshots]` → the same, in units from the oldest.
    pub(super) fn input(window: &Tensor) -> Tensor {
        (window - window.narrow(1, 0, 1)) / unit(window).unsqueeze(1)
    }

    /// `WNN(x, d)`: what [`input`](Self::input) makes → units ahead, `[coordinates]`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let d = differences(x); // [coordinates, snapshots - 1]
        let both = Tensor::cat(&[self.weights_stream.forward(x), self.differences_stream.forward(&d)], 1);
        self.out.forward(&both).tanh().squeeze_dim(1) // [coordinates]
    }
}

/// `2 (r + 1e-5)` with `r = max − min + 1e-8` over the snapshots of each coordinate, `[coordinates]`.
pub(super) fn unit(window: &Tensor) -> Tensor {
    let from_oldest = window - window.narrow(1, 0, 1);
    let range = from_oldest.amax([1_i64].as_slice(), false) - from_oldest.amin([1_i64].as_slice(), false);
    (range + LEAST_RANGE + FLOOR) * 2.0
}

/// `Dense64 (= h) → A(h) → Dense32 → LeakyReLU(0.3)`.
#[derive(Debug)]
struct Stream {
    dense1: Dense,
    a: Activation,
    dense2: Dense,
}

impl Stream {
    fn build(source: Source, stream: &str, inputs: i64) -> Result<Self, PredictorError> {
        let name = |layer: &str| format!("{stream}.{layer}");
        let drawn = Initial::VarianceScaling(0.1);
        Ok(Self {
            dense1: Dense::build(source, &name("dense1"), (inputs, WIDE), drawn)?,
            a: Activation::build(source, stream, WIDE)?,
            dense2: Dense::build(source, &name("dense2"), (WIDE, LEAVING), drawn)?,
        })
    }

    /// `[coordinates, inputs]` → `[coordinates, 32]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        leaky_relu(&self.dense2.forward(&self.a.forward(&self.dense1.forward(x))))
    }
}
