//! Flat coordinates: a model is a table of segments, cut into tiles, dealt to ranks.

use serde::{Deserialize, Serialize};

use crate::{Rank, WorldSize};

/// Coordinates a tile holds at most.
pub const TILE_COORDINATES: usize = 4096;

/// What a tensor does in the network; each type has a predictor of its own (InvWNN paper, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationType {
    Convolution,
    FullyConnected,
    Bias,
}

impl OperationType {
    pub const ALL: [Self; 3] = [Self::Convolution, Self::FullyConnected, Self::Bias];

    /// 4-D and 3-D: convolution; 2-D: fully connected; 1-D and scalars: bias (norm scales too).
    pub fn of_shape(shape: &[i64]) -> Self {
        match shape.len() {
            0 | 1 => Self::Bias,
            2 => Self::FullyConnected,
            _ => Self::Convolution,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Convolution => "convolution",
            Self::FullyConnected => "fully-connected",
            Self::Bias => "bias",
        }
    }
}

/// One trainable tensor of a model, laid out row by row from `offset` in the flat coordinates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub name: String,
    pub shape: Vec<i64>,
    pub operation: OperationType,
    pub offset: usize,
}

impl Segment {
    pub fn len(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The trainable tensors of a model in their order: the map from names to flat coordinates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    pub segments: Vec<Segment>,
}

impl Layout {
    /// Lays the tensors out one after another.
    pub fn new(tensors: impl IntoIterator<Item = (String, Vec<i64>)>) -> Self {
        let mut offset = 0;
        let segments = tensors
            .into_iter()
            .map(|(name, shape)| {
                let segment = Segment { operation: OperationType::of_shape(&shape), name, shape, offset };
                offset += segment.len();
                segment
            })
            .collect();
        Self { segments }
    }

    /// Number of coordinates `P`.
    pub fn coordinates(&self) -> usize {
        self.segments.last().map_or(0, |last| last.offset + last.len())
    }

    /// The tile grid: at most [`TILE_COORDINATES`] each, cut at segment boundaries, in flat order.
    /// It does not depend on the world size; that is what keeps rewound bits the same for any number of workers.
    pub fn tiles(&self) -> Vec<Tile> {
        let mut tiles = Vec::new();
        for (segment, s) in self.segments.iter().enumerate() {
            let mut start = s.offset;
            let end = s.offset + s.len();
            while start < end {
                let len = TILE_COORDINATES.min(end - start);
                tiles.push(Tile { index: tiles.len(), segment, start, len });
                start += len;
            }
        }
        tiles
    }
}

/// A run of coordinates of one segment; the unit of sharding and of rewinding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// Position in the grid.
    pub index: usize,
    /// Position of its segment in the layout.
    pub segment: usize,
    /// First flat coordinate.
    pub start: usize,
    /// Number of coordinates.
    pub len: usize,
}

/// Which contiguous run of tiles each rank owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlan {
    /// Rank `r` owns tiles `boundaries[r]..boundaries[r + 1]`; `world + 1` entries.
    pub boundaries: Vec<usize>,
}

impl ShardPlan {
    /// Deals the tile grid so that no rank's coordinates exceed the ideal share by more than one tile.
    /// With more ranks than tiles, the last ranks own nothing and still join every collective.
    pub fn balanced(layout: &Layout, world: WorldSize) -> Self {
        let tiles = layout.tiles();
        let total = layout.coordinates();
        let ranks = world.0 as usize;
        let mut boundaries = vec![0];
        let mut tile = 0;
        for rank in 1..ranks {
            let target = total * rank / ranks;
            // The cut nearest to the ideal share.
            while tile < tiles.len() && tiles[tile].start + tiles[tile].len / 2 < target {
                tile += 1;
            }
            boundaries.push(tile);
        }
        boundaries.push(tiles.len());
        Self { boundaries }
    }

    pub fn world_size(&self) -> WorldSize {
        WorldSize(self.boundaries.len() as u32 - 1)
    }

    /// The tiles of one rank.
    pub fn tiles_of<'a>(&self, rank: Rank, grid: &'a [Tile]) -> &'a [Tile] {
        let r = rank.0 as usize;
        &grid[self.boundaries[r]..self.boundaries[r + 1]]
    }

    /// The flat coordinates of one rank as a half-open range.
    pub fn range_of(&self, rank: Rank, grid: &[Tile]) -> std::ops::Range<usize> {
        let end = |tile: usize| grid[..tile].last().map_or(0, |t| t.start + t.len);
        let r = rank.0 as usize;
        end(self.boundaries[r])..end(self.boundaries[r + 1])
    }

    /// Coordinates of the largest shard: what every rank pads to where a collective wants equal sizes.
    pub fn padded_len(&self, grid: &[Tile]) -> usize {
        self.world_size().ranks().map(|rank| self.range_of(rank, grid).len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new([
            ("conv.weight".into(), vec![16, 64, 3, 3]),
            ("conv.bias".into(), vec![16]),
            ("fc.weight".into(), vec![10, 1000]),
        ])
    }

    #[test]
    fn tiles_are_cut_at_segments_and_cover_every_coordinate_once() {
        let layout = layout();
        let tiles = layout.tiles();
        let mut next = 0;
        for tile in &tiles {
            assert_eq!(tile.start, next);
            assert!(tile.len <= TILE_COORDINATES);
            let segment = &layout.segments[tile.segment];
            assert!(tile.start >= segment.offset && tile.start + tile.len <= segment.offset + segment.len());
            next += tile.len;
        }
        assert_eq!(next, layout.coordinates());
        assert_eq!(tiles.iter().map(|t| t.len).collect::<Vec<_>>(), [4096, 4096, 1024, 16, 4096, 4096, 1808]);
    }

    #[test]
    fn every_tile_has_one_owner_and_shares_are_even() {
        let layout = layout();
        let grid = layout.tiles();
        for world in 1..=9 {
            let plan = ShardPlan::balanced(&layout, WorldSize(world));
            let mut covered = 0;
            for rank in WorldSize(world).ranks() {
                let range = plan.range_of(rank, &grid);
                assert_eq!(range.start, covered);
                covered = range.end;
                assert!(range.len() <= layout.coordinates() / world as usize + TILE_COORDINATES);
                assert_eq!(plan.tiles_of(rank, &grid).iter().map(|t| t.len).sum::<usize>(), range.len());
            }
            assert_eq!(covered, layout.coordinates());
        }
    }
}
