//! What the predictors answer, and a few steps of how the paper's is trained.

use rewind_job::{Adam, OperationType, Optimiser};
use rewind_predictor::{Architecture, Direction, History, Network, Predictor, Recipe, Statistics, Trainee, Window};
use rewind_unlearning::ShardOptimiser;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::{
    drawing::{normal, uniform},
    reference::{Answer, Case, compare_with_reference, expect_nothing, near},
};

const COORDINATES: i64 = 40;
const HORIZON: u32 = 3;
const SCALE: f64 = 0.011;
const REACH: f64 = 0.7;

/// With the sizes of residuals beside which both are looked at: the published networks in float64, of which rounding
/// alone is left; ours keep their unit in float32.
const ARCHITECTURES: [(Architecture, &str, usize, f64); 5] = [
    (Architecture::Paper, "paper", 15, 1e-12),
    (Architecture::Wnn, "wnn", 5, 1e-12),
    (Architecture::Equivariant, "equivariant", 15, 1e-6),
    (Architecture::Lopsided, "lopsided", 5, 1e-6),
    (Architecture::Conditioned, "conditioned", 5, 1e-6),
];

/// Parameters large enough that everything matters, by name.
fn parameters(architecture: Architecture, snapshots: usize) -> Vec<(String, Tensor)> {
    let predictor = Predictor::untrained(architecture, snapshots, &[HORIZON], 1);
    let network = predictor.for_snapshots(snapshots).expect("has these").of(OperationType::Convolution);
    let large = |(name, tensor): &(String, Tensor)| {
        let size =
            if name.ends_with("bias") { 0.1 } else { (*tensor.size().last().expect("a kernel") as f64).powf(-0.5) };
        (name.clone(), normal(name, &tensor.size()).to_kind(Kind::Double) * size)
    };
    network.parameters().iter().map(large).collect()
}

/// What the reference calls a parameter: it names the last layer of WNN's streams as that of InvWNN's.
pub fn name_of(architecture: Architecture, parameter: &str) -> String {
    if architecture == Architecture::Wnn { parameter.replace("dense2", "dense3") } else { parameter.to_owned() }
}

/// Drifting weights, oldest first, `[coordinates, snapshots]`: those of WNN slowly, because its unit has a floor.
fn window(architecture: Architecture, snapshots: usize) -> Tensor {
    let drift = if architecture == Architecture::Wnn { 1e-5 } else { 0.01 };
    let steps = normal("steps", &[COORDINATES, snapshots as i64]) * drift;
    (normal("start", &[COORDINATES, 1]) * 0.1 + steps.cumsum(1, Kind::Float)).to_kind(Kind::Double)
}

/// Published networks for so many snapshots, with parameters large enough that everything matters: freshly drawn ones
/// answer almost nothing.
pub fn large_predictor(architecture: Architecture, direction: Direction, snapshots: usize, horizon: u32) -> Predictor {
    let drawn = Predictor::untrained(architecture, snapshots, &[horizon], 1).to_bytes().expect("writes");
    let file = SafeTensors::deserialize(&drawn).expect("is a file");
    let (_, header) = SafeTensors::read_metadata(&drawn).expect("has a header");
    let large: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(name, view)| {
            let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
            let size = if name.ends_with("bias") { 0.1 } else { (shape[shape.len() - 1] as f64).powf(-0.5) };
            // What the last layer answers is as large as weights move.
            let size = if name.contains(".out.") { 0.02 * size } else { size };
            let values: Vec<f32> = Vec::try_from((normal(name, &shape) * size).view([-1])).expect("float32");
            (name.to_owned(), view.shape().to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views = large.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many bytes as its shape says"))
    });
    let mut metadata = header.metadata().clone().expect("says what it is");
    let document = metadata.get_mut("predictor").expect("says what it is");
    let mut card: serde_json::Value = serde_json::from_str(document).expect("is JSON");
    if direction == Direction::Future {
        card["snapshots"][snapshots.to_string()]["direction"] = json!("future");
    }
    *document = card.to_string();
    let bytes = safetensors::serialize(views, Some(metadata)).expect("serialises");
    Predictor::from_bytes(&bytes).expect("is a predictor")
}

fn case(architecture: Architecture, name: &str, snapshots: usize) -> Case {
    let asked = json!({"architecture": name, "snapshots": snapshots, "horizon": HORIZON});
    let case = Case::new("predictor", name, asked)
        .with("window", &window(architecture, snapshots))
        .with("scale", &Tensor::from(SCALE))
        .with("reach", &Tensor::from(REACH));
    parameters(architecture, snapshots).iter().fold(case, |case, (parameter, tensor)| {
        case.with(format!("param.{}", name_of(architecture, parameter)), tensor)
    })
}

pub fn cases() -> Vec<Case> {
    ARCHITECTURES.into_iter().map(|(architecture, name, snapshots, _)| case(architecture, name, snapshots)).collect()
}

#[test]
fn every_predictor_agrees_with_its_reference() {
    let mut wrong = Vec::new();
    for (architecture, name, snapshots, tolerance) in ARCHITECTURES {
        let (parameters, window) = (parameters(architecture, snapshots), window(architecture, snapshots));
        let case = case(architecture, name, snapshots);
        let network = Network::from_parameters(architecture, snapshots, "", |wanted| {
            let found = parameters.iter().find(|(parameter, _)| parameter == wanted);
            Ok(found.expect("all of them are there").1.shallow_clone())
        });
        let statistics = Statistics { scale: SCALE, reach: REACH };
        let found = network.expect("is whole").residual(&window, &statistics, HORIZON);
        wrong.extend(compare_with_reference(&case, |answer: &Answer| {
            let expected = answer.tensor("residual")?;
            near("the residual", &found, expected, tolerance * expected.abs().max().double_value(&[]))
        }));
    }
    expect_nothing(&wrong);
}

const TRAINED_SNAPSHOTS: usize = 5;
const EXAMPLES: i64 = 24;
const STEPS: i64 = 3;
/// So small that what rounding makes of steps along gradients near 0 stays below the tolerance.
const LEARNING_RATE: f64 = 1e-4;

/// Parameters of one operation type's network by their names, as views of the trainee's.
fn parameters_of(trainee: &Trainee, operation: OperationType) -> Vec<(String, Tensor)> {
    let prefix = format!("k{TRAINED_SNAPSHOTS}.{}.", operation.name());
    let segments = trainee.layout().segments.iter();
    let of_type = segments.filter_map(|segment| {
        let name = segment.name.strip_prefix(&prefix)?;
        let tensor = trainee.flat().narrow(0, segment.offset as i64, segment.len() as i64);
        Some((name.to_owned(), tensor.view(&segment.shape[..])))
    });
    of_type.collect()
}

#[test]
fn the_papers_predictor_is_trained_as_its_reference_is() {
    tch::set_num_threads(1);
    let of = |name: &str, operation: OperationType| format!("{name} of {}", operation.name());
    let seen = |operation| normal(&of("seen", operation), &[EXAMPLES, TRAINED_SNAPSHOTS as i64]) * 0.1;
    let residual = |operation| uniform(&of("residual", operation), &[EXAMPLES], -0.5, 0.5);
    let mut history = History::default();
    for operation in OperationType::ALL {
        let window = Window {
            operation,
            horizon: HORIZON,
            scale: 1.0,
            weight: 1.0,
            place: 0.5,
            snapshots: seen(operation),
            residual: residual(operation),
        };
        history.push(window).expect("is a window");
    }
    let recipe = Recipe { direction: Direction::Past, ..Recipe::paper(TRAINED_SNAPSHOTS, HORIZON) };
    let trainee = Trainee::new(vec![recipe]).expect("is a recipe");
    // Drawn for training, they answer almost nothing, and biases are 0.
    let flat = normal("parameters", &[trainee.flat().numel() as i64]) * 0.1;
    trainee.flat().shallow_clone().copy_(&flat);
    let share = trainee.share(&[history]);
    let adam = json!({"adam": {"learning-rate": LEARNING_RATE}});
    let backwards = Tensor::arange_start_step(EXAMPLES - 1, -1, -1, (Kind::Int64, Device::Cpu));
    let mut cases = Vec::new();
    for operation in OperationType::ALL {
        let asked = json!({"architecture": "paper", "batch-size": EXAMPLES / STEPS, "optimiser": adam});
        // Read backwards they are in our order.
        let mut case = Case::new("predictor-training", operation.name(), asked)
            .with("inputs", &seen(operation).flip([0]))
            .with("targets", &residual(operation).flip([0]))
            .with("order", &backwards);
        for (name, tensor) in parameters_of(&trainee, operation) {
            case = case.with(format!("param.{name}"), &tensor);
        }
        cases.push((operation, case));
    }
    let rule = Adam { learning_rate: LEARNING_RATE, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut optimiser = ShardOptimiser::new(Optimiser::Adam(rule), trainee.flat().numel());
    for step in 0..STEPS {
        let (gradient, _) = trainee.gradient(&share, (step, STEPS), &share.coordinates(), true);
        optimiser.step(trainee.flat(), &gradient, 1.0);
    }
    let mut wrong = Vec::new();
    for (operation, case) in cases {
        let ours = parameters_of(&trainee, operation);
        wrong.extend(compare_with_reference(&case, |answer: &Answer| {
            ours.iter().try_for_each(|(name, found)| near(name, found, answer.tensor(&format!("param.{name}"))?, 1e-6))
        }));
    }
    expect_nothing(&wrong);
}
