//! Random labels with a pass over the remaining data are what they are made of: the variant on forget data alone,
//! ordinary training, and a mask.

mod gang;

use rewind_collective::CancelSignal;
use rewind_job::{
    Architecture, BatchNormPolicy, Forward, LabelsDrawn, Method, Optimiser, RandomLabel, RandomLabelForgetOnly,
    RemainingPass, Salun, SalunForgetOnly, Sgd,
};
use rewind_models::Network;
use rewind_unlearning::{Descent, Gang, LabelledSamples, Learner, Materials, Pass, PassMode, method_for};
use tch::{Device, Kind, Tensor};

const POLICY: BatchNormPolicy = BatchNormPolicy::Train;

fn network_on(device: Device) -> Network {
    Network::build_on(device, Architecture::DepthwiseSmall, 4, [1, 8, 8], 3)
}

fn samples(count: i64, phase: f64) -> LabelledSamples {
    let images = (Tensor::arange(count * 64, (Kind::Float, Device::Cpu)) * 0.7 + phase).sin().view([count, 1, 8, 8]);
    LabelledSamples::new(images, Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(4))
}

fn forget() -> LabelledSamples {
    samples(22, 0.0)
}

fn remaining() -> LabelledSamples {
    samples(30, 1.0)
}

fn momentum() -> Optimiser {
    Optimiser::Sgd(Sgd { learning_rate: 0.05, momentum: 0.9, weight_decay: 0.01, nesterov: false })
}

fn learner(gang: Gang) -> Learner {
    Learner::new(network_on(gang.device()), gang, momentum(), 5, "unlearning", CancelSignal::new())
}

/// Rounds of methods in turn, on one learner; `classes` are those that labels are drawn from.
fn weights_after(gang: Gang, methods: &[Method], turns: usize, classes: u32) -> (Vec<f32>, Gang) {
    let (forget, remaining) = (forget(), remaining());
    let mut learner = learner(gang);
    let device = learner.gang.device();
    let original = || network_on(device);
    let forward = Forward { batch_norm: POLICY, ..Forward::with(momentum(), 8) };
    let materials = Materials { remaining: Some(&remaining), ..Materials::forget_only(&forget, classes) };
    let mut rounds: Vec<_> = methods
        .iter()
        .map(|method| method_for(method, &forward, 2, &materials, &original).expect("needs no predictor"))
        .collect();
    for _ in 0..turns {
        for method in &mut rounds {
            method.round(&mut learner).expect("runs");
        }
    }
    drop(rounds);
    (Vec::try_from(learner.network.flat()).expect("float32"), learner.into_gang())
}

fn one_pass_after_the_other(gang: Gang) -> [(Vec<f32>, Vec<f32>); 2] {
    let published = [Method::RandomLabel(RandomLabel::default())];
    let parts = [Method::RandomLabelForgetOnly(RandomLabelForgetOnly::default()), Method::FineTune {}];
    let (whole, gang) = weights_after(gang, &published, 2, 4);
    let (in_parts, gang) = weights_after(gang, &parts, 2, 4);
    // The mask holds for the pass over the remaining data as well.
    let published = [Method::Salun(Salun { share: 0.3, ..Salun::default() })];
    let variant = SalunForgetOnly { share: 0.3, ..SalunForgetOnly::default() };
    let (masked, gang) = weights_after(gang, &published, 2, 4);
    let (masked_in_parts, _) = weights_after(gang, &[Method::SalunForgetOnly(variant), Method::FineTune {}], 2, 4);
    [(whole, in_parts), (masked, masked_in_parts)]
}

#[test]
fn an_epoch_is_a_pass_of_the_forget_only_variant_and_one_of_ordinary_training_under_the_same_mask() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        let ranks = gang::on_every_rank(world, network_on(Device::Cpu).layout(), one_pass_after_the_other);
        for [labels, masked] in ranks {
            assert_eq!(labels.0, labels.1);
            assert_eq!(masked.0, masked.1);
            assert_ne!(labels.0, masked.0);
        }
    }
}

/// Of two classes there is one wrong label: it needs no drawing to be known.
fn both_in_one_order(gang: Gang) -> [Vec<f32>; 3] {
    let mixed =
        |wrong_only, labels| Method::RandomLabel(RandomLabel { wrong_only, labels, remaining: RemainingPass::Mixed });
    let (found, gang) = weights_after(gang, &[mixed(true, LabelsDrawn::Once)], 2, 2);
    let (again, gang) = weights_after(gang, &[mixed(true, LabelsDrawn::EachEpoch)], 2, 2);
    let (forget, remaining) = (forget(), remaining());
    let wrong = LabelledSamples::new(forget.images().shallow_clone(), (forget.labels() + 1).remainder(2));
    let both = wrong.with(&remaining);
    let mut learner = learner(gang);
    let pass = Pass {
        batch_size: 8,
        descent: Descent::Down,
        mode: PassMode::of(POLICY),
        schedule: rewind_job::Schedule::Constant,
        epochs: 2,
    };
    for _ in 0..2 {
        learner.epoch(&both, &pass).expect("trains");
    }
    [found, again, Vec::try_from(learner.network.flat()).expect("float32")]
}

#[test]
fn mixed_in_forget_samples_are_trained_with_wrong_labels_in_one_order_with_the_others() {
    tch::set_num_threads(1);
    for world in [1, 2, 3] {
        for [found, again, by_hand] in gang::on_every_rank(world, network_on(Device::Cpu).layout(), both_in_one_order) {
            assert_eq!(found, by_hand);
            assert_eq!(again, by_hand);
        }
    }
}
