//! Fisher forgetting: what the information is, and the noise that each of its forms gives.

mod gang;

use std::collections::BTreeMap;

use rewind_collective::CancelSignal;
use rewind_job::{Architecture, Fisher, FisherForm, Forward, Method, Optimiser, Sgd};
use rewind_models::{Mode, Network};
use rewind_unlearning::{Gang, LabelledSamples, Learner, Materials, method_for};
use tch::{Device, Kind, Tensor, no_grad};

const CLASSES: u32 = 4;
const ALPHA: f64 = 1e-8;

fn network_on(device: Device) -> Network {
    Network::build_on(device, Architecture::DepthwiseSmall, CLASSES, [1, 8, 8], 3)
}

fn samples() -> LabelledSamples {
    let images = (Tensor::arange(6 * 64, (Kind::Float, Device::Cpu)) * 0.7 + 0.3).sin().view([6, 1, 8, 8]);
    LabelledSamples::new(images, Tensor::from_slice(&[0_i64, 1, 2, 3, 0, 1]))
}

fn learner(gang: Gang) -> Learner {
    let unused = Optimiser::Sgd(Sgd { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false });
    Learner::new(network_on(gang.device()), gang, unused, 5, "unlearning", CancelSignal::new())
}

/// What every rank holds a shard of, whole.
fn whole(learner: &mut Learner, shard: &Tensor) -> Tensor {
    let flat = learner.network.flat().zeros_like();
    learner.gang.shard(&flat).copy_(shard);
    learner.gang.gather_from_owners(&flat).expect("gathers");
    flat
}

/// Of `[P]`, a tensor's values.
fn values(learner: &Learner, flat: &Tensor, name: &str) -> Vec<f64> {
    let segments = &learner.gang.layout().segments;
    let segment = segments.iter().find(|segment| segment.name == name).expect("has one");
    let place = flat.narrow(0, segment.offset as i64, segment.len() as i64);
    Vec::try_from(place.to_kind(Kind::Double)).expect("float64")
}

/// Of each sample and class: the network's probability, and 1 where it is the label's. `[samples, classes]` each.
fn answers(learner: &Learner) -> (Tensor, Tensor) {
    let (data, device) = (samples(), learner.gang.device());
    let logits = no_grad(|| learner.network.forward(&data.images().to_device(device), Mode::Inference));
    let labels = data.labels().to_device(device).onehot(i64::from(CLASSES)).to_kind(Kind::Double);
    (logits.softmax(1, Kind::Double), labels)
}

fn mean(of_samples: &Tensor) -> Vec<f64> {
    Vec::try_from(of_samples.mean_dim([0].as_slice(), false, Kind::Double)).expect("float64")
}

/// The information of the last layer's bias, found and by hand, in both forms. The gradient of a sample's cross-entropy
/// is softmax − one-hot; its square has the mean p (1 − p) where labels come as often as the network says.
fn information_of_a_bias(gang: Gang) -> [(Vec<f64>, Vec<f64>); 2] {
    let mut learner = learner(gang);
    let (data, positions) = (samples(), (0..6).collect::<Vec<i64>>());
    let (p, labels) = answers(&learner);
    let own = learner.fisher_diagonal(&data, &positions).expect("computes");
    let empirical = whole(&mut learner, &own);
    let own = learner.expected_fisher_diagonal(&data, &positions).expect("computes");
    let expected = whole(&mut learner, &own);
    [
        (values(&learner, &empirical, "classifier.bias"), mean(&(&p - labels).square())),
        (values(&learner, &expected, "classifier.bias"), mean(&(&p * (1.0 - &p)))),
    ]
}

#[test]
fn information_is_the_mean_of_squared_gradients_of_single_samples_with_their_labels_or_the_networks_own() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        for forms in gang::on_every_rank(world, network_on(Device::Cpu).layout(), information_of_a_bias) {
            for (found, by_hand) in forms {
                for (found, by_hand) in found.iter().zip(&by_hand) {
                    assert!((found - by_hand).abs() < 1e-5 * by_hand.max(1e-3), "{found} and {by_hand}");
                }
            }
        }
    }
}

/// What a round adds to some tensors, divided by what was drawn from N(0, 1): the standard deviation.
fn deviations(learner: &mut Learner, form: FisherForm, forgotten_class: Option<u32>) -> BTreeMap<String, Vec<f64>> {
    let before = learner.network.flat().copy();
    let data = samples();
    let materials = Materials { remaining: Some(&data), forgotten_class, ..Materials::forget_only(&data, CLASSES) };
    let method = Method::Fisher(Fisher { form: Some(form), alpha: ALPHA, clamp: None, samples: None });
    let unused = Optimiser::Sgd(Sgd { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false });
    let device = learner.gang.device();
    let original = || network_on(device);
    let mut rounds =
        method_for(&method, &Forward::with(unused, 8), 1, &materials, &original).expect("needs no predictor");
    rounds.round(learner).expect("runs");
    let drawn = learner.noise("fisher");
    let drawn = whole(learner, &drawn);
    let added = (learner.network.flat() - before) / drawn;
    let segments = learner.gang.layout().segments.iter();
    segments.map(|segment| (segment.name.clone(), values(learner, &added, &segment.name))).collect()
}

fn assert_near(found: &[f64], expected: &[f64], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        // The weights round away what is small beside them, and a small draw makes that larger.
        assert!((found - expected).abs() < 0.02 * expected, "{what}: {found} where {expected} is due");
    }
}

fn noise_of_every_form(gang: Gang) -> Gang {
    let mut first = learner(gang);
    let (p, labels) = answers(&first);
    let empirical: Vec<f64> = mean(&(&p - labels).square()).iter().map(|f| (ALPHA / f).sqrt()).collect();
    let expected: Vec<f64> = mean(&(&p * (1.0 - &p))).iter().map(|f| (ALPHA / (f + 1e-8)).sqrt()).collect();

    let of = deviations(&mut first, FisherForm::Clamped, None);
    assert_near(&of["classifier.bias"], &empirical, "clamped");
    let mut second = learner(first.into_gang());
    let of = deviations(&mut second, FisherForm::Empirical, None);
    let tenfold: Vec<f64> = empirical.iter().map(|deviation| 10.0 * deviation.min(1e-3)).collect();
    assert_near(&of["classifier.bias"], &tenfold, "empirical");
    let mut third = learner(second.into_gang());
    let of = deviations(&mut third, FisherForm::Expected, None);
    let wider: Vec<f64> = expected.iter().map(|deviation| 10.0_f64.sqrt() * deviation).collect();
    assert_near(&of["classifier.bias"], &wider, "expected");
    // One number a unit: the mean over its inputs.
    for row in of["classifier.weight"].chunks(128) {
        assert_near(row, &[row[0]; 128], "a unit");
    }
    third.into_gang()
}

#[test]
fn noise_is_as_its_form_says_on_the_last_layers_bias_and_one_number_a_unit_where_that_is_published() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        gang::on_every_rank(world, network_on(Device::Cpu).layout(), |gang| noise_of_every_form(gang).rank());
    }
}

fn row_of_a_forgotten_class(gang: Gang) -> (f64, f64) {
    let mut learner = learner(gang);
    let rows = |learner: &Learner| values(learner, learner.network.flat(), "classifier.weight");
    let before = rows(&learner);
    let _ = deviations(&mut learner, FisherForm::Expected, Some(2));
    let after = rows(&learner);
    let drawn = learner.noise("fisher");
    let drawn = whole(&mut learner, &drawn);
    let drawn = values(&learner, &drawn, "classifier.weight");
    let apart = |row: usize, kept: f64, deviation: f64| {
        let places = row * 128..(row + 1) * 128;
        places.map(|at| (after[at] - kept * before[at] - deviation * drawn[at]).abs()).fold(0.0, f64::max)
    };
    // Drawn anew from N(0, 0.001); and a row of another class, which stays near where it was.
    (apart(2, 0.0, 1e-3_f64.sqrt()), apart(1, 1.0, 0.0))
}

#[test]
fn a_forgotten_classs_row_of_the_last_layer_is_drawn_anew_and_the_others_stay_near() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        for (anew, near) in gang::on_every_rank(world, network_on(Device::Cpu).layout(), row_of_a_forgotten_class) {
            assert!(anew < 1e-6, "{anew}");
            assert!(near > 0.0 && near < 0.05, "{near}");
        }
    }
}
