//! The words all programs share: specification, flat coordinates, shard plan, assignment, status, report.
//!
//! Nothing here does input or output, reads a clock, or knows libtorch.

mod assignment;
mod attacks;
mod file_name;
mod format;
mod identity;
mod layout;
mod reads;
mod report;
mod round;
mod score;
mod short;
mod specification;
mod timeouts;
mod verdict;

pub use assignment::*;
pub use attacks::*;
pub use file_name::*;
pub use format::*;
pub use identity::*;
pub use layout::*;
pub use reads::*;
pub use report::*;
pub use round::*;
pub use score::*;
pub use short::*;
pub use specification::*;
pub use timeouts::*;
pub use verdict::*;
