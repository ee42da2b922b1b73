//! A job as control knows it, and as it is stored.

use std::collections::{BTreeMap, BTreeSet};

use rewind_job::{
    Generation, JobEvent, JobId, JobState, JobStatus, Layout, Manifest, Progress, Rank, Report, Round, RoundDone,
    Specification, StepIndex, StepWeights, WorkerId,
};
use serde::{Deserialize, Serialize};

use crate::Now;

/// One thing to store. Every value stays small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// Written once.
    Specification(JobId, Box<Specification>),
    Head(JobId, JobHead),
    /// One a committed round.
    Manifest(JobId, Box<Manifest>),
    Event(JobId, JobEvent),
    Report(JobId, Box<Report>, Vec<StepWeights>),
}

/// What changes about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobHead {
    pub state: JobState,
    pub reason: String,
    pub generation: Generation,
    pub submitted_at: u64,
    /// Generations that failed since the last commit.
    pub failures: u32,
}

/// All that is stored of a job but its report.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredJob {
    pub job: JobId,
    pub specification: Specification,
    pub head: JobHead,
    /// In order.
    pub manifests: Vec<Manifest>,
    /// In order.
    pub events: Vec<JobEvent>,
}

/// A job and its gang.
#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub specification: Specification,
    pub head: JobHead,
    pub manifests: Vec<Manifest>,
    pub events: Vec<JobEvent>,
    pub gang: Option<Gang>,
    pub progress: Option<Progress>,
}

/// The workers of a generation, by rank, and what they have reported.
#[derive(Debug)]
pub struct Gang {
    pub members: Vec<WorkerId>,
    pub prepared: Vec<Option<Layout>>,
    /// Rounds that are not committed yet.
    pub durable: BTreeMap<(StepIndex, Round), Vec<Option<RoundDone>>>,
    /// Members that were done before rank 0 had finished.
    pub left: BTreeSet<WorkerId>,
}

impl Gang {
    pub fn new(members: Vec<WorkerId>) -> Self {
        Self { prepared: vec![None; members.len()], members, durable: BTreeMap::new(), left: BTreeSet::new() }
    }

    pub fn rank_of(&self, worker: &WorkerId) -> Option<Rank> {
        self.members.iter().position(|member| member == worker).map(|rank| Rank(rank as u32))
    }
}

impl Job {
    pub fn restore(stored: StoredJob) -> Self {
        let StoredJob { job, specification, head, manifests, events } = stored;
        Self { id: job, specification, head, manifests, events, gang: None, progress: None }
    }

    pub fn committed(&self) -> Option<(StepIndex, Round)> {
        self.manifests.last().map(|manifest| (manifest.step, manifest.round))
    }

    /// The round that may be committed next after the last one: its step's next, or a later step's first.
    pub fn follows(&self, step: StepIndex, round: Round) -> bool {
        match self.manifests.last() {
            None => round == Round(1),
            Some(last) if last.outcome.is_some() => step > last.step && round == Round(1),
            Some(last) => step == last.step && round == last.round.next(),
        }
    }

    pub fn status(&self) -> JobStatus {
        JobStatus {
            job: self.id.clone(),
            name: self.specification.name.clone(),
            state: self.head.state,
            reason: self.head.reason.clone(),
            generation: self.head.generation,
            world_size: self.specification.fleet.world_size,
            progress: self.progress.clone(),
            committed: self.committed(),
            steps: self.specification.steps.iter().map(|step| step.name.clone()).collect(),
            submitted_at: self.head.submitted_at / 1000,
        }
    }

    /// A decision and its reason: the state, an event for the record, and both to be stored.
    pub fn decide(&mut self, state: JobState, reason: String, now: Now) -> Vec<Change> {
        self.head.state = state;
        self.head.reason = reason.clone();
        vec![self.note(reason, now), Change::Head(self.id.clone(), self.head.clone())]
    }

    /// An event for the record, to be stored.
    pub fn note(&mut self, text: String, now: Now) -> Change {
        let sequence = self.events.last().map_or(0, |event| event.sequence) + 1;
        let event = JobEvent { sequence, at: now.0, generation: self.head.generation, text };
        self.events.push(event.clone());
        Change::Event(self.id.clone(), event)
    }
}
