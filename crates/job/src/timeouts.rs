//! Every timeout of the system in one place; their order is what makes failures short.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SpecificationError;

/// Bytes of a file: a parser takes a hundred times as many where nests are opened.
const LONGEST_FILE: usize = 1 << 16;

/// In this order, each longer than the one before it. `retention` is longer than two leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Timeouts {
    /// A worker says at least this often that it lives.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// A leader that has not renewed for so long leads no more. It renews at half of what remains.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// A worker silent for longer is lost.
    #[serde(with = "humantime_serde")]
    pub detection: Duration,
    /// A worker that was told to leave its gang has this long to answer.
    #[serde(with = "humantime_serde")]
    pub soft_abort: Duration,
    /// A program told to end with SIGTERM may finish its round for so long; then it leaves it.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// A process that has not ended by then after SIGTERM is killed by its supervisor.
    #[serde(with = "humantime_serde")]
    pub hard_kill: Duration,
    /// A collective that has not formed, or a call that has not ended by then, fails.
    #[serde(with = "humantime_serde")]
    pub rendezvous: Duration,
    /// A gang that has not read its data and built its model by then is dissolved.
    #[serde(with = "humantime_serde")]
    pub prepare: Duration,
    /// A checkpoint that is no longer needed is deleted so long after that was decided.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            lease: Duration::from_secs(3),
            detection: Duration::from_secs(5),
            soft_abort: Duration::from_secs(10),
            drain: Duration::from_secs(15),
            hard_kill: Duration::from_secs(20),
            rendezvous: Duration::from_secs(60),
            prepare: Duration::from_secs(600),
            retention: Duration::from_secs(60),
        }
    }
}

impl Timeouts {
    /// Reads timeouts from TOML; those that are not given stay as they are by default.
    ///
    /// # Errors
    /// Names the field that is unknown, or out of order.
    pub fn parse(text: &str) -> Result<Self, SpecificationError> {
        if text.len() > LONGEST_FILE {
            let problem = format!("has {} bytes, and {LONGEST_FILE} at most", text.len());
            return Err(SpecificationError::new("timeouts", problem));
        }
        let timeouts: Self = toml::from_str(text)
            .map_err(|error| {
                error.to_string().trim().replace("expected a duration", "expected a duration such as \"10s\"")
            })
            .map_err(|problem| SpecificationError::new("timeouts", problem))?;
        timeouts.check()?;
        Ok(timeouts)
    }

    /// Those that must follow one another, shortest first.
    pub fn in_order(&self) -> [(&'static str, Duration); 8] {
        [
            ("heartbeat", self.heartbeat),
            ("lease", self.lease),
            ("detection", self.detection),
            ("soft-abort", self.soft_abort),
            ("drain", self.drain),
            ("hard-kill", self.hard_kill),
            ("rendezvous", self.rendezvous),
            ("prepare", self.prepare),
        ]
    }

    /// # Errors
    /// Names the first timeout that is not longer than the one before it.
    pub fn check(&self) -> Result<(), SpecificationError> {
        for pair in self.in_order().windows(2) {
            let ((shorter, a), (longer, b)) = (pair[0], pair[1]);
            if a >= b {
                return Err(SpecificationError::new(
                    format!("timeouts.{longer}"),
                    format!("must be longer than {shorter} ({a:?}), but is {b:?}"),
                ));
            }
        }
        if self.retention <= self.lease.saturating_mul(2) {
            let problem = format!("must be longer than two leases ({:?}), but is {:?}", self.lease, self.retention);
            return Err(SpecificationError::new("timeouts.retention", problem));
        }
        Ok(())
    }
}
