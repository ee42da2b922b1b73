//! Optimisers alone, in float64, also where they divide by almost nothing: gradients that are 0, and 1e-12.

use rewind_collective::Solo;
use rewind_job::{Layout, Optimiser, ShardPlan, WorldSize};
use rewind_unlearning::{Gang, ShardOptimiser};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::reference::{Answer, Case, compare_with_reference, expect_nothing, near};

const COORDINATES: i64 = 60;
const STEPS: i64 = 6;
/// Of weights of size 1: rounding alone.
const TOLERANCE: f64 = 1e-13;

fn rules() -> Vec<(&'static str, Value)> {
    let adam = |weight_decay: f64, epsilon: f64| {
        json!({
            "learning-rate": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": epsilon, "weight-decay": weight_decay,
        })
    };
    vec![
        ("sgd", json!({"sgd": {"learning-rate": 0.1}})),
        ("sgd with momentum", json!({"sgd": {"learning-rate": 0.1, "momentum": 0.9}})),
        (
            "sgd with all",
            json!({"sgd": {"learning-rate": 0.1, "momentum": 0.9, "weight-decay": 0.05, "nesterov": true}}),
        ),
        ("adam", json!({"adam": adam(0.0, 1e-8)})),
        ("adam with decay", json!({"adam": adam(0.05, 1e-8)})),
        ("adam, other numbers", json!({"adam": {"learning-rate": 0.02, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}})),
        ("adamw", json!({"adamw": adam(0.05, 1e-8)})),
        ("adamw, one-dimensional without decay", {
            let mut rule = adam(0.05, 1e-8);
            rule["decay-one-dimensional"] = json!(false);
            json!({"adamw": rule})
        }),
    ]
}

/// `[steps, coordinates]`: of ordinary size, 1e-12, 0 throughout, and 0 at first.
fn gradients() -> Tensor {
    let place = Tensor::arange(STEPS * COORDINATES, (Kind::Double, Device::Cpu)).view([STEPS, COORDINATES]);
    let ordinary = (&place * 1.7 + 0.3).sin();
    let column = Tensor::arange(COORDINATES, (Kind::Int64, Device::Cpu)).remainder(4).view([1, COORDINATES]);
    let row = Tensor::arange(STEPS, (Kind::Int64, Device::Cpu)).view([STEPS, 1]);
    let small = column.eq(1).to_kind(Kind::Double) * (1e-12 - 1.0) + 1.0;
    let is_zero = column.eq(2).logical_or(&column.eq(3).logical_and(&row.lt(3)));
    ordinary * small * is_zero.logical_not().to_kind(Kind::Double)
}

fn weights() -> Tensor {
    (Tensor::arange(COORDINATES, (Kind::Double, Device::Cpu)) * 0.9).cos()
}

/// On the rate.
fn factor(step: i64) -> f64 {
    [1.0, 1.0, 0.5, 0.25, 0.1, 0.1][step as usize]
}

/// So many are of a matrix, the others of a bias.
const HALF: i64 = COORDINATES / 2;

fn case(name: &str, rule: &Value) -> Case {
    let gradients = gradients();
    let asked = json!({"rule": rule, "steps": STEPS, "dtype": "float64"});
    let mut case = Case::new("optimiser", name, asked).with("weights", &weights());
    for step in 0..STEPS {
        case = case
            .with(format!("gradient.{step}"), &gradients.get(step))
            .with(format!("factor.{step}"), &Tensor::from(factor(step)));
    }
    if rule["adamw"]["decay-one-dimensional"] == json!(false) {
        case = case.with("one-dimensional", &Tensor::arange(COORDINATES, (Kind::Int64, Device::Cpu)).ge(HALF));
    }
    case
}

pub fn cases() -> Vec<Case> {
    rules().iter().map(|(name, rule)| case(name, rule)).collect()
}

#[test]
fn every_optimiser_agrees_with_its_reference_in_float64() {
    let (weights, gradients) = (weights(), gradients());
    let layout = Layout::new([("weight".to_owned(), vec![HALF / 5, 5]), ("bias".to_owned(), vec![HALF])]);
    let plan = ShardPlan::balanced(&layout, WorldSize(1));
    let gang = Gang::new(Box::new(Solo::new()), layout, plan);
    let mut wrong = Vec::new();
    for (name, rule) in rules() {
        let case = case(name, &rule);
        let rule: Optimiser = serde_json::from_value(rule).expect("is one of ours");
        wrong.extend(compare_with_reference(&case, |answer: &Answer| {
            let ours = weights.copy();
            let mut optimiser = ShardOptimiser::of_shard(Device::Cpu, rule.clone(), &gang).in_kind(Kind::Double);
            for step in 0..STEPS {
                optimiser.step(&ours, &gradients.get(step), factor(step));
                let name = format!("weights.{step}");
                near(&name, &ours, answer.tensor(&name)?, TOLERANCE)?;
            }
            Ok(())
        }));
    }
    expect_nothing(&wrong);
}
