//! Networks in flat coordinates: every parameter is a view of one tensor. One architecture a file.

mod depthwise_small;
mod layers;
mod lenet;
mod mlp;
mod network;
mod parameters;
mod residual_small;
mod vgg_small;

pub use layers::Mode;
pub use network::Network;
