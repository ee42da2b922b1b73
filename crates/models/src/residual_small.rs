//! A small residual network with BatchNorm (after ResNet; He et al., 2016).

use tch::Tensor;

use crate::{
    layers::{ConvBlock, Linear, Mode, global_average},
    network::Body,
    parameters::{Builder, Parameters},
};

/// Channels of the three stages; the first stage keeps the stem's size, each later one halves it.
pub(crate) const WIDTHS: [i64; 3] = [16, 32, 64];

/// Basic blocks of each stage.
pub(crate) const BLOCKS: [usize; 3] = [1, 2, 1];

/// Stem with stride 2, then the stages' basic blocks: about 100 thousand parameters.
///
/// Convolutions begin as PyTorch's layers do by themselves, uniform in ±1/√fan-in, not as in torchvision's networks (normal,
/// of variance 2 / fan-out: six times as much for a 3×3 convolution that keeps its channels), since the small benchmark and
/// the demonstration were made so. The next making of the small benchmark takes torchvision's draw.
pub struct ResidualSmall {
    stem: ConvBlock,
    blocks: Vec<BasicBlock>,
    fc: Linear,
}

/// Two convolutions, added to what came in (figure 5 of the paper, left).
pub(crate) struct BasicBlock {
    first: ConvBlock,
    second: ConvBlock,
    shortcut: Option<ConvBlock>,
}

impl ResidualSmall {
    pub fn new(build: &mut Builder, channels: i64, classes: i64) -> Self {
        let stem = ConvBlock::new(build, ("conv1", "bn1"), (channels, WIDTHS[0]), 3, 2);
        let mut blocks = Vec::new();
        let mut inputs = WIDTHS[0];
        for (stage, &width) in WIDTHS.iter().enumerate() {
            for block in 0..BLOCKS[stage] {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                blocks.push(BasicBlock::new(build, &name, (inputs, width), stride));
                inputs = width;
            }
        }
        Self { stem, blocks, fc: Linear::new(build, "fc", inputs, classes) }
    }
}

impl BasicBlock {
    pub(crate) fn new(build: &mut Builder, name: &str, (inputs, width): (i64, i64), stride: i64) -> Self {
        let at = |part: &str| format!("{name}.{part}");
        Self {
            first: ConvBlock::new(build, (&at("conv1"), &at("bn1")), (inputs, width), 3, stride),
            second: ConvBlock::new(build, (&at("conv2"), &at("bn2")), (width, width), 3, 1),
            shortcut: (inputs != width || stride != 1)
                .then(|| ConvBlock::new(build, (&at("downsample.0"), &at("downsample.1")), (inputs, width), 1, stride)),
        }
    }

    /// The convolutions start as torchvision's networks do.
    pub(crate) fn drawn_by_fan_out(self, build: &mut Builder) -> Self {
        Self {
            first: self.first.drawn_by_fan_out(build),
            second: self.second.drawn_by_fan_out(build),
            shortcut: self.shortcut.map(|shortcut| shortcut.drawn_by_fan_out(build)),
        }
    }

    pub(crate) fn forward(&self, p: &Parameters, x: &Tensor, mode: Mode) -> Tensor {
        let y = self.second.without_relu(p, &self.first.forward(p, x, mode), mode);
        match &self.shortcut {
            Some(shortcut) => (y + shortcut.without_relu(p, x, mode)).relu(),
            None => (y + x).relu(),
        }
    }
}

impl Body for ResidualSmall {
    /// `[N, C, H, W]` → what the last block gives, `[N, width, h, w]`.
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
