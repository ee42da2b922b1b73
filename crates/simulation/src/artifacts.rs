//! A fake artifact store: what exists, when it was written, and what it means.

use std::collections::{BTreeMap, BTreeSet};

use rewind_job::{Digest, JobId, Rank};

/// A shard's place and the state it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub job: JobId,
    pub place: (u32, u32),
    pub rank: Rank,
    /// Stands for the weights: a hash over everything that made them.
    pub state: u64,
}

#[derive(Default)]
pub struct Artifacts {
    present: BTreeMap<Digest, (Content, u64)>,
    altered: BTreeSet<Digest>,
    /// Everything that was ever written.
    known: BTreeMap<Digest, Content>,
    harmed: BTreeSet<JobId>,
    pub disk_full: bool,
}

impl Artifacts {
    /// Returns the digest; none when the disk is full. Writing again refreshes and heals.
    pub fn put(&mut self, content: Content, now: u64) -> Option<Digest> {
        if self.disk_full {
            return None;
        }
        let Content { job, place, rank, state } = &content;
        let digest = Digest(format!("{job}-{}-{}-{rank}-{state:016x}", place.0, place.1));
        self.altered.remove(&digest);
        self.known.insert(digest.clone(), content.clone());
        self.present.insert(digest.clone(), (content, now));
        Some(digest)
    }

    /// The state of which this is a shard; none when it is altered or missing.
    pub fn state(&self, digest: &Digest) -> Option<u64> {
        let found = self.present.get(digest).filter(|_| !self.altered.contains(digest));
        found.map(|(content, _)| content.state)
    }

    pub fn is_shard_of(&self, digest: &Digest, job: &JobId, place: (u32, u32), rank: Rank) -> bool {
        self.known.get(digest).is_some_and(|c| &c.job == job && c.place == place && c.rank == rank)
    }

    /// Deletes what was not written again since. Returns whether it is gone.
    pub fn delete_if_older(&mut self, digest: &Digest, before: u64) -> bool {
        if self.present.get(digest).is_some_and(|(_, written)| *written > before) {
            return false;
        }
        self.present.remove(digest);
        true
    }

    /// Alters or removes a shard, as a bad disk would.
    /// Returns whether there was one to harm.
    pub fn harm(&mut self, index: usize, remove: bool) -> bool {
        let nth = index % self.present.len().max(1);
        let Some((digest, (content, _))) = self.present.iter().nth(nth) else { return false };
        let digest = digest.clone();
        self.harmed.insert(content.job.clone());
        if remove { self.present.remove(&digest).is_some() } else { self.altered.insert(digest) }
    }

    pub fn was_harmed(&self, job: &JobId) -> bool {
        self.harmed.contains(job)
    }
}
