//! Schedules, at every step of a training, to 1e-12.

use rewind_job::Schedule;
use rewind_unlearning::{Moment, rate_factor};
use serde_json::{Value, json};

use crate::reference::{Answer, Case, compare_with_reference, expect_nothing};

const EPOCHS: u32 = 12;
const BATCHES: usize = 5;

fn schedules() -> Vec<(&'static str, Value)> {
    vec![
        ("cosine", json!("cosine")),
        ("milestones", json!({"milestones": {"epochs": [3, 5], "factor": 0.1}})),
        ("milestones at once", json!({"milestones": {"epochs": [0, 11], "factor": 0.5}})),
        ("warm-up", json!({"warm-up": {"epochs": 2, "then": "constant"}})),
        ("warm-up, then cosine", json!({"warm-up": {"epochs": 3, "then": "cosine"}})),
        (
            "warm-up, then milestones",
            json!({"warm-up": {"epochs": 1, "then": {"milestones": {"epochs": [4, 8], "factor": 0.2}}}}),
        ),
    ]
}

fn steps() -> Vec<(u32, usize)> {
    (0..EPOCHS).flat_map(|epoch| (0..BATCHES).map(move |batch| (epoch, batch))).collect()
}

fn case(name: &str, schedule: &Value) -> Case {
    let steps = steps();
    let asked = json!({"schedule": schedule, "epochs": EPOCHS, "batches": BATCHES, "points": steps, "at": steps});
    Case::new("schedule", name, asked)
}

pub fn cases() -> Vec<Case> {
    schedules().iter().map(|(name, schedule)| case(name, schedule)).collect()
}

#[test]
fn every_schedule_agrees_with_its_reference() {
    let steps = steps();
    let mut wrong = Vec::new();
    for (name, schedule) in schedules() {
        let case = case(name, &schedule);
        let ours: Schedule = serde_json::from_value(schedule).expect("is one of ours");
        wrong.extend(compare_with_reference(&case, |answer: &Answer| {
            let factors = answer.figures["factors"].as_array().ok_or("the reference answers no factors")?;
            for (&(epoch, batch), expected) in steps.iter().zip(factors) {
                let found = rate_factor(&ours, Moment { epoch, batch, batches: BATCHES }, EPOCHS);
                let expected = expected.as_f64().ok_or("a factor is no number")?;
                if (found - expected).abs() > 1e-12 {
                    return Err(format!("in batch {batch} of epoch {epoch} it is {found}, not {expected}"));
                }
            }
            Ok(())
        }));
    }
    expect_nothing(&wrong);
}
