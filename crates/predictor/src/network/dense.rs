use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::PredictorError;

/// Where parameters come from: `(name, shape, how to draw it)`.
pub(super) type Source<'a> = &'a mut dyn FnMut(&str, &[i64], Initial) -> Result<Tensor, PredictorError>;

/// How an untrained parameter is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Initial {
    Zeros,
    /// VarianceScaling, fan-in, uniform: variance `scale / inputs`, where a kernel's shape is `[outputs, inputs]`.
    VarianceScaling(f64),
    /// Keras' default: uniform, variance `2 / (inputs + outputs)`.
    GlorotUniform,
}

impl Initial {
    pub(crate) fn draw(self, shape: &[i64], draw: &mut ChaCha8Rng) -> Tensor {
        let variance = match self {
            Self::Zeros => return Tensor::zeros(shape, (Kind::Float, Device::Cpu)),
            Self::VarianceScaling(scale) => scale / shape[1] as f64,
            Self::GlorotUniform => 2.0 / (shape[0] + shape[1]) as f64,
        };
        let bound = (3.0 * variance).sqrt() as f32;
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw.random_range(-bound..bound)).collect();
        Tensor::from_slice(&values).view(shape)
    }
}

/// `y = x · kernelᵀ + bias`, with torch's kernel layout `[outputs, inputs]`.
#[derive(Debug)]
pub(super) struct Dense {
    kernel: Tensor,
    bias: Tensor,
}

impl Dense {
    /// Its biases begin at 0.
    pub(super) fn build(
        source: Source,
        name: &str,
        (inputs, outputs): (i64, i64),
        initial: Initial,
    ) -> Result<Self, PredictorError> {
        Ok(Self {
            kernel: source(&format!("{name}.kernel"), &[outputs, inputs], initial)?,
            bias: source(&format!("{name}.bias"), &[outputs], Initial::Zeros)?,
        })
    }

    /// `[coordinates, inputs]` → `[coordinates, outputs]`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.kernel, Some(&self.bias))
    }
}
