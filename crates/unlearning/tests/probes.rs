//! What is asked of finished weights: confidences, the line between two networks, relearning.

mod gang;

use rewind_artifacts::Shard;
use rewind_collective::{CancelSignal, Solo, cuda};
use rewind_job::{Architecture, LinePoint, Optimiser, Rank, Schedule, Sgd, ShardPlan, WorldSize};
use rewind_models::Network;
use rewind_unlearning::{
    Descent, Gang, LabelledSamples, Learner, Pass, PassMode, Sparing, accuracy, confidences, on_the_line, predictions,
    relearn,
};
use tch::{Device, Kind, Tensor};

const IMAGE: [u32; 3] = [1, 8, 8];

fn mlp(classes: u32) -> Network {
    mlp_on(cuda::device_of_test(Rank(0)), classes)
}

fn mlp_on(device: Device, classes: u32) -> Network {
    Network::build_on(device, Architecture::Mlp, classes, IMAGE, 3)
}

fn alone(network: &Network) -> Gang {
    let layout = network.layout().clone();
    let plan = ShardPlan::balanced(&layout, WorldSize(1));
    Gang::new(Box::new(Solo::on(network.device())), layout, plan)
}

/// A network that answers these logits, whatever it sees: all weights are 0 but the last bias.
fn constant(logits: &[f32]) -> (Network, Shard) {
    let network = mlp(logits.len() as u32);
    let layout = network.layout();
    let bias = layout.segments.iter().find(|segment| segment.name == "fc3.bias").expect("is there");
    let mut weights = vec![0.0; layout.coordinates()];
    weights[bias.offset..bias.offset + bias.len()].copy_from_slice(logits);
    network.load(&weights);
    (network, Shard { weights, ..Shard::default() })
}

/// Blurred bars, each class with its own noise.
fn samples(count: i64, labels: &[i64], phase: f64) -> LabelledSamples {
    let noise = (Tensor::arange(count * 64, (Kind::Float, Device::Cpu)) * 0.7 + phase).sin().view([count, 1, 8, 8]);
    let of_each: Vec<i64> = (0..count as usize).map(|sample| labels[sample % labels.len()]).collect();
    let labels = Tensor::from_slice(&of_each);
    let rows = Tensor::arange(8, (Kind::Int64, Device::Cpu)).floor_divide_scalar(2).view([1, 1, 8, 1]);
    let bars = rows.eq_tensor(&labels.view([-1, 1, 1, 1])).to_kind(Kind::Float).expand([count, 1, 8, 8], false);
    LabelledSamples::new(bars + noise * 0.2, labels)
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
}

#[test]
fn confidences_are_those_computed_by_hand() {
    // Probabilities 1/8, 2/8 and 5/8.
    let (network, _) = constant(&[0.0, 2f32.ln(), 5f32.ln()]);
    let found = confidences(&network, &mut alone(&network), &samples(3, &[0, 1, 2], 0.0)).expect("measures");
    for (found, odds) in found.into_iter().zip([1.0 / 7.0, 1.0 / 3.0, 5.0 / 3.0]) {
        near(found, f64::ln(odds));
    }
    // Probabilities that are 0 and 1 in float64.
    let (network, _) = constant(&[0.0, 1000.0, -1000.0]);
    let found = confidences(&network, &mut alone(&network), &samples(3, &[0, 1, 2], 0.0)).expect("measures");
    assert_eq!(found, [-1000.0, 1000.0, -2000.0]);
}

#[test]
fn confidences_are_the_scaled_probabilities_on_any_number_of_ranks() {
    let of = |gang: Gang| {
        let (network, data) = (mlp_on(gang.device(), 4), samples(301, &[0, 1, 2, 3], 1.0));
        let mut gang = gang;
        let found = confidences(&network, &mut gang, &data).expect("measures");
        (found, predictions(&network, &mut gang, &data).expect("measures").probability)
    };
    let layout = mlp(4).layout().clone();
    let (alone, probabilities) = gang::on_every_rank(1, &layout, of).remove(0);
    assert_eq!(alone.len(), 301);
    for (found, p) in alone.iter().zip(&probabilities) {
        assert!((found - (p / (1.0 - p)).ln()).abs() < 1e-9);
    }
    let together = gang::on_every_rank(2, &layout, of);
    for (found, _) in &together {
        assert_eq!(found, &together[0].0);
        // Batches are cut elsewhere: float32 rounds otherwise.
        assert!(found.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn losses_on_the_line_are_those_computed_by_hand() {
    let ((network, from), (_, to)) = (constant(&[1.0, 0.0]), constant(&[0.0, 2.0]));
    near(from.distance(&to), 5f64.sqrt());
    let (forget, test) = (samples(3, &[0, 0, 1], 0.0), samples(2, &[1], 0.0));
    let mut gang = alone(&network);
    let line = on_the_line(&network, &mut gang, (&from, &to), 3, &forget, Some(&test)).expect("measures");
    // Logits (1, 0), (1/2, 1), (0, 2): the second is ahead by −1, 1/2 and 2.
    for ((point, share), ahead) in line.iter().zip([0.0, 0.5, 1.0]).zip([-1.0, 0.5, 2.0f64]) {
        let (first, second) = ((1.0 + ahead.exp()).ln(), (1.0 + (-ahead).exp()).ln());
        assert_eq!(point.share, share);
        near(point.forget_loss, (2.0 * first + second) / 3.0);
        near(point.forget_accuracy, if ahead > 0.0 { 100.0 / 3.0 } else { 200.0 / 3.0 });
        near(point.test_loss.expect("is read"), second);
        assert_eq!(point.test_accuracy, Some(if ahead > 0.0 { 100.0 } else { 0.0 }));
    }
    assert_eq!(line.len(), 3);
    let unread = on_the_line(&network, &mut gang, (&from, &to), 2, &forget, None).expect("measures");
    assert_eq!(unread[1], LinePoint { test_loss: None, test_accuracy: None, ..line[2] });
    assert_eq!(on_the_line(&network, &mut gang, (&from, &to), 0, &forget, None).expect("measures"), []);
}

/// A network that knows classes 0 and 1 well learns from classes 2 and 3, too.
struct Relearning {
    accuracies: Vec<f64>,
    /// Measured before and after, by other means.
    ends: [f64; 2],
    /// Accuracy on what is read.
    on_read: f64,
}

fn relearning(gang: Gang) -> Relearning {
    let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let mut learner =
        Learner::new(mlp_on(gang.device(), 4), gang, Optimiser::Sgd(sgd), 5, "relearning", CancelSignal::new());
    let pass = Pass {
        batch_size: 8,
        descent: Descent::Down,
        mode: PassMode::BatchStatistics,
        schedule: Schedule::Constant,
        epochs: 6,
    };
    let (remaining, forget) = (samples(80, &[0, 1], 0.0), samples(40, &[2, 3], 2.0));
    let sparing = Sparing::draw(&forget, 12, 5);
    let before = accuracy(&learner.network, &mut learner.gang, &sparing.unread).expect("measures");
    let data = remaining.with(&sparing.read);
    let accuracies = relearn(&mut learner, &data, &pass, &sparing.unread).expect("trains");
    let mut of = |data: &LabelledSamples| accuracy(&learner.network, &mut learner.gang, data).expect("measures");
    Relearning { accuracies, ends: [before, of(&sparing.unread)], on_read: of(&sparing.read) }
}

#[test]
fn what_was_forgotten_comes_back_and_is_measured_on_unread_samples() {
    let layout = mlp(4).layout().clone();
    let alone = gang::on_every_rank(1, &layout, relearning).remove(0);
    assert_eq!(alone.accuracies.len(), 7);
    assert_eq!([alone.accuracies[0], alone.accuracies[6]], alone.ends);
    assert!(alone.accuracies[0] < 60.0 && alone.accuracies[6] > 90.0, "{:?}", alone.accuracies);
    assert!(alone.on_read > 90.0);
    for rank in gang::on_every_rank(2, &layout, relearning) {
        // Rounding may move one of the 28 samples.
        let moved = rank.accuracies.iter().zip(&alone.accuracies).map(|(a, b)| (a - b).abs());
        assert!(moved.fold(0.0, f64::max) <= 100.0 / 28.0, "{:?} {:?}", rank.accuracies, alone.accuracies);
    }
}

#[test]
fn forget_samples_are_read_or_measured_on_and_the_draw_is_the_seeds() {
    let forget = LabelledSamples::new(
        Tensor::arange(20, (Kind::Float, Device::Cpu)).view([20, 1, 1, 1]),
        Tensor::zeros([20], (Kind::Int64, Device::Cpu)),
    );
    let numbers = |data: &LabelledSamples| Vec::<f64>::try_from(data.images().view([-1])).expect("numbers");
    let draw = |seed| {
        let sparing = Sparing::draw(&forget, 6, seed);
        (numbers(&sparing.read), numbers(&sparing.unread))
    };
    let (read, unread) = draw(1);
    assert_eq!((read.len(), unread.len()), (6, 14));
    let mut all = [read, unread].concat();
    all.sort_by(f64::total_cmp);
    assert_eq!(all, (0..20).map(f64::from).collect::<Vec<_>>());
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert!(Sparing::draw(&forget, 0, 1).read.is_empty());
}
