//! A method's learning-rate schedule counts its rounds, whatever passes they are made of, or its epochs of forward
//! training.

mod gang;

use rewind_collective::CancelSignal;
use rewind_job::{
    Architecture, BatchNormPolicy, BoundaryShrink, Forward, Lambda, Method, Optimiser, RandomLabel,
    RandomLabelForgetOnly, RemainingPass, Salun, SalunForgetOnly, Schedule, Scrub, Sgd, TaskVector, Trajectory,
};
use rewind_models::Network;
use rewind_unlearning::{Gang, LabelledSamples, Learner, Materials, method_for};
use tch::{Device, Kind, Tensor};

fn network_on(device: Device) -> Network {
    Network::build_on(device, Architecture::DepthwiseSmall, 4, [1, 8, 8], 3)
}

fn samples(count: i64, phase: f64) -> LabelledSamples {
    let images = (Tensor::arange(count * 64, (Kind::Float, Device::Cpu)) * 0.7 + phase).sin().view([count, 1, 8, 8]);
    LabelledSamples::new(images, Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(4))
}

fn plain(learning_rate: f64) -> Optimiser {
    Optimiser::Sgd(Sgd { learning_rate, momentum: 0.0, weight_decay: 0.0, nesterov: false })
}

fn learner(gang: Gang, learning_rate: f64) -> Learner {
    Learner::new(network_on(gang.device()), gang, plain(learning_rate), 5, "unlearning", CancelSignal::new())
}

fn weights(learner: &Learner) -> Vec<f32> {
    Vec::try_from(learner.network.flat()).expect("float32")
}

/// The weights after each of some rounds, of `rounds` that the schedule spans.
fn rounds_of(
    learner: &mut Learner,
    method: &Method,
    schedule: Schedule,
    batch_size: u32,
    rounds: u32,
) -> Vec<Vec<f32>> {
    let (forget, remaining) = (samples(22, 0.0), samples(30, 1.0));
    let forward =
        Forward { schedule, batch_norm: BatchNormPolicy::Inference, ..Forward::with(plain(0.05), batch_size) };
    let materials = Materials { remaining: Some(&remaining), ..Materials::forget_only(&forget, 4) };
    let device = learner.gang.device();
    let original = || network_on(device);
    let mut running = method_for(method, &forward, rounds, &materials, &original).expect("needs no predictor");
    (0..rounds)
        .map(|_| {
            running.round(learner).expect("runs");
            weights(learner)
        })
        .collect()
}

/// Every method whose round is an epoch and that trains.
fn methods() -> Vec<Method> {
    let mixed = RemainingPass::Mixed;
    vec![
        Method::NegGrad {},
        Method::FineTune {},
        Method::RandomLabelForgetOnly(RandomLabelForgetOnly::default()),
        Method::RandomLabel(RandomLabel::default()),
        Method::RandomLabel(RandomLabel { remaining: mixed, ..RandomLabel::default() }),
        Method::SalunForgetOnly(SalunForgetOnly::default()),
        Method::Salun(Salun::default()),
        Method::Salun(Salun { remaining: mixed, ..Salun::default() }),
        Method::BoundaryShrink(BoundaryShrink { step: 0.1 }),
        Method::BoundaryExpand {},
        Method::Scrub(Scrub { ascent_rounds: Some(0), ..Scrub::default() }),
        Method::Scrub(Scrub { ascent_rounds: Some(1), ..Scrub::default() }),
        Method::Scrub(Scrub { ascent_rounds: Some(4), ..Scrub::default() }),
    ]
}

/// With a rate that falls to 0 after the second of four rounds, which rounds move the weights.
fn rounds_that_move(gang: Gang) -> Vec<(&'static str, Vec<bool>)> {
    let mut gang = Some(gang);
    let stops = Schedule::Milestones { epochs: vec![2], factor: 0.0 };
    let of = |method: &Method| {
        let mut learner = learner(gang.take().expect("was given back"), 0.05);
        let start = weights(&learner);
        let after = rounds_of(&mut learner, method, stops.clone(), 8, 4);
        gang = Some(learner.into_gang());
        let before = [&start].into_iter().chain(&after);
        (method.name(), after.iter().zip(before).map(|(after, before)| after != before).collect())
    };
    methods().iter().map(of).collect()
}

#[test]
fn a_milestone_is_passed_after_as_many_rounds_whatever_a_round_is_made_of() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        for rank in gang::on_every_rank(world, network_on(Device::Cpu).layout(), rounds_that_move) {
            for (name, moves) in rank {
                assert_eq!(moves, [true, true, false, false], "{name}");
            }
        }
    }
}

fn trajectories_that_move(gang: Gang) -> Vec<bool> {
    let trajectory = Trajectory { snapshots: 4, ..Trajectory::default() };
    let method = Method::TaskVector(TaskVector { lambda: Lambda::One(0.5), trajectory });
    let mut learner = learner(gang, 0.05);
    let start = weights(&learner);
    let after = rounds_of(&mut learner, &method, Schedule::Milestones { epochs: vec![6], factor: 0.0 }, 8, 3);
    after.iter().zip([&start].into_iter().chain(&after)).map(|(after, before)| after != before).collect()
}

#[test]
fn rounds_of_several_epochs_count_these() {
    tch::set_num_threads(1);
    // Three epochs between four snapshots.
    assert_eq!(gang::on_every_rank(1, network_on(Device::Cpu).layout(), trajectories_that_move), [[true, true, false]]);
}

/// A warm-up over the first round, whose two passes have one batch each: half the rate, then all of it. The other way,
/// two learners with these rates, of which the second takes up where the first ends.
fn warmed_up(gang: Gang) -> (Vec<f32>, Vec<f32>) {
    let rising = Schedule::WarmUp { epochs: 1, then: Box::new(Schedule::Constant) };
    let mut whole = learner(gang, 0.05);
    let method = Method::RandomLabel(RandomLabel::default());
    let found = rounds_of(&mut whole, &method, rising, 64, 1).swap_remove(0);
    let mut first = learner(whole.into_gang(), 0.025);
    let method = Method::RandomLabelForgetOnly(RandomLabelForgetOnly::default());
    rounds_of(&mut first, &method, Schedule::Constant, 64, 1);
    let state = first.to_shard().expect("at rest");
    let mut second = learner(first.into_gang(), 0.05);
    second.restore(&state);
    (found, rounds_of(&mut second, &Method::FineTune {}, Schedule::Constant, 64, 1).swap_remove(0))
}

#[test]
fn passes_of_one_round_share_its_place_in_the_schedule() {
    tch::set_num_threads(1);
    for (found, in_parts) in gang::on_every_rank(1, network_on(Device::Cpu).layout(), warmed_up) {
        assert_eq!(found, in_parts);
    }
}

fn steps_of_scrub(gang: Gang) -> Vec<u64> {
    let mut learner = learner(gang, 0.05);
    let sizes = Scrub {
        ascent_rounds: Some(1),
        forget_batch_size: Some(4),
        remaining_batch_size: Some(16),
        ..Scrub::default()
    };
    let (forget, remaining) = (samples(22, 0.0), samples(30, 1.0));
    let materials = Materials { remaining: Some(&remaining), ..Materials::forget_only(&forget, 4) };
    let device = learner.gang.device();
    let original = || network_on(device);
    let method = Method::Scrub(sizes);
    let forward = Forward::with(plain(0.05), 8);
    let mut rounds = method_for(&method, &forward, 2, &materials, &original).expect("needs no predictor");
    (0..2)
        .map(|_| {
            rounds.round(&mut learner).expect("runs");
            learner.optimiser.steps()
        })
        .collect()
}

#[test]
fn scrubs_own_batch_sizes_set_the_number_of_steps() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        // Six steps of ascent over 22 samples, and two over 30; then two.
        let ranks = gang::on_every_rank(world, network_on(Device::Cpu).layout(), steps_of_scrub);
        assert!(ranks.iter().all(|steps| *steps == [8, 10]), "{ranks:?}");
    }
}
