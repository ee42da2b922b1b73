//! Which samples were read, and by whom: what a round notes, and what a finished job leaves for its certificate.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// A part of a job's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// `D_f`.
    Forget,
    /// `D_r`.
    Remaining,
    /// `D_r ∪ D_f`.
    Train,
    Validation,
    Test,
    /// Non-members that the membership attack learns from.
    Attack,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Forget => "forget",
            Self::Remaining => "remaining",
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::Attack => "attack",
        }
    }
}

/// Who read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// What changes the weights, BatchNorm's statistics included.
    Method,
    /// What decides when a step ends and which round counts.
    Rules,
    /// What measures the results for the report, when all steps have ended.
    Evaluation,
}

impl Reader {
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Rules => "rules",
            Self::Evaluation => "evaluation",
        }
    }
}

/// What one reader read of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    pub part: Part,
    pub by: Reader,
    /// In the part's own order, from 0.
    pub positions: Ranges,
}

/// A set of whole numbers as ranges in ascending order, each with its first number and the one after its last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(pub Vec<[u32; 2]>);

impl Ranges {
    pub fn len(&self) -> u64 {
        self.0.iter().map(|[first, end]| u64::from(end - first)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|&[first, end]| first..end)
    }

    pub fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|&[first, end]| (first..end).contains(&number))
    }

    /// Whether these are ranges in ascending order with gaps between them: one set has one form.
    pub fn are_in_order(&self) -> bool {
        self.0.iter().all(|[first, end]| first < end) && self.0.windows(2).all(|pair| pair[0][1] < pair[1][0])
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        let mut ranges: Vec<[u32; 2]> = self.0.iter().chain(&other.0).copied().collect();
        ranges.sort_unstable();
        let mut joined: Vec<[u32; 2]> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range[0] <= last[1] => last[1] = last[1].max(range[1]),
                _ => joined.push(range),
            }
        }
        Self(joined)
    }
}

impl FromIterator<u32> for Ranges {
    fn from_iter<T: IntoIterator<Item = u32>>(numbers: T) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        let mut ranges: Vec<[u32; 2]> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some(last) if number < last[1] => {}
                Some(last) if number == last[1] => last[1] += 1,
                _ => ranges.push([number, number + 1]),
            }
        }
        Self(ranges)
    }
}

/// A sample and the SHA-256 of what was learned of it: its label (four bytes, big-endian), then its pixels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleDigest {
    /// Position in the pool; samples of forget files of their own are numbered after the pool.
    pub id: u32,
    pub digest: Digest,
}

/// The ids of one part's samples that one reader read in one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReads {
    pub step: String,
    pub part: Part,
    pub by: Reader,
    pub ids: Ranges,
}

/// Which samples a job was about, and which it read: an artifact beside its report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// `D_f`, by id.
    pub forget: Vec<SampleDigest>,
    pub reads: Vec<StepReads>,
}

/// Ids that one reader may have read of one part in one step: they are one tree of a certificate, and each takes 32 bytes
/// while its root is made.
pub const MOST_IDS_OF_A_TREE: u64 = 1 << 22;
/// Ids of all trees of a record, which are made one after the other: a job of hundreds of steps reads fewer, and hashing
/// them takes minutes.
pub const MOST_IDS: u64 = 1 << 28;

impl SampleRecord {
    /// A record comes from a worker: a range of a few letters can stand for all ids that there are.
    ///
    /// # Errors
    /// Ids that are not in order, or are too many.
    pub fn check(&self) -> Result<(), String> {
        check_reads(&self.reads)
    }
}

/// # Errors
/// Ids that are not in order, or are too many.
pub fn check_reads(reads: &[StepReads]) -> Result<(), String> {
    let mut ids = 0_u64;
    for reads in reads {
        if !reads.ids.are_in_order() {
            return Err(format!("the ids read in `{}` are not in order", reads.step));
        }
        let own = reads.ids.len();
        if own > MOST_IDS_OF_A_TREE {
            let (step, part, by) = (&reads.step, reads.part.name(), reads.by.name());
            return Err(format!(
                "{own} samples of {part} are read by the {by} of `{step}`, and {MOST_IDS_OF_A_TREE} is the most"
            ));
        }
        ids += own;
        if ids > MOST_IDS {
            return Err(format!("{ids} samples are read up to `{}`, and {MOST_IDS} is the most", reads.step));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_the_fewest_ranges_whatever_their_order() {
        let ranges: Ranges = [7, 1, 2, 0, 2, 9].into_iter().collect();
        assert_eq!(ranges.0, [[0, 3], [7, 8], [9, 10]]);
        assert_eq!((ranges.len(), ranges.iter().collect::<Vec<_>>()), (5, vec![0, 1, 2, 7, 9]));
        assert!(ranges.contains(7) && !ranges.contains(8) && ranges.are_in_order());
    }

    #[test]
    fn a_union_has_every_number_once_and_one_form() {
        let (a, b) = (Ranges(vec![[0, 3], [7, 8]]), Ranges(vec![[2, 5], [8, 9], [20, 21]]));
        assert_eq!(a.union(&b).0, [[0, 5], [7, 9], [20, 21]]);
        assert_eq!(a.union(&b), b.union(&a));
        for bad in [vec![[3, 3]], vec![[0, 2], [2, 3]], vec![[4, 5], [0, 1]], vec![[3, 1]]] {
            assert!(!Ranges(bad).are_in_order());
        }
    }
}
