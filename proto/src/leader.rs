//! How a coordinator that stands by sends its callers to the leader.

use tonic::{Code, Status};

const LEADER: &str = "rewind-leader";

/// The answer of a coordinator that does not lead; `leader` is the leader's URL, if it is known.
pub fn not_leader(leader: Option<&str>) -> Status {
    let text = match leader {
        Some(leader) => format!("this coordinator stands by; {leader} leads"),
        None => "this coordinator stands by, and none leads now".to_owned(),
    };
    let mut status = Status::unavailable(text);
    let value = leader.unwrap_or_default().parse();
    if let Ok(value) = value {
        status.metadata_mut().insert(LEADER, value);
    }
    status
}

/// Whether an answer comes from a coordinator that does not lead.
pub fn is_not_leader(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.metadata().contains_key(LEADER)
}

/// The leader's URL in the answer of a coordinator that does not lead.
pub fn leader_in(status: &Status) -> Option<String> {
    let value = status.metadata().get(LEADER)?.to_str().ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}
