//! Fisher forgetting: noise on each coordinate, the more the less the remaining data needs it (Golatkar et al., 2020).

use rewind_job::{FisherForm, Layout};
use rewind_models::{Mode, Network};
use tch::{Kind, Tensor, no_grad};

use crate::{LabelledSamples, Learner, RoundMethod, UnlearningError};

pub struct Fisher<'a> {
    settings: rewind_job::Fisher,
    remaining: &'a LabelledSamples,
    /// Where `D_f` is all of a class.
    forgotten_class: Option<u32>,
}

impl<'a> Fisher<'a> {
    pub fn new(settings: rewind_job::Fisher, remaining: &'a LabelledSamples, forgotten_class: Option<u32>) -> Self {
        Self { settings, remaining, forgotten_class }
    }

    /// What the own shard keeps of its weights, and the standard deviation of its noise: `[n]` each.
    fn noise_of(&self, learner: &mut Learner, positions: &[i64]) -> Result<(Option<Tensor>, Tensor), UnlearningError> {
        let alpha = self.settings.alpha;
        let form = self.settings.form.unwrap_or(FisherForm::Clamped);
        if form == FisherForm::Expected {
            let information = learner.expected_fisher_diagonal(self.remaining, positions)?;
            let whole = learner.network.flat().zeros_like();
            learner.gang.shard(&whole).copy_(&information);
            learner.gang.gather_from_owners(&whole)?;
            let last = last_layer(&learner.network, self.remaining.shape());
            let layout = learner.gang.layout();
            let variance = expected_variance(layout, &last, &whole, alpha, self.forgotten_class);
            let kept = self.forgotten_class.map(|class| learner.gang.shard(&all_but_row(layout, &last, &whole, class)));
            return Ok((kept, learner.gang.shard(&variance.sqrt())));
        }
        let information = learner.fisher_diagonal(self.remaining, positions)?;
        if form == FisherForm::Clamped {
            return Ok((None, clamped_deviation(&information, alpha, self.settings.largest_inverse())));
        }
        let tenfold = learner.network.flat().ones_like();
        for segment in last_layer(&learner.network, self.remaining.shape()) {
            let _ = of_segment(learner.gang.layout(), segment, &tenfold).fill_(10.0);
        }
        Ok((None, empirical_deviation(&information, alpha) * learner.gang.shard(&tenfold)))
    }
}

impl RoundMethod for Fisher<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let wanted = self.settings.samples.map_or(usize::MAX, |samples| samples as usize);
        let drawn = rewind_datasets::order(learner.seed(), "fisher", learner.epochs(), self.remaining.len());
        let mut positions: Vec<i64> = drawn.into_iter().take(wanted).map(i64::from).collect();
        let (kept, deviation) = self.noise_of(learner, &positions)?;
        let noise = learner.noise("fisher") * deviation;
        let weights = learner.gang.shard(learner.network.flat()).detach();
        let weights = kept.map_or_else(|| weights.shallow_clone(), |kept| &weights * kept);
        learner.replace_weights(&(weights + noise))?;
        // Of these samples alone: others are not read.
        positions.sort_unstable();
        learner.loss_at(self.remaining, &positions)
    }

    fn forget_epochs(&self, _: u32) -> f64 {
        0.0
    }
}

/// √(α · min(1/F, clamp)), also where F is 0. `[n]`.
fn clamped_deviation(information: &Tensor, alpha: f64, clamp: f64) -> Tensor {
    (information.reciprocal().clamp_max(clamp) * alpha).sqrt()
}

/// min(√(α/F), 0.001), also where F is 0. `[n]`.
fn empirical_deviation(information: &Tensor, alpha: f64) -> Tensor {
    (information.reciprocal() * alpha).sqrt().clamp_max(1e-3)
}

/// The variance of each coordinate's noise from the whole model's F: `[P]` → `[P]`. In the order of Golatkar's code:
/// min(1/(F + 1e-8), 1000), at most 100 on the last layer; times α; its mean over the second dimension (of a linear
/// layer the inputs of a unit, of a convolution the input channels at each place of the kernel); 1e-4 in a forgotten
/// class's row of the last layer; ten times that on the last layer and in tensors of one dimension.
fn expected_variance(
    layout: &Layout,
    last: &[usize],
    information: &Tensor,
    alpha: f64,
    forgotten_class: Option<u32>,
) -> Tensor {
    let all = (information + 1e-8).reciprocal().clamp_max(1e3);
    for (index, segment) in layout.segments.iter().enumerate() {
        let is_last = last.contains(&index);
        let mut place = of_segment(layout, index, &all);
        let mut variance = place.view(&segment.shape[..]).copy();
        if is_last {
            variance = variance.clamp_max(1e2);
        }
        variance *= alpha;
        if segment.shape.len() > 1 {
            variance = variance.mean_dim([1].as_slice(), true, Kind::Float).expand_as(&variance).copy();
        }
        if let (true, Some(class)) = (is_last, forgotten_class) {
            let _ = variance.select(0, i64::from(class)).fill_(1e-4);
        }
        if is_last || segment.shape.len() == 1 {
            variance *= 10.0;
        }
        place.copy_(&variance.view([-1]));
    }
    all
}

/// 0 in a class's row of the last layer and 1 elsewhere, `[P]`.
fn all_but_row(layout: &Layout, last: &[usize], like: &Tensor, class: u32) -> Tensor {
    let kept = like.ones_like();
    for &segment in last {
        let place = of_segment(layout, segment, &kept).view(&layout.segments[segment].shape[..]);
        let _ = place.select(0, i64::from(class)).fill_(0.0);
    }
    kept
}

/// A tensor's coordinates of `flat`, as a view.
fn of_segment(layout: &Layout, segment: usize, flat: &Tensor) -> Tensor {
    let segment = &layout.segments[segment];
    flat.narrow(0, segment.offset as i64, segment.len() as i64)
}

/// The tensors of the last layer, by their place in the layout: those that the network's answer to given features
/// depends on. `image` is channels, height, width.
fn last_layer(network: &Network, image: [u32; 3]) -> Vec<usize> {
    let black = Tensor::zeros([[1; 1].as_slice(), &image.map(i64::from)].concat(), (Kind::Float, network.device()));
    // Features that are 0 would hide the weights that read them.
    let features = no_grad(|| network.features(&black, Mode::Inference)).ones_like();
    network.answer(&features).sum(Kind::Float).backward();
    let gradient = network.flat().zeros_like();
    network.collect_gradients(&gradient);
    let layout = network.layout();
    let is_read = |segment: &usize| of_segment(layout, *segment, &gradient).abs().max().double_value(&[]) > 0.0;
    (0..layout.segments.len()).filter(is_read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind_job::Architecture;

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.contiguous().view([-1])).expect("float32")
    }

    #[test]
    fn clamped_noise_is_the_inverse_information_and_no_more_than_the_clamp() {
        let found = numbers(&clamped_deviation(&Tensor::from_slice(&[1.0_f32, 4.0, 0.0, 1e-9]), 0.25, 100.0));
        assert_eq!(found, [0.5, 0.25, 5.0, 5.0]);
    }

    #[test]
    fn empirical_noise_has_the_standard_deviation_of_saluns_code() {
        let information = Tensor::from_slice(&[4.0_f32, 0.25, 0.0, 1e-9]);
        let found = numbers(&empirical_deviation(&information, 1e-6));
        let expected = [0.5e-3, 1e-3, 1e-3, 1e-3];
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9), "{found:?}");
    }

    /// Two units with three inputs, a norm, and a last layer of two classes.
    fn layout() -> Layout {
        let tensor = |name: &str, shape: &[i64]| (name.to_owned(), shape.to_vec());
        Layout::new([
            tensor("conv.weight", &[2, 2, 1, 2]),
            tensor("norm.weight", &[2]),
            tensor("fc.weight", &[2, 2]),
            tensor("fc.bias", &[2]),
        ])
    }

    fn variance(forgotten_class: Option<u32>) -> Vec<f32> {
        // 1/F: kernels 1 2 | 3 4 and 10 20 | 2000 (bounded by 1000) 40; norm 5, 2000; last layer 50, 200 (bounded by
        // 100), 20, 40; its bias 10, 500 (bounded by 100).
        let inverse = [1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 2e3, 40.0, 5.0, 2e3, 50.0, 200.0, 20.0, 40.0, 10.0, 500.0_f64];
        let information: Vec<f32> = inverse.iter().map(|inverse| (1.0 / inverse - 1e-8) as f32).collect();
        numbers(&expected_variance(&layout(), &[2, 3], &Tensor::from_slice(&information), 1e-2, forgotten_class))
    }

    #[test]
    fn expected_noise_has_the_variance_of_golatkars_code() {
        let channels = [0.02, 0.03, 0.02, 0.03, 5.05, 0.3, 5.05, 0.3];
        let rest = [0.5, 100.0, 7.5, 7.5, 3.0, 3.0, 1.0, 10.0];
        let expected: Vec<f32> = channels.into_iter().chain(rest).collect();
        for (found, expected) in variance(None).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4 * expected, "{found} and {expected}");
        }
    }

    #[test]
    fn a_forgotten_classs_row_of_the_last_layer_is_drawn_anew() {
        let (before, found) = (variance(None), variance(Some(1)));
        for (place, (before, found)) in before.iter().zip(&found).enumerate() {
            let is_row = matches!(place, 12 | 13 | 15);
            assert!(if is_row { (found - 1e-3).abs() < 1e-9 } else { before == found }, "{place}: {found}");
        }
        let kept = numbers(&all_but_row(&layout(), &[2, 3], &Tensor::zeros([16], (Kind::Float, tch::Device::Cpu)), 1));
        let gone: Vec<usize> = (0..16).filter(|&place| kept[place] == 0.0).collect();
        assert_eq!(gone, [12, 13, 15]);
    }

    #[test]
    fn every_architectures_last_layer_is_found_and_has_a_row_a_class() {
        for architecture in Architecture::SMALL.into_iter().chain(Architecture::LARGE) {
            if architecture.gives_images() {
                continue;
            }
            let image = if Architecture::LARGE.contains(&architecture) { [3, 32, 32] } else { [1, 28, 28] };
            let network = Network::build(architecture, 7, image, 1);
            let last = last_layer(&network, image);
            let segments = &network.layout().segments;
            let names: Vec<&str> = last.iter().map(|&index| segments[index].name.as_str()).collect();
            assert_eq!(last, [segments.len() - 2, segments.len() - 1], "{architecture:?}: {names:?}");
            assert!(last.iter().all(|&index| segments[index].shape[0] == 7), "{architecture:?}");
        }
    }
}
