//! A predictor under training with all its parameters in one vector: what the workers of a gang share.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rewind_job::{Layout, OperationType};
use tch::{Device, Kind, Tensor, no_grad};

use crate::{
    Architecture, Card, History, Loss, Network, Networks, Predictor, PredictorError, Recipe,
    training::{Examples, HEAD, penalty},
    validation::{moving, residual},
};

/// Networks for every number of snapshots and every operation type, trained together. `P` parameters.
#[derive(Debug)]
pub struct Trainee {
    /// One for each number of snapshots; the same otherwise.
    recipes: Vec<Recipe>,
    parts: Vec<Part>,
    layout: Layout,
    /// `[P]`
    flat: Tensor,
    /// 1 where training changes a parameter, else 0, `[P]`.
    trained: Tensor,
}

#[derive(Debug)]
struct Part {
    recipe: usize,
    operation: OperationType,
    /// As it was drawn; its names and shapes are what counts.
    drawn: Network,
    /// Of its parameters in the vector.
    start: i64,
}

/// What one worker learns from: its windows as the networks read them, one set a part and horizon.
#[derive(Debug)]
pub struct Share {
    sets: Vec<Examples>,
}

impl Share {
    /// Coordinates of each set.
    pub fn coordinates(&self) -> Vec<f64> {
        self.sets.iter().map(|set| set.coordinates() as f64).collect()
    }

    /// The same share, each set in an order of its own.
    pub fn shuffled(&self, seed: u64, epoch: u32, rank: u32) -> Self {
        let mut draw = ChaCha8Rng::seed_from_u64(seed);
        draw.set_stream(u64::from(epoch) << 32 | u64::from(rank));
        Self { sets: self.sets.iter().map(|set| set.shuffled(&mut draw)).collect() }
    }
}

impl Trainee {
    /// Freshly drawn: the same recipes give the same bits.
    ///
    /// # Errors
    /// An impossible recipe, or no recipe.
    pub fn new(recipes: Vec<Recipe>) -> Result<Self, PredictorError> {
        if recipes.is_empty() {
            return Err(PredictorError::Recipe { field: "snapshots", reason: "at least one is needed" });
        }
        let (mut parts, mut segments, mut values, mut trained) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (index, recipe) in recipes.iter().enumerate() {
            recipe.check()?;
            for operation in OperationType::ALL {
                let mut draw = ChaCha8Rng::seed_from_u64(recipe.seed);
                draw.set_stream(operation as u64);
                let drawn = Network::initial(recipe.architecture, recipe.snapshots, &mut draw);
                parts.push(Part { recipe: index, operation, drawn, start });
                let part = &parts[parts.len() - 1];
                for (name, parameter) in part.drawn.parameters() {
                    let stays = recipe.linear && name == HEAD;
                    let name = format!("k{}.{}.{name}", recipe.snapshots, operation.name());
                    segments.push((name, parameter.size()));
                    values.push(if stays { parameter.zeros_like() } else { parameter.shallow_clone() }.view([-1]));
                    trained.push(Tensor::full(
                        [parameter.numel() as i64],
                        f64::from(!stays),
                        (Kind::Float, Device::Cpu),
                    ));
                    start += parameter.numel() as i64;
                }
            }
        }
        let layout = Layout::new(segments);
        Ok(Self { recipes, parts, layout, flat: Tensor::cat(&values, 0), trained: Tensor::cat(&trained, 0) })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// All parameters, `[P]`; changing them changes the networks.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// What a worker learns from the histories that are its own.
    pub fn share(&self, histories: &[History]) -> Share {
        let sets = self.sets().map(|(part, horizon)| {
            Examples::gather(&part.drawn, histories, part.operation, self.recipes[part.recipe].snapshots, horizon)
        });
        Share { sets: sets.collect() }
    }

    /// Names the first set of which nobody has a coordinate; `coordinates` are those of all workers.
    ///
    /// # Errors
    /// There is one.
    pub fn check_coordinates(&self, coordinates: &[f64]) -> Result<(), PredictorError> {
        match self.sets().zip(coordinates).find(|(_, coordinates)| **coordinates == 0.0) {
            Some(((part, horizon), _)) => Err(PredictorError::NoHistory {
                operation: part.operation,
                snapshots: self.recipes[part.recipe].snapshots,
                horizon,
            }),
            None => Ok(()),
        }
    }

    /// A worker's part of step `step` of `steps` of an epoch: its gradient `[P]`, and its part of the loss.
    ///
    /// Every step reads an equal part of every set: those of all workers together are the mean over the set's part,
    /// summed over the sets. `coordinates` are those of all workers. One worker alone adds the `penalties`.
    pub fn gradient(
        &self,
        share: &Share,
        (step, steps): (i64, i64),
        coordinates: &[f64],
        penalties: bool,
    ) -> (Tensor, f64) {
        let leaf = self.flat.detach().copy().set_requires_grad(true);
        let mut loss = Tensor::zeros([], (Kind::Float, Device::Cpu));
        let mut error = 0.0;
        let networks: Vec<Network> = self.parts.iter().map(|part| part.network(&leaf)).collect();
        let horizons = self.recipes[0].horizons.len();
        for (index, (examples, all)) in share.sets.iter().zip(coordinates).enumerate() {
            let count = examples.coordinates();
            let (from, to) = (count * step / steps, count * (step + 1) / steps);
            if from == to {
                continue;
            }
            let batch = |tensor: &Tensor| tensor.narrow(0, from, to - from);
            let answer = networks[index / horizons].forward(&batch(&examples.inputs), examples.horizon); // [batch]
            let distance = answer - batch(&examples.targets);
            let errors = match self.recipes[0].loss {
                Loss::L1 => distance.abs(),
                Loss::L2 => distance.square(),
            };
            let weighted = (errors * batch(&examples.weights)).sum(Kind::Float) * (steps as f64 / all);
            error += weighted.double_value(&[]);
            loss += weighted;
        }
        if penalties {
            for (part, network) in self.parts.iter().zip(&networks) {
                loss += penalty(network, &self.recipes[part.recipe]);
            }
        }
        if !loss.requires_grad() {
            return (leaf.zeros_like(), error);
        }
        loss.backward();
        (no_grad(|| leaf.grad() * &self.trained), error)
    }

    /// Sums of the L1 errors over the windows of `histories`, in units of their drift scales: the networks' and those
    /// of "no change", two numbers a set.
    pub fn errors(&self, histories: &[History]) -> Vec<f64> {
        let _no_grad = tch::no_grad_guard();
        let of_set = |(part, horizon): (&Part, u32)| {
            let network = part.network(&self.flat);
            let mut sums = [0.0; 2];
            let windows = moving(histories, self.recipes[part.recipe].snapshots, horizon);
            for window in windows.filter(|window| window.operation == part.operation) {
                let distance = (residual(&network, window) - &window.residual).abs().sum(Kind::Double);
                sums[0] += window.weight * distance.double_value(&[]) / window.scale;
                sums[1] += window.weight * window.residual.abs().sum(Kind::Double).double_value(&[]) / window.scale;
            }
            sums
        };
        self.sets().flat_map(of_set).collect()
    }

    /// The networks as they are, for each number of snapshots.
    pub fn networks(&self) -> Vec<(Networks, &Recipe)> {
        let of_recipe = |(index, recipe): (usize, &'_ Recipe)| {
            let card = Card::new(recipe, None);
            let mut parts = self.parts.iter().filter(|part| part.recipe == index);
            Networks::new(recipe.architecture, recipe.snapshots, card, |_| {
                let part = parts.next().expect("every operation type has its part, in order");
                Ok(part.network(&self.flat).map(|parameter| parameter.detach().copy()))
            })
            .expect("no network is refused")
        };
        self.recipes.iter().enumerate().map(|(index, recipe)| (of_recipe((index, recipe)), recipe)).collect()
    }

    fn sets(&self) -> impl Iterator<Item = (&Part, u32)> {
        self.parts
            .iter()
            .flat_map(|part| self.recipes[part.recipe].horizons.iter().map(move |&horizon| (part, horizon)))
    }

    pub fn architecture(&self) -> Architecture {
        self.recipes[0].architecture
    }
}

impl Part {
    /// The network whose parameters are views of a vector like the trainee's.
    fn network(&self, flat: &Tensor) -> Network {
        let mut at = self.start;
        self.drawn.map(|parameter| {
            let len = parameter.numel() as i64;
            at += len;
            flat.narrow(0, at - len, len).view(&parameter.size()[..])
        })
    }
}

/// Joins networks for several numbers of snapshots, with what is known of each.
///
/// # Errors
/// Nothing to join; the same number of snapshots twice.
pub fn join(networks: Vec<(Networks, Card)>) -> Result<Predictor, PredictorError> {
    let mut joined: Option<Predictor> = None;
    for (mut networks, card) in networks {
        networks.card = card;
        let next = Predictor::new(networks);
        joined = Some(match joined {
            None => next,
            Some(before) => before.join(next)?,
        });
    }
    joined.ok_or(PredictorError::Recipe { field: "snapshots", reason: "at least one is needed" })
}
