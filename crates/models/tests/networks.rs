//! What every network promises: flat coordinates that move it, gradients, BatchNorm's modes.

use std::collections::BTreeSet;

use rewind_job::Architecture;
use rewind_models::{Mode, Network};
use tch::{Device, Kind, Tensor, no_grad};

const DIGIT: [u32; 3] = [1, 28, 28];

fn images(count: i64, [channels, height, width]: [u32; 3]) -> Tensor {
    let len = count * i64::from(channels * height * width);
    let pixels = Tensor::arange(len, (Kind::Float, Device::Cpu)) * 0.37;
    pixels.sin().view([count, i64::from(channels), i64::from(height), i64::from(width)])
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.contiguous().view([-1])).expect("float32")
}

#[test]
fn every_architecture_answers_for_every_image_size() {
    for architecture in Architecture::ALL {
        for image in [DIGIT, [3, 32, 32], [1, 8, 8]] {
            let network = Network::build(architecture, 7, image, 0);
            assert_eq!(network.forward(&images(3, image), Mode::Inference).size(), [3, 7], "{architecture:?}");
            let segments = &network.layout().segments;
            let names: BTreeSet<&str> = segments.iter().map(|s| s.name.as_str()).collect();
            assert_eq!(names.len(), segments.len());
            assert_eq!(network.layout().coordinates() as i64, network.flat().size()[0]);
        }
    }
}

#[test]
fn the_residual_network_has_about_a_hundred_thousand_parameters() {
    let network = Network::build(Architecture::ResidualSmall, 10, DIGIT, 0);
    assert!((70_000..130_000).contains(&network.layout().coordinates()), "{}", network.layout().coordinates());
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let flat = |seed| values(Network::build(Architecture::VggSmall, 10, DIGIT, seed).flat());
    assert_eq!(flat(1), flat(1));
    assert_ne!(flat(1), flat(2));
}

#[test]
fn changing_the_flat_tensor_moves_the_network() {
    for architecture in Architecture::ALL {
        let (first, second) = (Network::build(architecture, 10, DIGIT, 1), Network::build(architecture, 10, DIGIT, 2));
        let x = images(2, DIGIT);
        let answer = |network: &Network| values(&no_grad(|| network.forward(&x, Mode::Inference)));
        assert_ne!(answer(&first), answer(&second));
        second.load(&values(first.flat()));
        assert_eq!(answer(&first), answer(&second), "{architecture:?}");
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for architecture in [Architecture::Mlp, Architecture::Lenet, Architecture::ResidualSmall] {
        let network = Network::build(architecture, 10, DIGIT, 1);
        let (x, labels) = (images(4, DIGIT), Tensor::from_slice(&[1_i64, 3, 5, 7]));
        let loss = || network.forward(&x, Mode::Inference).cross_entropy_for_logits(&labels);
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
    let _ = no_grad(|| network.forward(&(&x * 2.0), Mode::Train { momentum: 0.5 }));
    let after = buffer("bn1.running_var");
    // Twice the input has four times the variance: the mean of one and four parts.
    assert!(after.iter().zip(&before).all(|(a, b)| (a / b - 2.5).abs() < 1e-3), "{after:?} {before:?}");
}
