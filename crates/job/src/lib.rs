//! The words all programs share: specification, flat coordinates, shard plan, assignment, status, report.
//!
//! Nothing here does input or output, reads a clock, or knows libtorch.

mod assignment;
mod attacks;
mod format;
mod identity;
mod layout;
mod reads;
mod report;
mod short;
mod specification;
mod timeouts;

pub use assignment::*;
pub use attacks::*;
pub use format::*;
pub use identity::*;
pub use layout::*;
pub use reads::*;
pub use report::*;
pub use short::*;
pub use specification::*;
pub use timeouts::*;
