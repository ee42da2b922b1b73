//! The small residual network without normalisation (after ResNet; He et al., 2016).

use tch::Tensor;

use crate::{
    layers::{Conv2d, Linear, Mode, global_average},
    network::Body,
    parameters::{Builder, Parameters},
    residual_small::{BLOCKS, WIDTHS},
};

/// Stem with stride 2, then the stages' basic blocks; every convolution has a bias. About 95 thousand parameters.
pub struct ResidualPlainSmall {
    stem: Conv2d,
    blocks: Vec<PlainBlock>,
    fc: Linear,
}

struct PlainBlock {
    first: Conv2d,
    second: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResidualPlainSmall {
    pub fn new(build: &mut Builder, channels: i64, classes: i64) -> Self {
        let stem = conv(build, "conv1", (channels, WIDTHS[0]), 3, 2);
        let mut blocks = Vec::new();
        let mut inputs = WIDTHS[0];
        for (stage, &width) in WIDTHS.iter().enumerate() {
            for block in 0..BLOCKS[stage] {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                blocks.push(PlainBlock::new(build, &name, (inputs, width), stride));
                inputs = width;
            }
        }
        Self { stem, blocks, fc: Linear::new(build, "fc", inputs, classes) }
    }
}

impl PlainBlock {
    fn new(build: &mut Builder, name: &str, (inputs, width): (i64, i64), stride: i64) -> Self {
        let at = |part: &str| format!("{name}.{part}");
        Self {
            first: conv(build, &at("conv1"), (inputs, width), 3, stride),
            second: conv(build, &at("conv2"), (width, width), 3, 1),
            shortcut: (inputs != width || stride != 1)
                .then(|| conv(build, &at("downsample.0"), (inputs, width), 1, stride)),
        }
    }

    fn forward(&self, p: &Parameters, x: &Tensor) -> Tensor {
        let y = self.second.forward(p, &self.first.forward(p, x).relu());
        match &self.shortcut {
            Some(shortcut) => (y + shortcut.forward(p, x)).relu(),
            None => (y + x).relu(),
        }
    }
}

fn conv(build: &mut Builder, name: &str, channels: (i64, i64), kernel: i64, stride: i64) -> Conv2d {
    Conv2d::new(build, name, channels, kernel, stride).and_bias(build, name, channels, kernel)
}

impl Body for ResidualPlainSmall {
    /// `[N, C, H, W]` → what the last block gives, `[N, width, h, w]`.
    fn maps(&self, p: &Parameters, images: &Tensor, _: Mode) -> Option<Tensor> {
        let mut x = self.stem.forward(p, images).relu();
        for block in &self.blocks {
            x = block.forward(p, &x);
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
