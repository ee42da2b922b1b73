//! The networks of the papers' experiments: their size, their tensors, how they begin, and that they take any image.

use rewind_job::{Architecture, Initialisation, Normalise, OperationType};
use rewind_models::{Mode, Network};
use tch::{Device, Kind, Tensor, no_grad};

const COLOUR: [u32; 3] = [3, 32, 32];

fn images(count: i64, [channels, height, width]: [u32; 3]) -> Tensor {
    let shape = [count, i64::from(channels), i64::from(height), i64::from(width)];
    let pixels = Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu)) * 0.37;
    (pixels.sin().view(shape) + 1.0) / 2.0
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.contiguous().view([-1])).expect("float32")
}

fn segment(network: &Network, name: &str) -> Vec<f32> {
    let found = network.layout().segments.iter().find(|s| s.name == name);
    let s = found.unwrap_or_else(|| panic!("{name} is missing"));
    values(&network.flat().narrow(0, s.offset as i64, s.len() as i64))
}

/// A tensor's name, shape and operation type.
type Named<'a> = (&'a str, &'a [i64], OperationType);

#[test]
fn they_have_the_size_and_the_tensors_that_they_are_known_by() {
    use OperationType::{Bias, Convolution, FullyConnected};
    let expected: [(Architecture, usize, usize, &[Named]); 4] = [
        (
            Architecture::Resnet18,
            11_173_962,
            40,
            &[
                ("conv1.weight", &[64, 3, 3, 3], Convolution),
                ("layer2.0.downsample.0.weight", &[128, 64, 1, 1], Convolution),
                ("layer4.1.conv2.weight", &[512, 512, 3, 3], Convolution),
                ("layer4.1.bn2.weight", &[512], Bias),
                ("fc.weight", &[10, 512], FullyConnected),
            ],
        ),
        (
            Architecture::Resnet18Keras,
            11_186_442,
            40,
            &[
                ("conv1.weight", &[64, 3, 7, 7], Convolution),
                ("conv1.bias", &[64], Bias),
                ("layer2.0.downsample.0.weight", &[128, 64, 1, 1], Convolution),
                ("layer4.0.downsample.0.bias", &[512], Bias),
                ("layer4.1.conv2.weight", &[512, 512, 3, 3], Convolution),
                ("fc.weight", &[10, 512], FullyConnected),
            ],
        ),
        (
            Architecture::PvtV2B0,
            3_412_330,
            0,
            &[
                ("patch_embed.proj.weight", &[32, 3, 7, 7], Convolution),
                ("stages.0.blocks.0.attn.q.weight", &[32, 32], FullyConnected),
                ("stages.0.blocks.0.attn.sr.weight", &[32, 32, 8, 8], Convolution),
                ("stages.1.blocks.1.mlp.dwconv.weight", &[512, 1, 3, 3], Convolution),
                ("stages.3.downsample.norm.weight", &[256], Bias),
                ("stages.3.norm.bias", &[256], Bias),
                ("head.weight", &[10, 256], FullyConnected),
            ],
        ),
        (
            Architecture::ConvnextTiny,
            27_827_818,
            0,
            &[
                ("stem.0.weight", &[96, 3, 4, 4], Convolution),
                ("stages.0.blocks.0.conv_dw.weight", &[96, 1, 7, 7], Convolution),
                ("stages.2.blocks.8.gamma", &[384], Bias),
                ("stages.3.blocks.2.mlp.fc1.weight", &[3072, 768], FullyConnected),
                ("stages.1.downsample.1.weight", &[192, 96, 2, 2], Convolution),
                ("head.norm.weight", &[768], Bias),
                ("head.fc.weight", &[10, 768], FullyConnected),
            ],
        ),
    ];
    for (architecture, coordinates, buffers, tensors) in expected {
        let network = Network::build(architecture, 10, COLOUR, 0);
        assert_eq!(network.layout().coordinates(), coordinates, "{architecture:?}");
        assert_eq!(network.buffers().len(), buffers, "{architecture:?}");
        for &(name, shape, operation) in tensors {
            let segment = network.layout().segments.iter().find(|s| s.name == name);
            let segment = segment.unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!((&segment.shape[..], segment.operation), (shape, operation), "{name}");
        }
    }
}

#[test]
fn they_answer_for_images_of_any_size_and_zeros_fill_them_up() {
    for architecture in Architecture::LARGE {
        for image in [[1, 28, 28], [3, 8, 40]] {
            let network = Network::build(architecture, 7, image, 0);
            let x = images(2, image);
            let answer = no_grad(|| network.forward(&x, Mode::Inference));
            assert_eq!(answer.size(), [2, 7], "{architecture:?}");
            assert!(values(&answer).iter().all(|logit| logit.is_finite()));
            if !matches!(architecture, Architecture::Resnet18 | Architecture::Resnet18Keras) {
                let whole = x.constant_pad_nd([0, (32 - i64::from(image[2]) % 32) % 32, 0, 32 - i64::from(image[1])]);
                assert_eq!(values(&no_grad(|| network.forward(&whole, Mode::Inference))), values(&answer));
            }
        }
    }
}

#[test]
fn fresh_weights_are_the_authors_unless_others_are_asked_for() {
    let deviation =
        |values: &[f32]| (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
    let network = Network::build(Architecture::PvtV2B0, 10, COLOUR, 1);
    for (name, expected) in [
        ("stages.3.blocks.0.mlp.fc1.weight", 0.02),
        ("head.weight", 0.02),
        ("stages.0.blocks.0.attn.sr.weight", (2.0_f64 / (32.0 * 64.0)).sqrt()),
        ("stages.0.blocks.0.mlp.dwconv.weight", (2.0_f64 / 9.0).sqrt()),
    ] {
        let values = segment(&network, name);
        // Four standard deviations of the deviation of so many normal numbers.
        let most = 4.0 * expected / (2.0 * values.len() as f64).sqrt();
        assert!((deviation(&values) - expected).abs() < most, "{name}: {} for {expected}", deviation(&values));
    }
    assert!(segment(&network, "stages.1.blocks.0.attn.q.bias").iter().all(|&bias| bias == 0.0));

    let other = Network::initialised(Architecture::PvtV2B0, 10, COLOUR, Initialisation::KaimingNormal, 1);
    let (values, expected) = (segment(&other, "stages.3.blocks.0.mlp.fc1.weight"), (2.0_f64 / 256.0).sqrt());
    assert!((deviation(&values) / expected - 1.0).abs() < 0.02, "{} for {expected}", deviation(&values));
}

#[test]
fn normalisation_is_the_networks_first_operation() {
    let build = || Network::build(Architecture::ResidualSmall, 10, COLOUR, 1);
    let normalise = Normalise { mean: vec![0.5, 0.4, 0.3], std: vec![0.2, 0.25, 0.5] };
    let x = images(3, COLOUR);
    let channel = |numbers: &[f32]| Tensor::from_slice(numbers).view([1, 3, 1, 1]);
    let by_hand = (&x - channel(&[0.5, 0.4, 0.3])) / channel(&[0.2, 0.25, 0.5]);
    let answer = |network: &Network, x: &Tensor| values(&no_grad(|| network.forward(x, Mode::Inference)));
    let normalised = build().normalised(&normalise);
    assert_eq!(answer(&normalised, &x), answer(&build(), &by_hand));
    assert_ne!(answer(&normalised, &x), answer(&build(), &x));
    assert_eq!(normalised.layout(), build().layout(), "it has no weights");
}

#[test]
fn images_are_resized_as_by_tensorflow_after_they_are_normalised() {
    let golden = include_str!("../../../tests/golden/image_data_generator.json");
    let golden: serde_json::Value = serde_json::from_str(golden).expect("the golden file is JSON");
    let numbers = |name: &str| -> Vec<f32> {
        let list = golden[name].as_array().expect("a list").iter();
        list.map(|number| number.as_f64().expect("a number") as f32).collect()
    };
    let side = golden["side"].as_u64().expect("a number") as u32;
    let (first, resized) = (numbers("image"), numbers("resized"));
    let small = Tensor::from_slice(&first).view([2, 1, 7, 10]);
    let large = Tensor::from_slice(&resized).view([2, 1, i64::from(side), i64::from(side)]);
    let normalise = Normalise { mean: vec![0.4], std: vec![0.2] };
    let build = || Network::build(Architecture::ResidualSmall, 10, [1, 7, 10], 1).normalised(&normalise);
    let answer = |network: &Network, x: &Tensor| values(&no_grad(|| network.forward(x, Mode::Inference)));
    let (found, expected) = (answer(&build().resized(side), &small), answer(&build(), &large));
    let error = found.iter().zip(&expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(error < 1e-5, "{error:e}");
    assert_ne!(found, answer(&build(), &small));
    assert_eq!(build().resized(side).layout(), build().layout(), "it has no weights");
}

#[test]
fn the_head_is_the_layer_whose_shapes_hang_on_the_number_of_classes() {
    let classifies = |architecture: &Architecture| !architecture.gives_images();
    for architecture in Architecture::SMALL.into_iter().chain(Architecture::LARGE).filter(classifies) {
        let (ten, seven) = [10, 7].map(|classes| Network::build(architecture, classes, COLOUR, 0)).into();
        let names: Vec<&str> = ten.head().iter().map(|segment| segment.name.as_str()).collect();
        let pairs = ten.layout().segments.iter().zip(&seven.layout().segments);
        let changing: Vec<&str> =
            pairs.filter(|(ten, seven)| ten.shape != seven.shape).map(|(ten, _)| ten.name.as_str()).collect();
        assert_eq!(names, changing, "{architecture:?}");
        assert_eq!(names.len(), 2, "{architecture:?}");
    }
}
