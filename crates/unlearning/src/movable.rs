//! Which coordinates of the own shard may move: all but those that stay, and of these what a method has chosen.

use std::ops::Range;

use rewind_job::Tile;
use tch::{Device, Kind, Tensor};

use crate::Gang;

/// What stays is whole tensors (BatchNorm's scale and shift under `frozen`), so that no tile is part of both.
#[derive(Debug, Default)]
pub(crate) struct Movable {
    /// Flat coordinates of the model that stay, ascending.
    still: Vec<Range<usize>>,
    /// There where something stays anywhere in the model.
    free: Option<Free>,
    /// Of a method: true where it moves the own shard, `[n]`, bool.
    chosen: Option<Tensor>,
    /// Both together, `[n]`, bool; none: everything moves.
    mask: Option<Tensor>,
}

/// The own shard without what stays.
#[derive(Debug)]
struct Free {
    /// True where it may move, `[n]`, bool.
    mask: Tensor,
    /// Where in the shard these coordinates are, `[free]`, int64.
    places: Tensor,
}

impl Movable {
    /// All but these flat coordinates, which are whole tensors.
    pub fn all_but(still: Vec<Range<usize>>, gang: &Gang, device: Device) -> Self {
        if still.is_empty() {
            return Self::default();
        }
        let is_free = |coordinate: usize| !still.iter().any(|range| range.contains(&coordinate));
        let mask: Vec<bool> = gang.range().map(is_free).collect();
        let places: Vec<i64> = (0..).zip(&mask).filter(|(_, free)| **free).map(|(place, _)| place).collect();
        let mask = Tensor::from_slice(&mask).to_device(device);
        let free = Free { mask: mask.shallow_clone(), places: Tensor::from_slice(&places).to_device(device) };
        Self { still, free: Some(free), chosen: None, mask: Some(mask) }
    }

    /// Of what may move, only these coordinates of the own shard from now on; `chosen` is `[n]`, bool.
    pub fn choose(&mut self, chosen: Tensor) {
        self.mask = Some(match &self.free {
            Some(free) => free.mask.logical_and(&chosen),
            None => chosen.shallow_clone(),
        });
        self.chosen = Some(chosen);
    }

    /// True where training may move the own shard, `[n]`, bool; none: everywhere.
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }

    /// True where anything may move the own shard, whatever a method has chosen: `[n]`, bool; none: everywhere.
    pub fn free(&self) -> Option<&Tensor> {
        self.free.as_ref().map(|free| &free.mask)
    }

    /// Coordinates of the whole model that may move, of so many.
    pub fn count_of(&self, coordinates: usize) -> usize {
        coordinates - self.still.iter().map(ExactSizeIterator::len).sum::<usize>()
    }

    /// The tiles of a shard that may move, moved together: `start` counts in what is left.
    pub fn free_tiles(&self, tiles: &[Tile]) -> Vec<Tile> {
        let mut start = 0;
        let is_free = |tile: &&Tile| !self.still.iter().any(|range| range.contains(&tile.start));
        let placed = tiles.iter().filter(is_free).map(|tile| {
            start += tile.len;
            Tile { start: start - tile.len, ..*tile }
        });
        placed.collect()
    }

    /// What may move of a shard: `[n]` → `[free]`, a copy where something stays.
    pub fn part_of(&self, shard: &Tensor) -> Tensor {
        match &self.free {
            Some(free) => shard.detach().index_select(0, &free.places),
            None => shard.shallow_clone(),
        }
    }

    /// The shard with what may move replaced by `part`, as [`Self::part_of`] gives it: `[free]` → `[n]`, a copy.
    pub fn filled(&self, shard: &Tensor, part: &Tensor) -> Tensor {
        match &self.free {
            Some(free) => shard.detach().index_copy(0, &free.places, part),
            None => part.shallow_clone(),
        }
    }

    /// `new` where anything may move, and `old` elsewhere; both are `[n]`.
    pub fn replaced(&self, old: &Tensor, new: &Tensor) -> Tensor {
        let new = new.to_device(old.device()).to_kind(Kind::Float);
        match &self.free {
            Some(free) => new.where_self(&free.mask, &old.detach()),
            None => new,
        }
    }
}
