//! Accuracies, losses, confidences, and the average gap of what a network answers.

use rewind_collective::Solo;
use rewind_evaluation::average_gap;
use rewind_job::{Architecture, Measured, ShardPlan, WorldSize};
use rewind_models::Mode;
use rewind_unlearning::{Gang, confidences, predictions};
use serde_json::json;
use tch::{Tensor, no_grad};

use crate::{
    networks::{network, samples},
    reference::{Answer, Case, compare_with_reference, expect_nothing, near},
};

#[test]
fn scores_agree_with_their_reference() {
    tch::set_num_threads(1);
    let network = network(Architecture::Mlp);
    // Answers that are not all alike.
    no_grad(|| network.flat().shallow_clone().copy_(&(network.flat() * 3.0)));
    let layout = network.layout().clone();
    let plan = ShardPlan::balanced(&layout, WorldSize(1));
    let mut gang = Gang::new(Box::new(Solo::new()), layout, plan);
    let sets =
        [("forget", samples("forget", 40)), ("remaining", samples("remaining", 60)), ("test", samples("test", 50))];
    let retrained = Measured { ua: Some(60.0), ra: Some(30.0), ta: Some(90.0), mia: Some(10.0), ..Measured::default() };
    let asked = json!({"figures": {"MIA": 40.0}, "retrain": {"UA": 60.0, "RA": 30.0, "TA": 90.0, "MIA": 10.0}});
    let mut case = Case::new("score", "scores", asked);
    let (mut accuracies, mut losses, mut scaled) = (Vec::new(), Vec::new(), Vec::new());
    for (name, data) in &sets {
        let logits = no_grad(|| network.forward(data.images(), Mode::Inference));
        case = case.with(format!("{name}.logits"), &logits).with(format!("{name}.labels"), data.labels());
        let found = predictions(&network, &mut gang, data).expect("measures");
        accuracies.push(found.accuracy());
        losses.push(found.loss());
        scaled.push(Tensor::from_slice(&confidences(&network, &mut gang, data).expect("measures")));
    }
    let ours = Measured {
        ua: Some(100.0 - accuracies[0]),
        ra: Some(accuracies[1]),
        ta: Some(accuracies[2]),
        mia: Some(40.0),
        ..Measured::default()
    };
    let gap = average_gap(&ours, &retrained).expect("all are measured");
    expect_nothing(&compare_with_reference(&case, |answer: &Answer| {
        let figures =
            [("UA", 100.0 - accuracies[0]), ("RA", accuracies[1]), ("TA", accuracies[2]), ("average-gap", gap)];
        for (name, found) in figures {
            let expected = answer.figure(name)?;
            if (found - expected).abs() > 1e-9 {
                return Err(format!("{name} is {found}, and the reference's {expected}"));
            }
        }
        for (((name, _), loss), scaled) in sets.iter().zip(&losses).zip(&scaled) {
            let expected = answer.figures["cross-entropy"][name].as_f64().ok_or("the reference answers no loss")?;
            if (loss - expected).abs() > 1e-6 {
                return Err(format!("the loss on {name} is {loss}, and the reference's {expected}"));
            }
            near(name, scaled, answer.tensor(&format!("{name}.confidence"))?, 1e-5)?;
        }
        Ok(())
    }));
}
