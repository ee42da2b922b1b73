use rewind_job::{Layout, OperationType, Tile};
use tch::{Device, Kind, Tensor, no_grad};

use crate::{PredictorError, place};

/// `K` snapshots `Φ_0 … Φ_{K-1}` of one rank's shard, one epoch on the forget data apart (paper, algorithm 1).
///
/// Memory: `4 K` bytes a coordinate, on the device of the recorded tensors or beside it; see [`SnapshotsIn`].
#[derive(Debug)]
pub struct Trajectory {
    tiles: Vec<Tile>,
    /// Of each tile.
    operations: Vec<OperationType>,
    /// In the model.
    tensors: usize,
    coordinates: usize,
    /// Oldest first, each `[coordinates]`.
    snapshots: Vec<Tensor>,
    kept_in: SnapshotsIn,
    /// Of the recorded tensors: where everything is computed.
    device: Device,
}

/// Where snapshots wait until they are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotsIn {
    /// Where the weights are.
    #[default]
    Device,
    /// In the host's memory, pinned so that a GPU reads it at full speed; the device holds one tile at a time.
    Host,
}

impl Trajectory {
    /// An empty trajectory of the shard that consists of `tiles`: what `ShardPlan::tiles_of` gives, possibly nothing.
    ///
    /// # Panics
    /// When the tiles do not follow one another or name a segment that `layout` lacks.
    pub fn new(layout: &Layout, tiles: &[Tile]) -> Self {
        for pair in tiles.windows(2) {
            assert_eq!(pair[0].start + pair[0].len, pair[1].start, "tiles of a shard follow one another");
        }
        Self {
            tiles: tiles.to_vec(),
            operations: tiles.iter().map(|tile| layout.segments[tile.segment].operation).collect(),
            tensors: layout.segments.len(),
            coordinates: tiles.iter().map(|tile| tile.len).sum(),
            snapshots: Vec::new(),
            kept_in: SnapshotsIn::Device,
            device: Device::Cpu,
        }
    }

    /// The same, keeping its snapshots there.
    pub fn kept_in(self, kept_in: SnapshotsIn) -> Self {
        Self { kept_in, ..self }
    }

    /// Appends a copy of the shard's weights, `[coordinates]` float32.
    ///
    /// # Errors
    /// Another shape, or another element type: steps of the forward training may be 1e-6, and bf16 would lose them.
    pub fn record(&mut self, shard: &Tensor) -> Result<(), PredictorError> {
        self.check(shard)?;
        self.device = shard.device();
        self.snapshots.push(match (self.kept_in, self.device) {
            (SnapshotsIn::Device, _) | (_, Device::Cpu) => shard.detach().copy(),
            (SnapshotsIn::Host, device) => {
                let mut pinned = Tensor::empty(shard.size(), (Kind::Float, Device::Cpu)).pin_memory(device);
                no_grad(|| pinned.copy_(shard));
                pinned
            }
        });
        Ok(())
    }

    /// Whether these are weights of this shard.
    pub(crate) fn check(&self, shard: &Tensor) -> Result<(), PredictorError> {
        if shard.size() == [self.coordinates as i64] && shard.kind() == Kind::Float {
            return Ok(());
        }
        Err(PredictorError::Snapshot {
            expected: self.coordinates,
            found: shard.size(),
            found_type: format!("{:?}", shard.kind()),
        })
    }

    /// Number of snapshots recorded so far: `K` at the end of a round.
    pub fn len(&self) -> usize {
        self.snapshots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty()
    }

    /// Number of coordinates `n` of the shard.
    pub fn coordinates(&self) -> usize {
        self.coordinates
    }

    /// Where the recorded weights were.
    pub fn device(&self) -> Device {
        self.device
    }

    /// `Φ_0`, the first snapshot, `[coordinates]`: what the predicted residual is added to.
    ///
    /// # Errors
    /// Nothing was recorded.
    pub fn base(&self) -> Result<&Tensor, PredictorError> {
        self.snapshots.first().ok_or(PredictorError::TooFewSnapshots { needed: 1, recorded: 0 })
    }

    /// All snapshots, oldest first, `[snapshots, coordinates]`.
    pub fn snapshots(&self) -> Tensor {
        if self.snapshots.is_empty() {
            return Tensor::empty([0, self.coordinates as i64], (Kind::Float, self.device));
        }
        Tensor::stack(&self.snapshots, 0)
    }

    /// The shard, tile by tile, in flat order.
    pub fn tiles(&self) -> impl Iterator<Item = TrajectoryTile<'_>> {
        let first = self.tiles.first().map_or(0, |tile| tile.start);
        self.tiles.iter().zip(&self.operations).map(move |(&tile, &operation)| TrajectoryTile {
            tile,
            operation,
            place: place(tile.segment, self.tensors),
            start: (tile.start - first) as i64,
            snapshots: &self.snapshots,
            device: self.device,
        })
    }

    pub(crate) fn require(&self, needed: usize) -> Result<(), PredictorError> {
        match self.len() {
            recorded if recorded < needed => Err(PredictorError::TooFewSnapshots { needed, recorded }),
            _ => Ok(()),
        }
    }
}

/// The trajectory of one tile: the unit of every computation here.
#[derive(Clone, Copy, Debug)]
pub struct TrajectoryTile<'a> {
    pub tile: Tile,
    pub operation: OperationType,
    /// Where its tensor stands in the network: 0 for the first, 1 for the last.
    pub place: f64,
    /// First coordinate, counted from the start of the shard.
    start: i64,
    snapshots: &'a [Tensor],
    device: Device,
}

impl TrajectoryTile<'_> {
    /// `Φ_j` of this tile, `[tile]`, where it is computed with.
    ///
    /// # Panics
    /// When snapshot `j` was not recorded.
    pub fn snapshot(&self, j: usize) -> Tensor {
        self.at_rest(j).to_device(self.device)
    }

    fn at_rest(&self, j: usize) -> Tensor {
        self.snapshots[j].narrow(0, self.start, self.tile.len as i64)
    }

    /// All snapshots of this tile, oldest first, `[tile, snapshots]`, in fresh memory: neither its shape nor its
    /// alignment tells where in a shard the tile lies. Each snapshot is contiguous, which is the fast way to read them.
    pub fn window(&self) -> Tensor {
        let snapshots: Vec<_> = (0..self.snapshots.len()).map(|j| self.at_rest(j)).collect();
        Tensor::stack(&snapshots, 0).to_device(self.device).tr()
    }

    pub(crate) fn range(&self) -> (i64, i64) {
        (self.start, self.tile.len as i64)
    }
}
