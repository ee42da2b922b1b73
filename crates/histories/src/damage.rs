use rewind_artifacts::ArtifactError;
use rewind_job::{Digest, shortened};

use crate::Part;

/// Why a run cannot be stored, or a history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("{field}: {problem}")]
    Run { field: String, problem: String },
    #[error("artifact {0} is no history")]
    NotAHistory(Digest),
    #[error("history {record} is of version {found}, but only version {known} is understood")]
    Version { record: Digest, found: u64, known: u32 },
    #[error("history {record}: {field}: {problem}")]
    Record { record: Digest, field: String, problem: String },
    #[error("history {record}: chunk {chunk} ({part}): {problem}")]
    Chunk { record: Digest, chunk: Digest, part: Part, problem: String },
    #[error("history {record}: chunk {chunk} ({part}): {source}")]
    Unreadable { record: Digest, chunk: Digest, part: Part, source: Box<ArtifactError> },
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("`{0}` is not the beginning of a SHA-256 in hexadecimal, of at least four digits")]
    BadPrefix(String),
    #[error("no history begins with `{0}`")]
    NoHistory(String),
    #[error("`{prefix}` is the beginning of {} histories: {}", matches.len(), shown(matches))]
    Ambiguous { prefix: String, matches: Vec<Digest> },
}

impl HistoryError {
    /// Whether the same call may succeed later, with nobody doing anything about it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreadable { source, .. } => source.is_retryable(),
            Self::Artifact(error) => error.is_retryable(),
            _ => false,
        }
    }

    pub(crate) fn run(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Run { field: shortened(field.into()), problem: shortened(problem.into()) }
    }

    /// A field that is wrong in a record that was read.
    pub(crate) fn in_record(self, record: &Digest) -> Self {
        match self {
            Self::Run { field, problem } => Self::Record { record: record.clone(), field, problem },
            other => other,
        }
    }
}

fn shown(digests: &[Digest]) -> String {
    let shortened: Vec<&str> = digests.iter().take(4).map(|digest| &digest.0[..digest.0.len().min(16)]).collect();
    let more = if digests.len() > shortened.len() { ", …" } else { "" };
    format!("{}{more}", shortened.join(", "))
}
