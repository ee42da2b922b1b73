//! Augmented training: what a sample becomes hangs on its position and the epoch, and on nothing else.

mod gang;

use std::{cell::RefCell, collections::BTreeMap};

use rewind_collective::CancelSignal;
use rewind_datasets::Subset;
use rewind_job::{Architecture, Augment, Optimiser, Schedule, Sgd};
use rewind_models::Network;
use rewind_unlearning::{Batch, Descent, Gang, LabelledSamples, Learner, Pass, PassMode, UnlearningError};
use tch::{Kind, Tensor};

const SAMPLES: usize = 23;

fn network() -> Network {
    Network::build(Architecture::Mlp, 4, [1, 8, 8], 3)
}

/// Images without two equal pixels in a row; the labels are shifted by `shift`.
fn samples(shift: usize) -> LabelledSamples {
    let pixels: Vec<u8> = (0..SAMPLES * 64).map(|at| (at * 37 % 251) as u8 + 1).collect();
    let labels = (0..SAMPLES).map(|at| ((at + shift) % 4) as u8).collect();
    let subset = Subset { ids: (0..SAMPLES as u32).collect(), labels };
    LabelledSamples::of(&subset, |id| &pixels[id as usize * 64..][..64], [1, 8, 8])
}

/// What this rank's samples looked like in the second epoch, by position; and the positions in their order.
type Met = (BTreeMap<i64, Vec<f32>>, Vec<i64>);

fn met(gang: Gang, augment: Option<Augment>, batch_size: usize, shift: usize) -> Met {
    let sgd = Sgd { learning_rate: 0.01, momentum: 0.0, weight_decay: 0.0, nesterov: false };
    let mut learner = Learner::new(network(), gang, Optimiser::Sgd(sgd), 5, "unlearning", CancelSignal::new())
        .with_augmentation(augment);
    let schedule = Schedule::Constant;
    let pass = Pass { batch_size, descent: Descent::Down, mode: PassMode::BatchStatistics, schedule, epochs: 1 };
    let seen = RefCell::new((BTreeMap::new(), Vec::new()));
    let mut look = |batch: &Batch| -> Result<Tensor, UnlearningError> {
        let (images, order) = &mut *seen.borrow_mut();
        for (index, &position) in batch.positions.iter().enumerate() {
            let pixels = batch.images.get(index as i64).contiguous().view([-1]);
            images.insert(position, Vec::try_from(pixels).expect("float32"));
            order.push(position);
        }
        Ok(batch.network.forward(&batch.images, batch.mode).sum(Kind::Float))
    };
    for _ in 0..2 {
        *seen.borrow_mut() = (BTreeMap::new(), Vec::new());
        learner.epoch_of(&samples(shift), &pass, &mut look).expect("trains");
    }
    seen.into_inner()
}

const BOTH: Option<Augment> = Some(Augment { crop: 2, flip: true, rotate: 10.0, shift: 0.15, shear: 0.1, zoom: 0.3 });

/// All ranks' samples together.
fn everyone(world: u32, augment: Option<Augment>, batch_size: usize, shift: usize) -> BTreeMap<i64, Vec<f32>> {
    let layout = network().layout().clone();
    let ranks = gang::on_every_rank(world, &layout, move |gang| met(gang, augment, batch_size, shift));
    ranks.into_iter().flat_map(|(images, _)| images).collect()
}

#[test]
fn a_sample_is_augmented_alike_in_any_batch_on_any_rank_and_with_any_label() {
    tch::set_num_threads(1);
    let alone = everyone(1, BOTH, 8, 0);
    assert_eq!(alone.len(), SAMPLES);
    assert_eq!(alone, everyone(1, BOTH, 5, 0), "other batches");
    assert_eq!(alone, everyone(1, BOTH, 8, 1), "other labels");
    let two = everyone(2, BOTH, 8, 0);
    assert!(two.iter().all(|(position, pixels)| alone[position] == *pixels), "other ranks");
    let plain = everyone(1, None, 8, 0);
    let changed = alone.iter().filter(|(position, pixels)| plain[*position] != **pixels).count();
    assert!(changed > SAMPLES / 2, "{changed} of {SAMPLES} are changed");
}

#[test]
fn augmentation_changes_the_images_and_not_the_order_in_which_they_are_met() {
    tch::set_num_threads(1);
    let layout = network().layout().clone();
    let order = |augment| gang::on_every_rank(1, &layout, move |gang| met(gang, augment, 8, 0)).swap_remove(0).1;
    assert_eq!(order(BOTH), order(None));
}
