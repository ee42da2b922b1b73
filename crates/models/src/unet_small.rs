//! A small U-Net: convolutions alone, an image in and an image out (after Ronneberger et al., 2015).

use tch::Tensor;

use crate::{
    layers::{Conv2d, Mode},
    network::Body,
    parameters::{Builder, Parameters},
};

/// Channels at full, half and quarter size.
const WIDTHS: [i64; 3] = [8, 16, 32];

/// Two halvings by maximum, two doublings, and a skip connection at each size: about 30 thousand parameters.
pub struct UnetSmall {
    /// At full, half and quarter size.
    down: [DoubleConv; 3],
    /// At half and full size; each also reads what `down` made there.
    up: [DoubleConv; 2],
    out: Conv2d,
}

/// Two 3×3 convolutions, each with a ReLU.
struct DoubleConv {
    first: Conv2d,
    second: Conv2d,
}

impl UnetSmall {
    pub fn new(build: &mut Builder, channels: i64) -> Self {
        let [full, half, quarter] = WIDTHS;
        Self {
            down: [("inc", channels, full), ("down1", full, half), ("down2", half, quarter)]
                .map(|(name, inputs, width)| DoubleConv::new(build, name, inputs, width)),
            up: [("up1", quarter + half, half), ("up2", half + full, full)]
                .map(|(name, inputs, width)| DoubleConv::new(build, name, inputs, width)),
            out: Conv2d::with_bias(build, "outc", (full, channels), 1, 0),
        }
    }
}

impl DoubleConv {
    fn new(build: &mut Builder, name: &str, inputs: i64, width: i64) -> Self {
        Self {
            first: Conv2d::with_bias(build, &format!("{name}.0"), (inputs, width), 3, 1),
            second: Conv2d::with_bias(build, &format!("{name}.2"), (width, width), 3, 1),
        }
    }

    fn forward(&self, p: &Parameters, x: &Tensor) -> Tensor {
        self.second.forward(p, &self.first.forward(p, x).relu()).relu()
    }
}

impl Body for UnetSmall {
    /// `[N, C, H, W]` → `[N, 8, H, W]`.
    fn features(&self, p: &Parameters, images: &Tensor, _: Mode) -> Tensor {
        let [full, half, quarter] = &self.down;
        let at_full = full.forward(p, images);
        let at_half = half.forward(p, &at_full.max_pool2d_default(2));
        let at_quarter = quarter.forward(p, &at_half.max_pool2d_default(2));
        let [up_half, up_full] = &self.up;
        let x = up_half.forward(p, &beside(&at_quarter, &at_half));
        up_full.forward(p, &beside(&x, &at_full))
    }

    /// `[N, 8, H, W]` → `[N, C, H, W]`.
    fn answer(&self, p: &Parameters, features: &Tensor) -> Tensor {
        self.out.forward(p, features)
    }
}

/// `x` enlarged to the size of `skip` by repeating pixels, after the channels of `skip`.
fn beside(x: &Tensor, skip: &Tensor) -> Tensor {
    let size = skip.size();
    let enlarged = x.upsample_nearest2d([size[2], size[3]], None, None);
    Tensor::cat(&[skip, &enlarged], 1)
}
