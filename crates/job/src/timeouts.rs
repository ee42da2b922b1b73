//! Every timeout of the system in one place; their order is what makes failures short.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SpecificationError;

/// Heartbeat < detection < soft abort < hard kill < rendezvous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// A worker says at least this often that it lives.
    pub heartbeat: Duration,
    /// A worker silent for longer is lost.
    pub detection: Duration,
    /// A worker that was told to leave its gang has this long to answer.
    pub soft_abort: Duration,
    /// A process that has not ended by then after SIGTERM is killed by its supervisor.
    pub hard_kill: Duration,
    /// A collective that has not formed, or a call that has not ended by then, fails.
    pub rendezvous: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            detection: Duration::from_secs(5),
            soft_abort: Duration::from_secs(10),
            hard_kill: Duration::from_secs(20),
            rendezvous: Duration::from_secs(60),
        }
    }
}

impl Timeouts {
    /// # Errors
    /// Names the first timeout that is not longer than the one before it.
    pub fn check(&self) -> Result<(), SpecificationError> {
        let order = [
            ("heartbeat", self.heartbeat),
            ("detection", self.detection),
            ("soft-abort", self.soft_abort),
            ("hard-kill", self.hard_kill),
            ("rendezvous", self.rendezvous),
        ];
        for pair in order.windows(2) {
            let ((shorter, a), (longer, b)) = (pair[0], pair[1]);
            if a >= b {
                return Err(SpecificationError::new(
                    format!("timeouts.{longer}"),
                    format!("must be longer than {shorter} ({a:?}), but is {b:?}"),
                ));
            }
        }
        Ok(())
    }
}
