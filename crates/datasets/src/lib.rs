//! Samples: readers, splits, forget sets, and the order they are trained in. Plain numbers, no libtorch.

mod cifar;
pub mod idx;
mod partition;
mod pool;
mod random;
mod synthetic;
pub mod tiny_imagenet;

pub use idx::{DataError, IdxSummary, Samples};
pub use partition::{Partition, Subset};
pub use pool::{PoolSamples, PoolSummary, check_split, inspect_pool, read_pool};
pub use random::{generator, noise, normal, order};
pub use synthetic::synthesise;
