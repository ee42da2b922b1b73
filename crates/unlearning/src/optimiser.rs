//! Update rules on one shard: state lives with the owner alone (ZeRO-1).

use std::collections::BTreeMap;

use rewind_job::{Adam, Optimiser, Sgd, Tile};
use tch::{Device, Kind, Tensor, no_grad};

use crate::Gang;

/// An optimiser with the state of one shard; agrees with torch.optim.
pub struct ShardOptimiser {
    rule: Optimiser,
    steps: u64,
    /// `[n]` each: `momentum`, or `first` and `second` (the moments of Adam).
    state: BTreeMap<&'static str, Tensor>,
    /// Set: weight decay moves only the coordinates that are true here, `[n]`, bool.
    decaying: Option<Tensor>,
    len: usize,
    kind: Kind,
    device: Device,
}

impl ShardOptimiser {
    /// State for `len` coordinates on the CPU, all zero.
    pub fn new(rule: Optimiser, len: usize) -> Self {
        Self::on(Device::Cpu, rule, len)
    }

    /// The same on a device.
    pub fn on(device: Device, rule: Optimiser, len: usize) -> Self {
        let (state, kind) = (BTreeMap::new(), Kind::Float);
        let mut optimiser = Self { rule, steps: 0, state, decaying: None, len, kind, device };
        optimiser.reset();
        optimiser
    }

    /// The same for the shard of this rank, which knows of which tensors its coordinates are: where the rule says that
    /// tensors of one dimension do not decay, they do not.
    pub fn of_shard(device: Device, rule: Optimiser, gang: &Gang) -> Self {
        let spares = matches!(&rule, Optimiser::Adamw(adamw) if !adamw.decay_one_dimensional);
        let decaying = spares.then(|| {
            let segments = &gang.layout().segments;
            let of_tile = |tile: &Tile| vec![segments[tile.segment].shape.len() > 1; tile.len];
            Tensor::from_slice(&gang.tiles().iter().flat_map(of_tile).collect::<Vec<bool>>()).to_device(device)
        });
        Self { decaying, ..Self::on(device, rule, gang.range().len()) }
    }

    /// The same, all zero, with state of another kind of floats than float32: that of weights and gradients.
    pub fn in_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self.reset();
        self
    }

    /// The same, which decays only where `decaying` (`[n]`, bool) is true, if its rule spares one-dimensional tensors.
    pub fn decaying_where(self, decaying: &Tensor) -> Self {
        let spares = matches!(&self.rule, Optimiser::Adamw(adamw) if !adamw.decay_one_dimensional);
        Self { decaying: spares.then(|| decaying.to_device(self.device)), ..self }
    }

    /// Forgets everything the state has seen.
    pub fn reset(&mut self) {
        let names: &[&'static str] = match &self.rule {
            Optimiser::Sgd(sgd) if sgd.momentum == 0.0 => &[],
            Optimiser::Sgd(_) => &["momentum"],
            Optimiser::Adam(_) | Optimiser::Adamw(_) => &["first", "second"],
        };
        let zeros = || Tensor::zeros([self.len as i64], (self.kind, self.device));
        self.state = names.iter().map(|&name| (name, zeros())).collect();
        self.steps = 0;
    }

    /// One update in place; `rate_factor` is the schedule's. `weights` and `gradient` are `[n]`.
    pub fn step(&mut self, weights: &Tensor, gradient: &Tensor, rate_factor: f64) {
        self.steps += 1;
        let weights = &mut weights.shallow_clone();
        no_grad(|| match &self.rule {
            Optimiser::Sgd(sgd) => sgd_step(sgd, rate_factor, weights, gradient, self.state.get_mut("momentum")),
            Optimiser::Adam(adam) => {
                let gradient = gradient + &*weights * adam.weight_decay;
                adam_step(adam, rate_factor, self.steps, weights, &gradient, &mut self.state);
            }
            Optimiser::Adamw(adamw) => {
                let (adam, kept) = (adamw.as_adam(), 1.0 - rate_factor * adamw.learning_rate * adamw.weight_decay);
                match &self.decaying {
                    None => drop(weights.g_mul_scalar_(kept)),
                    Some(decaying) => weights.copy_(&(&*weights * kept).where_self(decaying, weights)),
                }
                adam_step(&adam, rate_factor, self.steps, weights, gradient, &mut self.state);
            }
        });
    }

    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The state at rest: each entry as long as the shard.
    pub fn state(&self) -> Result<BTreeMap<String, Vec<f32>>, tch::TchError> {
        self.state.iter().map(|(name, tensor)| Ok(((*name).to_owned(), Vec::try_from(tensor)?))).collect()
    }

    /// As [`Self::step`] for the coordinates where `movable` (`[n]`, bool) is true; the others' weights keep their bits,
    /// whatever momentum and weight decay say, and their state stays 0.
    pub fn step_some(&mut self, weights: &Tensor, gradient: &Tensor, rate_factor: f64, movable: &Tensor) {
        let before = weights.copy();
        self.step(weights, gradient, rate_factor);
        no_grad(|| {
            weights.shallow_clone().copy_(&weights.where_self(movable, &before));
            let still = movable.logical_not();
            for state in self.state.values_mut() {
                let _ = state.masked_fill_(&still, 0.0);
            }
        });
    }

    /// Takes up a state at rest. Entries that this rule does not have are left out.
    pub fn restore(&mut self, steps: u64, state: &BTreeMap<String, Vec<f32>>) {
        self.steps = steps;
        for (name, tensor) in &mut self.state {
            if let Some(values) = state.get(*name) {
                tensor.copy_(&Tensor::from_slice(values));
            }
        }
    }
}

fn sgd_step(sgd: &Sgd, rate_factor: f64, weights: &mut Tensor, gradient: &Tensor, momentum: Option<&mut Tensor>) {
    let gradient = gradient + &*weights * sgd.weight_decay;
    let direction = match momentum {
        None => gradient,
        Some(buffer) => {
            // The first step leaves buffer = gradient, as torch does.
            let _ = buffer.g_mul_scalar_(sgd.momentum);
            let _ = buffer.g_add_(&gradient);
            if sgd.nesterov { gradient + &*buffer * sgd.momentum } else { buffer.copy() }
        }
    };
    let _ = weights.g_add_(&(direction * (-rate_factor * sgd.learning_rate)));
}

/// Kingma and Ba (2015), algorithm 1, in torch's order of operations.
fn adam_step(
    adam: &Adam,
    rate_factor: f64,
    t: u64,
    weights: &mut Tensor,
    gradient: &Tensor,
    state: &mut BTreeMap<&'static str, Tensor>,
) {
    let first = state.get_mut("first").expect("reset() made it");
    let _ = first.lerp_(gradient, 1.0 - adam.beta1);
    let numerator = first.shallow_clone();
    let second = state.get_mut("second").expect("reset() made it");
    let _ = second.g_mul_scalar_(adam.beta2);
    let _ = second.g_add_(&(gradient.square() * (1.0 - adam.beta2)));
    let correction1 = 1.0 - adam.beta1.powf(t as f64);
    let correction2 = 1.0 - adam.beta2.powf(t as f64);
    let denominator = second.sqrt() / correction2.sqrt() + adam.epsilon;
    let step_size = rate_factor * adam.learning_rate / correction1;
    let _ = weights.g_add_(&(numerator / denominator * -step_size));
}
