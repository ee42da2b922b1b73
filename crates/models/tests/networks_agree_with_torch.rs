//! Answers, losses and gradients of the networks against PyTorch's own layers, torchvision and timm in float64
//! (tests/golden/networks.py), and of the authors' ResNet-18 against Keras (tests/golden/keras_resnet18.py), to 1e-4 of their
//! size: what float32 leaves. Gradients of the networks with millions of parameters, which are longer sums, to 1e-3.

use rewind_job::Architecture;
use rewind_models::{Mode, Network};
use serde_json::Value;
use tch::{Kind, Reduction, Tensor};

static GOLDEN: &str = include_str!("../../../tests/golden/networks.json");
static KERAS: &str = include_str!("../../../tests/golden/keras_resnet18.json");

/// As `draw` in the script: numbers between ±1 by a hash of name and position; a weight's times √(3 / fan-in), a
/// bias's an eighth.
fn draw(name: &str, shape: &[i64]) -> Vec<f32> {
    let start = name.bytes().rev().fold(0_u32, |sum, byte| sum.wrapping_mul(131).wrapping_add(u32::from(byte)));
    let middle = if name.ends_with("weight") || name.ends_with("running_var") { 1.0 } else { 0.0 };
    let fan_in: i64 = shape[1..].iter().product();
    (0..shape.iter().product::<i64>() as u32)
        .map(|index| {
            let hash = start.wrapping_add(index).wrapping_mul(2_654_435_761);
            let value = f64::from(hash) / f64::from(1_u32 << 31) - 1.0;
            let value = match (name, shape.len()) {
                ("images", _) => value,
                (_, 1) => middle + value / 8.0,
                _ => value * (3.0 / fan_in as f64).sqrt(),
            };
            value as f32
        })
        .collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// The largest distance.
fn distance(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0_f64, |most, (a, b)| most.max((a - b).abs()))
}

fn root_mean_square(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt()
}

fn agrees_with_torch(architecture: Architecture, name: &str, tolerance: f64) {
    let golden: Value = serde_json::from_str(GOLDEN).expect("the golden file is JSON");
    agrees(architecture, name, &golden["networks"][name], tolerance);
}

/// `tolerance` is for gradients, in their root mean square.
fn agrees(architecture: Architecture, name: &str, golden: &Value, tolerance: f64) {
    tch::set_num_threads(1);
    let image: Vec<u32> = numbers(&golden["image"]).iter().map(|&side| side as u32).collect();
    let network = Network::build(architecture, 10, [image[0], image[1], image[2]], 1);
    let layout = network.layout();
    network.load(&layout.segments.iter().flat_map(|s| draw(&s.name, &s.shape)).collect::<Vec<_>>());
    for (buffer, mut tensor) in network.buffers() {
        tensor.copy_(&Tensor::from_slice(&draw(&buffer, &tensor.size())));
    }
    let shape = [2, i64::from(image[0]), i64::from(image[1]), i64::from(image[2])];
    let images = Tensor::from_slice(&draw("images", &shape)).view(shape);

    let answer = network.forward(&images, Mode::Inference);
    let flat: Vec<f64> = Vec::try_from(answer.to_kind(Kind::Double).view([-1])).expect("numbers");
    let expected = numbers(&golden["answer"]);
    let error = distance(&flat, &expected) / root_mean_square(&expected);
    assert!(error < 1e-4, "{name}: the answer is {error:e} from the golden one");

    let loss = if architecture.gives_images() {
        answer.mse_loss(&images.sin(), Reduction::Mean)
    } else {
        answer.cross_entropy_for_logits(&Tensor::from_slice(&[3_i64, 7]))
    };
    let expected = golden["loss"].as_f64().expect("a number");
    let error = (loss.double_value(&[]) / expected - 1.0).abs();
    assert!(error < 1e-5, "{name}: the loss is {error:e} from the golden one");

    loss.backward();
    let gradient = network.flat().zeros_like();
    network.collect_gradients(&gradient);
    // Of a gradient every so many-th value is in the golden file.
    let every = golden["every"].as_u64().expect("a number") as usize;
    let gradients = golden["gradients"].as_object().expect("a table");
    assert_eq!(gradients.len(), layout.segments.len(), "{name} has other tensors");
    for segment in &layout.segments {
        let expected = numbers(&gradients[&segment.name]);
        let mine = gradient.narrow(0, segment.offset as i64, segment.len() as i64).to_kind(Kind::Double);
        let mine: Vec<f64> = Vec::try_from(mine).expect("numbers");
        let some: Vec<f64> = mine.iter().step_by(every).copied().collect();
        // Sums cancel: they are held to the largest that a sum of so many values of this size can be. Rounding of one
        // activation to the other side of 0 moves a whole channel's gradient alike.
        let (sum, size) = (mine.iter().sum::<f64>(), root_mean_square(&mine));
        let expected_size = (expected[1] / mine.len() as f64).sqrt();
        let errors = [
            (sum - expected[0]).abs() / (expected[1] * mine.len() as f64).sqrt(),
            (size / expected_size - 1.0).abs(),
            distance(&some, &expected[2..]) / expected_size,
        ];
        assert!(errors.iter().all(|&error| error < tolerance), "{name}, {}: {errors:?}", segment.name);
    }
}

#[test]
fn the_plain_residual_network_agrees_with_torch() {
    agrees_with_torch(Architecture::ResidualPlainSmall, "residual-plain-small", 1e-4);
}

#[test]
fn the_transformer_agrees_with_torch() {
    agrees_with_torch(Architecture::TransformerSmall, "transformer-small", 1e-4);
}

#[test]
fn the_unet_agrees_with_torch() {
    agrees_with_torch(Architecture::UnetSmall, "unet-small", 1e-4);
}

#[test]
fn resnet18_agrees_with_torchvisions() {
    agrees_with_torch(Architecture::Resnet18, "resnet18", 1e-3);
}

#[test]
fn the_pyramid_vision_transformer_agrees_with_timms() {
    agrees_with_torch(Architecture::PvtV2B0, "pvt-v2-b0", 1e-3);
}

#[test]
fn convnext_agrees_with_timms() {
    agrees_with_torch(Architecture::ConvnextTiny, "convnext-tiny", 1e-3);
}

#[test]
fn the_authors_resnet18_agrees_with_keras() {
    let golden: Value = serde_json::from_str(KERAS).expect("the golden file is JSON");
    agrees(Architecture::Resnet18Keras, "resnet18-keras", &golden, 1e-3);

    let network = Network::build(Architecture::Resnet18Keras, 10, [3, 32, 32], 1);
    assert_eq!(Some(network.layout().coordinates() as u64), golden["parameters"].as_u64());
    // Keras' own draws are the formulas that ours are held to.
    for segment in &network.layout().segments {
        let deviation = numbers(&golden["weights"][&segment.name])[1];
        let fan_in = segment.shape[1..].iter().product::<i64>() as f64;
        let expected = match (segment.name.as_str(), segment.shape.len()) {
            (_, 1) => 0.0,
            ("fc.weight", _) => (2.0 / (fan_in + segment.shape[0] as f64)).sqrt(),
            _ => (2.0 / fan_in).sqrt(),
        };
        let most = 4.0 * expected / (2.0 * segment.len() as f64).sqrt();
        assert!((deviation - expected).abs() <= most, "{}: {deviation} for {expected}", segment.name);
    }
}

#[test]
fn the_authors_resnet18_has_maps_of_9_places_a_side() {
    let golden: Value = serde_json::from_str(KERAS).expect("the golden file is JSON");
    let sides = numbers(&golden["maps"]);
    assert_eq!(sides, [34.0, 34.0, 17.0, 9.0]);
    let network = Network::build(Architecture::Resnet18Keras, 10, [3, 32, 32], 1);
    let maps = network.maps(&Tensor::zeros([1, 3, 32, 32], (Kind::Float, tch::Device::Cpu)), Mode::Inference);
    assert_eq!(maps.map(|maps| maps.size()), Some(vec![1, 512, sides[3] as i64, sides[3] as i64]));
}
