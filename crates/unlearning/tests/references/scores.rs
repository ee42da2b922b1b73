//! Accuracies, losses, confidences, and the average gap of what a network answers; a backdoor's success, and a class that
//! is forgotten whole, in parts as a job's data has them.

use rewind_collective::Solo;
use rewind_datasets::{Partition, Samples};
use rewind_evaluation::average_gap;
use rewind_job::{
    Architecture, Backdoor, Data, Forget, ForgottenClass, HeldOutClass, IdxFiles, Measured, Pool, ShardPlan, Split,
    WorldSize,
};
use rewind_models::{Mode, Network};
use rewind_unlearning::{Gang, LabelledSamples, confidences, predictions};
use serde_json::json;
use tch::{Tensor, no_grad};

use crate::{
    drawing::uniform,
    networks::{CLASSES, network, samples},
    reference::{Answer, Case, compare_with_reference, expect_nothing, near},
};

/// Answers that are not all alike.
fn sharp_network() -> Network {
    let network = network(Architecture::Mlp);
    no_grad(|| network.flat().shallow_clone().copy_(&(network.flat() * 3.0)));
    network
}

fn gang(network: &Network) -> Gang {
    let layout = network.layout().clone();
    let plan = ShardPlan::balanced(&layout, WorldSize(1));
    Gang::new(Box::new(Solo::new()), layout, plan)
}

fn with_answers(case: Case, name: &str, network: &Network, data: &LabelledSamples) -> Case {
    let logits = no_grad(|| network.forward(data.images(), Mode::Inference));
    case.with(format!("{name}.logits"), &logits).with(format!("{name}.labels"), data.labels())
}

fn same(name: &str, found: f64, answer: &Answer) -> Result<(), String> {
    let expected = answer.figure(name)?;
    let near = (found - expected).abs() <= 1e-9;
    if near { Ok(()) } else { Err(format!("{name} is {found}, and the reference's {expected}")) }
}

fn sets() -> [(&'static str, LabelledSamples); 3] {
    [("forget", 40), ("remaining", 60), ("test", 50)].map(|(name, count)| (name, samples(name, count)))
}

fn measured(network: &Network) -> Case {
    let asked = json!({"figures": {"MIA": 40.0}, "retrain": {"UA": 60.0, "RA": 30.0, "TA": 90.0, "MIA": 10.0}});
    let case = Case::new("score", "scores", asked);
    sets().iter().fold(case, |case, (name, data)| with_answers(case, name, network, data))
}

/// The class that a backdoor leads to, and the one that is forgotten.
const CLASS: u32 = 3;

/// Drawn images of 8×8, split as the job says: half of the samples are for testing.
fn partition(forget: Forget) -> Partition {
    let images = uniform("pool", &[400 * 64], 0.0, 256.0);
    let labels = uniform("pool's labels", &[400], 0.0, CLASSES as f32);
    let bytes = |tensor: &Tensor| {
        Vec::<f32>::try_from(tensor).expect("float32").into_iter().map(|value| value as u8).collect::<Vec<u8>>()
    };
    let pool = Samples { shape: [1, 8, 8], images: bytes(&images), labels: bytes(&labels) };
    let split = Split { seed: 3, train: 150, test: 200, validation: 30, attack: 20 };
    let files = IdxFiles { images: "images".into(), labels: "labels".into() };
    let data = Data { pool: Some(Pool::Idx(files)), split: Some(split), forget };
    Partition::new(&data, CLASSES, Some(pool.into()), None).expect("splits")
}

fn with_backdoor() -> Partition {
    partition(Forget::Backdoor(Backdoor { share: 0.2, seed: 1, label: CLASS, width: 2, value: 255 }))
}

fn without_class() -> Partition {
    partition(Forget::Class(ForgottenClass { label: CLASS, held_out: HeldOutClass::Apart }))
}

/// The reference is given the trigger on all test samples, also on those of the target's class.
fn triggered(network: &Network) -> Case {
    let partition = with_backdoor();
    let test = partition.test().expect("is asked for");
    let everyone = LabelledSamples::of(test, |id| partition.triggered_image(id), partition.shape());
    with_answers(Case::new("score", "a backdoor", json!({"target": CLASS})), "triggered", network, &everyone)
}

/// The reference is given the class and the others together.
fn forgotten(network: &Network) -> Case {
    let partition = without_class();
    let (test, apart) = parts_without_class(&partition);
    with_answers(Case::new("score", "a class", json!({"forgotten-class": CLASS})), "test", network, &test.with(&apart))
}

/// What is left of the test data, and what the class has taken with it.
fn parts_without_class(partition: &Partition) -> (LabelledSamples, LabelledSamples) {
    let of = |subset| LabelledSamples::of(subset, |id| partition.image(id), partition.shape());
    (of(partition.test().expect("is asked for")), of(&partition.class_apart().expect("is forgotten whole").test))
}

pub fn cases() -> Vec<Case> {
    let network = sharp_network();
    vec![measured(&network), triggered(&network), forgotten(&network)]
}

#[test]
fn a_backdoors_success_agrees_with_its_reference() {
    tch::set_num_threads(1);
    let (network, partition) = (sharp_network(), with_backdoor());
    let held_out = partition.triggered().expect("there is a backdoor");
    let held_out = LabelledSamples::of(&held_out, |id| partition.triggered_image(id), partition.shape());
    let found = predictions(&network, &mut gang(&network), &held_out).expect("measures").accuracy();
    expect_nothing(&compare_with_reference(&triggered(&network), |answer| same("backdoor-success", found, answer)));
}

#[test]
fn accuracies_without_and_on_a_forgotten_class_agree_with_their_reference() {
    tch::set_num_threads(1);
    let network = sharp_network();
    let (test, apart) = parts_without_class(&without_class());
    let mut gang = gang(&network);
    let [test, of_class] = [test, apart].map(|data| predictions(&network, &mut gang, &data).expect("measures"));
    let (accuracy, loss, of_class) = (test.accuracy(), test.loss(), of_class.accuracy());
    let mut confidence = confidences(&network, &mut gang, &parts_without_class(&without_class()).0).expect("measures");
    confidence.sort_by(f64::total_cmp);
    expect_nothing(&compare_with_reference(&forgotten(&network), |answer: &Answer| {
        same("TA", accuracy, answer)?;
        same("forgotten-class-accuracy", of_class, answer)?;
        let expected = answer.figures["cross-entropy"]["test"].as_f64().ok_or("the reference answers no loss")?;
        if (loss - expected).abs() > 1e-6 {
            return Err(format!("the loss is {loss}, and the reference's {expected}"));
        }
        let (expected, _) = answer.tensor("test.confidence")?.sort(0, false);
        near("the confidences", &Tensor::from_slice(&confidence), &expected, 1e-5)
    }));
}

#[test]
fn scores_agree_with_their_reference() {
    tch::set_num_threads(1);
    let network = sharp_network();
    let (case, sets, mut gang) = (measured(&network), sets(), gang(&network));
    let retrained = Measured { ua: Some(60.0), ra: Some(30.0), ta: Some(90.0), mia: Some(10.0), ..Measured::default() };
    let (mut accuracies, mut losses, mut scaled) = (Vec::new(), Vec::new(), Vec::new());
    for (_, data) in &sets {
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
            same(name, found, answer)?;
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
