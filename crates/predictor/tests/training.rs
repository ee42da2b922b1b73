//! Training on a family of histories with a known answer.

#![allow(clippy::unwrap_used)]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rewind_job::{Layout, OperationType};
use rewind_predictor::{
    Architecture, Differences, Direction, History, Penalties, Predictor, Recipe, Sample, TrainedPredictor, Trainee,
    Window, fit_lambda, train,
};
use tch::{Kind, Tensor};

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

/// Ordinary trainings: what comes `horizon` epochs after the newest snapshot.
fn later(seed: u64, horizon: u32) -> History {
    let mut draw = ChaCha8Rng::seed_from_u64(seed);
    let mut history = History::default();
    for operation in OperationType::ALL {
        for size in [1e-4f32, 1e-3, 1e-2, 1e-1] {
            let coordinates: Vec<(f32, f32)> =
                (0..400).map(|_| (size * draw.random_range(-1.0..1.0), draw.random_range(3.0..12.0))).collect();
            let at = |epoch: u32| {
                let weights: Vec<f32> = coordinates.iter().map(|(d, tau)| d * (-(epoch as f32) / tau).exp()).collect();
                Tensor::from_slice(&weights)
            };
            let snapshots: Vec<Tensor> = (0..SNAPSHOTS as u32).map(at).collect();
            let newest = at(SNAPSHOTS as u32 - 1);
            history
                .push(Window {
                    operation,
                    horizon,
                    scale: f64::from(size),
                    weight: 1.0,
                    place: 0.0,
                    snapshots: Tensor::stack(&snapshots, 1),
                    residual: at(SNAPSHOTS as u32 - 1 + horizon) - newest,
                })
                .unwrap();
        }
    }
    history
}

/// A thousand times smaller drifts are a thousand times smaller answers, and no harder: each coordinate has its own unit.
#[test]
fn the_wnn_network_learns_drifts_of_every_size() {
    let recipe = Recipe {
        architecture: Architecture::Wnn,
        direction: Direction::Future,
        epochs: 20,
        batch_size: 100,
        learning_rate: 2e-3,
        penalties: Penalties { kernel: 0.0, bias: 0.0 },
        ..Recipe::paper(SNAPSHOTS, 5)
    };
    let TrainedPredictor { predictor, validation } = train_alone(&recipe, &[later(1, 5)], &[later(2, 5)]);
    for row in &validation.rows {
        assert!(row.predictor < row.task_vector_per_operation.error, "{row:?}");
        assert!(row.predictor < 0.3, "{row:?}");
    }
    let card = predictor.for_snapshots(SNAPSHOTS).unwrap().card().clone();
    assert_eq!((card.direction, card.differences), (Direction::Future, Some(Differences::NewerMinusOlder)));
}

#[test]
fn published_networks_are_drawn_as_published() {
    for (architecture, explicit, others) in [
        (Architecture::Paper, &["dense1", "dense2", "dense3"][..], 9),
        (Architecture::Wnn, &["dense1", "dense2"][..], 9),
    ] {
        let predictor = Predictor::untrained(architecture, 15, &[3], 7);
        let (mut scaled, mut glorot) = (0, 0);
        for operation in OperationType::ALL {
            for (name, parameter) in predictor.for_snapshots(15).unwrap().of(operation).parameters() {
                if name.ends_with(".bias") {
                    assert_eq!(parameter.abs().max().double_value(&[]), 0.0, "{name}");
                    continue;
                }
                let (outputs, inputs) = (parameter.size()[0] as f64, parameter.size()[1] as f64);
                let layer = name.trim_end_matches(".kernel").rsplit('.').next().unwrap();
                // VarianceScaling(0.1, fan-in), and Glorot's.
                let variance = if explicit.contains(&layer) { 0.1 / inputs } else { 2.0 / (inputs + outputs) };
                *(if explicit.contains(&layer) { &mut scaled } else { &mut glorot }) += 1;
                let values = Vec::<f32>::try_from(parameter.flatten(0, -1)).unwrap();
                let count = values.len() as f64;
                let mean = |of: &dyn Fn(f64) -> f64| values.iter().map(|&w| of(f64::from(w))).sum::<f64>() / count;
                // Of a uniform distribution: bound² = 3 variance, fourth moment 9/5 variance².
                let bound = (3.0 * variance).sqrt();
                assert!(values.iter().all(|w| f64::from(w.abs()) <= bound * (1.0 + 1e-6)), "{name}");
                assert!(mean(&|w| w).abs() < 5.0 * (variance / count).sqrt(), "{name}");
                assert!((mean(&|w| w * w) / variance - 1.0).abs() < 5.0 * (0.8 / count).sqrt(), "{name}");
                // The mean size is half the bound; its variance a twelfth of the bound's square.
                let size = mean(&|w| w.abs()) / bound;
                assert!((size - 0.5).abs() < 5.0 * (1.0 / (12.0 * count)).sqrt(), "{name}: not uniform");
            }
        }
        assert_eq!((scaled, glorot), (3 * 2 * explicit.len(), 3 * others), "{architecture}");
    }
}

/// The trainee is what the fleet trains, and shares its penalties with [`train`].
#[test]
fn only_the_explicit_layers_of_the_streams_are_penalised() {
    for (architecture, direction) in [(Architecture::Paper, Direction::Past), (Architecture::Wnn, Direction::Future)] {
        let recipe = Recipe { architecture, direction, ..Recipe::paper(SNAPSHOTS, 3) };
        assert_eq!(recipe.penalties, Penalties { kernel: 1e-6, bias: 0.1 });
        let trainee = Trainee::new(vec![recipe]).unwrap();
        // None of them 0, where the penalty has no slope.
        let signs =
            Tensor::arange(trainee.flat().numel() as i64, (Kind::Float, tch::Device::Cpu)).remainder(2.0) * 2.0 - 1.0;
        trainee.flat().shallow_clone().copy_(&(&signs * 0.01));
        let share = trainee.share(&[]);
        let (gradient, error) = trainee.gradient(&share, (0, 1), &share.coordinates(), true);
        assert_eq!(error, 0.0, "penalties are no part of the error");
        for segment in &trainee.layout().segments {
            let of = |tensor: &Tensor| {
                let part = tensor.narrow(0, segment.offset as i64, segment.len() as i64);
                Vec::<f32>::try_from(part).unwrap()
            };
            let factor = match segment.name.rsplit_once("_stream.").map(|(_, parameter)| parameter) {
                Some("dense1.kernel" | "dense2.kernel" | "dense3.kernel") => 1e-6f32,
                Some("dense1.bias" | "dense2.bias" | "dense3.bias") => 0.1,
                _ => 0.0,
            };
            let expected: Vec<f32> = of(&signs).iter().map(|sign| sign * factor).collect();
            assert_eq!(of(&gradient), expected, "{}", segment.name);
        }
        let without = trainee.gradient(&share, (0, 1), &share.coordinates(), false).0;
        assert_eq!(without.abs().max().double_value(&[]), 0.0, "one worker alone adds them");
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
