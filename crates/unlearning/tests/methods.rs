//! Every method on a small network: it moves what it may, resumes to the same bits, and the known traps stay shut.

mod at_rest;
mod gang;

use std::collections::BTreeMap;

use rewind_artifacts::{Buffers, Shard};
use rewind_collective::CancelSignal;
use rewind_job::{
    Adam, Architecture, BatchNormPolicy, BoundaryShrink, Fisher, FisherForm, Forward, Group, LabelsDrawn, Lambda,
    Method, Optimiser, RandomLabel, RandomLabelForgetOnly, RemainingPass, Salun, SalunForgetOnly, Scrub, Sgd,
    TaskVector, Trajectory, WeightNoise,
};
use rewind_models::{Mode, Network};
use rewind_unlearning::{Gang, LabelledSamples, Learner, Materials, accuracy, load_weights, method_for};
use tch::{Device, Kind, Tensor, no_grad};

const CLASSES: u32 = 4;

/// With BatchNorm, so that every method meets its buffers.
fn network() -> Network {
    network_on(Device::Cpu)
}

fn network_on(device: Device) -> Network {
    Network::build_on(device, Architecture::DepthwiseSmall, CLASSES, [1, 8, 8], 3)
}

/// Four blurred classes that a network can learn; `phase` makes other samples of them.
fn samples(count: i64, phase: f64) -> LabelledSamples {
    let labels = Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(i64::from(CLASSES));
    let noise = (Tensor::arange(count * 64, (Kind::Float, Device::Cpu)) * 0.7 + phase).sin().view([count, 1, 8, 8]);
    let rows = Tensor::arange(8, (Kind::Int64, Device::Cpu)).floor_divide_scalar(2).view([1, 1, 8, 1]);
    let bars = rows.eq_tensor(&labels.view([-1, 1, 1, 1])).to_kind(Kind::Float).expand([count, 1, 8, 8], false);
    LabelledSamples::new(bars + noise * 0.2, labels)
}

fn forget() -> LabelledSamples {
    samples(22, 0.0)
}

fn remaining() -> LabelledSamples {
    samples(30, 1.0)
}

fn scrub() -> Scrub {
    Scrub { ascent_rounds: Some(1), gamma: Some(0.99), ..Scrub::default() }
}

fn fisher(form: FisherForm) -> Method {
    Method::Fisher(Fisher { form: Some(form), alpha: 1e-6, clamp: None, samples: Some(9) })
}

fn salun_forget_only(share: f64) -> Method {
    Method::SalunForgetOnly(SalunForgetOnly { share, ..SalunForgetOnly::default() })
}

/// Every method that needs no predictor.
fn all_methods() -> Vec<Method> {
    let trajectory = Trajectory { snapshots: 3, ..Trajectory::default() };
    vec![
        Method::TaskVector(TaskVector { lambda: Lambda::One(0.5), trajectory }),
        Method::NegGrad {},
        Method::RandomLabelForgetOnly(RandomLabelForgetOnly::default()),
        Method::RandomLabel(RandomLabel::default()),
        Method::RandomLabel(RandomLabel {
            wrong_only: true,
            labels: LabelsDrawn::Once,
            remaining: RemainingPass::Mixed,
        }),
        salun_forget_only(0.5),
        Method::Salun(Salun::default()),
        Method::Salun(Salun { remaining: RemainingPass::Mixed, ..Salun::default() }),
        Method::BoundaryShrink(BoundaryShrink { step: 0.1 }),
        Method::BoundaryExpand {},
        Method::WeightNoise(WeightNoise { sigma: 0.01, share: 0.5 }),
        Method::FineTune {},
        fisher(FisherForm::Clamped),
        fisher(FisherForm::Empirical),
        fisher(FisherForm::Expected),
        Method::Scrub(scrub()),
        Method::Scrub(Scrub { forget_batch_size: Some(5), remaining_batch_size: Some(11), ..scrub() }),
    ]
}

/// Momentum and weight decay both move what has no gradient.
fn momentum() -> Optimiser {
    Optimiser::Sgd(Sgd { learning_rate: 0.05, momentum: 0.9, weight_decay: 0.01, nesterov: false })
}

fn adam() -> Optimiser {
    Optimiser::Adam(Adam { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 })
}

fn learner(gang: Gang, optimiser: Optimiser) -> Learner {
    Learner::new(network_on(gang.device()), gang, optimiser, 5, "unlearning", CancelSignal::new())
}

/// Runs rounds of a method, starting from a whole state where there is one; `see` looks at each round's end.
fn run(
    learner: &mut Learner,
    method: &Method,
    optimiser: Optimiser,
    rounds: u32,
    see: &mut dyn FnMut(&mut Learner, f64),
) {
    let (forget, remaining) = (forget(), remaining());
    let forward = Forward { batch_norm: BatchNormPolicy::Inference, ..Forward::with(optimiser, 8) };
    let remaining = (method.group() == Group::RetainUsing).then_some(&remaining);
    let materials = Materials { remaining, ..Materials::forget_only(&forget, CLASSES) };
    let device = learner.gang.device();
    let original = || network_on(device);
    let mut method = method_for(method, &forward, rounds, &materials, &original).expect("needs no predictor");
    for _ in 0..rounds {
        let loss = method.round(learner).expect("runs");
        see(learner, loss);
    }
}

/// The tensor where the learner computes.
fn on(learner: &Learner, tensor: &Tensor) -> Tensor {
    tensor.to_device(learner.gang.device())
}

fn weights(learner: &Learner) -> Vec<f32> {
    Vec::try_from(learner.network.flat()).expect("float32")
}

fn buffers(learner: &Learner) -> Vec<(String, Vec<f32>)> {
    let values = |tensor: Tensor| Vec::try_from(tensor.view([-1])).expect("float32");
    learner.network.buffers().into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}

type Outcome = (Vec<f32>, BTreeMap<String, Vec<f32>>, Buffers);

fn three_rounds_of_every_method(gang: Gang) -> Vec<Outcome> {
    let mut gang = Some(gang);
    all_methods()
        .iter()
        .map(|method| {
            let mut learner = learner(gang.take().expect("was given back"), momentum());
            run(&mut learner, method, momentum(), 3, &mut |_, loss| assert!(loss.is_finite(), "{}", method.name()));
            let Shard { weights, optimiser, aside, .. } = at_rest::whole_state(&mut learner);
            gang = Some(learner.into_gang());
            (weights, optimiser, aside)
        })
        .collect()
}

/// One round, then a fresh learner and method that take up its state and run two more.
fn one_round_and_two_resumed_ones_of_every_method(gang: Gang) -> Vec<Outcome> {
    let mut gang = Some(gang);
    all_methods()
        .iter()
        .map(|method| {
            let mut first = learner(gang.take().expect("was given back"), momentum());
            run(&mut first, method, momentum(), 1, &mut |_, _| {});
            let state =
                Shard::from_bytes(&at_rest::whole_state(&mut first).to_bytes().expect("writes")).expect("reads");
            let mut second = learner(first.into_gang(), momentum());
            second.restore(&state);
            run(&mut second, method, momentum(), 2, &mut |_, _| {});
            let Shard { weights, optimiser, aside, .. } = at_rest::whole_state(&mut second);
            gang = Some(second.into_gang());
            (weights, optimiser, aside)
        })
        .collect()
}

#[test]
fn every_method_moves_the_weights_and_resumes_to_the_same_bits() {
    tch::set_num_threads(1);
    let start: Vec<f32> = Vec::try_from(network().flat()).expect("float32");
    let layout = network().layout().clone();
    for world in [1, 2] {
        let undisturbed = gang::on_every_rank(world, &layout, three_rounds_of_every_method);
        let resumed = gang::on_every_rank(world, &layout, one_round_and_two_resumed_ones_of_every_method);
        for (index, method) in all_methods().iter().enumerate() {
            let name = method.name();
            assert_ne!(undisturbed[0][index].0, start, "{name} moves nothing");
            assert_eq!(undisturbed[0][index], resumed[0][index], "{name} on {world}");
            for rank in &undisturbed[1..] {
                assert_eq!(rank[index], undisturbed[0][index], "{name}: ranks differ");
            }
        }
    }
}

#[test]
fn every_method_does_about_the_same_on_any_number_of_ranks() {
    tch::set_num_threads(1);
    let layout = network().layout().clone();
    let [alone, two, three] =
        [1, 2, 3].map(|world| gang::on_every_rank(world, &layout, three_rounds_of_every_method).swap_remove(0));
    let start: Vec<f32> = Vec::try_from(network().flat()).expect("float32");
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    for (index, method) in all_methods().iter().enumerate() {
        let moved = distance(&alone[index].0, &start);
        for other in [&two[index].0, &three[index].0] {
            // Sums in another order: rounding, which training makes larger; a batch dealt wrongly differs by as much as moved.
            assert!(distance(&alone[index].0, other) < 0.02 * moved, "{}", method.name());
        }
    }
}

fn salun_and_what_stayed(gang: Gang) -> (usize, usize, usize) {
    let mut learner = learner(gang, momentum());
    let start = weights(&learner);
    run(&mut learner, &salun_forget_only(0.25), momentum(), 3, &mut |_, _| {});
    let masks = at_rest::whole_state(&mut learner);
    let movable = &masks.optimiser["snapshot.0"];
    let momentum = &masks.optimiser["momentum"];
    let end = weights(&learner);
    let mut masked_out = 0;
    for (index, &movable) in movable.iter().enumerate() {
        if movable == 0.0 {
            masked_out += 1;
            assert_eq!(start[index].to_bits(), end[index].to_bits(), "coordinate {index} is masked out and moved");
            assert_eq!(momentum[index], 0.0, "coordinate {index} is masked out and has momentum");
        }
    }
    let moved = start.iter().zip(&end).filter(|(a, b)| a != b).count();
    (masked_out, moved, start.len())
}

#[test]
fn saluns_masked_weights_keep_their_bits_under_momentum_and_weight_decay() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        let ranks = gang::on_every_rank(world, network().layout(), salun_and_what_stayed);
        let (masked_out, moved, all) = ranks[0];
        // A quarter moves, over all shards together: one threshold.
        assert_eq!(all - masked_out, (0.25 * all as f64).floor() as usize);
        assert!(moved > (all - masked_out) * 9 / 10, "{moved} of {} moved", all - masked_out);
    }
}

fn expanded(gang: Gang) -> (Vec<i64>, f64, f64, usize) {
    let mut learner = learner(gang, adam());
    let (mut first, mut last) = (f64::NAN, f64::NAN);
    run(&mut learner, &Method::BoundaryExpand {}, adam(), 6, &mut |_, loss| {
        first = if first.is_nan() { loss } else { first };
        last = loss;
    });
    let answers = no_grad(|| learner.network.forward(&on(&learner, forget().images()), Mode::Inference));
    let row = learner.aside["extra-class"].size()[0] as usize;
    assert_eq!(learner.network.layout(), network().layout());
    (answers.size(), first, last, row)
}

#[test]
fn boundary_expand_learns_an_extra_class_that_the_network_never_has() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        for (answers, first, last, row) in gang::on_every_rank(world, network().layout(), expanded) {
            assert_eq!(answers, [22, i64::from(CLASSES)]);
            assert_eq!(row, 128 + 1, "one weight a feature, and a bias");
            assert!(last < 0.5 * first, "the extra class is learned: {first} to {last}");
        }
    }
}

/// A network with five classes in torch's own layers would take the same first step.
fn first_step_of_the_extra_row(gang: Gang) -> (Vec<f32>, Vec<f32>) {
    let mut learner =
        learner(gang, Optimiser::Sgd(Sgd { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false }));
    let data = samples(8, 0.0);
    let features = no_grad(|| learner.network.features(&on(&learner, data.images()), Mode::Inference));
    let logits = no_grad(|| learner.network.answer(&features));
    let method = Method::BoundaryExpand {};
    let plain = Optimiser::Sgd(Sgd { learning_rate: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false });
    let forward = Forward { batch_norm: BatchNormPolicy::Inference, ..Forward::with(plain, 8) };
    let materials = Materials::forget_only(&data, CLASSES);
    let device = learner.gang.device();
    let original = || network_on(device);
    let mut method = method_for(&method, &forward, 1, &materials, &original).expect("needs no predictor");
    // A learning rate of 0 in all but name: the row as drawn is what the first step leaves plus the gradient's part.
    method.round(&mut learner).expect("runs");
    let after = learner.aside["extra-class"].copy();
    // Softmax over five logits; the gradient of the row is the mean of (p − 1) · [features, 1]. The row before the step
    // solves before − 0.1 · gradient(before) = after: a contraction.
    let ones = Tensor::ones([8, 1], (Kind::Float, features.device()));
    let inputs = Tensor::cat(&[&features, &ones], 1);
    let mut before = after.copy();
    for _ in 0..200 {
        let extra = inputs.matmul(&before).unsqueeze(1);
        let p = Tensor::cat(&[&logits, &extra], 1).softmax(1, Kind::Float).narrow(1, i64::from(CLASSES), 1);
        let gradient = ((p - 1.0) * &inputs).mean_dim([0].as_slice(), false, Kind::Float);
        before = &after + gradient * 0.1;
    }
    let bound = 1.0 / (128.0_f64).sqrt();
    assert!(before.abs().max().double_value(&[]) <= bound * 1.001, "the row was drawn from ±1/√features");
    let values = |tensor: &Tensor| Vec::try_from(tensor).expect("float32");
    (values(&before), values(&after))
}

#[test]
fn the_extra_row_steps_along_the_gradient_of_its_cross_entropy() {
    tch::set_num_threads(1);
    let ranks = gang::on_every_rank(2, network().layout(), first_step_of_the_extra_row);
    let alone = gang::on_every_rank(1, network().layout(), first_step_of_the_extra_row);
    for (before, after) in &ranks {
        assert_ne!(before, after);
        // Whatever the ranks, the row before was the same.
        let differ = before.iter().zip(&alone[0].0).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(differ < 1e-5, "{differ}");
    }
}

fn buffers_before_and_after(gang: Gang) -> Vec<(&'static str, bool)> {
    let mut gang = Some(gang);
    all_methods()
        .iter()
        .map(|method| {
            let mut learner = learner(gang.take().expect("was given back"), adam());
            let before = buffers(&learner);
            run(&mut learner, method, adam(), 2, &mut |_, _| {});
            let same = before == buffers(&learner);
            gang = Some(learner.into_gang());
            (method.name(), same)
        })
        .collect()
}

#[test]
fn no_method_touches_batch_norms_buffers_in_inference_mode() {
    tch::set_num_threads(1);
    for (name, same) in gang::on_every_rank(1, network().layout(), buffers_before_and_after).remove(0) {
        assert!(same, "{name}");
    }
}

/// A student that is its teacher learns nothing from it, and one that was moved away is pulled back to where the teacher,
/// which has not moved, still stands.
fn scrub_without_labels(gang: Gang) -> (f64, f64, f64) {
    let method = Method::Scrub(Scrub { ascent_rounds: Some(0), gamma: Some(0.0), alpha: Some(1.0), ..scrub() });
    let plain = Optimiser::Sgd(Sgd { learning_rate: 0.05, momentum: 0.0, weight_decay: 0.0, nesterov: false });
    let mut learner = learner(gang, plain.clone());
    let start = weights(&learner);
    let distance = |learner: &Learner| {
        let now = learner.network.flat().detach() - on(learner, &Tensor::from_slice(&start));
        now.square().sum(Kind::Double).double_value(&[]).sqrt()
    };
    let mut losses = Vec::new();
    run(&mut learner, &method, plain.clone(), 2, &mut |_, loss| losses.push(loss));
    let stayed = distance(&learner);
    let away = learner.gang.shard(learner.network.flat()).detach() * 1.1;
    learner.replace_weights(&away).expect("replaces");
    losses.clear();
    run(&mut learner, &method, plain, 8, &mut |_, loss| losses.push(loss));
    (stayed, losses[0], losses[7])
}

#[test]
fn scrubs_teacher_stands_still() {
    tch::set_num_threads(1);
    for (stayed, first, last) in gang::on_every_rank(2, network().layout(), scrub_without_labels) {
        assert!(stayed < 1e-4, "a student that is its teacher moved by {stayed}");
        assert!(first > 1e-6 && last < 0.7 * first, "from {first} to {last}");
    }
}

/// Trained to know both kinds of samples; then what the methods are for.
fn unlearned_accuracies(gang: Gang) -> Vec<(&'static str, f64, f64)> {
    let (forget, remaining) = (forget(), remaining());
    let both = remaining.with(&forget);
    let mut teacher = learner(gang, adam());
    let pass = rewind_unlearning::Pass {
        batch_size: 8,
        descent: rewind_unlearning::Descent::Down,
        mode: rewind_unlearning::PassMode::BatchStatistics,
        schedule: rewind_job::Schedule::Constant,
        epochs: 1,
    };
    for _ in 0..25 {
        teacher.epoch(&both, &pass).expect("trains");
    }
    let known = at_rest::whole_state(&mut teacher);
    let mut gang = Some(teacher.into_gang());
    let small =
        Optimiser::Adam(Adam { learning_rate: 2e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 });
    let forgetting = [
        Method::NegGrad {},
        Method::RandomLabelForgetOnly(RandomLabelForgetOnly::default()),
        salun_forget_only(0.5),
        Method::BoundaryShrink(BoundaryShrink { step: 0.5 }),
        Method::BoundaryExpand {},
    ];
    forgetting
        .iter()
        .map(|method| {
            let mut learner = learner(gang.take().expect("was given back"), small.clone());
            learner.load_weights(&known);
            let before = accuracy(&learner.network, &mut learner.gang, &forget).expect("measures");
            let forward = Forward { batch_norm: BatchNormPolicy::Inference, ..Forward::with(small.clone(), 8) };
            let device = learner.gang.device();
            let original = || {
                let network = network_on(device);
                load_weights(&network, &known);
                network
            };
            let materials = Materials::forget_only(&forget, CLASSES);
            let mut rounds = method_for(method, &forward, 25, &materials, &original).expect("needs no predictor");
            for _ in 0..25 {
                rounds.round(&mut learner).expect("runs");
            }
            let after = accuracy(&learner.network, &mut learner.gang, &forget).expect("measures");
            gang = Some(learner.into_gang());
            (method.name(), before, after)
        })
        .collect()
}

#[test]
fn every_method_that_trains_on_forget_data_makes_it_forgotten() {
    tch::set_num_threads(1);
    for (name, before, after) in gang::on_every_rank(1, network().layout(), unlearned_accuracies).remove(0) {
        assert!(before > 90.0 && after < before - 15.0, "{name}: from {before} to {after}");
    }
}
