//! Which program this is. The commit is asked for when this crate is built: only programs depend on it, since all that does
//! is built again with every commit.

/// Of all programs and crates of this project.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What was built: the first 12 hexadecimal digits of the commit, with `-dirty` behind them where files that git knows had
/// been changed when git was last asked: at the first build, and at the first one after each commit and checkout.
/// `unknown` where it was built outside a git checkout and `REWIND_COMMIT` was not given.
pub const COMMIT: &str = env!("REWIND_COMMIT");

/// Version and commit, for people: `0.2.0 (0123456789ab)`.
pub const VERSION_AND_COMMIT: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("REWIND_COMMIT"), ")");
