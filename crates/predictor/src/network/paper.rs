use tch::Tensor;

use super::activation::{Activation, leaky_relu};
use super::dense::{Dense, Initial, Source};
use super::{Differences, differences};
use crate::PredictorError;

/// Width of a stream, and of what leaves it.
const WIDE: i64 = 128;
const LEAVING: i64 = 64;

/// InvWNN of "Learning to Rewind via Iterative Prediction of Past Weights for Practical Unlearning" (AAAI 2025).
///
/// One stream reads the `K` weights `w` of the reversed trajectory, newest first; another their `K − 1` differences
/// `d_j = w_{j+1} − w_j`: older minus newer, the negative of the drift. No input normalisation. 61 thousand multiply-adds
/// and 256 exponentials a coordinate at `K = 15`.
#[derive(Debug)]
pub(super) struct PaperNetwork {
    weights_stream: Stream,
    differences_stream: Stream,
    out: Dense,
}

impl PaperNetwork {
    pub(super) fn build(snapshots: usize, source: Source) -> Result<Self, PredictorError> {
        let snapshots = snapshots as i64;
        Ok(Self {
            weights_stream: Stream::build(source, "weights_stream", snapshots)?,
            differences_stream: Stream::build(source, "differences_stream", snapshots - 1)?,
            out: Dense::build(source, "out", (2 * LEAVING, 1), Initial::GlorotUniform)?,
        })
    }

    /// `InvWNN(W, dW)`: snapshots oldest first, `[coordinates, snapshots]` → `[coordinates]`.
    pub(super) fn forward(&self, window: &Tensor, order: Differences) -> Tensor {
        let w = window.flip([1]); // [coordinates, snapshots], newest first
        let d = differences(&w); // [coordinates, snapshots - 1]
        let d = match order {
            Differences::OlderMinusNewer => d,
            Differences::NewerMinusOlder => -d,
        };
        let both = Tensor::cat(&[self.weights_stream.forward(&w), self.differences_stream.forward(&d)], 1);
        self.out.forward(&both).tanh().squeeze_dim(1) // [coordinates]
    }
}

/// `Dense128 → LeakyReLU(0.3) → Dense128 (= h) → A(h) → Dense64 → LeakyReLU(0.3)`.
#[derive(Debug)]
struct Stream {
    dense1: Dense,
    dense2: Dense,
    a: Activation,
    dense3: Dense,
}

impl Stream {
    fn build(source: Source, stream: &str, inputs: i64) -> Result<Self, PredictorError> {
        let name = |layer: &str| format!("{stream}.{layer}");
        let drawn = Initial::VarianceScaling(0.1);
        Ok(Self {
            dense1: Dense::build(source, &name("dense1"), (inputs, WIDE), drawn)?,
            dense2: Dense::build(source, &name("dense2"), (WIDE, WIDE), drawn)?,
            a: Activation::build(source, stream, WIDE)?,
            dense3: Dense::build(source, &name("dense3"), (WIDE, LEAVING), drawn)?,
        })
    }

    /// `[coordinates, inputs]` → `[coordinates, 64]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.dense2.forward(&leaky_relu(&self.dense1.forward(x))); // [coordinates, 128]
        leaky_relu(&self.dense3.forward(&self.a.forward(&h)))
    }
}
