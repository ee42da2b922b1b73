//! Depthwise separable convolutions with BatchNorm (after MobileNet; Howard et al., 2017).

use tch::Tensor;

use crate::{
    layers::{ConvBlock, Linear, Mode, global_average},
    network::Body,
    parameters::{Builder, Parameters},
};

/// Output channels and stride of each separable convolution.
const BLOCKS: [(i64, i64); 4] = [(32, 1), (64, 2), (64, 1), (128, 2)];

pub struct DepthwiseSmall {
    stem: ConvBlock,
    /// Depthwise, then pointwise.
    blocks: Vec<(ConvBlock, ConvBlock)>,
    fc: Linear,
}

impl DepthwiseSmall {
    pub fn new(build: &mut Builder, channels: i64, classes: i64) -> Self {
        let stem = ConvBlock::new(build, ("features.0.0", "features.0.1"), (channels, 16), 3, 2);
        let mut inputs = 16;
        let mut blocks = Vec::new();
        for (index, &(width, stride)) in (1..).zip(&BLOCKS) {
            let at = |part: u32| format!("features.{index}.{part}");
            let depthwise = ConvBlock::depthwise(build, (&at(0), &at(1)), inputs, stride);
            blocks.push((depthwise, ConvBlock::new(build, (&at(3), &at(4)), (inputs, width), 1, 1)));
            inputs = width;
        }
        Self { stem, blocks, fc: Linear::new(build, "classifier", inputs, classes) }
    }
}

impl Body for DepthwiseSmall {
    /// `[N, C, H, W]` → what the last block gives, `[N, width, h, w]`.
    fn maps(&self, p: &Parameters, images: &Tensor, mode: Mode) -> Option<Tensor> {
        let mut x = self.stem.forward(p, images, mode);
        for (depthwise, pointwise) in &self.blocks {
            x = pointwise.forward(p, &depthwise.forward(p, &x, mode), mode);
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
