//! The published networks as Keras stores them (`.h5`), turned into a predictor at rest: InvWNN into `paper`, WNN into
//! `wnn`.
//!
//! ```text
//! weights::read(bytes)        the Dense layers of a file, in its order
//! Network::from_keras(...)    which layer is which: by shape and order, whatever their names
//! at_rest::to_bytes(...)      the safetensors file that rewind-predictor reads
//! ```
//!
//! Nothing here needs libtorch, so the command line converts by itself. That what is written is what
//! rewind-predictor reads, and that it answers as the Keras network does, is tested against rewind-predictor.

mod answer;
mod at_rest;
mod error;
mod network;
mod weights;

pub use answer::{DRIFTS, Figures};
pub use at_rest::{read_network, to_bytes};
pub use error::KerasError;
pub use network::{Block, BlockOrder, Network, Published};
