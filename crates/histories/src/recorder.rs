use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rewind_job::Layout;
use serde::{Deserialize, Serialize};

use crate::{HistoryError, KeptTensor, Moment, Outline, Provenance, Run};

/// Which coordinates of each tensor a run keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Sample {
    All,
    /// At most this many of each tensor, drawn without replacement; all of a tensor that has no more. The same seed
    /// draws the same coordinates: runs that are to share their first snapshot share it.
    AtMost {
        coordinates: usize,
        seed: u64,
    },
}

impl Sample {
    pub(crate) fn bound(self) -> Option<usize> {
        match self {
            Self::All => None,
            Self::AtMost { coordinates, .. } => Some(coordinates),
        }
    }

    /// The kept positions in a tensor, ascending, `[kept]`; nothing when all are kept.
    fn draw(self, len: usize, tensor: usize) -> Vec<u32> {
        match self {
            Self::AtMost { coordinates, seed } if coordinates < len => {
                let mut draw = ChaCha8Rng::seed_from_u64(seed);
                draw.set_stream(tensor as u64);
                let drawn = rand::seq::index::sample(&mut draw, len, coordinates);
                let mut kept: Vec<u32> = drawn.into_iter().map(|position| position as u32).collect();
                kept.sort_unstable();
                kept
            }
            _ => Vec::new(),
        }
    }
}

/// Makes a run from whole snapshots, of which it keeps a sample.
///
/// Memory: 4 bytes a kept coordinate and snapshot, and 4 bytes a coordinate.
#[derive(Debug)]
pub struct Recorder {
    layout: Layout,
    sample: Sample,
    /// Of each tensor.
    positions: Vec<Vec<u32>>,
    moments: Vec<Moment>,
    squares: Vec<Vec<f64>>,
    weights: Vec<Vec<f32>>,
    /// The newest snapshot, whole.
    newest: Vec<f32>,
}

impl Recorder {
    pub fn new(layout: &Layout, sample: Sample) -> Self {
        let positions = layout.segments.iter().enumerate().map(|(tensor, s)| sample.draw(s.len(), tensor)).collect();
        Self {
            layout: layout.clone(),
            sample,
            positions,
            moments: Vec::new(),
            squares: Vec::new(),
            weights: Vec::new(),
            newest: Vec::new(),
        }
    }

    /// Adds a snapshot: the weights of the whole network, `[P]` in the layout's order.
    ///
    /// # Errors
    /// Another number of weights than the layout has, or one that is not finite.
    pub fn record(&mut self, moment: Moment, weights: &[f32]) -> Result<(), HistoryError> {
        let field = || format!("weights[{}]", self.weights.len());
        if weights.len() != self.layout.coordinates() {
            let problem = format!("{} of them, but the network has {}", weights.len(), self.layout.coordinates());
            return Err(HistoryError::run(field(), problem));
        }
        if let Some(at) = weights.iter().position(|weight| !weight.is_finite()) {
            return Err(HistoryError::run(field(), format!("coordinate {at} is {}", weights[at])));
        }
        if !self.newest.is_empty() {
            self.squares.push(self.squares_to(weights));
        }
        let mut kept = Vec::new();
        for (segment, positions) in self.layout.segments.iter().zip(&self.positions) {
            let whole = &weights[segment.offset..segment.offset + segment.len()];
            if positions.is_empty() {
                kept.extend_from_slice(whole);
            } else {
                kept.extend(positions.iter().map(|&position| whole[position as usize]));
            }
        }
        self.weights.push(kept);
        self.moments.push(moment);
        self.newest = weights.to_vec();
        Ok(())
    }

    /// `Σ (θ_{j+1} − θ_j)²` of each tensor: differences in float32, their squares in float64, summed tile by tile as
    /// the drift scale is.
    fn squares_to(&self, weights: &[f32]) -> Vec<f64> {
        let mut squares = vec![0.0; self.layout.segments.len()];
        for tile in self.layout.tiles() {
            let coordinates = tile.start..tile.start + tile.len;
            let pairs = weights[coordinates.clone()].iter().zip(&self.newest[coordinates]);
            squares[tile.segment] += pairs.map(|(new, old)| f64::from(new - old).powi(2)).sum::<f64>();
        }
        squares
    }

    /// # Errors
    /// Names the field that does not go with the others: see [`Run::check`].
    pub fn finish(self, provenance: Provenance) -> Result<Run, HistoryError> {
        let tensors = self.layout.segments.into_iter().map(|segment| KeptTensor {
            kept: self.sample.bound().map_or(segment.len(), |bound| bound.min(segment.len())),
            name: segment.name,
            operation: segment.operation,
            shape: segment.shape,
        });
        let outline = Outline { provenance, sample: self.sample, tensors: tensors.collect(), snapshots: self.moments };
        let run = Run { outline, positions: self.positions, squares: self.squares, weights: self.weights };
        run.check()?;
        Ok(run)
    }
}
