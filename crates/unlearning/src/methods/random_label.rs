//! Random Label: train on `D_f` with labels drawn at random, and on `D_r` with its own (Graves et al., 2021; the public
//! code of SalUn, Fan et al., 2024).

use rand::RngExt;
use rewind_job::{LabelsDrawn, RemainingPass};
use tch::{Kind, Tensor};

use crate::{
    Batch, LabelledSamples, Learner, Pass, RoundMethod, UnlearningError,
    learner::Span,
    objective::to_labels,
    samples::{Both, TrainingData},
};

/// How the labels of `D_f` are drawn.
#[derive(Clone, Copy, Debug)]
pub struct RandomLabels {
    pub classes: u32,
    pub wrong_only: bool,
    pub drawn: LabelsDrawn,
}

pub struct RandomLabel<'a> {
    labels: RandomLabels,
    pass: Pass,
    forget: &'a LabelledSamples,
    /// `D_r`, and how it is met; none: the variant that reads `D_f` alone.
    remaining: Option<(&'a LabelledSamples, RemainingPass)>,
    /// Epochs that the learner counts before the first round.
    before: u32,
}

impl<'a> RandomLabel<'a> {
    pub fn new(
        labels: RandomLabels,
        pass: Pass,
        forget: &'a LabelledSamples,
        remaining: Option<(&'a LabelledSamples, RemainingPass)>,
    ) -> Self {
        Self { labels, pass, forget, remaining, before: 0 }
    }

    /// The same after the learner has counted so many epochs.
    pub fn after(self, before: u32) -> Self {
        Self { before, ..self }
    }

    fn batches(&self, data: &dyn TrainingData) -> usize {
        data.count().div_ceil(self.pass.batch_size)
    }
}

impl RoundMethod for RandomLabel<'_> {
    /// Returns the mean loss over what the round has trained on, each sample with the label that it got.
    fn round(&mut self, learner: &mut Learner) -> Result<f64, UnlearningError> {
        let epochs = learner.epochs() - self.before;
        let drawn = self.labels.draw(learner.seed(), learner.epochs(), self.forget.len());
        let labels = self.labels;
        let of_forget = |batch: &Batch| to_labels(batch, &labels.given(&drawn, batch.positions, &batch.labels));
        let (forget, pass) = (self.forget, &self.pass);
        let alone = Span { epoch: epochs, before: 0, batches: self.batches(forget) };
        match self.remaining {
            None => learner.pass_over(forget, pass, alone, &mut |batch: &Batch| of_forget(batch)),
            Some((remaining, RemainingPass::After)) => {
                let batches = alone.batches + self.batches(remaining);
                let first = Span { epoch: epochs / 2, batches, ..alone };
                let then = Span { before: alone.batches, ..first };
                let wrong = learner.pass_over(forget, pass, first, &mut |batch: &Batch| of_forget(batch))?;
                let own =
                    learner.pass_over(remaining, pass, then, &mut |batch: &Batch| to_labels(batch, &batch.labels))?;
                let (ones, others) = (forget.len() as f64, remaining.len() as f64);
                Ok((wrong * ones + own * others) / (ones + others))
            }
            Some((remaining, RemainingPass::Mixed)) => {
                let both = Both(forget, remaining);
                let span = Span { batches: self.batches(&both), ..alone };
                learner.pass_over(&both, pass, span, &mut |batch: &Batch| {
                    to_labels(batch, &labels.given(&drawn, batch.positions, &batch.labels))
                })
            }
        }
    }

    fn forget_epochs(&self, rounds: u32) -> f64 {
        f64::from(rounds)
    }
}

impl RandomLabels {
    /// For each sample of `D_f`, `[samples]`, a label uniform over all classes, or, where only wrong ones are wanted,
    /// by how much its own label is to be shifted, uniform from 1 to `classes − 1`. A function of the seed, the epoch
    /// (where labels are drawn in each) and the sample's position in `D_f`, whatever the order in which samples are
    /// met, and by which rank.
    pub fn draw(&self, seed: u64, epoch: u32, samples: usize) -> Tensor {
        let purpose = match self.drawn {
            LabelsDrawn::EachEpoch => format!("random-label/{epoch}"),
            LabelsDrawn::Once => "random-label".to_owned(),
        };
        let mut rng = rewind_datasets::generator(seed, &purpose);
        let lowest = u32::from(self.wrong_only);
        let drawn: Vec<i64> = (0..samples).map(|_| i64::from(rng.random_range(lowest..self.classes))).collect();
        Tensor::from_slice(&drawn)
    }

    /// The labels of a batch: what was drawn for samples of `D_f`, and `own` for those at positions after them. All are
    /// `[n]`, int64, but `drawn`, which is as [`Self::draw`] gives it.
    pub fn given(&self, drawn: &Tensor, positions: &[i64], own: &Tensor) -> Tensor {
        let (forget, device) = (drawn.size()[0], own.device());
        let positions = Tensor::from_slice(positions);
        let drawn = drawn.index_select(0, &positions.clamp_max(forget - 1)).to_device(device);
        let random = if self.wrong_only { (own + drawn).remainder(i64::from(self.classes)) } else { drawn };
        random.where_self(&positions.lt(forget).to_device(device), own).to_kind(Kind::Int64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Distortion;

    const ANY: RandomLabels = RandomLabels { classes: 10, wrong_only: false, drawn: LabelsDrawn::EachEpoch };

    fn labels_of(labels: RandomLabels, seed: u64, epoch: u32, own: &[i64]) -> Vec<i64> {
        let positions: Vec<i64> = (0..own.len() as i64).collect();
        let drawn = labels.draw(seed, epoch, own.len());
        Vec::try_from(labels.given(&drawn, &positions, &Tensor::from_slice(own))).expect("int64")
    }

    fn labels(seed: u64, epoch: u32, samples: usize) -> Vec<i64> {
        labels_of(ANY, seed, epoch, &vec![0; samples])
    }

    #[test]
    fn a_samples_label_hangs_on_its_position_and_the_epoch_alone() {
        let few = labels(3, 0, 100);
        assert_eq!(few[..], labels(3, 0, 5000)[..100]);
        assert_ne!(few, labels(3, 1, 100));
        assert_ne!(few, labels(4, 0, 100));
    }

    #[test]
    fn labels_that_are_drawn_once_stay_in_all_epochs() {
        let once = |wrong_only| RandomLabels { wrong_only, drawn: LabelsDrawn::Once, ..ANY };
        for labels in [once(false), once(true)] {
            assert_eq!(labels_of(labels, 3, 0, &[4; 200]), labels_of(labels, 3, 7, &[4; 200]));
            assert_ne!(labels_of(labels, 3, 0, &[4; 200]), labels_of(labels, 4, 0, &[4; 200]));
        }
    }

    #[test]
    fn samples_after_the_forget_data_keep_their_own_labels() {
        let own = Tensor::from_slice(&[9_i64, 8, 7, 6]);
        for labels in [ANY, RandomLabels { wrong_only: true, ..ANY }] {
            let drawn = labels.draw(1, 0, 3);
            let given: Vec<i64> = Vec::try_from(labels.given(&drawn, &[3, 1, 5, 0], &own)).expect("int64");
            assert_eq!((given[0], given[2]), (9, 7), "positions 3 and 5 are of remaining data");
            let alone: Vec<i64> = Vec::try_from(labels.given(&drawn, &[1], &own.narrow(0, 1, 1))).expect("int64");
            assert_eq!(given[1], alone[0]);
        }
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

    #[test]
    fn wrong_labels_are_uniform_over_the_other_classes() {
        let own: Vec<i64> = (0..18_000).map(|sample| sample % 2 * 7).collect();
        let drawn = labels_of(RandomLabels { wrong_only: true, ..ANY }, 0, 0, &own);
        for truth in [0, 7] {
            for class in 0..10 {
                let is_drawn = |(own, label): &(&i64, &i64)| **own == truth && **label == class;
                let count = own.iter().zip(&drawn).filter(is_drawn).count();
                // 1,000 expected of each wrong class; four standard deviations of a binomial count: 30 each.
                let plausible = if class == truth { 0..1 } else { 880..1120 };
                assert!(plausible.contains(&count), "{count} samples of {truth} became {class}");
            }
        }
    }
}
