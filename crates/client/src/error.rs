//! What can go wrong between a program and a fleet.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no fleet runs in {0}; start one with `rewind up --dir {0}`, or name one with --coordinator URL", dir.display())]
    NoFleet { dir: PathBuf },
    #[error("failed to reach the coordinator at {address}: {cause}")]
    Unreachable { address: String, cause: String },
    #[error("`{text}` is no address; write it like http://127.0.0.1:7400")]
    Address { text: String },
    /// Certificates, keys or tokens that cannot be used.
    #[error("{0}")]
    Access(String),
    #[error("the coordinator refused: {0}")]
    Refused(String),
    #[error("there is no job `{job}`; `rewind jobs` lists all")]
    NoJob { job: String },
    #[error("specification refused: {0}")]
    Specification(String),
    #[error("failed to {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// Whether what was asked is wrong, and asking again is of no use.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Specification(_) | Self::Access(_) | Self::Address { .. })
    }

    /// For `map_err` on file operations.
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
