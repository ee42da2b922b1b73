use tch::Tensor;

use super::dense::{Dense, Initial, Source};
use crate::PredictorError;

/// Width of `c`.
const NARROW: i64 = 8;

/// `A(h) = Dense(c) + Dense(c) ⊙ exp(Dense(c) ⊙ h)` with `c = ReLU(Dense8(h))`, as wide as `h`: the activation within
/// both published networks (Jang et al., ICML 2023 and AAAI 2025). Its layers are drawn as Keras draws by default.
#[derive(Debug)]
pub(super) struct Activation {
    c: Dense,
    shift: Dense,
    scale: Dense,
    gate: Dense,
}

impl Activation {
    pub(super) fn build(source: Source, stream: &str, width: i64) -> Result<Self, PredictorError> {
        let mut dense = |name, inputs, outputs| {
            Dense::build(source, &format!("{stream}.{name}"), (inputs, outputs), Initial::GlorotUniform)
        };
        Ok(Self {
            c: dense("a_c", width, NARROW)?,
            shift: dense("a_shift", NARROW, width)?,
            scale: dense("a_scale", NARROW, width)?,
            gate: dense("a_gate", NARROW, width)?,
        })
    }

    /// `[coordinates, width]` → `[coordinates, width]`.
    pub(super) fn forward(&self, h: &Tensor) -> Tensor {
        let c = self.c.forward(h).relu(); // [coordinates, 8]
        self.shift.forward(&c) + self.scale.forward(&c) * (self.gate.forward(&c) * h).exp()
    }
}

/// LeakyReLU(0.3).
pub(super) fn leaky_relu(x: &Tensor) -> Tensor {
    x.maximum(&(x * 0.3))
}
