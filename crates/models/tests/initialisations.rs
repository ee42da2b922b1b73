//! Fresh weights have the distribution that their initialisation names.

use rewind_job::{Architecture, Initialisation, Segment};
use rewind_models::{Mode, Network};
use tch::{Device, Kind, Tensor, no_grad};

const DIGIT: [u32; 3] = [1, 28, 28];

const ALL: [Initialisation; 5] = [
    Initialisation::Torch,
    Initialisation::KaimingNormal,
    Initialisation::XavierUniform,
    Initialisation::Orthogonal,
    Initialisation::Small { gain: 0.25 },
];

fn network(architecture: Architecture, initialisation: Initialisation) -> Network {
    Network::initialised(architecture, 10, DIGIT, initialisation, 3)
}

/// A network's tensors with their values in float64.
fn tensors(network: &Network) -> Vec<(Segment, Vec<f64>)> {
    let flat: Vec<f64> = Vec::try_from(network.flat().to_kind(Kind::Double)).expect("numbers");
    let segments = network.layout().segments.iter();
    segments.map(|s| (s.clone(), flat[s.offset..s.offset + s.len()].to_vec())).collect()
}

/// Tensors that the initialisation draws: in PyTorch's they are not constant as a norm's are, nor embeddings.
fn drawn(architecture: Architecture, initialisation: Initialisation) -> Vec<(Segment, Vec<f64>)> {
    let torch = tensors(&network(architecture, Initialisation::Torch));
    let found = tensors(&network(architecture, initialisation)).into_iter().zip(torch);
    found
        .filter(|((segment, _), (_, torch))| !is_constant(torch) && segment.name != "pos_embed")
        .map(|(found, _)| found)
        .collect()
}

fn is_constant(values: &[f64]) -> bool {
    values.iter().all(|&value| value == values[0])
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[test]
fn what_is_not_asked_for_is_torchs() {
    for architecture in Architecture::SMALL {
        let (plain, torch) =
            (Network::build(architecture, 10, DIGIT, 3), network(architecture, Initialisation::default()));
        assert_eq!(plain.flat(), torch.flat());
    }
}

#[test]
fn weights_have_the_variance_of_their_initialisation_and_biases_are_zero() {
    for architecture in Architecture::SMALL {
        for (initialisation, bounded) in [(Initialisation::KaimingNormal, false), (Initialisation::XavierUniform, true)]
        {
            for (segment, values) in drawn(architecture, initialisation) {
                if segment.shape.len() == 1 {
                    assert!(values.iter().all(|&value| value == 0.0), "{}", segment.name);
                    continue;
                }
                let places = segment.shape[2..].iter().product::<i64>() as f64;
                let (fan_in, fan_out) = (segment.shape[1] as f64 * places, segment.shape[0] as f64 * places);
                let variance = if bounded { 2.0 / (fan_in + fan_out) } else { 2.0 / fan_in };
                // Mean squares over the variance scatter by √(2/n) for normal numbers, by less for uniform ones.
                let found = mean(values.iter().map(|v| v * v)) / variance;
                let scatter = 4.0 * (2.0 / values.len() as f64).sqrt();
                assert!((found - 1.0).abs() < scatter, "{architecture:?} {}: {found}", segment.name);
                let largest = values.iter().fold(0.0_f64, |largest, v| largest.max(v.abs())) / variance.sqrt();
                assert_eq!(largest <= 1.7321, bounded || values.len() < 30, "{}: {largest}", segment.name);
            }
        }
    }
}

#[test]
fn orthogonal_weights_have_orthonormal_rows_or_columns() {
    for architecture in [Architecture::Mlp, Architecture::VggSmall, Architecture::TransformerSmall] {
        for (segment, values) in drawn(architecture, Initialisation::Orthogonal) {
            if segment.shape.len() == 1 {
                continue;
            }
            let matrix = Tensor::from_slice(&values).view([segment.shape[0], -1]);
            let (rows, columns) = (matrix.size()[0], matrix.size()[1]);
            let product = if rows <= columns { matrix.matmul(&matrix.tr()) } else { matrix.tr().matmul(&matrix) };
            let identity = Tensor::eye(rows.min(columns), (Kind::Double, Device::Cpu));
            let error = (product - identity).abs().max().double_value(&[]);
            assert!(error < 1e-6, "{}: {error:e}", segment.name);
        }
    }
}

#[test]
fn small_weights_are_torchs_times_the_gain() {
    for architecture in [Architecture::Lenet, Architecture::TransformerSmall, Architecture::ResidualSmall] {
        let (torch, small) =
            (network(architecture, Initialisation::Torch), network(architecture, Initialisation::Small { gain: 0.25 }));
        for ((segment, torch), (_, small)) in tensors(&torch).into_iter().zip(tensors(&small)) {
            let gain = if is_constant(&torch) { 1.0 } else { 0.25 };
            let error = torch.iter().zip(&small).fold(0.0_f64, |most, (a, b)| most.max((a * gain - b).abs()));
            assert!(error < 1e-7, "{}: {error:e}", segment.name);
        }
    }
}

#[test]
fn every_initialisation_of_every_network_answers_and_depends_on_the_seed() {
    let x = Tensor::arange(2 * 784, (Kind::Float, Device::Cpu)).sin().view([2, 1, 28, 28]);
    for architecture in Architecture::SMALL {
        for initialisation in ALL {
            let network = network(architecture, initialisation);
            let answer = no_grad(|| network.forward(&x, Mode::Train { momentum: 0.1 }));
            assert_eq!(answer.isfinite().all().int64_value(&[]), 1, "{architecture:?} {initialisation:?}");
            let again = Network::initialised(architecture, 10, DIGIT, initialisation, 3);
            assert_eq!(network.flat(), again.flat());
            let other = Network::initialised(architecture, 10, DIGIT, initialisation, 4);
            assert_ne!(network.flat(), other.flat());
        }
    }
}

/// What a network's authors draw: standard deviation of a tensor, and the largest magnitude of it in deviations; none where
/// there is no such bound.
type Drawn = (f64, Option<f64>);

/// Holds every tensor of a fresh network to what is expected of it; a deviation of 0 is a bias at 0, and norms begin at 1
/// and 0. So many normal numbers have a deviation that scatters by √(1 / 2n); uniform ones, by less.
fn begins_as(architecture: Architecture, image: [u32; 3], expected: impl Fn(&Segment) -> Drawn) {
    let network = Network::initialised(architecture, 10, image, Initialisation::Torch, 5);
    for (segment, values) in tensors(&network) {
        let name = &segment.name;
        if name.contains("bn") || name.contains("downsample.1") || is_norm_of_vgg(architecture, name) {
            let value = if name.ends_with("weight") { 1.0 } else { 0.0 };
            assert!(values.iter().all(|&found| found == value), "{name}");
            continue;
        }
        let (deviation, largest) = expected(&segment);
        if deviation == 0.0 {
            assert!(values.iter().all(|&found| found == 0.0), "{name}");
            continue;
        }
        let count = values.len() as f64;
        let found = mean(values.iter().map(|v| v * v)).sqrt() / deviation;
        assert!((found - 1.0).abs() < 4.0 / (2.0 * count).sqrt(), "{name}: {found}, {count} values");
        let middle = mean(values.iter().copied()) / deviation;
        assert!(middle.abs() < 4.0 / count.sqrt(), "{name}: mean {middle}");
        let most = values.iter().fold(0.0_f64, |most, v| most.max(v.abs())) / deviation;
        match largest {
            Some(largest) => assert!(most <= largest * 1.0001, "{name}: {most}"),
            // Of a thousand normal numbers one is beyond 2.5 but with a probability of 1e-6.
            None => assert!(most > 2.5 || count < 1000.0, "{name}: {most}"),
        }
    }
}

/// VGG's norms have numbers for names: convolutions and norms take turns.
fn is_norm_of_vgg(architecture: Architecture, name: &str) -> bool {
    architecture == Architecture::VggSmall
        && ["1", "5", "8", "12"].contains(&name.split('.').nth(1).unwrap_or_default())
}

fn fans(segment: &Segment) -> (f64, f64) {
    let places = segment.shape[2..].iter().product::<i64>() as f64;
    (segment.shape[1] as f64 * places, segment.shape[0] as f64 * places)
}

#[test]
fn resnet18_begins_as_torchvisions() {
    let uniform = Some(3.0_f64.sqrt());
    begins_as(Architecture::Resnet18, [3, 32, 32], |segment| match segment.name.as_str() {
        "fc.weight" | "fc.bias" => (1.0 / (3.0 * 512.0_f64).sqrt(), uniform),
        _ => ((2.0 / fans(segment).1).sqrt(), None),
    });
}

#[test]
fn the_small_vgg_begins_as_torchvisions() {
    begins_as(Architecture::VggSmall, [3, 32, 32], |segment| match segment.name.as_str() {
        "classifier.weight" => (0.01, None),
        "classifier.bias" => (0.0, None),
        _ => ((2.0 / fans(segment).1).sqrt(), None),
    });
}

#[test]
fn the_authors_resnet18_begins_as_keras_draws_it() {
    begins_as(Architecture::Resnet18Keras, [3, 32, 32], |segment| match (segment.name.as_str(), segment.shape.len()) {
        (_, 1) => (0.0, None),
        ("fc.weight", _) => ((2.0_f64 / (512.0 + 10.0)).sqrt(), Some(3.0_f64.sqrt())),
        // Cut at two deviations of the uncut distribution.
        _ => ((2.0 / fans(segment).0).sqrt(), Some(2.0 / 0.879_625_66)),
    });
}

/// As [`Initialisation::Torch`] stands for an architecture's own draw, others stand for themselves.
#[test]
fn other_initialisations_of_the_large_networks_are_themselves() {
    for architecture in [Architecture::Resnet18, Architecture::Resnet18Keras] {
        let network = Network::initialised(architecture, 10, [3, 32, 32], Initialisation::KaimingNormal, 5);
        for (segment, values) in tensors(&network).iter().filter(|(segment, _)| segment.shape.len() > 1) {
            let found = mean(values.iter().map(|v| v * v)).sqrt() / (2.0 / fans(segment).0).sqrt();
            assert!((found - 1.0).abs() < 4.0 / (2.0 * values.len() as f64).sqrt(), "{}: {found}", segment.name);
        }
    }
}
