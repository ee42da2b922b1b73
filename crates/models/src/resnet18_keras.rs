//! ResNet-18 as the authors of InvWNN built it in Keras for CIFAR-10 (Jang et al., AAAI 2025; the constants of their runs).
//! Names are torchvision's.
//!
//! What differs from [`Resnet18`](crate::resnet18::Resnet18): a 7×7 stem with stride 1, a border of zeros after it and no
//! pooling; only the last two stages halve the size; every convolution has a bias; BatchNorm's ε is 1e-3; and "same" padding
//! is TensorFlow's, which has its odd row and column at the bottom and at the right. Fresh weights are Keras': convolutions
//! `he_normal`, the last layer `glorot_uniform`, biases 0. The softmax is left to the loss.

use tch::Tensor;

use crate::{
    layers::{BatchNorm, Conv2d, Linear, Mode, global_average},
    network::Body,
    parameters::{Builder, Parameters},
};

/// Channels and stride of the four stages.
const STAGES: [(i64, i64); 4] = [(64, 1), (128, 1), (256, 2), (512, 2)];
/// Basic blocks of each stage.
const BLOCKS: usize = 2;
/// Side of the stem's kernel.
const STEM: i64 = 7;
/// Zeros around the image, and around what the stem gives.
const BORDERS: [i64; 2] = [3, 1];
/// Of every BatchNorm: Keras' default.
const EPSILON: f64 = 1e-3;

/// 11.19 million parameters for ten classes of colour images.
pub struct Resnet18Keras {
    stem: ConvNorm,
    blocks: Vec<Block>,
    fc: Linear,
}

/// Convolution with a bias and without padding of its own, then BatchNorm.
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
    kernel: i64,
    stride: i64,
}

/// Two 3×3 convolutions, added to what came in; that goes through a 1×1 convolution where the channels change.
struct Block {
    first: ConvNorm,
    second: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl Resnet18Keras {
    pub fn new(build: &mut Builder, channels: i64, classes: i64) -> Self {
        let mut inputs = STAGES[0].0;
        let stem = ConvNorm::new(build, ["conv1", "bn1"], (channels, inputs), STEM, 1);
        let mut blocks = Vec::new();
        for (stage, (width, stride)) in (1..).zip(STAGES) {
            for block in 0..BLOCKS {
                let stride = if block == 0 { stride } else { 1 };
                blocks.push(Block::new(build, &format!("layer{stage}.{block}"), (inputs, width), stride));
                inputs = width;
            }
        }
        Self { stem, blocks, fc: Linear::new(build, "fc", inputs, classes).drawn_as_keras_does(build) }
    }
}

impl ConvNorm {
    fn new(build: &mut Builder, [conv, norm]: [&str; 2], channels: (i64, i64), kernel: i64, stride: i64) -> Self {
        let conv = Conv2d::new(build, conv, channels, kernel, stride)
            .and_bias(build, conv, channels, kernel)
            .unpadded()
            .drawn_as_keras_he_normal(build);
        Self { conv, norm: BatchNorm::new(build, norm, channels.1).with_epsilon(EPSILON), kernel, stride }
    }

    /// `[N, C, H, W]` → `[N, C', H', W']`, of the places where the kernel lies inside.
    fn forward(&self, p: &Parameters, x: &Tensor, mode: Mode) -> Tensor {
        self.norm.forward(p, &self.conv.forward(p, x), mode)
    }

    /// The same with TensorFlow's `same` padding: `[N, C, H, W]` → `[N, C', ⌈H / stride⌉, ⌈W / stride⌉]`.
    fn forward_same(&self, p: &Parameters, x: &Tensor, mode: Mode) -> Tensor {
        let missing = |side: i64| ((side + self.stride - 1) / self.stride - 1) * self.stride + self.kernel - side;
        let [rows, columns] = [x.size()[2], x.size()[3]].map(|side| missing(side).max(0));
        let padded = x.constant_pad_nd([columns / 2, columns - columns / 2, rows / 2, rows - rows / 2]);
        self.forward(p, &padded, mode)
    }
}

impl Block {
    fn new(build: &mut Builder, name: &str, (inputs, width): (i64, i64), stride: i64) -> Self {
        let mut part = |conv: &str, norm: &str, inputs, kernel, stride| {
            let names = [format!("{name}.{conv}"), format!("{name}.{norm}")];
            ConvNorm::new(build, [&names[0], &names[1]], (inputs, width), kernel, stride)
        };
        Self {
            first: part("conv1", "bn1", inputs, 3, stride),
            second: part("conv2", "bn2", width, 3, 1),
            shortcut: (inputs != width).then(|| part("downsample.0", "downsample.1", inputs, 1, stride)),
        }
    }

    fn forward(&self, p: &Parameters, x: &Tensor, mode: Mode) -> Tensor {
        let y = self.second.forward_same(p, &self.first.forward_same(p, x, mode).relu(), mode);
        match &self.shortcut {
            Some(shortcut) => (y + shortcut.forward_same(p, x, mode)).relu(),
            None => (y + x).relu(),
        }
    }
}

impl Body for Resnet18Keras {
    /// The last convolutional map; of `[N, C, 32, 32]` it is `[N, 512, 9, 9]`.
    fn maps(&self, p: &Parameters, images: &Tensor, mode: Mode) -> Option<Tensor> {
        let [image, stem] = BORDERS;
        let mut x = self.stem.forward(p, &images.constant_pad_nd([image; 4]), mode).relu().constant_pad_nd([stem; 4]);
        for block in &self.blocks {
            x = block.forward(p, &x, mode);
        }
        Some(x)
    }

    fn features_of_maps(&self, _: &Parameters, maps: &Tensor) -> Option<Tensor> {
        Some(global_average(maps))
    }

    fn answer(&self, p: &Parameters, features: &Tensor) -> Tensor {
        self.fc.forward(p, features)
    }
}
