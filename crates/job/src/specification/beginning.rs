//! How fresh weights begin, and what a network is trained to do.

use serde::{Deserialize, Serialize};

use super::{
    Architecture, SpecificationError,
    check::{check_positive, require},
};

/// How fresh weights are drawn. BatchNorm and LayerNorm begin at scale 1 and shift 0 under each, and position
/// embeddings at their own normal distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Initialisation {
    /// As each network's public code draws them: torchvision's for `resnet18` and `vgg-small`, the authors' for
    /// `resnet18-keras`, `pvt-v2-b0` and `convnext-tiny`. Of the others PyTorch's default: weights and biases uniform in
    /// ±1/√fan-in.
    #[default]
    Torch,
    /// Weights normal with variance 2 / fan-in, biases 0 (He et al., 2015).
    KaimingNormal,
    /// Weights uniform with variance 2 / (fan-in + fan-out), biases 0 (Glorot and Bengio, 2010).
    XavierUniform,
    /// Weights as `[outputs, all else]` with orthonormal rows or columns, biases 0 (Saxe et al., 2014).
    Orthogonal,
    /// PyTorch's default, times `gain`: small ones learn richer features (Chizat et al., 2019).
    Small { gain: f64 },
}

impl Initialisation {
    pub(super) fn is_torch(&self) -> bool {
        *self == Self::Torch
    }

    /// As specifications spell it, with its number.
    pub fn name(&self) -> String {
        match self {
            Self::Torch => "torch".into(),
            Self::KaimingNormal => "kaiming-normal".into(),
            Self::XavierUniform => "xavier-uniform".into(),
            Self::Orthogonal => "orthogonal".into(),
            Self::Small { gain } => format!("small {gain}"),
        }
    }

    /// Refuses impossible values; `at` is the field's name.
    ///
    /// # Errors
    /// A gain that is not greater than 0.
    pub fn check(&self, at: &str) -> Result<(), SpecificationError> {
        match self {
            Self::Small { gain } => check_positive(*gain, format!("{at}.small.gain")),
            Self::Torch | Self::KaimingNormal | Self::XavierUniform | Self::Orthogonal => Ok(()),
        }
    }
}

/// What a network is trained to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Objective {
    /// Name the class of an image; cross-entropy.
    #[default]
    Classification,
    /// Give back the image to which noise was added: N(0, `noise`²) a pixel, where pixels are from 0 to 1.
    /// Mean squared error over the pixels (Vincent et al., 2008).
    Denoising { noise: f64 },
}

impl Objective {
    /// Refuses impossible values; `at` is the field's name.
    ///
    /// # Errors
    /// Noise that is not greater than 0.
    pub fn check(&self, at: &str) -> Result<(), SpecificationError> {
        match self {
            Self::Classification => Ok(()),
            Self::Denoising { noise } => check_positive(*noise, format!("{at}.denoising.noise")),
        }
    }

    /// Refuses a network that cannot be trained so; `at` is the field that names the network.
    ///
    /// # Errors
    /// One that gives images cannot classify.
    pub fn check_architecture(&self, architecture: Architecture, at: &str) -> Result<(), SpecificationError> {
        let fits = *self != Self::Classification || !architecture.gives_images();
        require(fits, at, "gives images: it can denoise, and cannot classify")
    }

    /// Outputs that a network needs: one a class, or one a pixel. `image` is channels, height, width.
    pub fn outputs(&self, classes: u32, image: [u32; 3]) -> u32 {
        match self {
            Self::Classification => classes,
            Self::Denoising { .. } => image.iter().product(),
        }
    }
}
