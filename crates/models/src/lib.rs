//! Networks in flat coordinates: every parameter is a view of one tensor. One architecture a file.

mod class_activation;
mod convnext_tiny;
mod depthwise_small;
mod initial;
mod layers;
mod lenet;
mod mlp;
mod network;
mod parameters;
mod pvt_v2_b0;
mod residual_plain_small;
mod residual_small;
mod resnet18;
mod resnet18_keras;
mod transformer_small;
mod unet_small;
mod vgg_small;

pub use class_activation::{ClassActivation, class_activation};
pub use layers::Mode;
pub use network::Network;
