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
    fn forward(&self, p: &Parameters, images: &Tensor, _: Mode) -> Tensor {
        let [first, second, last] = &self.layers;
        let x = first.forward(p, &images.flatten(1, -1)).relu();
        last.forward(p, &second.forward(p, &x).relu())
    }
}
