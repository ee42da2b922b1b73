use tch::Tensor;

use super::dense::{Dense, Source};
use super::differences;
use crate::PredictorError;

/// InvWNN of "Learning to Rewind via Iterative Prediction of Past Weights for Practical Unlearning" (AAAI 2025).
///
/// One stream reads the `K` weights, another the `K − 1` differences, both newest first; no input normalisation.
/// 61 thousand multiply-adds and 256 exponentials a coordinate at `K = 15`.
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
            out: Dense::build(source, "out", 128, 1)?,
        })
    }

    /// `InvWNN(W, dW)`: snapshots oldest first, `[coordinates, snapshots]` → `[coordinates]`.
    pub(super) fn forward(&self, window: &Tensor) -> Tensor {
        let w = window.flip([1]); // [coordinates, snapshots], newest first
        let dw = differences(window).flip([1]); // [coordinates, snapshots - 1], newest first
        let both = Tensor::cat(&[self.weights_stream.forward(&w), self.differences_stream.forward(&dw)], 1);
        self.out.forward(&both).tanh().squeeze_dim(1) // [coordinates]
    }
}

/// `Dense128 → LeakyReLU(0.3) → Dense128 (= h) → A(h) → Dense64 → LeakyReLU(0.3)`.
#[derive(Debug)]
struct Stream {
    dense1: Dense,
    dense2: Dense,
    a_c: Dense,
    a_shift: Dense,
    a_scale: Dense,
    a_gate: Dense,
    dense3: Dense,
}

impl Stream {
    fn build(source: Source, stream: &str, inputs: i64) -> Result<Self, PredictorError> {
        let mut dense = |name, inputs, outputs| Dense::build(source, &format!("{stream}.{name}"), inputs, outputs);
        Ok(Self {
            dense1: dense("dense1", inputs, 128)?,
            dense2: dense("dense2", 128, 128)?,
            a_c: dense("a_c", 128, 8)?,
            a_shift: dense("a_shift", 8, 128)?,
            a_scale: dense("a_scale", 8, 128)?,
            a_gate: dense("a_gate", 8, 128)?,
            dense3: dense("dense3", 128, 64)?,
        })
    }

    /// `[coordinates, inputs]` → `[coordinates, 64]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.dense2.forward(&leaky_relu(&self.dense1.forward(x))); // [coordinates, 128]
        leaky_relu(&self.dense3.forward(&self.a(&h)))
    }

    /// `A(h) = Dense128(c) + Dense128(c) ⊙ exp(Dense128(c) ⊙ h)` with `c = ReLU(Dense8(h))`.
    fn a(&self, h: &Tensor) -> Tensor {
        let c = self.a_c.forward(h).relu(); // [coordinates, 8]
        self.a_shift.forward(&c) + self.a_scale.forward(&c) * (self.a_gate.forward(&c) * h).exp()
    }
}

/// LeakyReLU(0.3).
fn leaky_relu(x: &Tensor) -> Tensor {
    x.maximum(&(x * 0.3))
}
