//! What a network looks at: gradient-weighted class activation maps (Selvaraju et al., 2017).

use tch::{Kind, Tensor, no_grad};

use crate::{Mode, Network};

/// Of some images, for one class each.
pub struct ClassActivation {
    /// `[N, h, w]`, at least 0.
    pub maps: Tensor,
    /// `[N, classes]`.
    pub logits: Tensor,
}

/// Maps of images `[N, C, H, W]` for `classes` (`[N]`, int64) by the last convolution's `A` (`[N, K, h, w]`); none where
/// the architecture has none. The network stays as it is, and gathers no gradients.
pub fn class_activation(network: &Network, images: &Tensor, classes: &Tensor) -> Option<ClassActivation> {
    let a = no_grad(|| network.maps(images, Mode::Inference))?.set_requires_grad(true);
    let y = network.answer(&network.features_of_maps(&a)?);
    // In inference mode no image changes another one's answer: the sum's gradient is each one's own.
    let y_c = y.gather(1, &classes.unsqueeze(1), false).sum(Kind::Float);
    let gradient = Tensor::run_backward(&[y_c], &[&a], false, false).remove(0);
    // Equation 1: α_k is the mean of ∂y_c/∂A_k over positions, [N, K, 1, 1].
    let alpha = gradient.mean_dim([2, 3].as_slice(), true, Kind::Float);
    // Equation 2: ReLU(Σ_k α_k A_k).
    let maps = (alpha * &a).sum_dim_intlist([1].as_slice(), false, Kind::Float).relu();
    Some(ClassActivation { maps: maps.detach(), logits: y.detach() })
}
