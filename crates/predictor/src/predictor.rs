use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rewind_job::{Digest, OperationType};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::tensors_at_rest;
use crate::{Architecture, Differences, Direction, Network, PredictorError, Recipe, Validation};

const METADATA: &str = "predictor";
const VERSION: u32 = 1;
/// `K` stays far below this.
const MOST_SNAPSHOTS: usize = 10_000;

/// Trained networks of one architecture: three (one an operation type) for each number of snapshots `K` it serves.
///
/// At rest a safetensors file with float32 tensors `k{K}.{operation}.{parameter}`, kernels `[outputs, inputs]`, and one
/// metadata key `predictor`: JSON with `version`, `architecture`, and a [`Card`] for each `K`.
#[derive(Debug)]
pub struct Predictor {
    architecture: Architecture,
    by_snapshots: BTreeMap<usize, Networks>,
}

/// The networks for one number of snapshots, and where they come from.
#[derive(Debug)]
pub struct Networks {
    snapshots: usize,
    architecture: Architecture,
    by_operation: BTreeMap<OperationType, Network>,
    pub(crate) card: Card,
}

/// What is known about trained networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Card {
    /// The horizons `U` they were trained for.
    pub horizons: Vec<u32>,
    #[serde(default, skip_serializing_if = "Direction::is_past")]
    pub direction: Direction,
    /// In which order published networks read differences. Our own are of one kind, and leave it out; so do files of
    /// version 0.1, where `paper` had newer minus older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Differences>,
    /// Not known of untrained or converted networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
}

impl Card {
    pub fn new(recipe: &Recipe, training: Option<Training>) -> Self {
        Self {
            horizons: recipe.horizons.clone(),
            direction: recipe.direction,
            differences: Differences::published(recipe.architecture),
            training,
        }
    }

    /// The order in which networks of this card read differences: the one that they were trained for. It says nothing
    /// of our own networks.
    ///
    /// # Errors
    /// Networks of version 0.1 that were not trained for what they were given: converted ones of `paper`, and all of `wnn`,
    /// which was another network then. An order that the architecture does not have.
    fn differences_of(&self, architecture: Architecture, snapshots: usize) -> Result<Differences, PredictorError> {
        let refuse = |reason: &str| {
            let reason = format!("the networks for {snapshots} snapshots {reason}");
            Err(PredictorError::BadMetadata { key: METADATA, reason })
        };
        match (architecture, self.differences) {
            (Architecture::Paper, Some(order)) => Ok(order),
            (Architecture::Paper, None) if self.training.is_some() => Ok(Differences::NewerMinusOlder),
            (Architecture::Paper, None) => Err(PredictorError::ConvertAgain { snapshots }),
            (Architecture::Wnn, None) => Err(PredictorError::TrainAgain { snapshots }),
            (Architecture::Wnn, Some(Differences::NewerMinusOlder)) => Ok(Differences::NewerMinusOlder),
            (Architecture::Wnn, Some(_)) => refuse("have `differences` that no `wnn` has"),
            (_, None) => Ok(Differences::NewerMinusOlder),
            (_, Some(_)) => refuse("have `differences`, which only published networks have"),
        }
    }
}

/// How networks came to be, and how well they do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Training {
    pub recipe: Recipe,
    /// The histories trained on.
    pub histories: Vec<Digest>,
    /// The histories measured on.
    pub validation_histories: Vec<Digest>,
    pub validation: Validation,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Metadata {
    version: u32,
    architecture: Architecture,
    snapshots: BTreeMap<usize, Card>,
}

impl Networks {
    pub(crate) fn new(
        architecture: Architecture,
        snapshots: usize,
        card: Card,
        mut network: impl FnMut(OperationType) -> Result<Network, PredictorError>,
    ) -> Result<Self, PredictorError> {
        let by_operation = OperationType::ALL
            .into_iter()
            .map(|operation| Ok((operation, network(operation)?)))
            .collect::<Result<_, PredictorError>>()?;
        Ok(Self { snapshots, architecture, by_operation, card })
    }

    /// The network for tensors of this operation type.
    pub fn of(&self, operation: OperationType) -> &Network {
        &self.by_operation[&operation]
    }

    /// `K`.
    pub fn snapshots(&self) -> usize {
        self.snapshots
    }

    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The published networks answer for the horizons they were trained for; the others also for those between.
    ///
    /// # Errors
    /// Any other horizon, or the other direction.
    pub fn check_horizon(&self, direction: Direction, horizon: u32) -> Result<(), PredictorError> {
        if self.card.direction != direction {
            return Err(PredictorError::Direction { snapshots: self.snapshots, asked: direction });
        }
        let trained = &self.card.horizons;
        let answers = match self.architecture.reads_horizon() {
            false => trained.contains(&horizon),
            true => trained.iter().any(|&low| low <= horizon) && trained.iter().any(|&high| horizon <= high),
        };
        match answers {
            true => Ok(()),
            false => {
                Err(PredictorError::Horizon { asked: horizon, snapshots: self.snapshots, trained: trained.clone() })
            }
        }
    }
}

impl Predictor {
    pub(crate) fn new(networks: Networks) -> Self {
        Self { architecture: networks.architecture, by_snapshots: BTreeMap::from([(networks.snapshots, networks)]) }
    }

    /// An untrained predictor; the same seed gives the same bits. `wnn` looks ahead, all others back.
    pub fn untrained(architecture: Architecture, snapshots: usize, horizons: &[u32], seed: u64) -> Self {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        let direction = if architecture == Architecture::Wnn { Direction::Future } else { Direction::Past };
        let differences = Differences::published(architecture);
        let card = Card { horizons: horizons.to_vec(), direction, differences, training: None };
        Self::new(
            Networks::new(architecture, snapshots, card, |_| Ok(Network::initial(architecture, snapshots, &mut draw)))
                .expect("drawing parameters cannot fail"),
        )
    }

    /// Both predictors in one, so that one file serves several `K`.
    ///
    /// # Errors
    /// Different architectures, or networks for the same `K`.
    pub fn join(mut self, other: Self) -> Result<Self, PredictorError> {
        if self.architecture != other.architecture {
            return Err(PredictorError::MixedArchitectures);
        }
        for (snapshots, networks) in other.by_snapshots {
            if self.by_snapshots.insert(snapshots, networks).is_some() {
                return Err(PredictorError::SameSnapshots { snapshots });
            }
        }
        Ok(self)
    }

    /// The same with its tensors on a device.
    pub fn on(self, device: Device) -> Self {
        let moved = |networks: Networks| {
            let by_operation = networks.by_operation.iter();
            let by_operation = by_operation.map(|(&of, network)| (of, network.map(|tensor| tensor.to_device(device))));
            Networks { by_operation: by_operation.collect(), ..networks }
        };
        let by_snapshots = self.by_snapshots.into_iter().map(|(k, networks)| (k, moved(networks)));
        Self { architecture: self.architecture, by_snapshots: by_snapshots.collect() }
    }

    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The numbers of snapshots `K` that it has networks for, ascending.
    pub fn snapshots(&self) -> impl Iterator<Item = usize> {
        self.by_snapshots.keys().copied()
    }

    /// The networks for `snapshots = K`.
    ///
    /// # Errors
    /// There are none; the error lists those there are.
    pub fn for_snapshots(&self, snapshots: usize) -> Result<&Networks, PredictorError> {
        self.by_snapshots
            .get(&snapshots)
            .ok_or_else(|| PredictorError::NoNetwork { snapshots, available: self.snapshots().collect() })
    }

    /// # Errors
    /// The file cannot be read, or see [`from_bytes`](Self::from_bytes).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PredictorError> {
        Self::from_bytes(&tensors_at_rest::read(path.as_ref())?)
    }

    /// # Errors
    /// Not safetensors; metadata missing or not understood; networks of version 0.1 that are to be made again; a tensor
    /// missing, unknown, of another shape or element
    /// type, or not finite: each error names the tensor or the metadata key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PredictorError> {
        let metadata: Metadata = tensors_at_rest::metadata(METADATA, bytes, VERSION)?;
        let architecture = metadata.architecture;
        let file = tensors_at_rest::open(bytes)?;
        let mut unread: BTreeSet<_> = file.names().into_iter().collect();
        let mut by_snapshots = BTreeMap::new();
        for (snapshots, card) in metadata.snapshots {
            if !(2..=MOST_SNAPSHOTS).contains(&snapshots) {
                let reason = format!("networks for {snapshots} snapshots; they need from 2 to {MOST_SNAPSHOTS}");
                return Err(PredictorError::BadMetadata { key: METADATA, reason });
            }
            let differences = card.differences_of(architecture, snapshots)?;
            let networks = Networks::new(architecture, snapshots, card, |operation| {
                let network =
                    Network::from_parameters(architecture, snapshots, &prefix(snapshots, operation), |name| {
                        unread.remove(name);
                        tensors_at_rest::tensor(&file, name)
                    })?;
                Ok(network.with_differences(differences))
            })?;
            by_snapshots.insert(snapshots, networks);
        }
        match unread.first() {
            Some(name) => Err(PredictorError::UnknownTensor { name: name.to_string() }),
            None => Ok(Self { architecture, by_snapshots }),
        }
    }

    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PredictorError> {
        tensors_at_rest::write(path.as_ref(), &self.to_bytes()?)
    }

    /// The bytes of the safetensors file; equal predictors give equal bytes.
    ///
    /// # Errors
    /// None that a predictor of this crate could cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PredictorError> {
        let metadata = Metadata {
            version: VERSION,
            architecture: self.architecture,
            snapshots: self.by_snapshots.iter().map(|(&k, networks)| (k, networks.card.clone())).collect(),
        };
        let mut tensors: Vec<(String, Tensor)> = Vec::new();
        for (&snapshots, networks) in &self.by_snapshots {
            for (&operation, network) in &networks.by_operation {
                let prefix = prefix(snapshots, operation);
                for (parameter, tensor) in network.parameters() {
                    tensors.push((format!("{prefix}{parameter}"), tensor.shallow_clone()));
                }
            }
        }
        tensors_at_rest::to_bytes(METADATA, &metadata, &tensors)
    }
}

/// Of the names of a network's tensors.
fn prefix(snapshots: usize, operation: OperationType) -> String {
    format!("k{snapshots}.{}.", operation.name())
}
