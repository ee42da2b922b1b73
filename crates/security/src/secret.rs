use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::SecurityError;

/// A text that never gets into a log: it prints as `***`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// Reads a file that others must not read; its group may, as mounted secrets need it.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, SecurityError> {
    read_guarded(path, 0o007, "o-rwx")
}

/// Reads a file that others must not write.
pub(crate) fn read_unforged(path: &Path) -> Result<Vec<u8>, SecurityError> {
    read_guarded(path, 0o002, "o-w")
}

/// The mode is that of the file which is then read, not of one that had its name before.
fn read_guarded(path: &Path, forbidden: u32, wanted: &'static str) -> Result<Vec<u8>, SecurityError> {
    let failed = |source: io::Error| SecurityError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(SecurityError::OpenToOthers { path: path.to_owned(), mode, wanted });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
