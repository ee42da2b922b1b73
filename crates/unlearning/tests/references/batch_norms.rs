//! BatchNorm's statistics, taken anew, also where the last batches are smaller.

use rewind_collective::Solo;
use rewind_job::{Architecture, ShardPlan, WorldSize};
use rewind_unlearning::{Gang, recompute_batch_norm};
use serde_json::json;

use crate::{
    networks::{input_of, network, positions, samples},
    reference::{Answer, Case, compare_with_reference, expect_nothing, near},
};

const ROWS: [(&str, i64, usize); 2] = [("equal batches", 24, 8), ("unequal batches", 21, 6)];

fn case(name: &str, count: i64, batch_size: usize) -> Case {
    let data = samples(name, count);
    let case = Case::new("batch-norm", name, json!({"network": "vgg-small", "batch-size": batch_size}))
        .with("images", data.images())
        .with("order.recompute", &positions(&rewind_datasets::order(0, "batch-norm", 0, data.len())));
    input_of(case, &network(Architecture::VggSmall))
}

pub fn cases() -> Vec<Case> {
    ROWS.into_iter().map(|(name, count, batch_size)| case(name, count, batch_size)).collect()
}

#[test]
fn statistics_taken_anew_agree_with_their_reference() {
    tch::set_num_threads(1);
    let mut wrong = Vec::new();
    for (name, count, batch_size) in ROWS {
        let case = case(name, count, batch_size);
        let (network, data) = (network(Architecture::VggSmall), samples(name, count));
        let layout = network.layout().clone();
        let plan = ShardPlan::balanced(&layout, WorldSize(1));
        let mut gang = Gang::new(Box::new(Solo::new()), layout, plan);
        recompute_batch_norm(&network, &mut gang, &data, batch_size).expect("computes");
        wrong.extend(compare_with_reference(&case, |answer: &Answer| {
            network
                .buffers()
                .iter()
                .try_for_each(|(name, found)| near(name, found, answer.tensor(&format!("buffers.{name}"))?, 1e-6))
        }));
    }
    expect_nothing(&wrong);
}
