//! Samples: readers, splits, forget sets, and the order they are trained in. Plain numbers, no libtorch.

mod cifar;
mod class_apart;
pub mod idx;
mod partition;
mod pool;
mod random;
mod split;
mod synthetic;
pub mod tiny_imagenet;
mod trigger;

pub use class_apart::{ClassApart, check_class};
pub use idx::{DataError, IdxSummary, Samples};
pub use partition::{Partition, Subset};
pub use pool::{PoolSamples, PoolSummary, check_split, inspect_pool, read_pool};
pub use random::{generator, noise, normal, order};
pub use synthetic::synthesise;
