//! Types that say what a number means.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

/// What a worker computes on. The ranks of a gang are all of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    #[default]
    Cpu,
    /// A GPU.
    Cuda,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        })
    }
}

number!(
    /// Position of a worker in its gang, from 0.
    Rank(u32)
);
number!(
    /// How many workers act together.
    WorldSize(u32)
);
number!(
    /// Counts the gangs a job has had. A message of an older generation changes nothing.
    Generation(u64)
);
number!(
    /// Counts the leaders that the coordinators have had (fencing token). Commands of an older term are refused.
    Term(u64)
);
number!(
    /// Counts the rounds of a step, from 1; 0 is the state before the first.
    /// For work without rewinding a round is one epoch.
    Round(u32)
);
number!(
    /// Position of a task in its job, from 0.
    TaskIndex(u32)
);
number!(
    /// Position of a step in its specification, from 0.
    StepIndex(u32)
);

name!(
    /// Name of a job, unique in its store: `job-7`.
    JobId
);
name!(
    /// Name of a worker process, unique in its fleet.
    WorkerId
);
name!(
    /// SHA-256 of an artifact's bytes, in hexadecimal.
    Digest
);

impl WorldSize {
    /// All ranks of this world, in order.
    pub fn ranks(self) -> impl Iterator<Item = Rank> {
        (0..self.0).map(Rank)
    }
}

impl Round {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl StepIndex {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
