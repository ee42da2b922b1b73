use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rewind_job::{Digest, Layout, OperationType};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use tch::{Kind, Tensor};

use crate::{PredictorError, Statistics, Trajectory, partial_sums, place, statistics, tensors_at_rest};

const METADATA: &str = "history";
const VERSION: u32 = 1;

/// What a predictor learns from: windows cut from recorded training runs.
///
/// At rest a safetensors file with float32 tensors `window.{i}.snapshots` and `window.{i}.residual`, and one metadata
/// key `history`: JSON with the other fields of each window.
#[derive(Debug, Default)]
pub struct History {
    windows: Vec<Window>,
}

/// `K` snapshots of coordinates of one tensor, and where their weights lay `U` epochs before: question and answer.
#[derive(Debug)]
pub struct Window {
    pub operation: OperationType,
    /// `U`, in epochs.
    pub horizon: u32,
    /// Drift scale of the whole tensor, also where the window holds only some of its coordinates.
    pub scale: f64,
    /// How much each of its coordinates counts, in training and in validation; 1 for all is natural.
    pub weight: f64,
    /// Where the tensor stands in its network: 0 for the first, 1 for the last.
    pub place: f64,
    /// Oldest first, `[coordinates, snapshots]`, float32.
    pub snapshots: Tensor,
    /// `θ^{t−U} − Φ_0`, `[coordinates]`, float32.
    pub residual: Tensor,
}

/// Which coordinates of a tensor a history keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    All,
    /// At most this many of each tensor, drawn without replacement. The same seed draws the same coordinates.
    AtMost {
        coordinates: usize,
        seed: u64,
    },
}

impl Window {
    /// Of its tensor; all but the scale as its own coordinates show them.
    pub fn statistics(&self) -> Statistics {
        Statistics::of_sample(&self.snapshots, self.scale)
    }

    fn check(&self, index: usize) -> Result<(), PredictorError> {
        let refuse = |reason: String| Err(PredictorError::Window { index, reason });
        let (snapshots, residual) = (self.snapshots.size(), self.residual.size());
        match (snapshots.as_slice(), residual.as_slice()) {
            ([n, k], [m]) if n == m && *k >= 2 => {}
            _ => return refuse(format!("snapshots of shape {snapshots:?} do not go with a residual of {residual:?}")),
        }
        if self.snapshots.kind() != Kind::Float || self.residual.kind() != Kind::Float {
            return refuse("snapshots and residual must be float32".to_owned());
        }
        if self.horizon == 0 {
            return refuse("the horizon must be at least 1".to_owned());
        }
        if !self.scale.is_finite() || self.scale < 0.0 || !self.weight.is_finite() || self.weight < 0.0 {
            return refuse(format!("scale {} and weight {} must be finite, not negative", self.scale, self.weight));
        }
        Ok(())
    }
}

impl History {
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// # Errors
    /// Shapes that do not go together, another type than float32, a horizon of 0, a scale or weight below 0.
    pub fn push(&mut self, window: Window) -> Result<(), PredictorError> {
        window.check(self.windows.len())?;
        self.windows.push(window);
        Ok(())
    }

    /// Adds one window a tensor: what was seen, `snapshots` (oldest first, each `[coordinates]` of the whole model, one
    /// epoch apart), and what is to be found, the weights `past` that lie `horizon` epochs before.
    ///
    /// From a run recorded after each epoch: `record(layout, &run[t..t + K], &run[t - U], U, sample)`. For histories
    /// made for unlearning, `past` may be any weights that rewinding should lead to.
    ///
    /// # Errors
    /// Fewer than two snapshots, a tensor of another length or element type, a horizon of 0.
    pub fn record(
        &mut self,
        layout: &Layout,
        snapshots: &[Tensor],
        past: &Tensor,
        horizon: u32,
        sample: Sample,
    ) -> Result<(), PredictorError> {
        let mut trajectory = Trajectory::new(layout, &layout.tiles());
        for snapshot in snapshots {
            trajectory.record(snapshot)?;
        }
        let statistics = statistics(layout, &partial_sums(&trajectory)?, trajectory.len())?;
        trajectory.check(past)?;
        let residual = past.detach() - trajectory.base()?; // [coordinates]
        let snapshots = trajectory.snapshots(); // [snapshots, coordinates]
        for (index, (segment, of_tensor)) in layout.segments.iter().zip(statistics).enumerate() {
            let (offset, len) = (segment.offset as i64, segment.len() as i64);
            let mut window = Window {
                operation: segment.operation,
                horizon,
                scale: of_tensor.scale,
                weight: 1.0,
                place: place(index, layout.segments.len()),
                snapshots: snapshots.narrow(1, offset, len).tr().contiguous(),
                residual: residual.narrow(0, offset, len).copy(),
            };
            if let Some(kept) = sample.draw(segment.len(), index) {
                window.snapshots = window.snapshots.index_select(0, &kept);
                window.residual = window.residual.index_select(0, &kept);
            }
            self.push(window)?;
        }
        Ok(())
    }

    /// SHA-256 of the bytes at rest.
    ///
    /// # Errors
    /// None that a history of this crate could cause.
    pub fn digest(&self) -> Result<Digest, PredictorError> {
        Ok(Digest(hex::encode(sha2::Sha256::digest(self.to_bytes()?))))
    }

    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PredictorError> {
        tensors_at_rest::write(path.as_ref(), &self.to_bytes()?)
    }

    /// The bytes of the safetensors file; equal histories give equal bytes.
    ///
    /// # Errors
    /// None that a history of this crate could cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PredictorError> {
        let windows = self.windows.iter().map(|window| WindowAtRest {
            operation: window.operation,
            horizon: window.horizon,
            scale: window.scale,
            weight: window.weight,
            place: window.place,
        });
        let metadata = Metadata { version: VERSION, windows: windows.collect() };
        let mut tensors = Vec::new();
        for (i, window) in self.windows.iter().enumerate() {
            tensors.push((format!("window.{i}.snapshots"), window.snapshots.shallow_clone()));
            tensors.push((format!("window.{i}.residual"), window.residual.shallow_clone()));
        }
        tensors_at_rest::to_bytes(METADATA, &metadata, &tensors)
    }

    /// # Errors
    /// The file cannot be read, or see [`from_bytes`](Self::from_bytes).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PredictorError> {
        Self::from_bytes(&tensors_at_rest::read(path.as_ref())?)
    }

    /// # Errors
    /// Not safetensors; metadata missing or not understood; a tensor missing, of another element type, or not finite;
    /// a window that [`push`](Self::push) would refuse.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PredictorError> {
        let metadata: Metadata = tensors_at_rest::metadata(METADATA, bytes, VERSION)?;
        let file = tensors_at_rest::open(bytes)?;
        let mut history = Self::default();
        for (i, window) in metadata.windows.into_iter().enumerate() {
            history.push(Window {
                operation: window.operation,
                horizon: window.horizon,
                scale: window.scale,
                weight: window.weight,
                place: window.place,
                snapshots: tensors_at_rest::tensor(&file, &format!("window.{i}.snapshots"))?,
                residual: tensors_at_rest::tensor(&file, &format!("window.{i}.residual"))?,
            })?;
        }
        Ok(history)
    }
}

impl Sample {
    /// The kept coordinates of a tensor, ascending, `[kept]`; nothing when all are.
    fn draw(self, len: usize, tensor: usize) -> Option<Tensor> {
        match self {
            Self::AtMost { coordinates, seed } if coordinates < len => {
                let mut draw = ChaCha8Rng::seed_from_u64(seed);
                draw.set_stream(tensor as u64);
                let mut kept: Vec<i64> = rand::seq::index::sample(&mut draw, len, coordinates)
                    .into_iter()
                    .map(|coordinate| coordinate as i64)
                    .collect();
                kept.sort_unstable();
                Some(Tensor::from_slice(&kept))
            }
            _ => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Metadata {
    version: u32,
    windows: Vec<WindowAtRest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WindowAtRest {
    operation: OperationType,
    horizon: u32,
    scale: f64,
    weight: f64,
    #[serde(default)]
    place: f64,
}
