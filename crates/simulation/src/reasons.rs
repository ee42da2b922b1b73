//! What coordinators have been told: the only reasons for which work may end.

use std::collections::{BTreeMap, BTreeSet};

use rewind_control::Event;
use rewind_coordinator::replica::Input;
use rewind_job::{Generation, JobId, WorkerEvent, WorkerId};

/// A worker that was heard no longer ago than this is not silent. It takes longer until it counts as lost; but what a
/// worker says while a decision waits for the store is not heard in time.
const SILENCE: u64 = 2000;

/// All that may be a reason.
#[derive(Default)]
pub struct Reasons {
    coordinators: BTreeMap<usize, Told>,
    /// Jobs that a user wished to end, to pause or to go on.
    wished: BTreeSet<JobId>,
    /// Failures that workers have reported since a job's last commit.
    failures: BTreeMap<JobId, u32>,
}

/// What one coordinator was told in its life.
#[derive(Default)]
struct Told {
    leads_since: u64,
    /// Decisions wait for the store since then.
    waits_since: Option<u64>,
    sessions: BTreeMap<WorkerId, u64>,
    heard: BTreeMap<WorkerId, u64>,
    /// A worker's session ended or began anew, or it gave up its work; the last time.
    broken: BTreeMap<WorkerId, u64>,
}

impl Reasons {
    pub fn hear(
        &mut self,
        coordinator: usize,
        input: &Input,
        now: u64,
        works_on: impl Fn(&WorkerId) -> Option<(JobId, Generation)>,
    ) {
        let told = self.coordinators.entry(coordinator).or_default();
        let waits = told.waits_since.is_some();
        let mut is_broken = |worker: &WorkerId| {
            told.broken.insert(worker.clone(), now);
        };
        match input {
            Input::Ask { event, .. } => match event {
                Event::CancelWanted(job) | Event::PauseWanted(job) | Event::ResumeWanted(job) => {
                    self.wished.insert(job.clone());
                }
                _ => {}
            },
            Input::SessionBegan { worker, session, joined } => {
                told.sessions.insert(worker.clone(), *session);
                let working = match joined {
                    WorkerEvent::Joined { working, .. } => working.as_ref(),
                    _ => None,
                };
                // While decisions wait it is decided later, when it may have other work.
                let knows = working.map(|working| (working.job.clone(), working.generation)) == works_on(worker);
                if !knows || waits {
                    is_broken(worker);
                }
                told.heard.insert(worker.clone(), now);
            }
            // What comes late, of a session before, is no news.
            Input::SessionEnded { worker, session } | Input::Said { worker, session, .. }
                if told.sessions.get(worker) != Some(session) => {}
            Input::SessionEnded { worker, .. } => is_broken(worker),
            Input::Said { worker, event, .. } => {
                match event {
                    WorkerEvent::Failed { job, .. } => {
                        is_broken(worker);
                        *self.failures.entry(job.clone()).or_default() += 1;
                    }
                    WorkerEvent::Left { .. } | WorkerEvent::Draining => is_broken(worker),
                    _ => {}
                }
                told.heard.insert(worker.clone(), now);
            }
            Input::Garbled { .. } | Input::Deleted(_) | Input::Tick => {}
        }
    }

    pub fn leads(&mut self, coordinator: usize, now: u64) {
        let told = self.coordinators.entry(coordinator).or_default();
        told.leads_since = now;
        told.sessions.clear();
    }

    pub fn waits(&mut self, coordinator: usize, waits: bool, now: u64) {
        let told = self.coordinators.entry(coordinator).or_default();
        told.waits_since = if waits { told.waits_since.or(Some(now)) } else { None };
    }

    /// When a decision that lands now may have been made.
    pub fn decided(&self, coordinator: usize, now: u64) -> u64 {
        self.coordinators.get(&coordinator).and_then(|told| told.waits_since).unwrap_or(now)
    }

    pub fn committed(&mut self, job: &JobId) {
        self.failures.remove(job);
    }

    pub fn failures(&self, job: &JobId) -> u32 {
        self.failures.get(job).copied().unwrap_or(0)
    }

    pub fn is_wished(&self, job: &JobId) -> bool {
        self.wished.contains(job)
    }

    /// Whether the coordinator had reason to believe, since then, that the worker does not work any more.
    pub fn is_missed(&self, coordinator: usize, worker: &WorkerId, since: u64, now: u64) -> bool {
        let Some(told) = self.coordinators.get(&coordinator) else { return false };
        let heard = told.heard.get(worker).copied().unwrap_or(0).max(told.leads_since);
        told.broken.get(worker).is_some_and(|at| *at >= since) || now - heard >= SILENCE
    }

    pub fn is_anybody_missed(&self, coordinator: usize, since: u64, now: u64) -> bool {
        let Some(told) = self.coordinators.get(&coordinator) else { return false };
        told.heard.keys().any(|worker| self.is_missed(coordinator, worker, since, now))
    }
}
