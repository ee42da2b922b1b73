//! Bugs planted on purpose, at the seams of the coordinator, to show that the checks find them.

/// A bug that a coordinator could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Messages of an older generation count as of the present one.
    NoGenerationCheck,
    /// A deposed leader's writes land.
    CommitWithoutFencing,
    /// A committed round is committed again.
    DoubleCommit,
    /// Events are acknowledged although their decisions wait for the store.
    AcknowledgedTooEarly,
    /// A worker that comes back counts as one that has its work still, whatever it says.
    ReattachedBlindly,
    /// Checkpoints are deleted while they are needed.
    DeletedTooEarly,
    /// A new leader does not know which histories are made.
    ForgottenTask,
    /// Every worker that is lost fails its job.
    LossIsFailure,
    /// A new leader takes running gangs for gangs that were still forming.
    NewLeaderDissolvesGangs,
}

impl Plant {
    pub const ALL: [Self; 9] = [
        Self::NoGenerationCheck,
        Self::CommitWithoutFencing,
        Self::DoubleCommit,
        Self::AcknowledgedTooEarly,
        Self::ReattachedBlindly,
        Self::DeletedTooEarly,
        Self::ForgottenTask,
        Self::LossIsFailure,
        Self::NewLeaderDissolvesGangs,
    ];
}
