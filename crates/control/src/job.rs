//! A job as control knows it, and as it is stored.

use std::collections::{BTreeMap, BTreeSet};

use rewind_job::{
    Action, Generation, JobEvent, JobId, JobState, JobStatus, Layout, Manifest, Progress, Rank, Report, Round,
    RoundDone, Specification, StepIndex, StepWeights, WorkerId,
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
    /// What it waits for, as its status says it; depends on the fleet and is not stored.
    pub waiting: String,
    /// The last gang dissolved because a member felt a loss that was not seen here.
    pub felt: bool,
}

/// The workers of a generation, by rank, and what they have reported.
#[derive(Debug)]
pub struct Gang {
    pub members: Vec<WorkerId>,
    pub prepared: Vec<Option<Layout>>,
    /// Rounds that are not committed yet.
    pub durable: BTreeMap<(StepIndex, Round), Vec<Option<RoundDone>>>,
    /// Members that were done before rank 0 had finished; they may do other work by now.
    pub left: BTreeSet<WorkerId>,
}

impl Gang {
    pub fn new(members: Vec<WorkerId>) -> Self {
        Self { prepared: vec![None; members.len()], members, durable: BTreeMap::new(), left: BTreeSet::new() }
    }

    pub fn rank_of(&self, worker: &WorkerId) -> Option<Rank> {
        let rank = self.members.iter().position(|member| member == worker)?;
        (!self.left.contains(worker)).then_some(Rank(rank as u32))
    }

    /// Members that have not left.
    pub fn present(&self) -> impl Iterator<Item = &WorkerId> {
        self.members.iter().filter(|member| !self.left.contains(*member))
    }
}

impl Job {
    pub fn restore(stored: StoredJob) -> Self {
        let StoredJob { job, specification, head, manifests, events } = stored;
        Self {
            id: job,
            specification,
            head,
            manifests,
            events,
            gang: None,
            progress: None,
            waiting: String::new(),
            felt: false,
        }
    }

    pub fn committed(&self) -> Option<(StepIndex, Round)> {
        self.manifests.last().map(|manifest| (manifest.step, manifest.round))
    }

    /// The first step from `index` on that makes weights, and so has rounds.
    fn step_with_rounds(&self, index: usize) -> Option<StepIndex> {
        let rest = self.specification.steps.iter().enumerate().skip(index);
        let mut with_rounds = rest.filter(|(_, step)| !matches!(step.action, Action::Evaluate(_)));
        with_rounds.next().map(|(index, _)| StepIndex(index as u32))
    }

    /// The only round that may be committed now; none when all are.
    pub fn next_round(&self) -> Option<(StepIndex, Round)> {
        match self.manifests.last() {
            None => Some((self.step_with_rounds(0)?, Round(1))),
            Some(last) if last.outcome.is_some() => {
                Some((self.step_with_rounds(last.step.next().0 as usize)?, Round(1)))
            }
            Some(last) => Some((last.step, last.round.next())),
        }
    }

    /// Whether all rounds of all steps are committed: what is left is to measure.
    pub fn is_done(&self) -> bool {
        self.head.state == JobState::Running && self.next_round().is_none()
    }

    pub fn step_name(&self, step: StepIndex) -> String {
        let found = self.specification.steps.get(step.0 as usize);
        found.map_or_else(|| format!("step {step}"), |step| step.name.clone())
    }

    /// Where the work is: `in round 3 of pretrained`.
    pub fn whereabouts(&self) -> String {
        match self.next_round() {
            _ if self.head.state == JobState::Preparing => "while it prepared".into(),
            Some((step, round)) => format!("in round {round} of {}", self.step_name(step)),
            None => "while the results were measured".into(),
        }
    }

    pub fn status(&self) -> JobStatus {
        JobStatus {
            job: self.id.clone(),
            name: self.specification.name.clone(),
            state: self.head.state,
            reason: if self.head.state == JobState::Waiting { &self.waiting } else { &self.head.reason }.clone(),
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

    /// The job waits for a gang; the reason is why it has none.
    pub fn wait(&mut self, reason: String, now: Now) -> Vec<Change> {
        self.progress = None;
        self.waiting.clear();
        self.decide(JobState::Waiting, reason, now)
    }

    /// An event for the record, to be stored.
    pub fn note(&mut self, text: String, now: Now) -> Change {
        let sequence = self.events.last().map_or(0, |event| event.sequence) + 1;
        let event = JobEvent { sequence, at: now.0, generation: self.head.generation, text };
        self.events.push(event.clone());
        Change::Event(self.id.clone(), event)
    }
}
