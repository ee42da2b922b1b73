//! Networks that learn to take noise away: the loss is the same for any number of workers, and falls.

mod gang;

use rewind_collective::CancelSignal;
use rewind_job::{Adam, Architecture, Objective, Optimiser, Schedule, Synthetic, SyntheticTask};
use rewind_models::Network;
use rewind_unlearning::{Descent, Gang, LabelledSamples, Learner, Pass, PassMode, UnlearningError};

const IMAGE: [u32; 3] = [1, 12, 12];
/// Standard deviation of the noise.
const NOISE: f64 = 0.3;

fn samples(count: u32) -> LabelledSamples {
    let synthetic = Synthetic { task: SyntheticTask::Shapes, classes: 4, side: 12, samples: count, seed: 1 };
    LabelledSamples::all(&rewind_datasets::synthesise(&synthetic).expect("is drawn"))
}

/// Images that are not trained on.
fn others() -> LabelledSamples {
    let (images, labels) = samples(144).select(&(96..144).collect::<Vec<i64>>());
    LabelledSamples::new(images, labels)
}

fn network(architecture: Architecture) -> Network {
    Network::build(architecture, Objective::Denoising { noise: NOISE }.outputs(4, IMAGE), IMAGE, 2)
}

fn learner(architecture: Architecture, gang: Gang) -> Learner {
    let adam = Adam { learning_rate: 3e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let learner = Learner::new(network(architecture), gang, Optimiser::Adam(adam), 5, "denoise", CancelSignal::new());
    learner.with_objective(Objective::Denoising { noise: NOISE })
}

fn pass(batch_size: usize) -> Pass {
    let schedule = Schedule::WarmUp { epochs: 1, then: Box::new(Schedule::Cosine) };
    Pass { batch_size, descent: Descent::Down, mode: PassMode::BatchStatistics, schedule, epochs: 12 }
}

/// Losses of 12 epochs, and the loss on other images before and after.
fn train(architecture: Architecture, gang: Gang) -> (Vec<f64>, [f64; 2]) {
    let (data, others) = (samples(96), others());
    let mut learner = learner(architecture, gang);
    let before = learner.loss(&others).expect("measures");
    let losses = (0..12).map(|_| learner.epoch(&data, &pass(16)).expect("trains")).collect();
    (losses, [before, learner.loss(&others).expect("measures")])
}

#[test]
fn every_number_of_workers_sees_the_same_noise() {
    tch::set_num_threads(1);
    let layout = network(Architecture::UnetSmall).layout().clone();
    // One batch an epoch: the first loss is that of fresh weights on the first noise, the second one on other noise.
    let losses = |world| {
        let ranks = gang::on_every_rank(world, &layout, |gang| {
            let mut learner = learner(Architecture::UnetSmall, gang);
            let data = samples(50);
            [learner.loss(&data), learner.loss(&data), learner.epoch(&data, &pass(50)), learner.epoch(&data, &pass(50))]
                .map(|loss| loss.expect("has a loss"))
        });
        assert!(ranks.iter().all(|rank| rank == &ranks[0]), "all ranks agree");
        ranks[0]
    };
    let alone = losses(1);
    assert_eq!(alone[0], alone[1]);
    assert_ne!(alone[0], alone[2]);
    for world in [2, 3] {
        for (mine, alone) in losses(world).iter().zip(alone) {
            assert!((mine / alone - 1.0).abs() < 1e-5, "{world} workers: {mine} against {alone}");
        }
    }
}

#[test]
fn a_unet_learns_to_take_noise_away() {
    tch::set_num_threads(1);
    let layout = network(Architecture::UnetSmall).layout().clone();
    for world in [1, 2] {
        for (losses, [before, after]) in
            gang::on_every_rank(world, &layout, |gang| train(Architecture::UnetSmall, gang))
        {
            assert!(losses[11] < 0.5 * losses[0], "{losses:?}");
            // Leaving an image as it is has the variance of the noise as its loss.
            assert!(after < 0.5 * NOISE * NOISE && after < before, "{before} to {after}");
        }
    }
}

#[test]
fn a_network_with_one_output_a_pixel_learns_it_too() {
    tch::set_num_threads(1);
    let layout = network(Architecture::Mlp).layout().clone();
    let ranks = gang::on_every_rank(1, &layout, |gang| train(Architecture::Mlp, gang));
    let (losses, [before, after]) = &ranks[0];
    assert!(losses[11] < 0.5 * losses[0] && after < before, "{losses:?}, {before} to {after}");
}

#[test]
fn answers_that_do_not_fit_are_an_error() {
    let layout = network(Architecture::UnetSmall).layout().clone();
    gang::on_every_rank(1, &layout, |gang| {
        let mut learner = learner(Architecture::UnetSmall, gang).with_objective(Objective::Classification);
        let refused = learner.epoch(&samples(8), &pass(8)).expect_err("images are no logits");
        assert!(matches!(refused, UnlearningError::Torch(_)) && !refused.is_retryable(), "{refused}");
    });
}
