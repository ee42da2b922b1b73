//! Labelled samples of a job, from whatever source: read whole, or looked into.

use std::path::Path;

use rewind_job::{IdxFiles, Pool, Split, shortened};

use crate::{DataError, IdxSummary, Samples, cifar, idx, partition::refuse, tiny_imagenet};

/// Samples, and which of them their data set calls training samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSamples {
    pub samples: Samples,
    /// The first so many are for training, the others for testing; none: the data set does not say.
    pub training: Option<usize>,
}

impl From<Samples> for PoolSamples {
    fn from(samples: Samples) -> Self {
        Self { samples, training: None }
    }
}

/// What a source holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSummary {
    /// In the pool's order.
    pub labels: Vec<u8>,
    /// As in [`PoolSamples`].
    pub training: Option<usize>,
    /// Channels, height, width.
    pub shape: [usize; 3],
}

impl PoolSummary {
    /// Samples.
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    pub fn largest_label(&self) -> u8 {
        self.labels.iter().copied().max().unwrap_or(0)
    }
}

/// Reads all samples of a pool, always in the same order.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read_pool(pool: &Pool) -> Result<PoolSamples, DataError> {
    match pool {
        Pool::Idx(IdxFiles { images, labels }) => Ok(idx::read(images, labels)?.into()),
        Pool::Cifar10(folder) => cifar::read(folder, cifar::CIFAR10),
        Pool::Cifar100(folder) => cifar::read(folder, cifar::CIFAR100),
        Pool::TinyImagenet(folder) => tiny_imagenet::read(folder),
    }
}

/// Says what a pool holds, without keeping its pixels in memory; of TinyImageNet's images only the first is opened.
///
/// # Errors
/// As [`read_pool`].
pub fn inspect_pool(pool: &Pool) -> Result<PoolSummary, DataError> {
    match pool {
        Pool::Idx(IdxFiles { images, labels }) => {
            let IdxSummary { labels, shape } = idx::inspect(images, labels)?;
            Ok(PoolSummary { labels, training: None, shape })
        }
        Pool::Cifar10(folder) => cifar::inspect(folder, cifar::CIFAR10),
        Pool::Cifar100(folder) => cifar::inspect(folder, cifar::CIFAR100),
        Pool::TinyImagenet(folder) => tiny_imagenet::inspect(folder),
    }
}

/// Refuses a split that is larger than what it is taken from: `count` samples, the first `training` of which are the data
/// set's training samples, if it says so.
///
/// # Errors
/// Names the field.
pub fn check_split(split: &Split, count: usize, training: Option<usize>) -> Result<(), DataError> {
    let [train, test, validation, attack] =
        [split.train, split.test, split.validation, split.attack].map(|size| size as usize);
    let held_out = test + validation + attack;
    match training {
        None if train + held_out > count => {
            let problem = format!("its parts sum to {}, but the pool has {count} samples", train + held_out);
            Err(refuse("data.split", problem))
        }
        Some(training) if train > training => {
            let problem = format!("is {train}, but the data set has {training} training samples");
            Err(refuse("data.split.train", problem))
        }
        Some(training) if held_out > count - training => {
            let tests = count - training;
            let problem = format!(
                "test, validation and attack sum to {held_out}, but the data set has {tests} test samples to take them from"
            );
            Err(refuse("data.split", problem))
        }
        _ => Ok(()),
    }
}

/// Something is wrong with a file.
pub(crate) fn wrong(path: &Path, problem: impl Into<String>) -> DataError {
    DataError::Format { path: path.to_owned(), problem: shortened(problem.into()) }
}

/// Something could not be read.
pub(crate) fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> DataError {
    let path = path.to_owned();
    move |source| DataError::Io { action: "read", path, source }
}
