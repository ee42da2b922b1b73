//! What can go wrong, what to do about it, and the exit code.

use std::{io, path::PathBuf};

use rewind_histories::HistoryError;
use rewind_job::Verdict;

/// Exit code 1: something failed while running.
const FAILED: u8 = 1;
/// Exit code 2: wrong usage, or a specification that was refused.
const USAGE: u8 = 2;

/// Exit codes 3 to 6: the job has finished, and this is its verdict.
fn code_of(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Forgot => FAILED,
        Verdict::NotForgotten => 3,
        Verdict::Damaged => 4,
        Verdict::ForgotAndDamaged => 5,
        Verdict::NotKnown => 6,
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] rewind_client::Error),
    #[error("a fleet runs already in {} at {address}; stop it with Ctrl-C in its terminal, or choose another --dir", dir.display())]
    FleetRuns { dir: PathBuf, address: String },
    #[error("{missing} of {checks} checks failed")]
    Unfit { missing: usize, checks: usize },
    #[error("the coordinator refused: {0}")]
    Refused(String),
    #[error("specification refused: {0}")]
    Specification(String),
    #[error("{0}")]
    Usage(String),
    #[error("{job} {state}: {reason}")]
    JobEnded { job: String, state: String, reason: String },
    #[error("{job} has finished with the verdict `{}`; its report says why", verdict.name())]
    Verdict { job: String, verdict: Verdict },
    #[error("{program} was found neither beside this program nor in PATH; build it with `cargo build -p {program}`")]
    NoProgram { program: String },
    #[error("failed to start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("{name} {how} before it was ready; the end of its log, {}:\n{tail}", log.display())]
    Died { name: String, how: String, log: PathBuf, tail: String },
    #[error("{what} was not ready after {seconds} s; see the logs in {}", logs.display())]
    NotReady { what: String, seconds: u64, logs: PathBuf },
    #[error("failed to {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is neither a report.json nor a comparison.json: {problem}", path.display())]
    NotAReport { path: PathBuf, problem: String },
    #[error("{0}")]
    Histories(#[from] HistoryError),
    #[error("there are no artifacts in {}; name a store with --artifacts, or a fleet's folder with --dir", dir.display())]
    NoArtifacts { dir: PathBuf },
    #[error("{damaged} of {histories} histories are damaged")]
    Damaged { damaged: usize, histories: usize },
    #[error("failed to {what} {}: {problem}", path.display())]
    Predictor { what: &'static str, path: PathBuf, problem: String },
    #[error("failed to write to standard output: {problem}")]
    Output { problem: String },
    #[error("interrupted")]
    Interrupted,
    #[error("failed to {what}: {source}")]
    System { what: &'static str, source: io::Error },
}

impl Error {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) if error.is_usage() => USAGE,
            Self::Specification(_) | Self::Usage(_) => USAGE,
            Self::Verdict { verdict, .. } => code_of(*verdict),
            Self::Histories(HistoryError::BadPrefix(_) | HistoryError::Ambiguous { .. }) => USAGE,
            _ => FAILED,
        }
    }

    /// For `map_err` on file operations.
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
