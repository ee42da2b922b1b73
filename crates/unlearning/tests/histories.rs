//! Histories made for unlearning: what is recorded is what the recipe says.

use rewind_collective::CancelSignal;
use rewind_job::Architecture;
use rewind_predictor::History;
use rewind_unlearning::{
    LabelledSamples,
    histories::{HistoryRecipe, Target, adam, collect},
};
use tch::{Device, Kind, Tensor};

fn samples(first: i64, count: i64) -> LabelledSamples {
    let images = (Tensor::arange_start(first * 64, (first + count) * 64, (Kind::Float, Device::Cpu)) * 0.61).sin();
    let labels = Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(4);
    LabelledSamples { images: images.view([count, 1, 8, 8]), labels }
}

fn history(horizon: u32, target: Target) -> History {
    let recipe = HistoryRecipe {
        architecture: Architecture::Lenet,
        seed: 3,
        pretraining: adam(1e-3),
        batch_size: 8,
        epochs_before: 2,
        horizon,
        forward: adam(1e-3),
        forward_batch_size: 8,
        snapshots: 4,
        target,
        kept: usize::MAX,
    };
    collect(&recipe, 4, &samples(0, 24), &samples(100, 12), &[3, 4], &CancelSignal::new()).expect("collects").history
}

/// `Φ_0 + residual` of every window with `k` snapshots: where the answer leads.
fn answers(history: &History, k: i64) -> Vec<Vec<f32>> {
    let windows = history.windows().iter().filter(|window| window.snapshots.size()[1] == k);
    windows
        .map(|window| {
            let answer = (window.snapshots.select(1, 0) + &window.residual) * 1e4;
            Vec::try_from(answer.round()).expect("float32")
        })
        .collect()
}

#[test]
fn the_answer_is_where_the_weights_were_before_the_forget_data_came_in() {
    tch::set_num_threads(1);
    let (one, two) = (history(1, Target::Before), history(2, Target::Before));
    // Five layers of weight and bias, for K = 3 and K = 4.
    assert_eq!(one.windows().len(), 20);
    // However long the forget data was in, the weights before it are the same; the trained ones are not.
    assert_eq!(answers(&one, 4), answers(&two, 4));
    assert_eq!(answers(&one, 3), answers(&one, 4));
    let start = |history: &History| Vec::<f32>::try_from(history.windows()[0].snapshots.select(1, 0)).expect("float32");
    assert_ne!(start(&one), start(&two));
    assert!(one.windows().iter().all(|window| window.horizon == 1 && window.scale > 0.0));
}

#[test]
fn a_twin_that_never_saw_the_forget_data_is_another_answer_to_the_same_question() {
    tch::set_num_threads(1);
    let (before, twin) = (history(2, Target::Before), history(2, Target::Twin));
    for (a, b) in before.windows().iter().zip(twin.windows()) {
        assert_eq!(a.snapshots, b.snapshots);
    }
    assert_ne!(answers(&before, 4), answers(&twin, 4));
}
