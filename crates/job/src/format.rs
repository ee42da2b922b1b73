//! Format numbers: what is at rest says by one what its words mean.

/// Of what version 0.1 wrote, which did not say.
pub fn first_format() -> u32 {
    1
}

/// Refuses what a later version wrote.
///
/// # Errors
/// Says what was found, and what is known: 1 to `newest`.
pub fn check_format(found: u32, newest: u32) -> Result<(), String> {
    if (1..=newest).contains(&found) {
        return Ok(());
    }
    Err(format!("is {found}, and this version knows 1 to {newest}: a later one wrote it"))
}
