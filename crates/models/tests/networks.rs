//! What every network promises: flat coordinates that move it, gradients, BatchNorm's modes.

use std::collections::BTreeSet;

use rewind_job::{Architecture, OperationType};
use rewind_models::{Mode, Network};
use tch::{Device, Kind, Reduction, Tensor, no_grad};

const DIGIT: [u32; 3] = [1, 28, 28];

fn images(count: i64, [channels, height, width]: [u32; 3]) -> Tensor {
    let len = count * i64::from(channels * height * width);
    let pixels = Tensor::arange(len, (Kind::Float, Device::Cpu)) * 0.37;
    pixels.sin().view([count, i64::from(channels), i64::from(height), i64::from(width)])
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.contiguous().view([-1])).expect("float32")
}

/// A tensor's name, shape and operation type.
type Named<'a> = (&'a str, &'a [i64], OperationType);

#[test]
fn every_architecture_answers_for_every_image_size() {
    for architecture in Architecture::SMALL {
        for image in [DIGIT, [3, 32, 32], [1, 8, 8], [1, 30, 9]] {
            let network = Network::build(architecture, 7, image, 0);
            for mode in [Mode::Inference, Mode::Train { momentum: 0.1 }] {
                let x = images(3, image);
                let expected = if architecture.gives_images() { x.size() } else { vec![3, 7] };
                assert_eq!(network.forward(&x, mode).size(), expected, "{architecture:?}");
            }
            let segments = &network.layout().segments;
            let names: BTreeSet<&str> = segments.iter().map(|s| s.name.as_str()).collect();
            assert_eq!(names.len(), segments.len());
            assert_eq!(network.layout().coordinates() as i64, network.flat().size()[0]);
        }
    }
}

#[test]
fn networks_have_the_size_and_the_names_they_are_known_by() {
    let size = |architecture| Network::build(architecture, 10, DIGIT, 0).layout().coordinates();
    assert_eq!(
        Architecture::SMALL.map(size),
        [96_314, 109_386, 107_786, 33_338, 18_826, 95_914, 71_946, 29_617],
        "of {:?}",
        Architecture::SMALL
    );
    let network = Network::build(Architecture::ResidualSmall, 10, DIGIT, 0);
    let segments = &network.layout().segments;
    for (name, shape) in [
        ("conv1.weight", vec![16, 1, 3, 3]),
        ("layer1.0.conv1.weight", vec![16, 16, 3, 3]),
        ("layer2.0.downsample.0.weight", vec![32, 16, 1, 1]),
        ("layer2.1.conv2.weight", vec![32, 32, 3, 3]),
        ("layer3.0.bn2.bias", vec![64]),
        ("fc.weight", vec![10, 64]),
    ] {
        assert!(segments.iter().any(|s| s.name == name && s.shape == shape), "{name} {shape:?}");
    }
    assert!(!segments.iter().any(|s| s.name.starts_with("layer1.0.downsample")));
    let names: Vec<String> = network.buffers().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 22);
    assert_eq!(names[..2], ["bn1.running_mean", "bn1.running_var"]);
}

#[test]
fn tensors_have_the_names_and_operation_types_they_are_known_by() {
    use OperationType::{Bias, Convolution, FullyConnected};
    let expected: [(Architecture, usize, &[Named]); 3] = [
        (
            Architecture::ResidualPlainSmall,
            24,
            &[
                ("conv1.weight", &[16, 1, 3, 3], Convolution),
                ("conv1.bias", &[16], Bias),
                ("layer2.0.downsample.0.weight", &[32, 16, 1, 1], Convolution),
                ("layer2.1.conv2.bias", &[32], Bias),
                ("fc.weight", &[10, 64], FullyConnected),
            ],
        ),
        (
            Architecture::TransformerSmall,
            31,
            &[
                ("pos_embed", &[49, 64], FullyConnected),
                ("patch_embed.proj.weight", &[64, 1, 4, 4], Convolution),
                ("blocks.0.norm1.weight", &[64], Bias),
                ("blocks.0.attn.qkv.weight", &[192, 64], FullyConnected),
                ("blocks.1.attn.proj.bias", &[64], Bias),
                ("blocks.1.mlp.fc1.weight", &[128, 64], FullyConnected),
                ("fc_norm.bias", &[64], Bias),
                ("head.weight", &[10, 64], FullyConnected),
            ],
        ),
        (
            Architecture::UnetSmall,
            22,
            &[
                ("inc.0.weight", &[8, 1, 3, 3], Convolution),
                ("down2.2.weight", &[32, 32, 3, 3], Convolution),
                ("up1.0.weight", &[16, 48, 3, 3], Convolution),
                ("up2.0.bias", &[8], Bias),
                ("outc.weight", &[1, 8, 1, 1], Convolution),
            ],
        ),
    ];
    for (architecture, count, tensors) in expected {
        let network = Network::build(architecture, 10, DIGIT, 0);
        let segments = &network.layout().segments;
        assert_eq!(segments.len(), count, "{architecture:?}");
        assert!(network.buffers().is_empty());
        for &(name, shape, operation) in tensors {
            let segment = segments.iter().find(|s| s.name == name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!((&segment.shape[..], segment.operation), (shape, operation), "{name}");
        }
    }
}

#[test]
fn fresh_weights_are_uniform_within_one_over_the_root_of_fan_in() {
    let network = Network::build(Architecture::Lenet, 10, DIGIT, 3);
    let weights = values(network.flat());
    for (name, fan_in) in [("conv1.weight", 25), ("conv2.weight", 150), ("fc1.bias", 784), ("fc1.weight", 784)] {
        let segment = network.layout().segments.iter().find(|s| s.name == name).expect("it has this segment");
        let values = &weights[segment.offset..segment.offset + segment.len()];
        let bound = 1.0 / (fan_in as f32).sqrt();
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!((0.9 * bound..=bound).contains(&largest), "{name}: {largest} for {bound}");
        // Three standard deviations of the mean square of that many uniform numbers around a third.
        let mean_square = values.iter().map(|v| (v / bound).powi(2)).sum::<f32>() / values.len() as f32;
        let deviation = 3.0 * (4.0 / 45.0 / values.len() as f32).sqrt();
        assert!((mean_square - 1.0 / 3.0).abs() < deviation, "{name}: {mean_square}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let flat = |seed| values(Network::build(Architecture::VggSmall, 10, DIGIT, seed).flat());
    assert_eq!(flat(1), flat(1));
    assert_ne!(flat(1), flat(2));
}

#[test]
fn changing_the_flat_tensor_moves_the_network() {
    for architecture in Architecture::SMALL {
        let (first, second) = (Network::build(architecture, 10, DIGIT, 1), Network::build(architecture, 10, DIGIT, 2));
        let x = images(2, DIGIT);
        let answer = |network: &Network| values(&no_grad(|| network.forward(&x, Mode::Inference)));
        assert_ne!(answer(&first), answer(&second));
        second.load(&values(first.flat()));
        assert_eq!(answer(&first), answer(&second), "{architecture:?}");
    }
}

#[test]
fn a_step_on_the_flat_tensor_is_seen_by_the_next_forward_and_backward() {
    let network = Network::build(Architecture::Mlp, 10, DIGIT, 1);
    let (x, labels) = (images(8, DIGIT), Tensor::from_slice(&[0_i64, 1, 2, 3, 4, 5, 6, 7]));
    let gradient = network.flat().zeros_like();
    let mut losses = Vec::new();
    for _ in 0..20 {
        let loss = network.forward(&x, Mode::Inference).cross_entropy_for_logits(&labels);
        losses.push(loss.double_value(&[]));
        loss.backward();
        network.collect_gradients(&gradient);
        no_grad(|| {
            let _ = network.flat().shallow_clone().g_sub_(&(&gradient * 0.1));
        });
    }
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
}

#[test]
fn the_perceptrons_gradients_are_those_computed_by_hand() {
    let network = Network::build(Architecture::Mlp, 10, DIGIT, 1);
    let (x, labels) = (images(4, DIGIT), Tensor::from_slice(&[1_i64, 3, 5, 7]));
    network.forward(&x, Mode::Inference).cross_entropy_for_logits(&labels).backward();
    let found = network.flat().zeros_like();
    network.collect_gradients(&found);

    // Back-propagation in float64, without autograd.
    let layout = network.layout();
    let part = |flat: &Tensor, name: &str| {
        let s = layout.segments.iter().find(|s| s.name == name).expect("it has this segment");
        flat.narrow(0, s.offset as i64, s.len() as i64).view(&s.shape[..]).to_kind(Kind::Double)
    };
    let weight = |layer: i32| part(network.flat(), &format!("fc{layer}.weight"));
    let layer = |x: &Tensor, n: i32| x.matmul(&weight(n).tr()) + part(network.flat(), &format!("fc{n}.bias"));
    let pixels = x.view([4, -1]).to_kind(Kind::Double);
    let (a1, a2) = (layer(&pixels, 1), layer(&layer(&pixels, 1).relu(), 2));
    let (h1, h2) = (a1.relu(), a2.relu());
    // Mean cross-entropy: (softmax − one-hot) / N.
    let d3 = (layer(&h2, 3).softmax(-1, Kind::Double) - labels.onehot(10)) / 4.0;
    let d2 = d3.matmul(&weight(3)) * a2.gt(0.0);
    let d1 = d2.matmul(&weight(2)) * a1.gt(0.0);
    for (name, delta, input) in [("fc1", &d1, &pixels), ("fc2", &d2, &h1), ("fc3", &d3, &h2)] {
        for (kind, expected) in
            [("weight", delta.tr().matmul(input)), ("bias", delta.sum_dim_intlist([0].as_slice(), false, Kind::Double))]
        {
            let error = (part(&found, &format!("{name}.{kind}")) - &expected).abs().max().double_value(&[]);
            let scale = expected.abs().max().double_value(&[]);
            assert!(scale > 0.0 && error < 1e-5 * scale, "{name}.{kind}: {error} of {scale}");
        }
    }
}

#[test]
fn parameters_without_gradient_collect_zeros() {
    let network = Network::build(Architecture::VggSmall, 10, DIGIT, 1);
    let into = network.flat().ones_like();
    network.collect_gradients(&into);
    assert!(values(&into).iter().all(|&gradient| gradient == 0.0));
}

#[test]
fn gradients_agree_with_finite_differences() {
    for architecture in Architecture::SMALL {
        let network = Network::build(architecture, 10, DIGIT, 1);
        let (x, labels) = (images(4, DIGIT), Tensor::from_slice(&[1_i64, 3, 5, 7]));
        let loss = || {
            let answer = network.forward(&x, Mode::Inference);
            match architecture.gives_images() {
                true => answer.mse_loss(&x.square(), Reduction::Sum),
                false => answer.cross_entropy_for_logits(&labels),
            }
        };
        loss().backward();
        let gradient = network.flat().zeros_like();
        network.collect_gradients(&gradient);
        // Along the gradient itself the slope is its squared length.
        let squared = gradient.square().sum(Kind::Double).double_value(&[]);
        assert!(squared > 0.0);
        let step = 1e-3 / squared.sqrt();
        let value_at = |scale: f64| {
            no_grad(|| {
                let mut flat = network.flat().shallow_clone();
                let _ = flat.g_add_(&(&gradient * scale));
                let value = loss().double_value(&[]);
                let _ = flat.g_sub_(&(&gradient * scale));
                value
            })
        };
        let slope = (value_at(step) - value_at(-step)) / (2.0 * step);
        assert!((slope / squared - 1.0).abs() < 0.02, "{architecture:?}: {slope} against {squared}");
        // Collected gradients are cleared.
        loss().backward();
        let again = network.flat().zeros_like();
        network.collect_gradients(&again);
        assert!((again - &gradient).abs().max().double_value(&[]) < 1e-6);
    }
}

#[test]
fn inference_changes_no_buffer_of_any_architecture() {
    for architecture in Architecture::SMALL {
        let network = Network::build(architecture, 10, DIGIT, 1);
        let _ = no_grad(|| network.forward(&images(4, DIGIT), Mode::Train { momentum: 0.3 }));
        let state = || network.buffers().iter().map(|(_, tensor)| values(tensor)).collect::<Vec<_>>();
        let before = state();
        let _ = no_grad(|| network.forward(&images(6, DIGIT), Mode::Inference));
        assert_eq!(state(), before, "{architecture:?}");
    }
}

#[test]
fn a_single_value_a_channel_leaves_the_running_statistics_alone() {
    // At 8×8 the last stage has one place: one sample is one value a channel.
    let network = Network::build(Architecture::ResidualSmall, 10, [1, 8, 8], 1);
    let logits = no_grad(|| network.forward(&images(1, [1, 8, 8]), Mode::Train { momentum: 0.1 }));
    assert!(values(&logits).iter().all(|logit| logit.is_finite()));
    for (name, tensor) in network.buffers() {
        assert!(values(&tensor).iter().all(|value| value.is_finite()), "{name}");
    }
}

#[test]
fn scale_and_shift_of_batch_norm_are_known_by_their_coordinates() {
    for architecture in Architecture::SMALL {
        let network = Network::build(architecture, 10, DIGIT, 0);
        let ranges = network.batch_norm_coordinates();
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{architecture:?}: ascending");
        let within = |place: usize| ranges.iter().any(|range| range.contains(&place));
        let before = values(network.flat());
        assert_eq!(ranges.len(), network.buffers().len(), "{architecture:?}: two buffers, scale and shift a layer");
        for pair in ranges.chunks(2) {
            assert!(before[pair[0].clone()].iter().all(|&scale| scale == 1.0), "{architecture:?}");
            assert!(before[pair[1].clone()].iter().all(|&shift| shift == 0.0), "{architecture:?}");
        }
        for segment in &network.layout().segments {
            let named = segment.name.contains("bn") || segment.name.contains("downsample.1");
            let norm = named && architecture == Architecture::ResidualSmall;
            if architecture == Architecture::ResidualSmall || network.buffers().is_empty() {
                assert_eq!(within(segment.offset), norm, "{architecture:?} {}", segment.name);
            }
        }
    }
    let of = |architecture| Network::build(architecture, 10, DIGIT, 0).batch_norm_coordinates().len();
    assert_eq!(of(Architecture::ResidualSmall), 22);
    assert_eq!(of(Architecture::TransformerSmall), 0, "LayerNorm keeps no statistics");
}

#[test]
fn batch_norm_takes_the_batch_statistics_in_training_and_leaves_them_alone_in_inference() {
    let network = Network::build(Architecture::ResidualSmall, 10, DIGIT, 1);
    let x = images(5, DIGIT);
    let buffer = |name: &str| {
        let (_, tensor) = network.buffers().into_iter().find(|(n, _)| n == name).expect("there is this buffer");
        values(&tensor)
    };
    let fresh = buffer("bn1.running_mean");
    assert!(fresh.iter().all(|&mean| mean == 0.0));
    let _ = no_grad(|| network.forward(&x, Mode::Inference));
    assert_eq!(buffer("bn1.running_mean"), fresh);

    // By hand: the stem's convolution, then its mean over samples and places.
    let weight = network.flat().narrow(0, 0, 16 * 9).view([16, 1, 3, 3]);
    let stem = x.conv2d::<Tensor>(&weight, None, [2, 2], [1, 1], [1, 1], 1);
    let expected = values(&stem.mean_dim([0, 2, 3].as_slice(), false, Kind::Float));
    let _ = no_grad(|| network.forward(&x, Mode::Train { momentum: 1.0 }));
    let found = buffer("bn1.running_mean");
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");

    let before = buffer("bn1.running_var");
    let expected = values(&stem.var_dim([0, 2, 3].as_slice(), true, false));
    assert!(before.iter().zip(&expected).all(|(a, b)| (a / b - 1.0).abs() < 1e-4), "{before:?} {expected:?}");
    let _ = no_grad(|| network.forward(&(&x * 2.0), Mode::Train { momentum: 0.5 }));
    let after = buffer("bn1.running_var");
    // Twice the input has four times the variance: the mean of one and four parts.
    assert!(after.iter().zip(&before).all(|(a, b)| (a / b - 2.5).abs() < 1e-3), "{after:?} {before:?}");
}
