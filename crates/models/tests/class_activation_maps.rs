//! Gradient-weighted class activation maps against hand-computed ones, class activation maps and finite differences.

use rewind_job::Architecture;
use rewind_models::{Mode, Network, class_activation};
use tch::{Device, Kind, Tensor, no_grad};

fn images(count: i64, [channels, height, width]: [u32; 3]) -> Tensor {
    let shape = [count, i64::from(channels), i64::from(height), i64::from(width)];
    let pixels = Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu)) * 0.37;
    pixels.sin().abs().view(shape)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.contiguous().view([-1])).expect("float32")
}

/// The storage of a tensor of the network, by its name.
fn tensor(network: &Network, name: &str) -> Tensor {
    let segment = network.layout().segments.iter().find(|s| s.name == name).expect("the network has it");
    network.flat().narrow(0, segment.offset as i64, segment.len() as i64).view(&segment.shape[..])
}

fn set(network: &Network, name: &str, place: &[i64], value: f64) {
    let mut at = tensor(network, name);
    for &index in place {
        at = at.get(index);
    }
    let _ = no_grad(|| at.fill_(value));
}

#[test]
fn maps_are_there_where_the_specification_says_so_and_the_rest_of_the_network_answers_as_the_whole() {
    let small = [[1, 28, 28], [3, 32, 32], [1, 8, 8]];
    for architecture in Architecture::SMALL.into_iter().chain(Architecture::LARGE) {
        for &image in if Architecture::LARGE.contains(&architecture) { &small[1..2] } else { &small[..] } {
            let network = Network::build(architecture, 7, image, 0);
            let x = images(3, image);
            let seen = class_activation(&network, &x, &Tensor::from_slice(&[0_i64, 6, 3]));
            assert_eq!(seen.is_some(), architecture.has_maps(), "{architecture:?}");
            let Some(seen) = seen else { continue };
            assert_eq!(seen.maps.size()[0], 3);
            assert!(seen.maps.size()[1] <= i64::from(image[1]) && seen.maps.size()[2] <= i64::from(image[2]));
            assert_eq!(values(&seen.logits), values(&network.forward(&x, Mode::Inference)), "{architecture:?}");
        }
    }
}

#[test]
fn a_map_computed_by_hand() {
    // One channel is passed on through the shortcuts: the last block's first map is every eighth pixel, its second
    // twice that.
    let network = Network::build(Architecture::ResidualPlainSmall, 3, [1, 16, 16], 0);
    network.load(&vec![0.0; network.layout().coordinates()]);
    set(&network, "conv1.weight", &[0, 0, 1, 1], 1.0);
    set(&network, "layer2.0.downsample.0.weight", &[0, 0, 0, 0], 1.0);
    set(&network, "layer3.0.downsample.0.weight", &[0, 0, 0, 0], 1.0);
    set(&network, "layer3.0.downsample.0.weight", &[1, 0, 0, 0], 2.0);
    set(&network, "fc.weight", &[0, 0], 3.0);
    set(&network, "fc.weight", &[0, 1], -1.0);
    set(&network, "fc.weight", &[1, 0], -3.0);
    set(&network, "fc.weight", &[1, 1], 1.0);
    set(&network, "fc.bias", &[1], 0.5);
    let image = Tensor::zeros([1, 1, 16, 16], (Kind::Float, Device::Cpu));
    for (row, column, value) in [(0, 0, 1.0), (0, 8, 2.0), (8, 0, -5.0), (8, 8, 4.0)] {
        let _ = image.get(0).get(0).get(row).get(column).fill_(value);
    }
    let x = Tensor::cat(&[&image, &image], 0);
    let seen = class_activation(&network, &x, &Tensor::from_slice(&[0_i64, 1])).expect("has maps");
    // A_1 = [1, 2, 0, 4], A_2 = 2 A_1; α = [3, −1] / 4 for class 0: α_1 A_1 + α_2 A_2 = A_1 / 4.
    assert_eq!(seen.maps.size(), [2, 2, 2]);
    assert_eq!(values(&seen.maps.get(0)), [0.25, 0.5, 0.0, 1.0]);
    // For class 1 it is −A_1 / 4: nothing speaks for it.
    assert_eq!(values(&seen.maps.get(1)), [0.0; 4]);
    assert_eq!(values(&seen.logits.get(0)), [1.75, 0.5 - 1.75, 0.0]);
}

#[test]
fn with_a_global_average_and_a_linear_layer_a_map_is_the_class_activation_map_over_its_positions() {
    for (architecture, last) in [
        (Architecture::ResidualSmall, "fc.weight"),
        (Architecture::ResidualPlainSmall, "fc.weight"),
        (Architecture::DepthwiseSmall, "classifier.weight"),
    ] {
        let image = [3, 32, 24];
        let network = Network::build(architecture, 5, image, 3);
        let x = images(4, image);
        let classes = [4_i64, 0, 2, 2];
        let seen = class_activation(&network, &x, &Tensor::from_slice(&classes)).expect("has maps");
        let a = no_grad(|| network.maps(&x, Mode::Inference)).expect("has maps");
        let positions = (a.size()[2] * a.size()[3]) as f64;
        let mut spoke = false;
        for (index, &class) in classes.iter().enumerate() {
            // Zhou et al., 2016, equation 2: Σ_k w_k^c A_k.
            let weight = tensor(&network, last).get(class).view([-1, 1, 1]);
            let cam = (weight * a.get(index as i64)).sum_dim_intlist([0].as_slice(), false, Kind::Float).relu();
            let error = (&cam / positions - seen.maps.get(index as i64)).abs().max().double_value(&[]);
            let size = cam.max().double_value(&[]) / positions;
            spoke |= size > 0.0;
            assert!(error <= 1e-6 * size.max(1e-3), "{architecture:?}: {error:e} of {size:e}");
        }
        assert!(spoke, "{architecture:?}: every map is empty");
    }
}

#[test]
fn where_maps_are_pooled_the_weights_of_their_channels_are_the_slopes_of_the_answer() {
    for architecture in [Architecture::Lenet, Architecture::VggSmall] {
        let network = Network::build(architecture, 5, [1, 28, 28], 5);
        // Larger weights: slopes that float32 can measure.
        let _ = no_grad(|| network.flat().shallow_clone().g_mul_scalar_(3.0));
        let x = images(1, [1, 28, 28]);
        let classes = Tensor::arange(5, (Kind::Int64, Device::Cpu));
        let seen = class_activation(&network, &x.repeat([5, 1, 1, 1]), &classes).expect("has maps");
        let sums = no_grad(|| {
            let a = network.maps(&x, Mode::Inference).expect("has maps");
            let answer = |a: &Tensor| network.answer(&network.features_of_maps(a).expect("has maps"));
            // The same for each position of a channel: the largest of each pooled square stays the largest.
            let slope = |channel: i64| {
                let moved = |by: f64| {
                    let moved = a.copy();
                    let _ = moved.get(0).get(channel).g_add_scalar_(by);
                    answer(&moved)
                };
                (moved(1e-2) - moved(-1e-2)) / 2e-2
            };
            let positions = (a.size()[2] * a.size()[3]) as f64;
            // Σ_k α_k A_k: [classes, h, w].
            let weighted = |channel: i64| slope(channel).view([-1, 1, 1]) * a.get(0).get(channel) / positions;
            (1..a.size()[1]).fold(weighted(0), |sum, channel| sum + weighted(channel))
        });
        let expected = sums.relu();
        let size = expected.max().double_value(&[]);
        assert!(size > 0.0, "{architecture:?}: the maps are empty");
        let error = (expected - &seen.maps).abs().max().double_value(&[]);
        assert!(error < 2e-2 * size, "{architecture:?}: {error:e} of {size:e}");
    }
}

#[test]
fn drawing_maps_leaves_a_network_and_its_gradients_as_they_were() {
    let network = Network::build(Architecture::ResidualSmall, 5, [1, 28, 28], 1);
    let before = (values(network.flat()), network.buffers().iter().map(|(_, b)| values(b)).collect::<Vec<_>>());
    class_activation(&network, &images(2, [1, 28, 28]), &Tensor::from_slice(&[1_i64, 2])).expect("has maps");
    let after = (values(network.flat()), network.buffers().iter().map(|(_, b)| values(b)).collect::<Vec<_>>());
    assert_eq!(before, after);
    let gradient = network.flat().ones_like();
    network.collect_gradients(&gradient);
    assert_eq!(gradient.abs().max().double_value(&[]), 0.0);
}
