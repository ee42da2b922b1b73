//! Metrics on plain numbers. Nothing here knows which method made the weights, or links libtorch.

mod gap;
mod likelihood_ratio;
mod likeness;
mod loss_attack;
mod membership;

pub use gap::{average_gap, fill_gaps, recovered};
pub use likelihood_ratio::{Answer, likelihood_ratio};
pub use likeness::{area_under_curve, same_distribution};
pub use loss_attack::loss_attack;
pub use membership::{Membership, membership_inference};

/// Why a metric has no value.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    #[error("the membership attack needs at least 4 members and 4 non-members, found {members} and {non_members}")]
    TooFewSamples { members: usize, non_members: usize },
    #[error("the membership attack needs finite probabilities")]
    NotFinite,
    #[error(
        "{members} forget samples and {others} held-out ones of their classes are too few: at least {fewest} of each"
    )]
    TooFewLosses { members: usize, others: usize, fewest: usize },
    #[error("as many forget samples as held-out ones are told apart, not {members} and {others}")]
    UnequalLosses { members: usize, others: usize },
    #[error("a loss is not a number")]
    LossNotANumber,
    #[error("failed to fit the membership attack: {0}")]
    Fit(String),
}
