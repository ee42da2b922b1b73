//! Samples: readers, splits, forget sets, and the order they are trained in. Plain numbers, no libtorch.

pub mod idx;
mod partition;
mod random;
mod synthetic;

pub use idx::{DataError, IdxSummary, Samples};
pub use partition::{Partition, Subset};
pub use random::{generator, noise, normal, order};
pub use synthetic::synthesise;
