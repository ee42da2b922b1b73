//! The jobs of a schedule: specifications, and what they lead to.

use std::{path::Path, sync::LazyLock};

use rewind_job::{RoundRecord, Specification};
use serde_json::json;

/// The steps that have rounds, and how many.
pub const STEPS: [(u32, u32); 2] = [(0, 3), (2, 3)];
/// History tasks of a schedule.
pub const TASKS: u32 = 20;

/// All rounds of a job, in order.
pub fn places() -> Vec<(u32, u32)> {
    STEPS.iter().flat_map(|&(step, rounds)| (1..=rounds).map(move |round| (step, round))).collect()
}

/// How many rounds lie after `from`, up to `to`.
pub fn rounds_between(from: Option<(u32, u32)>, to: (u32, u32)) -> usize {
    places().into_iter().filter(|&place| Some(place) > from && place <= to).count()
}

const DATA: &str = r#"
model = { architecture = "mlp" }
[data]
pool = { images = "i", labels = "l" }
split = { train = 80, test = 10, validation = 10, attack = 0 }
forget = { class = { label = 1 } }
"#;

fn parse(head: &str, steps: &str) -> Specification {
    let text = format!("{head}\n{DATA}\n{steps}");
    Specification::parse(&text, Path::new("/data")).expect("the simulation's specifications are valid")
}

/// A gang's job of six rounds; `extra` are lines at its head.
pub fn gang(world: u32, at_least: Option<u32>, extra: &str) -> Specification {
    let fewer = at_least.map_or(String::new(), |fewest| format!(", at-least = {fewest}, grace = \"5s\""));
    let rounds = STEPS[0].1;
    parse(
        &format!("name = \"gang\"\n{extra}\nfleet = {{ world-size = {world}{fewer} }}"),
        &format!(
            r#"
            [[step]]
            name = "pretrained"
            pretrain = {{ epochs = {rounds}, batch-size = 8, optimiser = {{ sgd = {{ learning-rate = 0.1 }} }} }}
            [[step]]
            name = "between"
            evaluate = {{ }}
            [[step]]
            name = "unlearned"
            [step.unlearn]
            from = "pretrained"
            method = {{ neg-grad = {{}} }}
            forward = {{ optimiser = {{ sgd = {{ learning-rate = 0.1 }} }}, batch-size = 8 }}
            stop = {{ rounds = {rounds} }}
            "#
        ),
    )
}

/// A job of [`TASKS`] histories.
pub fn histories() -> Specification {
    static HISTORIES: LazyLock<Specification> = LazyLock::new(|| {
        let sgd = "{ sgd = { learning-rate = 0.1 } }";
        parse(
            "name = \"histories\"\npriority = \"low\"",
            &format!(
                "[[step]]\nname = \"histories\"\n[step.collect]\nnetworks = {TASKS}\noptimisers = [{sgd}]\nepochs = [1]"
            ),
        )
    });
    HISTORIES.clone()
}

pub fn record(round: u32) -> RoundRecord {
    let record = json!({
        "round": round, "loss": 0.5, "weight_change": 0.0, "seconds": 0.0, "forget_epochs": 0.0, "bytes_moved": 0,
    });
    serde_json::from_value(record).expect("is a record")
}
