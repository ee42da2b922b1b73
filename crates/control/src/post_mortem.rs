//! Who was missing when a gang broke: the last collective calls of its members, compared.

use std::collections::BTreeMap;

use rewind_job::{Generation, LastCollective, Rank, WorkerId};

/// The members of a broken gang, and what they say as they leave.
#[derive(Debug)]
pub struct PostMortem {
    generation: Generation,
    /// By rank; those that were lost say nothing.
    expected: Vec<WorkerId>,
    lost: Vec<WorkerId>,
    said: BTreeMap<WorkerId, Option<LastCollective>>,
}

impl PostMortem {
    pub fn new(generation: Generation, members: &[WorkerId], lost: Option<&WorkerId>) -> Self {
        Self {
            generation,
            expected: members.to_vec(),
            lost: lost.into_iter().cloned().collect(),
            said: BTreeMap::new(),
        }
    }

    pub fn lose(&mut self, worker: &WorkerId) {
        self.lost.push(worker.clone());
    }

    /// A member has left; of other generations nothing is heard.
    pub fn hear(&mut self, worker: &WorkerId, generation: Generation, last: Option<LastCollective>) {
        if generation == self.generation {
            self.said.insert(worker.clone(), last);
        }
    }

    pub fn is_complete(&self) -> bool {
        self.expected.iter().all(|member| self.said.contains_key(member) || self.lost.contains(member))
    }

    /// Members that are behind the others: in a call that others have entered, or lost while others waited.
    pub fn missing(&self) -> Vec<(Rank, WorkerId)> {
        let Some(furthest) = self.furthest() else { return Vec::new() };
        let ranks = self.expected.iter().zip(0..).map(|(member, rank)| (Rank(rank), member));
        let behind = ranks.filter(|(_, member)| match self.said.get(*member) {
            Some(last) => last.as_ref().is_none_or(|last| last.sequence < furthest.sequence),
            None => !furthest.ended,
        });
        behind.map(|(rank, member)| (rank, member.clone())).collect()
    }

    fn furthest(&self) -> Option<&LastCollective> {
        self.said.values().flatten().max_by_key(|last| (last.sequence, last.ended))
    }

    /// `rank 1 (worker-2) was missing from all-reduce 57`, if the calls tell.
    pub fn verdict(&self) -> Option<String> {
        let furthest = self.furthest()?;
        let missing = self.missing();
        if missing.is_empty() || missing.len() == self.expected.len() {
            return None;
        }
        let names: Vec<String> = missing.iter().map(|(rank, member)| format!("rank {rank} ({member})")).collect();
        let verb = if names.len() == 1 { "was" } else { "were" };
        let call = format!("{} {}", furthest.operation, furthest.sequence);
        Some(format!("flight recorders: {} {verb} missing from {call}", names.join(", ")))
    }
}
