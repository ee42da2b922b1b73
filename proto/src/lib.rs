//! The wire: generated types, and their conversion to and from the words of `rewind-job`.
//!
//! Only this crate knows protobuf.

pub mod health;

mod commands;
mod events;
mod json;
mod leader;

/// The generated types, clients and servers.
pub mod v1 {
    tonic::include_proto!("rewind.v1");
}

pub use json::{from_json, to_json};
pub use leader::{is_not_leader, leader_in, not_leader};

/// Largest message in bytes: reports and lists of manifests are the largest.
pub const MESSAGE_LIMIT: usize = 64 << 20;

/// Which form of the messages between coordinators and workers this is. It grows whenever an older program would
/// misread a newer one; programs of two forms do not work together.
pub const PROTOCOL: u32 = 3;

/// Header of a session's answer: the digest of an artifact that whoever shares the fleet's artifacts can read.
pub const SHARED_ARTIFACT: &str = "rewind-shared-artifact";

/// Bytes of an artifact in one piece.
pub const PIECE: usize = 1 << 20;

/// A message that does not say what it must.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("a message lacks its `{0}`")]
    Missing(&'static str),
    #[error("`{field}` is not valid: {problem}")]
    Json { field: &'static str, problem: String },
    #[error("`{field}` {problem}")]
    Impossible { field: &'static str, problem: String },
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

fn work(job: &rewind_job::JobId, generation: rewind_job::Generation) -> Option<v1::Work> {
    Some(v1::Work { job: job.0.clone(), generation: generation.0 })
}

fn work_of(work: Option<v1::Work>) -> Result<(rewind_job::JobId, rewind_job::Generation), WireError> {
    let work = work.ok_or(WireError::Missing("work"))?;
    Ok((rewind_job::JobId(work.job), rewind_job::Generation(work.generation)))
}
