//! The membership attack on losses: which samples it is given.

use std::collections::BTreeMap;

use rewind_datasets::order;
use rewind_evaluation::loss_attack;
use rewind_job::LossAttack;
use rewind_unlearning::{LabelledSamples, Predictions, UnlearningError};

/// Can the forget data be told from unseen samples of their classes by their losses? Samples are drawn by the seed, of each
/// class as many of one as of the other; labels are those that were trained with.
///
/// # Errors
/// Labels that cannot be read.
pub fn attack_losses(
    seed: u64,
    (forget, forget_answers): (&LabelledSamples, &Predictions),
    (unseen, unseen_answers): (&LabelledSamples, &Predictions),
) -> Result<LossAttack, UnlearningError> {
    let labels = |samples: &LabelledSamples| Vec::<i64>::try_from(samples.labels());
    let drawn = alike(seed, &labels(forget)?, &labels(unseen)?);
    let losses = |answers: &Predictions, positions: &[usize]| -> Vec<f64> {
        // Probability 0: beyond what the attack tells apart.
        positions.iter().map(|&at| -answers.probability[at].ln()).collect()
    };
    let members = losses(forget_answers, &drawn.iter().map(|pair| pair[0]).collect::<Vec<_>>());
    let others = losses(unseen_answers, &drawn.iter().map(|pair| pair[1]).collect::<Vec<_>>());
    let samples = members.len() as u64;
    Ok(match loss_attack(&members, &others) {
        Ok(accuracy) => LossAttack { accuracy: Some(accuracy), samples, reason: None },
        Err(error) => LossAttack { accuracy: None, samples, reason: Some(error.to_string()) },
    })
}

/// Pairs of positions with the same label, one of each list, drawn: as many as there can be of each class, class by class.
fn alike(seed: u64, forget: &[i64], unseen: &[i64]) -> Vec<[usize; 2]> {
    let by_class = |labels: &[i64], purpose: &str| {
        let mut found: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for position in order(seed, purpose, 0, labels.len()) {
            found.entry(labels[position as usize]).or_default().push(position as usize);
        }
        found
    };
    let unseen = by_class(unseen, "loss-attack-unseen");
    let pairs = by_class(forget, "loss-attack-forget").into_iter().flat_map(|(class, positions)| {
        let others = unseen.get(&class).cloned().unwrap_or_default();
        positions.into_iter().zip(others).map(|(one, other)| [one, other]).collect::<Vec<_>>()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, Tensor};

    fn samples(labels: &[i64]) -> LabelledSamples {
        let images = Tensor::zeros([labels.len() as i64, 1, 2, 2], (Kind::Float, Device::Cpu));
        LabelledSamples::new(images, Tensor::from_slice(labels))
    }

    fn answers(probabilities: Vec<f64>) -> Predictions {
        Predictions { correct: vec![true; probabilities.len()], probability: probabilities, ..Predictions::default() }
    }

    #[test]
    fn of_each_class_there_are_as_many_unseen_samples_as_forget_samples() {
        let forget = [3, 3, 3, 5, 5, 7];
        let unseen = [5, 3, 3, 9, 5, 5, 3, 3];
        let drawn = alike(1, &forget, &unseen);
        let classes: Vec<i64> = drawn.iter().map(|[one, _]| forget[*one]).collect();
        assert_eq!(classes, [3, 3, 3, 5, 5]);
        assert!(drawn.iter().all(|[one, other]| forget[*one] == unseen[*other]));
        for side in 0..2 {
            let mut positions: Vec<usize> = drawn.iter().map(|pair| pair[side]).collect();
            positions.sort_unstable();
            positions.dedup();
            assert_eq!(positions.len(), 5, "each once");
        }
        assert_eq!(alike(1, &forget, &unseen), drawn);
        assert!((2..9).any(|seed| alike(seed, &forget, &unseen) != drawn), "a seed draws");
    }

    #[test]
    fn remembered_samples_are_told_from_unseen_ones_of_their_class_whatever_other_classes_say() {
        // Losses of unseen samples: of class 1 near 2 nats, of class 0, which is not forgotten, near nothing.
        let unseen: Vec<i64> = (0..60).map(|at| i64::from(at % 3 == 0)).collect();
        let of_unseen = |label: i64| if label == 1 { 0.13 } else { 0.999 };
        let probabilities = unseen.iter().map(|&label| of_unseen(label)).collect();
        let unseen = (&samples(&unseen), &answers(probabilities));
        let attack = |probability: f64| {
            let forget = samples(&[1; 30]);
            attack_losses(4, (&forget, &answers(vec![probability; 30])), unseen).expect("reads labels")
        };
        assert_eq!(attack(0.999), LossAttack { accuracy: Some(100.0), samples: 20, reason: None });
        assert_eq!(attack(0.13).accuracy, Some(50.0));
        // Probability 0 is a loss without end.
        assert_eq!(attack(0.0).accuracy, Some(100.0));
    }

    #[test]
    fn too_few_of_a_class_are_not_measured_and_the_reason_is_told() {
        let (forget, unseen) = (samples(&[1; 30]), samples(&[1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        let even = |count| answers(vec![0.5; count]);
        let found = attack_losses(4, (&forget, &even(30)), (&unseen, &even(12))).expect("reads labels");
        assert_eq!((found.accuracy, found.samples), (None, 3));
        assert!(found.reason.expect("is told").contains("at least 10 of each"));
    }
}
