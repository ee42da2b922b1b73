//! Small networks, trained and recorded.

use rewind_collective::CancelSignal;
use rewind_datasets::synthesise;
use rewind_histories::{Phase, Run};
use rewind_job::{
    Adam, Architecture, Digest, HistoryData, Initialisation, NetworkRecipe, Objective, Optimiser, Schedule, Synthetic,
    SyntheticTask, UnlearningRecipe,
};
use rewind_unlearning::{
    UnlearningError,
    histories::{Source, record},
};

fn source(samples: u32) -> Source {
    let synthetic = Synthetic { task: SyntheticTask::Stripes, classes: 4, side: 16, samples, seed: 0 };
    let samples = synthesise(&synthetic).expect("draws");
    Source { name: "stripes".into(), digest: Digest("ab".repeat(32)), classes: 4, samples }
}

fn adam(learning_rate: f64) -> Optimiser {
    Optimiser::Adam(Adam { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 })
}

fn recipe(architecture: Architecture) -> NetworkRecipe {
    NetworkRecipe {
        seed: 5,
        architecture,
        data: HistoryData::Pool,
        objective: match architecture.gives_images() {
            true => Objective::Denoising { noise: 0.3 },
            false => Objective::Classification,
        },
        optimiser: adam(3e-3),
        schedule: Schedule::Cosine,
        initialisation: Initialisation::KaimingNormal,
        batch_size: 16,
        samples: 120,
        epochs: 4,
        unlearning: None,
        kept: 64,
    }
}

fn unlearning() -> NetworkRecipe {
    let then = UnlearningRecipe {
        forget: 40,
        wrong_labels: 1.0,
        horizon: 6,
        forward: adam(1e-3),
        forward_batch_size: 8,
        snapshots: 5,
    };
    NetworkRecipe { unlearning: Some(then), ..recipe(Architecture::Lenet) }
}

fn made(recipe: &NetworkRecipe) -> Run {
    record(recipe, &source(600), &CancelSignal::new()).expect("is made")
}

#[test]
fn an_ordinary_training_is_recorded_from_its_first_weights_on() {
    for architecture in [Architecture::Lenet, Architecture::TransformerSmall, Architecture::UnetSmall] {
        let run = made(&recipe(architecture));
        assert_eq!(run.outline.during(Phase::Training), 0..5);
        let losses: Vec<f64> = run.outline.snapshots.iter().map(|m| m.train.expect("is measured").loss).collect();
        assert!(losses[4] < 0.9 * losses[0], "{architecture:?} learns: {losses:?}");
        assert!(run.outline.tensors.iter().all(|tensor| tensor.kept <= 64));
    }
}

#[test]
fn a_history_for_unlearning_has_its_phases_and_the_wrong_labels_come_in() {
    let run = made(&unlearning());
    let phases = [Phase::Remaining, Phase::Both, Phase::Forward].map(|phase| run.outline.during(phase));
    assert_eq!(phases, [0..1, 1..7, 7..12]);
    let accuracy = |snapshot: usize| {
        let forget = run.outline.snapshots[snapshot].forget.expect("is measured");
        forget.accuracy.expect("there are classes")
    };
    // Every label of the forget data is wrong: before they come in hardly one is given.
    assert!(accuracy(0) < 25.0 && accuracy(11) > accuracy(0) + 20.0, "{} {}", accuracy(0), accuracy(11));
    // Forward training begins with the weights that training ended with.
    assert_eq!(run.weights[6], run.weights[7]);
    assert_ne!(run.weights[7], run.weights[8]);
}

#[test]
fn the_same_recipe_gives_the_same_bits_and_another_seed_other_ones() {
    let first = made(&unlearning());
    assert_eq!(first, made(&unlearning()));
    assert_ne!(first, made(&NetworkRecipe { seed: 6, ..unlearning() }));
}

#[test]
fn too_few_samples_are_named_and_divergence_is_no_crash() {
    let few = record(&unlearning(), &source(300), &CancelSignal::new()).expect_err("is refused");
    assert!(matches!(few, UnlearningError::TooFewSamples(_)), "{few}");
    assert_eq!(
        few.to_string(),
        "stripes has 300 samples, and a network draws 120 to train, 40 to forget and 200 to measure on"
    );
    let wild = NetworkRecipe { optimiser: adam(1e30), ..recipe(Architecture::Lenet) };
    let diverged = record(&wild, &source(600), &CancelSignal::new()).expect_err("comes to nothing");
    assert!(matches!(diverged, UnlearningError::Diverged(_)), "{diverged}");
}
