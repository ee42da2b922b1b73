//! Plain 3×3 convolutions with BatchNorm (after VGG; Simonyan and Zisserman, 2015).
//!
//! Fresh weights are as torchvision draws those of its VGG networks: convolutions from N(0, 2 / fan-out), BatchNorm at scale
//! 1 and shift 0, the linear layer from N(0, 0.01²) with its bias at 0.

use tch::Tensor;

use crate::{
    layers::{ConvBlock, Linear, Mode, global_average},
    network::Body,
    parameters::{Builder, Parameters},
};

/// Output channels of the convolutions; a maximum is pooled after each group.
const GROUPS: [&[i64]; 3] = [&[16], &[32, 32], &[64]];

/// Of the linear layer's fresh weights.
const HEAD_DEVIATION: f64 = 0.01;

pub struct VggSmall {
    groups: Vec<Vec<ConvBlock>>,
    fc: Linear,
}

impl VggSmall {
    pub fn new(build: &mut Builder, channels: i64, classes: i64) -> Self {
        let mut inputs = channels;
        let mut index = 0;
        let mut groups = Vec::new();
        for widths in GROUPS {
            let mut group = Vec::new();
            for &width in widths {
                let names = (format!("features.{index}"), format!("features.{}", index + 1));
                let block = ConvBlock::new(build, (&names.0, &names.1), (inputs, width), 3, 1);
                group.push(block.drawn_by_fan_out(build));
                inputs = width;
                index += 3;
            }
            index += 1;
            groups.push(group);
        }
        Self { groups, fc: Linear::new(build, "classifier", inputs, classes).drawn_normally(build, HEAD_DEVIATION) }
    }
}

impl Body for VggSmall {
    /// `[N, C, H, W]` → what the last convolution gives, before it is pooled: `[N, 64, H / 4, W / 4]`.
    fn maps(&self, p: &Parameters, images: &Tensor, mode: Mode) -> Option<Tensor> {
        let mut x = images.shallow_clone();
        for (index, group) in self.groups.iter().enumerate() {
            if index > 0 {
                x = x.max_pool2d_default(2);
            }
            for block in group {
                x = block.forward(p, &x, mode);
            }
        }
        Some(x)
    }

    fn features_of_maps(&self, _: &Parameters, maps: &Tensor) -> Option<Tensor> {
        Some(global_average(&maps.max_pool2d_default(2)))
    }

    fn answer(&self, p: &Parameters, features: &Tensor) -> Tensor {
        self.fc.forward(p, features)
    }
}
