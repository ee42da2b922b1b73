//! LeNet-5 with ReLU and max pooling (LeCun et al., 1998).

use tch::Tensor;

use crate::{
    layers::{Conv2d, Linear, Mode},
    network::Body,
    parameters::{Builder, Parameters},
};

pub struct Lenet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc: [Linear; 3],
}

impl Lenet {
    /// `image` is channels, height, width.
    pub fn new(build: &mut Builder, [channels, height, width]: [i64; 3], classes: i64) -> Self {
        let conv1 = Conv2d::with_bias(build, "conv1", (channels, 6), 5, 2);
        let conv2 = Conv2d::with_bias(build, "conv2", (6, 16), 5, 2);
        let features = 16 * (height / 4) * (width / 4);
        let fc = [("fc1", features, 120), ("fc2", 120, 84), ("fc3", 84, classes)]
            .map(|(name, inputs, outputs)| Linear::new(build, name, inputs, outputs));
        Self { conv1, conv2, fc }
    }
}

impl Lenet {
    fn hidden(&self, p: &Parameters, maps: &Tensor) -> Tensor {
        let [first, second, _] = &self.fc;
        let x = maps.max_pool2d_default(2).flatten(1, -1);
        second.forward(p, &first.forward(p, &x).relu()).relu()
    }
}

impl Body for Lenet {
    /// `[N, C, H, W]` → what the last convolution gives, before it is pooled: `[N, 16, H / 2, W / 2]`.
    fn maps(&self, p: &Parameters, images: &Tensor, _: Mode) -> Option<Tensor> {
        let x = self.conv1.forward(p, images).relu().max_pool2d_default(2);
        Some(self.conv2.forward(p, &x).relu())
    }

    fn features_of_maps(&self, p: &Parameters, maps: &Tensor) -> Option<Tensor> {
        Some(self.hidden(p, maps))
    }

    fn answer(&self, p: &Parameters, features: &Tensor) -> Tensor {
        self.fc[2].forward(p, features)
    }
}
