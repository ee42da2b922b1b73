//! Training on a family of histories with a known answer.

#![allow(clippy::unwrap_used)]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rewind_job::{Layout, OperationType};
use rewind_predictor::{
    Architecture, History, Penalties, Predictor, Recipe, Sample, TrainedPredictor, Window, fit_lambda, train,
};
use tch::Tensor;

const SNAPSHOTS: usize = 5;

fn layout() -> Layout {
    let tensor = |name: &str, shape: &[i64]| (name.to_owned(), shape.to_vec());
    Layout::new([tensor("conv.weight", &[8, 8, 3, 3]), tensor("fc.weight", &[20, 30]), tensor("fc.bias", &[200])])
}

/// Weights on their way to where training leads them: `w(t) = w∞ + d · exp(−t / τ)`, each coordinate with a time
/// constant of its own. Fast ones have come far in the past and hardly move now: no single λ fits all.
fn decaying(seed: u64, horizons: &[u32]) -> History {
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let layout = layout();
    let mut history = History::default();
    for _ in 0..4 {
        let size = 10f32.powf(draw.random_range(-5.0..-1.0));
        let coordinates: Vec<(f32, f32, f32)> = (0..layout.coordinates())
            .map(|_| (draw.random_range(-0.3..0.3), size * draw.random_range(-1.0..1.0), draw.random_range(1.5..12.0)))
            .collect();
        let at = |epoch: f32| {
            let weights: Vec<f32> = coordinates.iter().map(|(end, d, tau)| end + d * (-epoch / tau).exp()).collect();
            Tensor::from_slice(&weights)
        };
        let snapshots: Vec<_> = (0..SNAPSHOTS).map(|epoch| at(epoch as f32)).collect();
        for &horizon in horizons {
            history.record(&layout, &snapshots, &at(-(horizon as f32)), horizon, Sample::All).unwrap();
        }
    }
    history
}

fn trained(recipe: &Recipe) -> TrainedPredictor {
    train_alone(recipe, &[decaying(1, &recipe.horizons)], &[decaying(2, &recipe.horizons)])
}

/// Small batches gain nothing from threads, and lose much where tests share the cores.
fn train_alone(recipe: &Recipe, histories: &[History], validation: &[History]) -> TrainedPredictor {
    tch::set_num_threads(1);
    train(recipe, histories, validation).unwrap()
}

fn quick() -> Recipe {
    Recipe { epochs: 30, batch_size: 256, learning_rate: 1e-2, ..Recipe::equivariant(SNAPSHOTS, &[1, 3]) }
}

#[test]
fn the_equivariant_network_learns_what_no_task_vector_can() {
    let TrainedPredictor { validation, .. } = trained(&quick());
    assert_eq!(validation.rows.len(), 6, "three operation types, two horizons");
    for row in &validation.rows {
        assert!(row.predictor < 0.5 * row.task_vector_per_operation.error, "{row:?}");
        assert!(row.predictor < 0.5 * row.task_vector.error, "{row:?}");
        assert!(row.predictor < 0.5 * row.linear_extrapolation, "{row:?}");
        assert!(row.predictor < 0.5 * row.persistence, "{row:?}");
    }
}

#[test]
fn the_paper_network_learns_drifts_of_its_own_size() {
    let recipe = Recipe {
        epochs: 20,
        batch_size: 100,
        learning_rate: 2e-3,
        penalties: Penalties { kernel: 0.0, bias: 0.0 },
        ..Recipe::paper(SNAPSHOTS, 3)
    };
    let large = |seed| {
        let mut history = History::default();
        for window in decaying(seed, &recipe.horizons).windows() {
            // In units of the scale: the published network does not normalise its input.
            let [snapshots, residual] = [&window.snapshots, &window.residual].map(|t| t / window.scale * 0.1);
            history
                .push(Window {
                    operation: window.operation,
                    horizon: window.horizon,
                    scale: 0.1,
                    weight: 1.0,
                    place: window.place,
                    snapshots: &snapshots - snapshots.select(1, 0).unsqueeze(1),
                    residual,
                })
                .unwrap();
        }
        history
    };
    let TrainedPredictor { validation, .. } = train_alone(&recipe, &[large(1)], &[large(2)]);
    for row in &validation.rows {
        assert!(row.predictor < row.task_vector_per_operation.error, "{row:?}");
    }
}

#[test]
fn training_again_gives_the_same_bits_and_another_seed_others() {
    let recipe = Recipe { epochs: 2, ..quick() };
    let bytes = |recipe: &Recipe| trained(recipe).predictor.to_bytes().unwrap();
    assert_eq!(bytes(&recipe), bytes(&recipe));
    assert_ne!(bytes(&recipe), bytes(&Recipe { seed: 1, ..recipe.clone() }));
}

#[test]
fn a_trained_predictor_keeps_its_card() {
    let recipe = Recipe { epochs: 1, ..quick() };
    let (history, held_out) = (decaying(1, &recipe.horizons), decaying(2, &recipe.horizons));
    let digests = [history.digest().unwrap(), held_out.digest().unwrap()];
    let TrainedPredictor { predictor, validation } = train_alone(&recipe, &[history], &[held_out]);
    let loaded = Predictor::from_bytes(&predictor.to_bytes().unwrap()).unwrap();
    let training = loaded.for_snapshots(SNAPSHOTS).unwrap().card().training.clone().unwrap();
    assert_eq!(training.recipe, recipe);
    assert_eq!([&training.histories[..], &training.validation_histories[..]].concat(), digests);
    assert_eq!(training.validation, validation);
}

#[test]
fn a_history_without_an_operation_type_is_refused() {
    let mut history = History::default();
    let run: Vec<Tensor> = (0..6).map(|epoch| Tensor::from_slice(&[epoch as f32])).collect();
    let layout = Layout::new([("scale".to_owned(), vec![1])]);
    history.record(&layout, &run[1..], &run[0], 1, Sample::All).unwrap();
    let error = train(&Recipe::equivariant(5, &[1]), &[history], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no moving convolution tensor with 5 snapshots and horizon 1 in the training histories"
    );
}

#[test]
fn impossible_recipes_name_their_field() {
    let good = quick();
    let cases = [
        (Recipe { snapshots: 1, ..good.clone() }, "snapshots must be at least 2"),
        (Recipe { horizons: vec![3, 0], ..good.clone() }, "horizons must be at least 1 each"),
        (Recipe { horizons: vec![3, 3], ..good.clone() }, "horizons must differ"),
        (
            Recipe { architecture: Architecture::Paper, ..good.clone() },
            "horizons must be exactly one for a published network, which cannot read it",
        ),
        (Recipe { epochs: 0, ..good.clone() }, "epochs must be at least 1"),
        (Recipe { batch_size: 0, ..good.clone() }, "batch-size must be at least 1"),
        (Recipe { learning_rate: f64::NAN, ..good.clone() }, "learning-rate must be above 0"),
        (Recipe { penalties: Penalties { kernel: -1.0, bias: 0.0 }, ..good }, "penalties must not be below 0"),
    ];
    for (recipe, message) in cases {
        assert_eq!(recipe.check().unwrap_err().to_string(), format!("recipe: {message}"));
    }
}

fn window(drifts: &[f32], residuals: &[f32], scale: f64, weight: f64) -> Window {
    let newest = Tensor::from_slice(drifts);
    Window {
        operation: OperationType::Bias,
        horizon: 1,
        scale,
        weight,
        place: 0.0,
        snapshots: Tensor::stack(&[newest.zeros_like(), newest], 1),
        residual: Tensor::from_slice(residuals),
    }
}

#[test]
fn the_fitted_lambda_minimises_the_absolute_error() {
    // Coordinates ask for λ = 1, 2 and 10, with weights |d| = 3, 2 and 4: the median is 2, where least squares say 6.
    let one = window(&[3.0, -2.0, 4.0], &[-3.0, 4.0, -40.0], 1.0, 1.0);
    assert_eq!(fit_lambda([&one]), Some(2.0));
    // A large tensor counts by its own scale: weights 3, 2, 4 / 8.
    let (few, many) = (window(&[3.0, -2.0], &[-3.0, 4.0], 1.0, 1.0), window(&[4.0], &[-40.0], 8.0, 1.0));
    assert_eq!(fit_lambda([&few, &many]), Some(1.0));
    // Unless it is given more weight.
    let many = window(&[4.0], &[-40.0], 8.0, 20.0);
    assert_eq!(fit_lambda([&few, &many]), Some(10.0));
    // What does not move has no say.
    assert_eq!(fit_lambda([&window(&[0.0, 5.0], &[9.0, -5.0], 1.0, 1.0)]), Some(1.0));
    assert_eq!(fit_lambda([&window(&[0.0], &[9.0], 0.0, 1.0)]), None);
}
