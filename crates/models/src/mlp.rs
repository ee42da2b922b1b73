//! A perceptron with two hidden layers and no normalisation.

use tch::Tensor;

use crate::{
    layers::{Linear, Mode},
    network::Body,
    parameters::{Builder, Parameters},
};

pub struct Mlp {
    layers: [Linear; 3],
}

impl Mlp {
    pub fn new(build: &mut Builder, pixels: i64, classes: i64) -> Self {
        Self {
            layers: [
                Linear::new(build, "fc1", pixels, 128),
                Linear::new(build, "fc2", 128, 64),
                Linear::new(build, "fc3", 64, classes),
            ],
        }
    }
}

impl Body for Mlp {
    fn features(&self, p: &Parameters, images: &Tensor, _: Mode) -> Tensor {
        let [first, second, _] = &self.layers;
        second.forward(p, &first.forward(p, &images.flatten(1, -1)).relu()).relu()
    }

    fn answer(&self, p: &Parameters, features: &Tensor) -> Tensor {
        self.layers[2].forward(p, features)
    }
}
