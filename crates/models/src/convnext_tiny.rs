//! ConvNeXt-T (Liu et al., 2022), without stochastic depth. Names are timm's.

use tch::Tensor;

use crate::{
    initial::Initial,
    layers::{Conv2d, LayerNorm, Linear, Mode, fill_up, global_average},
    network::Body,
    parameters::{Builder, Parameter, Parameters},
};

/// Channels and blocks of the four stages.
const STAGES: [(i64, usize); 4] = [(96, 3), (192, 3), (384, 9), (768, 3)];
/// The stem divides the size by 4, each later stage by 2.
const DIVISOR: i64 = 32;
const EPSILON: f64 = 1e-6;
/// Standard deviation of fresh weights; the authors cut the normal distribution at ±2, which is out of reach.
const DEVIATION: f64 = 0.02;

/// 27.83 million parameters for ten classes of colour images. Images are filled up with zeros, at the right and at the
/// bottom, to multiples of 32 pixels.
pub struct ConvnextTiny {
    stem: (Conv2d, LayerNorm),
    stages: Vec<Stage>,
    norm: LayerNorm,
    fc: Linear,
}

struct Stage {
    downsample: Option<(LayerNorm, Conv2d)>,
    blocks: Vec<Block>,
}

/// Depthwise convolution, norm, perceptron over the channels, scale; added to what came in (figure 4 of the paper).
struct Block {
    depthwise: Conv2d,
    norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    /// `[width]`: layer scale (Touvron et al., 2021), at first 1e-6.
    gamma: Parameter,
}

fn patches(build: &mut Builder, name: &str, channels: (i64, i64), side: i64) -> Conv2d {
    Conv2d::patches(build, name, channels, side).drawn_normally(build, DEVIATION)
}

fn linear(build: &mut Builder, name: &str, inputs: i64, outputs: i64) -> Linear {
    Linear::new(build, name, inputs, outputs).drawn_normally(build, DEVIATION)
}

fn norm(build: &mut Builder, name: &str, width: i64) -> LayerNorm {
    LayerNorm::new(build, name, width).with_epsilon(EPSILON)
}

/// The norm of each place of `[N, C, H, W]`.
fn norm_of_places(norm: &LayerNorm, p: &Parameters, x: &Tensor) -> Tensor {
    norm.forward(p, &x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2])
}

impl ConvnextTiny {
    pub fn new(build: &mut Builder, channels: i64, classes: i64) -> Self {
        let mut inputs = STAGES[0].0;
        let stem = (patches(build, "stem.0", (channels, inputs), 4), norm(build, "stem.1", inputs));
        let mut stages = Vec::new();
        for (index, &(width, blocks)) in STAGES.iter().enumerate() {
            let at = |part: &str| format!("stages.{index}.{part}");
            let downsample = (index > 0).then(|| {
                let norm = norm(build, &at("downsample.0"), inputs);
                (norm, patches(build, &at("downsample.1"), (inputs, width), 2))
            });
            let blocks = (0..blocks).map(|block| Block::new(build, &at(&format!("blocks.{block}")), width)).collect();
            stages.push(Stage { downsample, blocks });
            inputs = width;
        }
        let norm = norm(build, "head.norm", inputs);
        Self { stem, stages, norm, fc: linear(build, "head.fc", inputs, classes) }
    }
}

impl Block {
    fn new(build: &mut Builder, name: &str, width: i64) -> Self {
        let at = |part: &str| format!("{name}.{part}");
        let gamma = build.parameter(&at("gamma"), &[width], Initial::Constant(1e-6));
        let depthwise = Conv2d::grouped(build, &at("conv_dw"), (width, width), 7, 1, width)
            .and_bias(build, &at("conv_dw"), (width, width), 7)
            .drawn_normally(build, DEVIATION);
        Self {
            depthwise,
            norm: norm(build, &at("norm"), width),
            fc1: linear(build, &at("mlp.fc1"), width, 4 * width),
            fc2: linear(build, &at("mlp.fc2"), 4 * width, width),
            gamma,
        }
    }

    /// `x` is `[N, width, H, W]`.
    fn forward(&self, p: &Parameters, x: &Tensor) -> Tensor {
        // [N, H, W, width]
        let places = self.norm.forward(p, &self.depthwise.forward(p, x).permute([0, 2, 3, 1]));
        let answer = self.fc2.forward(p, &self.fc1.forward(p, &places).gelu("none")) * p.get(self.gamma);
        x + answer.permute([0, 3, 1, 2])
    }
}

impl Body for ConvnextTiny {
    /// The last convolutional map, `[N, 768, H / 32, W / 32]`.
    fn maps(&self, p: &Parameters, images: &Tensor, _: Mode) -> Option<Tensor> {
        let (patches, norm) = &self.stem;
        let mut x = norm_of_places(norm, p, &patches.forward(p, &fill_up(images, DIVISOR)));
        for stage in &self.stages {
            if let Some((norm, patches)) = &stage.downsample {
                x = patches.forward(p, &norm_of_places(norm, p, &x));
            }
            for block in &stage.blocks {
                x = block.forward(p, &x);
            }
        }
        Some(x)
    }

    fn features_of_maps(&self, p: &Parameters, maps: &Tensor) -> Option<Tensor> {
        Some(self.norm.forward(p, &global_average(maps)))
    }

    fn answer(&self, p: &Parameters, features: &Tensor) -> Tensor {
        self.fc.forward(p, features)
    }
}
