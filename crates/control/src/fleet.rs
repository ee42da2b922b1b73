//! Which workers there are, and which are free.

use std::collections::BTreeMap;

use rewind_job::{Generation, JobId, Timeouts, WorkerId};

use crate::Now;

#[derive(Debug)]
pub struct Worker {
    heard: Now,
    duty: Duty,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    Idle,
    /// Works in a gang.
    Assigned(JobId, Generation),
    /// Was told to leave, or its gang has finished; since when.
    Leaving(JobId, Generation, Now),
}

#[derive(Debug, Default)]
pub struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
}

impl Fleet {
    pub fn join(&mut self, worker: WorkerId, now: Now) {
        self.workers.insert(worker, Worker { heard: now, duty: Duty::Idle });
    }

    /// Returns what the worker was doing.
    pub fn lose(&mut self, worker: &WorkerId) -> Option<Duty> {
        self.workers.remove(worker).map(|worker| worker.duty)
    }

    pub fn hear(&mut self, worker: &WorkerId, now: Now) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.heard = now;
        }
    }

    /// Forgets every silence until now.
    pub fn forgive(&mut self, now: Now) {
        for worker in self.workers.values_mut() {
            worker.heard = now;
        }
    }

    pub fn len(&self) -> usize {
        self.workers.len()
    }

    pub fn names(&self) -> Vec<WorkerId> {
        self.workers.keys().cloned().collect()
    }

    /// In the order of their names, so that the same fleet makes the same gangs.
    pub fn idle(&self) -> Vec<WorkerId> {
        self.workers.iter().filter(|(_, w)| w.duty == Duty::Idle).map(|(name, _)| name.clone()).collect()
    }

    pub fn set(&mut self, worker: &WorkerId, duty: Duty) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.duty = duty;
        }
    }

    /// A worker that was told to leave this gang, and has left it, becomes idle. Returns whether that was so.
    pub fn left(&mut self, name: &WorkerId, job: &JobId, generation: Generation) -> bool {
        let worker = self.workers.get_mut(name);
        let leaving = worker.filter(|w| matches!(&w.duty, Duty::Leaving(j, g, _) if j == job && *g == generation));
        leaving.map(|worker| worker.duty = Duty::Idle).is_some()
    }

    /// Workers that are silent too long, or too slow to leave; and why.
    pub fn overdue(&self, now: Now, timeouts: &Timeouts) -> Vec<(WorkerId, String)> {
        let longer =
            |since: Now, limit: std::time::Duration| u128::from(now.0.saturating_sub(since.0)) > limit.as_millis();
        self.workers
            .iter()
            .filter_map(|(name, worker)| {
                if longer(worker.heard, timeouts.detection) {
                    return Some((name.clone(), format!("was silent for more than {:?}", timeouts.detection)));
                }
                match worker.duty {
                    Duty::Leaving(_, _, since) if longer(since, timeouts.soft_abort) => {
                        Some((name.clone(), format!("did not leave its gang within {:?}", timeouts.soft_abort)))
                    }
                    _ => None,
                }
            })
            .collect()
    }
}
