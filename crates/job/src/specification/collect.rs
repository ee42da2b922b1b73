//! Histories: which small networks are trained and recorded.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    Architecture, IdxFiles, Initialisation, Objective, Optimiser, Schedule, SpecificationError, Synthetic,
    check::{check_optimiser, check_positive, require},
};
use crate::{Digest, TaskIndex};

/// Make histories, for training predictors: many small networks, trained and recorded by tasks that each run on one
/// worker.
///
/// Lists are axes. The grid is the product of all of them; a random search draws one value of each for each network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Collect {
    /// A random search of so many networks; without it, the whole grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<u32>,
    /// Networks of one task. They are trained side by side, as many at a time as the worker has threads
    /// (`fleet.threads`), each on one thread: their bits do not depend on how they are packed.
    #[serde(default = "one")]
    pub pack: u32,
    /// Without it `model.architecture`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<Architecture>,
    #[serde(default = "pool")]
    pub data: Vec<HistoryData>,
    pub optimisers: Vec<Optimiser>,
    #[serde(default = "defaults")]
    pub schedules: Vec<Schedule>,
    #[serde(default = "defaults")]
    pub initialisations: Vec<Initialisation>,
    #[serde(default = "batch_32")]
    pub batch_sizes: Vec<u32>,
    /// Samples that a network is trained on, drawn by its seed.
    #[serde(default = "samples_500")]
    pub samples: Vec<u32>,
    /// Epochs on these samples.
    pub epochs: Vec<u32>,
    /// Noise on the images that a network which gives images takes away; pixels are from 0 to 1.
    #[serde(default = "noise")]
    pub noise: f64,
    /// What comes after, if the histories are made for unlearning; without it the training itself is the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlearning: Option<CollectUnlearning>,
    /// Coordinates kept of each tensor.
    #[serde(default = "kept_2048")]
    pub kept: u32,
}

/// A history for unlearning: the network trains on its samples; then the forget data comes in; then it trains forward
/// on the forget data alone. The weights before the forget data came in are the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CollectUnlearning {
    /// Samples to forget, drawn beside `samples`.
    #[serde(default = "forget_150")]
    pub forget: Vec<u32>,
    /// Share of them whose label is wrong.
    #[serde(default = "all_wrong")]
    pub wrong_labels: Vec<f64>,
    /// Epochs on both together (`U`).
    pub horizons: Vec<u32>,
    /// Forward training on the forget data alone.
    pub forward: Vec<Optimiser>,
    #[serde(default = "batch_16")]
    pub forward_batch_sizes: Vec<u32>,
    /// Snapshots of forward training, one an epoch (the largest `K` of a predictor that learns from them).
    #[serde(default = "snapshots_15")]
    pub snapshots: u32,
}

/// Samples that histories are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum HistoryData {
    /// The training part of `data.pool`.
    Pool,
    Synthetic(Synthetic),
    Files(IdxFiles),
}

/// One network of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NetworkRecipe {
    /// Weights, samples and their order follow from it.
    pub seed: u64,
    pub architecture: Architecture,
    pub data: HistoryData,
    pub objective: Objective,
    pub optimiser: Optimiser,
    pub schedule: Schedule,
    pub initialisation: Initialisation,
    pub batch_size: u32,
    pub samples: u32,
    pub epochs: u32,
    pub unlearning: Option<UnlearningRecipe>,
    pub kept: u32,
}

/// What a task leaves: an artifact, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HistoryPack {
    /// In the order of their networks.
    pub histories: Vec<Digest>,
    /// Networks that left no history.
    pub skipped: Vec<SkippedNetwork>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SkippedNetwork {
    pub network: u64,
    pub reason: String,
}

/// What one network trains after its samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UnlearningRecipe {
    pub forget: u32,
    pub wrong_labels: f64,
    pub horizon: u32,
    pub forward: Optimiser,
    pub forward_batch_size: u32,
    pub snapshots: u32,
}

/// Largest collection.
const MOST_NETWORKS: u64 = 1_000_000;

fn one() -> u32 {
    1
}

fn pool() -> Vec<HistoryData> {
    vec![HistoryData::Pool]
}

fn defaults<T: Default>() -> Vec<T> {
    vec![T::default()]
}

fn batch_16() -> Vec<u32> {
    vec![16]
}

fn batch_32() -> Vec<u32> {
    vec![32]
}

fn samples_500() -> Vec<u32> {
    vec![500]
}

fn forget_150() -> Vec<u32> {
    vec![150]
}

fn all_wrong() -> Vec<f64> {
    vec![1.0]
}

fn snapshots_15() -> u32 {
    15
}

fn kept_2048() -> u32 {
    2048
}

fn noise() -> f64 {
    0.3
}

/// Picks from each axis, one after the other.
enum Pick {
    /// A point of the grid: the rest of its number, and how many points the axes so far have.
    Point {
        rest: u64,
    },
    Draw(Box<ChaCha8Rng>),
}

impl Pick {
    fn of<'a, T>(&mut self, axis: &'a [T]) -> &'a T {
        match self {
            Self::Point { rest } => {
                let place = *rest % axis.len() as u64;
                *rest /= axis.len() as u64;
                &axis[place as usize]
            }
            Self::Draw(draw) => &axis[draw.random_range(0..axis.len())],
        }
    }
}

impl Collect {
    /// Networks in all.
    pub fn networks(&self) -> u64 {
        self.networks.map_or_else(|| self.points(), u64::from)
    }

    /// Points of the grid.
    fn points(&self) -> u64 {
        let own = [
            self.architectures.len().max(1),
            self.data.len(),
            self.optimisers.len(),
            self.schedules.len(),
            self.initialisations.len(),
            self.batch_sizes.len(),
            self.samples.len(),
            self.epochs.len(),
        ];
        let further = self.unlearning.as_ref().map_or([1; 5], |unlearning| {
            [
                unlearning.forget.len(),
                unlearning.wrong_labels.len(),
                unlearning.horizons.len(),
                unlearning.forward.len(),
                unlearning.forward_batch_sizes.len(),
            ]
        });
        own.iter().chain(&further).fold(1_u64, |points, &len| points.saturating_mul(len as u64))
    }

    /// Tasks in all.
    pub fn tasks(&self) -> u32 {
        u32::try_from(self.networks().div_ceil(u64::from(self.pack))).unwrap_or(u32::MAX)
    }

    /// The networks of a task, by number.
    pub fn networks_of(&self, task: TaskIndex) -> Range<u64> {
        let first = u64::from(task.0) * u64::from(self.pack);
        first..(first + u64::from(self.pack)).min(self.networks())
    }

    /// A network's recipe: a function of the specification and the network's number. `model` is
    /// `model.architecture`, `seed` the job's.
    pub fn recipe(&self, network: u64, model: Architecture, seed: u64) -> NetworkRecipe {
        let mut pick = match self.networks {
            None => Pick::Point { rest: network },
            Some(_) => {
                let mut draw = ChaCha8Rng::seed_from_u64(seed);
                draw.set_stream(network);
                Pick::Draw(Box::new(draw))
            }
        };
        let architecture = if self.architectures.is_empty() { model } else { *pick.of(&self.architectures) };
        let objective = match architecture.gives_images() {
            true => Objective::Denoising { noise: self.noise },
            false => Objective::Classification,
        };
        NetworkRecipe {
            seed: seed.wrapping_mul(1_000_003).wrapping_add(network),
            architecture,
            objective,
            data: pick.of(&self.data).clone(),
            optimiser: pick.of(&self.optimisers).clone(),
            schedule: pick.of(&self.schedules).clone(),
            initialisation: *pick.of(&self.initialisations),
            batch_size: *pick.of(&self.batch_sizes),
            samples: *pick.of(&self.samples),
            epochs: *pick.of(&self.epochs),
            unlearning: self.unlearning.as_ref().map(|unlearning| UnlearningRecipe {
                forget: *pick.of(&unlearning.forget),
                wrong_labels: *pick.of(&unlearning.wrong_labels),
                horizon: *pick.of(&unlearning.horizons),
                forward: pick.of(&unlearning.forward).clone(),
                forward_batch_size: *pick.of(&unlearning.forward_batch_sizes),
                snapshots: unlearning.snapshots,
            }),
            kept: self.kept,
        }
    }

    /// Refuses impossible values; `at` is the step's field.
    ///
    /// # Errors
    /// The first one found.
    pub(super) fn check(&self, at: &str) -> Result<(), SpecificationError> {
        let at = |field: &str| format!("{at}.{field}");
        let above_0 = |values: &[u32], field: &str| {
            require(!values.is_empty(), at(field), "must not be empty")?;
            require(values.iter().all(|&value| value > 0), at(field), "must be at least 1 each")
        };
        let each = |count: usize, field: &str| require(count > 0, at(field), "must not be empty");
        require(self.networks != Some(0), at("networks"), "must be at least 1")?;
        require((1..=1024).contains(&self.pack), at("pack"), "must be from 1 to 1024")?;
        each(self.data.len(), "data")?;
        each(self.optimisers.len(), "optimisers")?;
        each(self.schedules.len(), "schedules")?;
        each(self.initialisations.len(), "initialisations")?;
        above_0(&self.batch_sizes, "batch-sizes")?;
        above_0(&self.samples, "samples")?;
        above_0(&self.epochs, "epochs")?;
        require(self.kept > 0, at("kept"), "must be at least 1")?;
        check_positive(self.noise, at("noise"))?;
        for (index, data) in self.data.iter().enumerate() {
            if let HistoryData::Synthetic(synthetic) = data {
                synthetic.check(&at(&format!("data[{index}].synthetic")))?;
            }
        }
        for (index, optimiser) in self.optimisers.iter().enumerate() {
            check_optimiser(optimiser, &at(&format!("optimisers[{index}]")))?;
        }
        for (index, schedule) in self.schedules.iter().enumerate() {
            schedule.check(&at(&format!("schedules[{index}]")))?;
        }
        for (index, initialisation) in self.initialisations.iter().enumerate() {
            initialisation.check(&at(&format!("initialisations[{index}]")))?;
        }
        if let Some(unlearning) = &self.unlearning {
            above_0(&unlearning.forget, "unlearning.forget")?;
            each(unlearning.wrong_labels.len(), "unlearning.wrong-labels")?;
            let shares = unlearning.wrong_labels.iter().all(|share| (0.0..=1.0).contains(share));
            require(shares, at("unlearning.wrong-labels"), "must be from 0 to 1 each")?;
            above_0(&unlearning.horizons, "unlearning.horizons")?;
            each(unlearning.forward.len(), "unlearning.forward")?;
            for (index, optimiser) in unlearning.forward.iter().enumerate() {
                check_optimiser(optimiser, &at(&format!("unlearning.forward[{index}]")))?;
            }
            above_0(&unlearning.forward_batch_sizes, "unlearning.forward-batch-sizes")?;
            let snapshots = (2..=1000).contains(&unlearning.snapshots);
            require(snapshots, at("unlearning.snapshots"), "must be from 2 to 1000")?;
        }
        let networks = self.networks();
        require(networks <= MOST_NETWORKS, at("networks"), format!("{networks} are more than {MOST_NETWORKS}"))
    }
}
