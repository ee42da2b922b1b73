//! Ranks with a shard each: the collective, the tile grid, and who owns what.

use std::ops::Range;

use rewind_collective::Collective;
use rewind_job::{Layout, Rank, ShardPlan, Tile, WorldSize};
use rewind_predictor::{SUMS, Statistics, Trajectory, partial_sums, statistics};
use tch::{Device, Kind, Tensor};

use crate::UnlearningError;

/// The workers of a job as one of them sees it.
pub struct Gang {
    collective: Box<dyn Collective>,
    layout: Layout,
    grid: Vec<Tile>,
    plan: ShardPlan,
    ranges: Vec<Range<usize>>,
    padded_len: usize,
}

impl Gang {
    pub fn new(collective: Box<dyn Collective>, layout: Layout, plan: ShardPlan) -> Self {
        assert_eq!(plan.world_size(), collective.world_size(), "the plan is made for this world");
        let grid = layout.tiles();
        let ranges = plan.world_size().ranks().map(|rank| plan.range_of(rank, &grid)).collect();
        let padded_len = plan.padded_len(&grid);
        Self { collective, layout, grid, plan, ranges, padded_len }
    }

    pub fn rank(&self) -> Rank {
        self.collective.rank()
    }

    pub fn world_size(&self) -> WorldSize {
        self.collective.world_size()
    }

    /// Where this rank's tensors are.
    pub fn device(&self) -> Device {
        self.collective.device()
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The tiles of this rank.
    pub fn tiles(&self) -> &[Tile] {
        self.plan.tiles_of(self.rank(), &self.grid)
    }

    /// The flat coordinates of this rank.
    pub fn range(&self) -> Range<usize> {
        self.ranges[self.rank().0 as usize].clone()
    }

    pub fn bytes_moved(&self) -> u64 {
        self.collective.bytes_moved()
    }

    /// This rank's coordinates of `flat`, as a view.
    pub fn shard(&self, flat: &Tensor) -> Tensor {
        let range = self.range();
        flat.narrow(0, range.start as i64, range.len() as i64)
    }

    /// Sums `flat` over the ranks and returns this rank's coordinates of it. `flat` is `[P]`.
    pub fn reduce_to_owner(&mut self, flat: &Tensor) -> Result<Tensor, UnlearningError> {
        let padded = self.padded_len as i64;
        let input = Tensor::zeros([self.ranges.len() as i64 * padded], (flat.kind(), flat.device()));
        for (rank, range) in self.ranges.iter().enumerate() {
            let mut place = input.narrow(0, rank as i64 * padded, range.len() as i64);
            place.copy_(&flat.narrow(0, range.start as i64, range.len() as i64));
        }
        let shard = self.collective.reduce_scatter(&input)?;
        Ok(shard.narrow(0, 0, self.range().len() as i64))
    }

    /// Replaces every rank's coordinates of `flat` by their owner's. `flat` is `[P]`.
    pub fn gather_from_owners(&mut self, flat: &Tensor) -> Result<(), UnlearningError> {
        let padded = self.padded_len as i64;
        let mine = Tensor::zeros([padded], (flat.kind(), flat.device()));
        mine.narrow(0, 0, self.range().len() as i64).copy_(&self.shard(flat));
        let all = self.collective.all_gather(&mine)?;
        for (rank, range) in self.ranges.iter().enumerate() {
            let mut place = flat.narrow(0, range.start as i64, range.len() as i64);
            place.copy_(&all.narrow(0, rank as i64 * padded, range.len() as i64));
        }
        Ok(())
    }

    /// The statistics of every tensor of the model, from each rank's trajectory of its own shard. Tiles that
    /// trajectories leave out count as not moved.
    pub fn statistics(&mut self, trajectory: &Trajectory) -> Result<Vec<Statistics>, UnlearningError> {
        let tiles = self.tiles();
        let first = tiles.first().map_or(0, |tile| tile.index);
        let mut own = vec![0.0; SUMS * tiles.len()];
        for (tile, sums) in trajectory.tiles().zip(partial_sums(trajectory)?.chunks(SUMS)) {
            own[SUMS * (tile.tile.index - first)..][..SUMS].copy_from_slice(sums);
        }
        let sums = self.gather_tiles(&own, SUMS)?;
        Ok(statistics(&self.layout, &sums, trajectory.len())?)
    }

    /// Joins so many numbers a tile over the ranks, in tile order.
    pub fn gather_tiles(&mut self, mine: &[f64], numbers: usize) -> Result<Vec<f64>, UnlearningError> {
        let counts: Vec<usize> =
            self.world_size().ranks().map(|rank| numbers * self.plan.tiles_of(rank, &self.grid).len()).collect();
        let rows = self.gather_rows(mine, counts.iter().copied().max().unwrap_or(0))?;
        Ok(rows.iter().zip(&counts).flat_map(|(row, &count)| row[..count].to_vec()).collect())
    }

    /// Every rank's numbers, in rank order; each row padded with zeros to `len`.
    pub fn gather_rows(&mut self, mine: &[f64], len: usize) -> Result<Vec<Vec<f64>>, UnlearningError> {
        let mut row = mine.to_vec();
        row.resize(len, 0.0);
        let row = Tensor::from_slice(&row).to_device(self.device());
        let all: Vec<f64> = Vec::try_from(self.collective.all_gather(&row)?)?;
        Ok(if len == 0 { vec![Vec::new(); self.ranges.len()] } else { all.chunks(len).map(<[f64]>::to_vec).collect() })
    }

    /// Sums numbers over the ranks, in rank order: the same bits on every rank.
    pub fn sum(&mut self, mine: &[f64]) -> Result<Vec<f64>, UnlearningError> {
        let rows = self.gather_rows(mine, mine.len())?;
        Ok((0..mine.len()).map(|column| rows.iter().map(|row| row[column]).sum()).collect())
    }

    /// This rank's part of `count` things, as even as can be, in order.
    pub fn part_of(&self, count: usize) -> Range<usize> {
        let (rank, world) = (self.rank().0 as usize, self.world_size().0 as usize);
        count * rank / world..count * (rank + 1) / world
    }

    /// Root mean square of a vector that lives in shards. `shard` is `[n]`.
    pub fn root_mean_square(&mut self, shard: &Tensor) -> Result<f64, UnlearningError> {
        let squares = shard.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
        let total = self.sum(&[squares])?[0];
        Ok((total / self.layout.coordinates() as f64).sqrt())
    }
}
