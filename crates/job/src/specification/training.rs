//! Ordinary training: optimisers, schedules, BatchNorm, jumps ahead.

use serde::{Deserialize, Serialize};

use super::{Direction, Source, WantedPredictor};

/// Ordinary training, from fresh weights unless it is given others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Training {
    /// Begin with these weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    pub epochs: u32,
    /// Samples a step over all workers together.
    pub batch_size: u32,
    pub optimiser: Optimiser,
    #[serde(default)]
    pub schedule: Schedule,
    #[serde(default)]
    pub batch_norm: BatchNormPolicy,
    /// Change the images as they are met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<Augment>,
    /// Jump ahead now and then, to need fewer epochs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nowcast: Option<Nowcast>,
}

/// Weights that were trained elsewhere, on other data perhaps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Start {
    /// A file (safetensors, under the network's names), or `sha256:…` in the artifact store.
    pub weights: Source,
    /// The last layer is drawn afresh, and what the file has under its names is not read: they were trained on other
    /// classes. Without it a last layer of another shape is refused, as any other tensor is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub without_head: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// How training images are changed as they are met, anew in each epoch: a function of the seed, the epoch and the sample's
/// position in its data. First comes one affine map, as Keras' `ImageDataGenerator` makes it of `rotate`, `shift`, `shear`
/// and `zoom` (its bilinear interpolation; beyond the edge the nearest pixel), then the crop, then the flip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Augment {
    /// Zeros that are put around the image, out of which a random window of its size is cut.
    #[serde(default)]
    pub crop: u32,
    /// Half of the images are mirrored left to right.
    #[serde(default)]
    pub flip: bool,
    /// Turned by at most so many degrees, either way; the angle is uniform, as all that is drawn here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rotate: f64,
    /// Shifted by at most this share of the height, and this share of the width.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shift: f64,
    /// Sheared by at most so many degrees, either way: columns lean, and their rows come closer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shear: f64,
    /// Height and width, each on its own, are divided by a number between 1 − `zoom` and 1 + `zoom`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub zoom: f64,
}

impl Augment {
    /// Whether there is an affine map to draw.
    pub fn is_affine(&self) -> bool {
        [self.rotate, self.shift, self.shear, self.zoom].iter().any(|most| *most > 0.0)
    }
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Every so many epochs the weights jump to where a predictor sees them `horizon` epochs later (WNN; Jang et al., ICML
/// 2023). The optimiser's state and the schedule go on as if nothing had happened. There is no jump after the last epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Nowcast {
    /// A predictor that looks ahead: a file (safetensors), or `sha256:…`.
    pub predictor: Source,
    /// Epochs from jump to jump.
    #[serde(default = "five")]
    pub every: u32,
    /// Epochs that a jump looks ahead (`U`).
    #[serde(default = "five")]
    pub horizon: u32,
    /// The newest epochs that the predictor reads (`K`), all of them since the last jump.
    #[serde(default = "five")]
    pub snapshots: u32,
    /// Factor on the predicted change.
    #[serde(default = "one")]
    pub scale: f64,
    /// Scales and shifts of layers that normalise jump as well, as in version 0.1; published is that they stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub norms_jump: bool,
}

impl Nowcast {
    pub(super) fn wanted(&self, field: &'static str) -> WantedPredictor<'_> {
        let Self { predictor, snapshots, horizon, .. } = self;
        WantedPredictor {
            field,
            source: predictor,
            snapshots: *snapshots,
            horizon: *horizon,
            direction: Direction::Future,
        }
    }
}

fn one() -> f64 {
    1.0
}

fn five() -> u32 {
    5
}

/// Update rules; symbols and defaults of torch.optim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Optimiser {
    Sgd(Sgd),
    /// Weight decay is added to the gradient.
    Adam(Adam),
    /// Weight decay is decoupled (Loshchilov and Hutter, 2019).
    Adamw(Adamw),
}

impl Optimiser {
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(o) => o.learning_rate,
            Self::Adam(o) => o.learning_rate,
            Self::Adamw(o) => o.learning_rate,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sgd {
    pub learning_rate: f64,
    #[serde(default)]
    pub momentum: f64,
    #[serde(default)]
    pub weight_decay: f64,
    #[serde(default)]
    pub nesterov: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adam {
    pub learning_rate: f64,
    #[serde(default = "beta1")]
    pub beta1: f64,
    #[serde(default = "beta2")]
    pub beta2: f64,
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    #[serde(default)]
    pub weight_decay: f64,
}

/// Adam with decoupled weight decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adamw {
    pub learning_rate: f64,
    #[serde(default = "beta1")]
    pub beta1: f64,
    #[serde(default = "beta2")]
    pub beta2: f64,
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    #[serde(default)]
    pub weight_decay: f64,
    /// Whether tensors of one dimension (biases, norms' scales and shifts) decay as others do. Recipes for transformers
    /// and ConvNeXt leave them out (timm: "no weight decay on bias and norm").
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub decay_one_dimensional: bool,
}

impl Adamw {
    /// The same numbers as Adam's.
    pub fn as_adam(&self) -> Adam {
        let Self { learning_rate, beta1, beta2, epsilon, weight_decay, .. } = *self;
        Adam { learning_rate, beta1, beta2, epsilon, weight_decay }
    }
}

/// Every tensor decays.
impl From<Adam> for Adamw {
    fn from(Adam { learning_rate, beta1, beta2, epsilon, weight_decay }: Adam) -> Self {
        Self { learning_rate, beta1, beta2, epsilon, weight_decay, decay_one_dimensional: true }
    }
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn beta1() -> f64 {
    0.9
}

fn beta2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-8
}

/// Factor on the learning rate over a step's optimiser steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Schedule {
    #[default]
    Constant,
    /// Falls along half a cosine to zero (Loshchilov and Hutter, 2017); after a warm-up, over the epochs that are left.
    Cosine,
    /// As `cosine`, but within a warm-up as well: the line and the cosine are multiplied. Version 0.1 did so.
    CosineFromStart,
    /// Multiplied by `factor` after each of these epochs.
    Milestones { epochs: Vec<u32>, factor: f64 },
    /// `then`, times a line that rises to 1 over the first `epochs` (Goyal et al., 2017).
    WarmUp { epochs: u32, then: Box<Schedule> },
}

/// What happens to BatchNorm: its scale and shift, and its running statistics. It speaks of BatchNorm alone: LayerNorm
/// keeps no statistics, and trains whatever is said here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNormPolicy {
    /// All of it stays, bit by bit: inference mode throughout; scale and shift are neither trained nor recorded in
    /// trajectories, rewound, chosen by a mask or moved by noise (as published with InvWNN's ResNet-18).
    Frozen,
    /// Inference mode throughout: the statistics stay, scale and shift train like other weights. Version 0.1 called
    /// this `frozen`.
    Inference,
    /// Local batch statistics; running ones averaged over the ranks by sample count after each epoch.
    #[default]
    Train,
    /// Inference mode while training forward; statistics taken anew on `D_f` after each round (on `D_r`, if the method
    /// reads it).
    Recompute,
    /// As `train` while training forward; statistics taken anew as with `recompute`.
    TrainRecompute,
}

impl BatchNormPolicy {
    /// Whether forward training normalises by the batch's statistics.
    pub fn trains(self) -> bool {
        matches!(self, Self::Train | Self::TrainRecompute)
    }

    /// Whether the statistics are taken anew on `D_f` after each round.
    pub fn recomputes(self) -> bool {
        matches!(self, Self::Recompute | Self::TrainRecompute)
    }

    /// Whether scale and shift stay as they are.
    pub fn freezes(self) -> bool {
        self == Self::Frozen
    }
}
