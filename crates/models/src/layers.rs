//! Layers over parameters that live in flat storage.

use tch::Tensor;

use crate::{
    initial::Initial,
    parameters::{Builder, Parameter, Parameters},
};

/// How BatchNorm behaves in a forward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Normalises by the running statistics and leaves them as they are.
    Inference,
    /// Normalises by the batch's statistics; the running ones become `(1 − momentum)·running + momentum·batch`.
    Train { momentum: f64 },
}

/// Convolution over `[N, C, H, W]`; weight `[outputs, inputs / groups, kernel, kernel]`.
/// Weights and biases start as PyTorch's: uniform in ±1/√(inputs / groups · kernel²).
pub struct Conv2d {
    weight: Parameter,
    bias: Option<Parameter>,
    stride: i64,
    padding: i64,
    groups: i64,
}

impl Conv2d {
    /// A square kernel, padded so that a stride of 1 keeps the size; without bias.
    pub fn new(build: &mut Builder, name: &str, channels: (i64, i64), kernel: i64, stride: i64) -> Self {
        Self::grouped(build, name, channels, kernel, stride, 1)
    }

    pub fn grouped(
        build: &mut Builder,
        name: &str,
        (inputs, outputs): (i64, i64),
        kernel: i64,
        stride: i64,
        groups: i64,
    ) -> Self {
        let shape = [outputs, inputs / groups, kernel, kernel];
        let fan_in = Initial::FanIn(shape[1..].iter().product());
        let weight = build.parameter(&format!("{name}.weight"), &shape, fan_in);
        Self { weight, bias: None, stride, padding: kernel / 2, groups }
    }

    pub fn with_bias(build: &mut Builder, name: &str, channels: (i64, i64), kernel: i64, padding: i64) -> Self {
        let conv = Self::new(build, name, channels, kernel, 1).and_bias(build, name, channels, kernel);
        Self { padding, ..conv }
    }

    /// Only where the kernel lies inside the image.
    pub fn unpadded(self) -> Self {
        Self { padding: 0, ..self }
    }

    /// Cuts an image into squares of `side` pixels and maps each to `outputs` numbers.
    pub fn patches(build: &mut Builder, name: &str, channels: (i64, i64), side: i64) -> Self {
        Self::new(build, name, channels, side, side).and_bias(build, name, channels, side).unpadded()
    }

    /// With a bias; `channels` and `kernel` are those of the weight.
    pub fn and_bias(self, build: &mut Builder, name: &str, (inputs, outputs): (i64, i64), kernel: i64) -> Self {
        let fan_in = Initial::FanIn(inputs / self.groups * kernel * kernel);
        Self { bias: Some(build.parameter(&format!("{name}.bias"), &[outputs], fan_in)), ..self }
    }

    /// Starts as some papers' do: weights from N(0, `deviation`²), biases at 0.
    pub fn drawn_normally(self, build: &mut Builder, deviation: f64) -> Self {
        build.draw_normally(self.weight, deviation);
        if let Some(bias) = self.bias {
            build.begin_at_zero(bias);
        }
        self
    }

    /// Starts as torchvision's networks do: weights from N(0, 2 / fan-out), with torch's fan-out of `outputs · kernel²`
    /// (He et al., 2015, for the backward pass); biases at 0.
    pub fn drawn_by_fan_out(self, build: &mut Builder) -> Self {
        let shape = build.shape(self.weight);
        let fan_out = shape[0] * shape[2..].iter().product::<i64>();
        self.drawn_normally(build, (2.0 / fan_out as f64).sqrt())
    }

    /// Starts as Keras' `he_normal`; the bias at 0.
    pub fn drawn_as_keras_he_normal(self, build: &mut Builder) -> Self {
        let fan_in = build.shape(self.weight)[1..].iter().product();
        build.begin_as(self.weight, Initial::KerasHeNormal { fan_in });
        if let Some(bias) = self.bias {
            build.begin_at_zero(bias);
        }
        self
    }

    pub fn forward(&self, p: &Parameters, x: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        x.conv2d(p.get(self.weight), self.bias.map(|bias| p.get(bias)), stride, padding, [1, 1], self.groups)
    }
}

/// `x · weightᵀ + bias`; weight `[outputs, inputs]`.
/// Weights and biases start as PyTorch's: uniform in ±1/√inputs.
pub struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    pub fn new(build: &mut Builder, name: &str, inputs: i64, outputs: i64) -> Self {
        let initial = Initial::FanIn(inputs);
        Self {
            weight: build.parameter(&format!("{name}.weight"), &[outputs, inputs], initial),
            bias: build.parameter(&format!("{name}.bias"), &[outputs], initial),
        }
    }

    /// Starts as some papers' do: weights from N(0, `deviation`²), biases at 0.
    pub fn drawn_normally(self, build: &mut Builder, deviation: f64) -> Self {
        build.draw_normally(self.weight, deviation);
        build.begin_at_zero(self.bias);
        self
    }

    /// Starts as Keras' dense layers: Glorot-uniform weights, the bias at 0.
    pub fn drawn_as_keras_does(self, build: &mut Builder) -> Self {
        let [fan_out, fan_in] = build.shape(self.weight)[..] else {
            unreachable!("a linear layer's weight is a matrix")
        };
        build.begin_as(self.weight, Initial::KerasGlorotUniform { fan_in, fan_out });
        build.begin_at_zero(self.bias);
        self
    }

    pub fn forward(&self, p: &Parameters, x: &Tensor) -> Tensor {
        x.linear(p.get(self.weight), Some(p.get(self.bias)))
    }
}

/// Batch normalisation (Ioffe and Szegedy, 2015), with ε = 1e-5 unless another is asked for. Scale and running variance
/// start at 1, the rest at 0.
pub struct BatchNorm {
    weight: Parameter,
    bias: Parameter,
    running_mean: Tensor,
    running_var: Tensor,
    epsilon: f64,
}

impl BatchNorm {
    pub fn new(build: &mut Builder, name: &str, channels: i64) -> Self {
        Self {
            weight: build.norm_parameter(&format!("{name}.weight"), channels, 1.0),
            bias: build.norm_parameter(&format!("{name}.bias"), channels, 0.0),
            running_mean: build.buffer(&format!("{name}.running_mean"), channels, 0.0),
            running_var: build.buffer(&format!("{name}.running_var"), channels, 1.0),
            epsilon: 1e-5,
        }
    }

    pub fn with_epsilon(self, epsilon: f64) -> Self {
        Self { epsilon, ..self }
    }

    /// `x` is `[N, C, H, W]`. As in torch, a batch is normalised by its biased variance, and the running variance
    /// takes the unbiased one.
    pub fn forward(&self, p: &Parameters, x: &Tensor, mode: Mode) -> Tensor {
        let (training, momentum) = match mode {
            Mode::Inference => (false, 0.0),
            Mode::Train { momentum } => (true, momentum),
        };
        // A single value a channel has no unbiased variance: it would make the running one infinite or NaN.
        let measurable = !training || x.numel() > self.running_mean.numel();
        x.batch_norm(
            Some(p.get(self.weight)),
            Some(p.get(self.bias)),
            measurable.then_some(&self.running_mean),
            measurable.then_some(&self.running_var),
            training,
            momentum,
            self.epsilon,
            false,
        )
    }
}

/// Normalises each row of `[.., width]` on its own (Ba et al., 2016), with ε = 1e-5. Scale starts at 1, shift at 0.
pub struct LayerNorm {
    weight: Parameter,
    bias: Parameter,
    width: i64,
    epsilon: f64,
}

impl LayerNorm {
    pub fn new(build: &mut Builder, name: &str, width: i64) -> Self {
        Self {
            weight: build.norm_parameter(&format!("{name}.weight"), width, 1.0),
            bias: build.norm_parameter(&format!("{name}.bias"), width, 0.0),
            width,
            epsilon: 1e-5,
        }
    }

    pub fn with_epsilon(self, epsilon: f64) -> Self {
        Self { epsilon, ..self }
    }

    pub fn forward(&self, p: &Parameters, x: &Tensor) -> Tensor {
        x.layer_norm([self.width], Some(p.get(self.weight)), Some(p.get(self.bias)), self.epsilon, false)
    }
}

/// Convolution, BatchNorm, ReLU.
pub struct ConvBlock {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvBlock {
    pub fn new(
        build: &mut Builder,
        (conv, norm): (&str, &str),
        channels: (i64, i64),
        kernel: i64,
        stride: i64,
    ) -> Self {
        Self { conv: Conv2d::new(build, conv, channels, kernel, stride), norm: BatchNorm::new(build, norm, channels.1) }
    }

    pub fn depthwise(build: &mut Builder, (conv, norm): (&str, &str), channels: i64, stride: i64) -> Self {
        let conv = Conv2d::grouped(build, conv, (channels, channels), 3, stride, channels);
        Self { conv, norm: BatchNorm::new(build, norm, channels) }
    }

    /// The convolution starts as torchvision's networks do ([`Conv2d::drawn_by_fan_out`]).
    pub fn drawn_by_fan_out(self, build: &mut Builder) -> Self {
        Self { conv: self.conv.drawn_by_fan_out(build), ..self }
    }

    pub fn forward(&self, p: &Parameters, x: &Tensor, mode: Mode) -> Tensor {
        self.without_relu(p, x, mode).relu()
    }

    pub fn without_relu(&self, p: &Parameters, x: &Tensor, mode: Mode) -> Tensor {
        self.norm.forward(p, &self.conv.forward(p, x), mode)
    }
}

/// Mean over height and width: `[N, C, H, W]` → `[N, C]`.
pub fn global_average(x: &Tensor) -> Tensor {
    x.mean_dim([2, 3].as_slice(), false, x.kind())
}

/// With zeros at the right and at the bottom, so that height and width are multiples of `divisor`.
pub fn fill_up(images: &Tensor, divisor: i64) -> Tensor {
    let [bottom, right] = [2, 3].map(|side| (-images.size()[side]).rem_euclid(divisor));
    if bottom == 0 && right == 0 { images.shallow_clone() } else { images.constant_pad_nd([0, right, 0, bottom]) }
}
