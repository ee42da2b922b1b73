//! The cases of methods, a row each.

use rewind_job::Architecture::{self, Mlp, VggSmall};
use serde_json::{Value, json};

use crate::methods::BATCH;

/// A method with its settings, in the words of a specification.
pub struct Row {
    pub name: &'static str,
    pub network: Architecture,
    pub method: Value,
    pub forward: Value,
    pub rounds: u32,
}

impl Row {
    /// For fewer rounds than five: each trains several epochs, or is dear.
    fn for_rounds(self, rounds: u32) -> Self {
        Self { rounds, ..self }
    }

    /// With a schedule over its epochs.
    fn by(mut self, schedule: Value) -> Self {
        self.forward["schedule"] = schedule;
        self
    }
}

/// A method, its optimiser and its BatchNorm policy.
fn row(name: &'static str, network: Architecture, method: Value, optimiser: Value, batch_norm: &str) -> Row {
    let forward = json!({"optimiser": optimiser, "batch-size": BATCH, "batch-norm": batch_norm});
    Row { name, network, method, forward, rounds: 5 }
}

fn sgd(learning_rate: f64) -> Value {
    json!({"sgd": {"learning-rate": learning_rate}})
}

fn momentum(learning_rate: f64) -> Value {
    json!({"sgd": {"learning-rate": learning_rate, "momentum": 0.9, "weight-decay": 0.05}})
}

/// Epsilon is large enough that rounding is not divided by almost nothing.
fn adam(learning_rate: f64) -> Value {
    json!({"adam": {"learning-rate": learning_rate, "epsilon": 1e-3}})
}

fn adamw(learning_rate: f64) -> Value {
    json!({"adamw": {"learning-rate": learning_rate, "epsilon": 1e-3, "weight-decay": 0.1}})
}

fn milestones() -> Value {
    json!({"milestones": {"epochs": [1, 3], "factor": 0.3}})
}

/// Every method on both networks, and between them every BatchNorm policy, every kind of optimiser and schedules.
pub fn rows() -> Vec<Row> {
    let rows = [training(), trajectories(), boundaries(), random_labels(), noise(), scrub()];
    rows.into_iter().flatten().collect()
}

fn training() -> Vec<Row> {
    let neg_grad = || json!({"neg-grad": {}});
    let fine_tune = || json!({"fine-tune": {}});
    let retrain = || json!({"retrain": {}});
    vec![
        row("neg-grad, mlp", Mlp, neg_grad(), momentum(0.002), "frozen"),
        row("neg-grad, frozen", VggSmall, neg_grad(), momentum(0.001), "frozen"),
        row("neg-grad, inference", VggSmall, neg_grad(), adam(2e-4), "inference").by(json!("cosine")),
        row("neg-grad, train", VggSmall, neg_grad(), sgd(0.005), "train").by(milestones()),
        row("neg-grad, recompute", VggSmall, neg_grad(), sgd(0.002), "recompute"),
        row("neg-grad, train-recompute", VggSmall, neg_grad(), adamw(2e-4), "train-recompute"),
        row("fine-tune, mlp", Mlp, fine_tune(), momentum(0.02), "train").by(json!("cosine")),
        row("fine-tune, train", VggSmall, fine_tune(), momentum(0.02), "train"),
        row("fine-tune, recompute", VggSmall, fine_tune(), adamw(1e-3), "recompute"),
        row("nowcasting, mlp", Mlp, json!({"nowcasting": {"every": 3}}), momentum(0.02), "train"),
        row("nowcasting, train", VggSmall, json!({"nowcasting": {"every": 3}}), adam(1e-3), "train")
            .by(json!("cosine")),
        row("retrain, mlp", Mlp, retrain(), momentum(0.05), "train").by(milestones()),
        row("retrain, train", VggSmall, retrain(), momentum(0.01), "train").by(json!("cosine")),
    ]
}

fn trajectories() -> Vec<Row> {
    let paper = json!({"snapshots": 3, "warm-up-epochs": 1, "last-epoch": "paper", "optimiser-state": "keep"});
    let short = json!({"snapshots": 4, "last-epoch": "skip", "optimiser-state": "reset"});
    let per_type = json!({"convolution": 1.2, "fully-connected": 0.24, "bias": 0.4});
    let task_vector =
        |lambda: &Value, trajectory: &Value| json!({"task-vector": {"lambda": lambda, "trajectory": trajectory}});
    let rewinding = |scale: f64, trajectory: &Value| {
        let settings = json!({"predictor": "p.safetensors", "horizon": 3, "scale": scale, "trajectory": trajectory});
        json!({"rewinding": settings})
    };
    let rows = vec![
        row("task-vector, mlp", Mlp, task_vector(&json!(0.5), &paper), momentum(0.02), "frozen").by(json!("cosine")),
        row("task-vector, recompute", VggSmall, task_vector(&per_type, &short), adam(2e-4), "recompute"),
        row("task-vector, frozen", VggSmall, task_vector(&per_type, &paper), momentum(0.001), "frozen"),
        row("rewinding, mlp", Mlp, rewinding(1.0, &short), adam(1e-3), "inference"),
        row("rewinding, recompute", VggSmall, rewinding(0.7, &paper), momentum(0.002), "recompute"),
        row("rewinding, frozen", VggSmall, rewinding(1.0, &paper), adam(3e-4), "frozen"),
    ];
    rows.into_iter().map(|row| row.for_rounds(2)).collect()
}

fn boundaries() -> Vec<Row> {
    let shrink = || json!({"boundary-shrink": {"step": 0.1}});
    let expand = || json!({"boundary-expand": {}});
    vec![
        row("boundary-shrink, mlp", Mlp, shrink(), momentum(0.05), "train"),
        row("boundary-shrink, inference", VggSmall, shrink(), momentum(0.02), "inference"),
        row("boundary-expand, mlp", Mlp, expand(), momentum(0.02), "train").by(milestones()),
        row("boundary-expand, train", VggSmall, expand(), momentum(0.02), "train"),
        row("boundary-expand, recompute", VggSmall, expand(), adam(1e-3), "recompute"),
    ]
}

fn random_labels() -> Vec<Row> {
    vec![
        row("random-label, mlp", Mlp, json!({"random-label": {}}), momentum(0.02), "train").by(json!("cosine")),
        row("random-label, train", VggSmall, json!({"random-label": {"wrong-only": true}}), sgd(0.02), "train"),
        // Not at 0.01: there rounding alone decides in round 2 on which side of a ReLU a value is. At 0.008, 0.0099,
        // 0.0101 and 0.012 both sides agree.
        row(
            "random-label, mixed",
            VggSmall,
            json!({"random-label": {"labels": "once", "remaining": "mixed"}}),
            momentum(0.012),
            "recompute",
        ),
        row("random-label-forget-only, mlp", Mlp, json!({"random-label-forget-only": {}}), adam(1e-3), "train"),
        row(
            "random-label-forget-only, frozen",
            VggSmall,
            json!({"random-label-forget-only": {"labels": "once", "wrong-only": true}}),
            momentum(0.01),
            "frozen",
        ),
        row("salun, mlp", Mlp, json!({"salun": {"share": 0.3, "remaining": "mixed"}}), momentum(0.02), "train"),
        row("salun, train", VggSmall, json!({"salun": {"share": 0.5}}), momentum(0.02), "train").by(milestones()),
        row("salun, frozen", VggSmall, json!({"salun": {"share": 0.5}}), adamw(1e-3), "frozen"),
        row("salun-forget-only, mlp", Mlp, json!({"salun-forget-only": {"share": 0.5}}), momentum(0.02), "train"),
        row(
            "salun-forget-only, recompute",
            VggSmall,
            json!({"salun-forget-only": {"share": 0.25, "labels": "once"}}),
            momentum(0.01),
            "recompute",
        ),
    ]
}

fn noise() -> Vec<Row> {
    let weight_noise = || json!({"weight-noise": {"sigma": 0.01, "share": 0.3}});
    let fisher = |form: &str, alpha: f64| json!({"fisher": {"form": form, "alpha": alpha}});
    let rows = vec![
        row("weight-noise, mlp", Mlp, weight_noise(), sgd(0.1), "train"),
        row(
            "weight-noise, recompute",
            VggSmall,
            json!({"weight-noise": {"sigma": 0.02, "share": 0.25}}),
            sgd(0.1),
            "recompute",
        ),
        row("weight-noise, frozen", VggSmall, weight_noise(), sgd(0.1), "frozen"),
        row("fisher, empirical, mlp", Mlp, fisher("empirical", 1e-9), sgd(0.1), "train"),
        row("fisher, empirical", VggSmall, fisher("empirical", 1e-9), sgd(0.1), "recompute"),
        row("fisher, expected, mlp", Mlp, fisher("expected", 1e-7), sgd(0.1), "train"),
        row("fisher, expected", VggSmall, fisher("expected", 1e-7), sgd(0.1), "inference"),
        row("fisher, expected, frozen", VggSmall, fisher("expected", 1e-7), sgd(0.1), "frozen"),
    ];
    rows.into_iter().map(|row| row.for_rounds(2)).collect()
}

fn scrub() -> Vec<Row> {
    let published = || json!({"scrub": {"ascent-rounds": 3, "gamma": 1.0, "alpha": 0.5, "temperature": 4.0}});
    let sizes = json!({"scrub": {
        "ascent-rounds": 2, "gamma": 0.99, "alpha": 0.1, "temperature": 4.0,
        "forget-batch-size": 11, "remaining-batch-size": 5,
    }});
    let falls = json!({"milestones": {"epochs": [3, 5], "factor": 0.1}});
    vec![
        row("scrub, mlp", Mlp, published(), adam(1e-3), "train").by(falls.clone()),
        row("scrub, train", VggSmall, sizes, momentum(0.005), "train").by(falls),
        row("scrub, recompute", VggSmall, published(), sgd(0.01), "recompute"),
    ]
}
