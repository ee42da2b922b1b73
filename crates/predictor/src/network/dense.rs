use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use crate::PredictorError;

/// Where parameters come from: `(name, shape, how to draw it)`.
pub(super) type Source<'a> = &'a mut dyn FnMut(&str, &[i64], Initial) -> Result<Tensor, PredictorError>;

/// How an untrained parameter is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Initial {
    Zeros,
    /// VarianceScaling, fan-in, uniform: variance `scale / inputs`, where a kernel's shape is `[outputs, inputs]`.
    VarianceScaling(f64),
}

impl Initial {
    pub(crate) fn draw(self, shape: &[i64], draw: &mut ChaCha8Rng) -> Tensor {
        let values: Vec<f32> = match self {
            Self::Zeros => vec![0.0; shape.iter().product::<i64>() as usize],
            Self::VarianceScaling(scale) => {
                let bound = (3.0 * scale / shape[1] as f64).sqrt() as f32;
                (0..shape.iter().product::<i64>()).map(|_| draw.random_range(-bound..bound)).collect()
            }
        };
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
    /// As the paper draws it: VarianceScaling(0.1, fan-in, uniform), biases 0.
    pub(super) fn build(source: Source, name: &str, inputs: i64, outputs: i64) -> Result<Self, PredictorError> {
        Ok(Self {
            kernel: source(&format!("{name}.kernel"), &[outputs, inputs], Initial::VarianceScaling(0.1))?,
            bias: source(&format!("{name}.bias"), &[outputs], Initial::Zeros)?,
        })
    }

    /// `[coordinates, inputs]` → `[coordinates, outputs]`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.kernel, Some(&self.bias))
    }
}
