use tch::Tensor;

use super::dense::{Dense, Source};
use super::differences;
use crate::PredictorError;

/// Widths of the stream's wide layers, of `c`, and of the layer that leaves it.
pub(super) type Widths = [i64; 3];

/// InvWNN, as published.
pub(super) const INV_WNN: Widths = [128, 8, 64];
/// WNN, as published.
pub(super) const WNN: Widths = [64, 8, 32];

/// InvWNN of "Learning to Rewind via Iterative Prediction of Past Weights for Practical Unlearning" (AAAI 2025).
///
/// One stream reads the `K` weights, another the `K − 1` differences, both newest first; no input normalisation.
/// 61 thousand multiply-adds and 256 exponentials a coordinate at `K = 15`. WNN, its predecessor (ICML 2023), has the same
/// shape with other widths.
#[derive(Debug)]
pub(super) struct PaperNetwork {
    weights_stream: Stream,
    differences_stream: Stream,
    out: Dense,
}

impl PaperNetwork {
    pub(super) fn build(snapshots: usize, widths: Widths, source: Source) -> Result<Self, PredictorError> {
        let snapshots = snapshots as i64;
        Ok(Self {
            weights_stream: Stream::build(source, "weights_stream", snapshots, widths)?,
            differences_stream: Stream::build(source, "differences_stream", snapshots - 1, widths)?,
            out: Dense::build(source, "out", 2 * widths[2], 1)?,
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
    fn build(
        source: Source,
        stream: &str,
        inputs: i64,
        [wide, narrow, leaving]: Widths,
    ) -> Result<Self, PredictorError> {
        let mut dense = |name, inputs, outputs| Dense::build(source, &format!("{stream}.{name}"), inputs, outputs);
        Ok(Self {
            dense1: dense("dense1", inputs, wide)?,
            dense2: dense("dense2", wide, wide)?,
            a_c: dense("a_c", wide, narrow)?,
            a_shift: dense("a_shift", narrow, wide)?,
            a_scale: dense("a_scale", narrow, wide)?,
            a_gate: dense("a_gate", narrow, wide)?,
            dense3: dense("dense3", wide, leaving)?,
        })
    }

    /// `[coordinates, inputs]` → `[coordinates, leaving]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.dense2.forward(&leaky_relu(&self.dense1.forward(x))); // [coordinates, wide]
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
