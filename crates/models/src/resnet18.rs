//! ResNet-18 (He et al., 2016) in its form for small images: a 3×3 stem with stride 1 and no max-pooling, whatever the
//! image's size. Names and fresh weights are torchvision's: convolutions from N(0, 2 / fan-out), BatchNorm at scale 1 and
//! shift 0, the last layer as PyTorch draws linear ones, uniform in ±1/√fan-in.

use tch::Tensor;

use crate::{
    layers::{ConvBlock, Linear, Mode, global_average},
    network::Body,
    parameters::{Builder, Parameters},
    residual_small::BasicBlock,
};

/// Channels of the four stages; each but the first halves the size.
const WIDTHS: [i64; 4] = [64, 128, 256, 512];
/// Basic blocks of each stage.
const BLOCKS: usize = 2;

/// 11.17 million parameters for ten classes of colour images.
pub struct Resnet18 {
    stem: ConvBlock,
    blocks: Vec<BasicBlock>,
    fc: Linear,
}

impl Resnet18 {
    pub fn new(build: &mut Builder, channels: i64, classes: i64) -> Self {
        let stem = ConvBlock::new(build, ("conv1", "bn1"), (channels, WIDTHS[0]), 3, 1);
        let stem = stem.drawn_by_fan_out(build);
        let mut blocks = Vec::new();
        let mut inputs = WIDTHS[0];
        for (stage, &width) in (1..).zip(&WIDTHS) {
            for block in 0..BLOCKS {
                let stride = if stage > 1 && block == 0 { 2 } else { 1 };
                let name = format!("layer{stage}.{block}");
                blocks.push(BasicBlock::new(build, &name, (inputs, width), stride).drawn_by_fan_out(build));
                inputs = width;
            }
        }
        Self { stem, blocks, fc: Linear::new(build, "fc", inputs, classes) }
    }
}

impl Body for Resnet18 {
    /// The last convolutional map, `[N, 512, H / 8, W / 8]`.
    fn maps(&self, p: &Parameters, images: &Tensor, mode: Mode) -> Option<Tensor> {
        let mut x = self.stem.forward(p, images, mode);
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
