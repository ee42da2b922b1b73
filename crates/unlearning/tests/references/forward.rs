//! What the networks answer, by running statistics and by the batch's, to a millionth of the largest answer.

use rewind_job::Architecture;
use rewind_models::{Mode, Network};
use serde_json::json;
use tch::no_grad;

use crate::{
    drawing::{SEED, uniform},
    networks::{CLASSES, input_of, network, samples},
    reference::{Answer, Case, compare_with_reference, expect_nothing, near},
};

/// What the reference calls a tensor of the authors' ResNet-18.
fn name_of(name: &str) -> String {
    let (layer, part) = name.rsplit_once('.').expect("layer.part");
    let convolution_or_norm = |layer: &str| match layer {
        "conv1" => "first.conv",
        "bn1" => "first.norm",
        "conv2" => "second.conv",
        "bn2" => "second.norm",
        "downsample.0" => "shortcut.conv",
        "downsample.1" => "shortcut.norm",
        other => panic!("{other} is no layer of a block"),
    };
    let layer = match (layer, layer.strip_prefix("layer")) {
        ("conv1", _) => "stem.conv".to_owned(),
        ("bn1", _) => "stem.norm".to_owned(),
        ("fc", _) => "classifier".to_owned(),
        (_, Some(rest)) => {
            let mut parts = rest.splitn(3, '.');
            let stage: usize = parts.next().and_then(|stage| stage.parse().ok()).expect("a number");
            let block = parts.next().expect("a block");
            format!("stages.{}.{block}.{}", stage - 1, convolution_or_norm(parts.next().expect("a layer")))
        }
        _ => panic!("{name} is no tensor of it"),
    };
    format!("{layer}.{part}")
}

#[test]
fn the_authors_resnet18_answers_as_its_reference_does() {
    tch::set_num_threads(1);
    let network = Network::build(Architecture::Resnet18Keras, CLASSES, [3, 32, 32], SEED);
    for (name, buffer) in network.buffers() {
        let (low, high) = if name.ends_with("var") { (0.5, 2.0) } else { (-0.2, 0.2) };
        no_grad(|| buffer.shallow_clone().copy_(&uniform(&name, &buffer.size(), low, high)));
    }
    for segment in network.layout().segments.iter().filter(|segment| segment.shape.len() == 1) {
        let (low, high) =
            if segment.name.contains("bn") && segment.name.ends_with("weight") { (0.7, 1.3) } else { (-0.2, 0.2) };
        let mut place = network.flat().narrow(0, segment.offset as i64, segment.len() as i64);
        no_grad(|| place.copy_(&uniform(&segment.name, &segment.shape, low, high)));
    }
    let images = uniform("colours", &[1, 3, 32, 32], 0.0, 1.0);
    let asked = json!({"network": "resnet18-keras", "mode": "inference"});
    let mut case = input_of(Case::new("network", "resnet18-keras", asked), &network).with("images", &images);
    case.inputs = case
        .inputs
        .into_iter()
        .map(|(name, tensor)| match name.split_once('.') {
            Some((side, rest)) => (format!("{side}.{}", name_of(rest)), tensor),
            _ => (name, tensor),
        })
        .collect();
    let found = no_grad(|| network.forward(&images, Mode::Inference));
    expect_nothing(&compare_with_reference(&case, |answer: &Answer| {
        let expected = answer.tensor("logits")?;
        near("the answer", &found, expected, 2e-6 * expected.abs().max().double_value(&[]))
    }));
}

#[test]
fn networks_answer_as_their_references_do() {
    tch::set_num_threads(1);
    let images = samples("seen", 9);
    let mut wrong = Vec::new();
    for (architecture, name, mode) in [
        (Architecture::Mlp, "mlp", "inference"),
        (Architecture::VggSmall, "vgg-small", "inference"),
        (Architecture::VggSmall, "vgg-small", "train"),
    ] {
        let network = network(architecture);
        let case = Case::new("network", format!("{name}, {mode}"), json!({"network": name, "mode": mode}));
        let case = input_of(case, &network).with("images", images.images());
        let ours = match mode {
            "train" => Mode::Train { momentum: 0.1 },
            _ => Mode::Inference,
        };
        let found = no_grad(|| network.forward(images.images(), ours));
        wrong.extend(compare_with_reference(&case, |answer: &Answer| {
            let expected = answer.tensor("logits")?;
            near("the answer", &found, expected, 1e-6 * expected.abs().max().double_value(&[]).max(1.0))?;
            let mut moved = network.buffers().into_iter().filter(|_| mode == "train");
            moved.try_for_each(|(name, found)| near(&name, &found, answer.tensor(&format!("buffers.{name}"))?, 1e-6))
        }));
    }
    expect_nothing(&wrong);
}
