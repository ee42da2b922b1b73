//! Training, test, validation, attack: drawn once, by a seed and the labels alone.

use std::{collections::BTreeMap, ops::Range};

use rand::seq::SliceRandom;
use rewind_job::Split;

use crate::{DataError, Subset, check_split, generator};

/// The parts of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub train: Subset,
    pub test: Subset,
    pub validation: Subset,
    pub attack: Subset,
}

/// Stratified by label: every part has the classes in the proportions of what it is taken from, within rounding. Where the
/// first `training` samples are the data set's training samples, those alone give the training part, and the others
/// the held-out parts.
pub(crate) fn split_pool(labels: &[u8], training: Option<usize>, split: &Split) -> Result<Parts, DataError> {
    check_split(split, labels.len(), training)?;
    let mut rng = generator(split.seed, "split");
    // Classes interleaved by relative position: any run of such a list is stratified.
    let mut spread = |from: Range<usize>| {
        let mut by_class: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        for id in from.clone() {
            by_class.entry(labels[id]).or_default().push(id as u32);
        }
        let mut spread: Vec<(f64, u8, u32)> = Vec::with_capacity(from.len());
        for (&label, ids) in &mut by_class {
            ids.shuffle(&mut rng);
            let count = ids.len() as f64;
            spread.extend(ids.iter().enumerate().map(|(i, &id)| ((i as f64 + 0.5) / count, label, id)));
        }
        spread.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        spread.into_iter().map(|(_, _, id)| id).collect::<Vec<u32>>()
    };
    let mut ids = spread(0..training.unwrap_or(labels.len()));
    let mut rest = match training {
        Some(training) => spread(training..labels.len()),
        None => ids.split_off(split.train as usize),
    };
    ids.truncate(split.train as usize);
    let subset = |mut ids: Vec<u32>| {
        ids.sort_unstable();
        let labels = ids.iter().map(|&id| labels[id as usize]).collect();
        Subset { ids, labels }
    };
    let [test, validation, attack] =
        [split.test, split.validation, split.attack].map(|size| subset(rest.drain(..size as usize).collect()));
    Ok(Parts { train: subset(ids), test, validation, attack })
}
