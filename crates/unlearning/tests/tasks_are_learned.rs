//! The tasks that histories are made from can be learned: by a LeNet, in a few epochs, on samples it has not seen.

use std::path::Path;

use rewind_collective::{CancelSignal, Solo};
use rewind_datasets::{Samples, idx, synthesise};
use rewind_job::{Adam, Architecture, Optimiser, Schedule, ShardPlan, Synthetic, SyntheticTask, WorldSize};
use rewind_models::Network;
use rewind_unlearning::{Descent, Gang, LabelledSamples, Learner, Pass, PassMode, accuracy};

/// Trains on all samples but the last `held_out`; returns the accuracy on those in percent.
fn learn(architecture: Architecture, samples: &Samples, classes: u32, held_out: usize, epochs: u32) -> f64 {
    tch::set_num_threads(1);
    let all = LabelledSamples::all(samples);
    let part = |from: usize, to: usize| {
        let (images, labels) = all.select(&(from as i64..to as i64).collect::<Vec<_>>());
        LabelledSamples::new(images, labels)
    };
    let (seen, unseen) = (part(0, all.len() - held_out), part(all.len() - held_out, all.len()));
    let network = Network::build(architecture, classes, samples.shape.map(|side| side as u32), 1);
    let layout = network.layout().clone();
    let plan = ShardPlan::balanced(&layout, WorldSize(1));
    let gang = Gang::new(Box::new(Solo::new()), layout, plan);
    let adam = Adam { learning_rate: 2e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut learner = Learner::new(network, gang, Optimiser::Adam(adam), 1, "learn", CancelSignal::new());
    let schedule = Schedule::WarmUp { epochs: 1, then: Box::new(Schedule::Cosine) };
    let pass = Pass { batch_size: 16, descent: Descent::Down, mode: PassMode::BatchStatistics, schedule, epochs };
    for _ in 0..epochs {
        learner.epoch(&seen, &pass).expect("trains");
    }
    accuracy(&learner.network, &mut learner.gang, &unseen).expect("measures")
}

#[test]
fn a_lenet_learns_every_synthetic_task() {
    for (task, classes, at_least) in [
        (SyntheticTask::Blobs, 10, 90.0),
        (SyntheticTask::Stripes, 6, 90.0),
        (SyntheticTask::Shapes, 10, 90.0),
        (SyntheticTask::Spirals, 2, 90.0),
    ] {
        let synthetic = Synthetic { task, classes, side: 16, samples: 1000, seed: 3 };
        let found = learn(Architecture::Lenet, &synthesise(&synthetic).expect("is drawn"), classes, 200, 10);
        println!("{task:?}: {found} %");
        assert!(found >= at_least, "{task:?}: {found} %");
    }
}

#[test]
fn every_network_that_classifies_learns_shapes() {
    let synthetic = Synthetic { task: SyntheticTask::Shapes, classes: 3, side: 16, samples: 500, seed: 4 };
    let samples = synthesise(&synthetic).expect("is drawn");
    for architecture in Architecture::SMALL.into_iter().filter(|architecture| !architecture.gives_images()) {
        let found = learn(architecture, &samples, 3, 100, 8);
        println!("{architecture:?}: {found} %");
        assert!(found >= 80.0, "{architecture:?}: {found} %");
    }
}

#[test]
fn a_lenet_learns_the_small_digits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.data/small-digits");
    let digits = idx::read(&folder.join("images-idx3-ubyte"), &folder.join("labels-idx1-ubyte"))
        .expect("scripts/setup has put them there");
    assert_eq!((digits.shape, digits.len()), ([1, 8, 8], 1797));
    let found = learn(Architecture::Lenet, &digits, 10, 400, 8);
    println!("{found} %");
    assert!(found >= 80.0, "{found} %");
}
