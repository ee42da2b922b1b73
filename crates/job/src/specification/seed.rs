//! Seeds: numbers that whatever is written can hold.

use serde::{Deserialize, Deserializer, de::Error};

/// The largest seed: TOML has no larger whole number.
pub const LARGEST_SEED: u64 = i64::MAX as u64;

/// Reads a seed.
///
/// # Errors
/// It could not be written again.
pub(super) fn seed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seed = u64::deserialize(deserializer)?;
    if seed > LARGEST_SEED {
        return Err(D::Error::custom(format!("is {seed}, and must be at most {LARGEST_SEED} (2^63 - 1)")));
    }
    Ok(seed)
}
