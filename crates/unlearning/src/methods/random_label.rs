//! Random Label: train on `D_f` with labels drawn anew in each epoch (Graves et al., 2021).

use rand::RngExt;
use tch::Tensor;

use crate::{Batch, LabelledSamples, Learner, Pass, RoundMethod, UnlearningError, objective::to_labels};

pub struct RandomLabel<'a> {
    pass: Pass,
    forget: &'a LabelledSamples,
    classes: u32,
}

impl<'a> RandomLabel<'a> {
    pub fn new(pass: Pass, forget: &'a LabelledSamples, classes: u32) -> Self {
        Self { pass, forget, classes }
    }
}

impl RoundMethod for RandomLabel<'_> {
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let labels = drawn_labels(learner.seed(), learner.epochs(), self.forget.len(), self.classes);
        learner.epoch_of(self.forget, &self.pass, &mut |batch: &Batch| {
            to_labels(batch, &labels.index_select(0, &Tensor::from_slice(batch.positions)))
        })
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds)
    }
}

/// Uniform over all classes, `[samples]`: a function of the seed, the epoch and the sample's position in `D_f`, whatever
/// the order in which samples are met, and by which rank.
fn drawn_labels(seed: u64, epoch: u32, samples: usize, classes: u32) -> Tensor {
    let mut rng = rewind_datasets::generator(seed, &format!("random-label/{epoch}"));
    let labels: Vec<i64> = (0..samples).map(|_| i64::from(rng.random_range(0..classes))).collect();
    Tensor::from_slice(&labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Distortion;

    fn labels(seed: u64, epoch: u32, samples: usize) -> Vec<i64> {
        Vec::try_from(drawn_labels(seed, epoch, samples, 10)).expect("int64")
    }

    #[test]
    fn a_samples_label_hangs_on_its_position_and_the_epoch_alone() {
        let few = labels(3, 0, 100);
        assert_eq!(few[..], labels(3, 0, 5000)[..100]);
        assert_ne!(few, labels(3, 1, 100));
        assert_ne!(few, labels(4, 0, 100));
    }

    #[test]
    fn labels_say_nothing_of_how_their_images_are_augmented() {
        let both = rewind_job::Augment { crop: 1, flip: true, ..Default::default() };
        let mut counts = [[0_u32; 2]; 10];
        let mut rows = [[0_u32; 3]; 10];
        for (position, label) in (0..).zip(labels(3, 0, 12_000)) {
            let Distortion { row, mirrored, .. } = Distortion::draw(both, 3, "unlearning", 0, position);
            counts[label as usize][usize::from(mirrored)] += 1;
            rows[label as usize][row as usize] += 1;
        }
        // Four standard deviations of binomial counts around 600 and 400 out of 12,000: 24 and 20 each.
        assert!(counts.iter().flatten().all(|count| count.abs_diff(600) < 96), "{counts:?}");
        assert!(rows.iter().flatten().all(|count| count.abs_diff(400) < 80), "{rows:?}");
    }

    #[test]
    fn labels_are_uniform_over_all_classes() {
        let drawn = labels(0, 0, 10_000);
        for class in 0..10 {
            let count = drawn.iter().filter(|&&label| label == class).count();
            // Four standard deviations of a binomial count: 30 each.
            assert!(count.abs_diff(1000) < 120, "{count} of class {class}");
        }
    }
}
