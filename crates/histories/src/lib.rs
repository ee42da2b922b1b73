//! Recorded trainings of small networks at rest: what predictors learn from.
//!
//! A *run* is an ordered list of snapshots of one network's weights, with what was trained and how. At rest it is one
//! small *record* (JSON) that names its *chunks* by their SHA-256; all of them are artifacts of one store. A chunk is a
//! safetensors file with one tensor of two dimensions, a piece of one of these matrices:
//!
//! | tensor        | rows                    | columns                        | element  |
//! |---------------|-------------------------|--------------------------------|----------|
//! | `base`        | the first snapshot      | kept coordinates of all tensors | float32 |
//! | `differences` | snapshots but the first | kept coordinates               | bfloat16 |
//! | `snapshots`   | snapshots but the first | kept coordinates               | float32  |
//! | `squares`     | steps between snapshots | tensors                        | float64  |
//! | `positions`   | one                     | kept coordinates of sampled tensors, tensor by tensor | uint32 |
//!
//! A run has `differences` or `snapshots`, never both ([`Encoding`]). Each difference is taken to the snapshot before
//! *as it is reconstructed*: `d_j = bf16(θ_j − R_{j−1})`, `R_j = R_{j−1} + d_j`, `R_0 = θ_0`, so that errors do not add
//! up. `squares` are `Σ (θ_{j+1} − θ_j)²` over *all* coordinates of a tensor, kept or not, of the weights as they were.
//!
//! Chunks do not cross from one phase of a run to the next, and hold nothing of a run's provenance: runs that share an
//! initialisation, or a whole phase, share those chunks.

mod chunk;
mod damage;
mod encoding;
mod export;
mod listing;
mod outline;
mod provenance;
mod record;
mod recorder;
mod run;
mod store;

pub use chunk::{ChunkReference, Part};
pub use damage::HistoryError;
pub use encoding::Encoding;
pub use export::export;
pub use listing::{Filter, Listed, Listing, Unreadable, find, list};
pub use outline::{KeptTensor, Measure, Moment, Outline, Phase};
pub use provenance::{DataSet, Descent, Kind, Loss, Provenance, Samples};
pub use record::Header;
pub use recorder::{Recorder, Sample};
pub use run::Run;
pub use store::{Options, Verification, header, read, verify, write};
