//! Which workers there are, and which are free.

use std::{collections::BTreeMap, time::Duration};

use rewind_job::{DeviceKind, Generation, JobId, TaskIndex, Timeouts, WorkerId};

use crate::Now;

#[derive(Debug)]
pub struct Worker {
    heard: Now,
    duty: Duty,
    /// Not known of a worker that is expected and has not come yet.
    device: Option<DeviceKind>,
    /// It is to end, and gets no more work.
    draining: bool,
    /// How often a gang broke because of it: others are taken first.
    suspicions: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    Idle,
    /// Works in a gang.
    Assigned(JobId, Generation),
    /// Makes a history.
    Task(JobId, Generation, TaskIndex),
    /// Was told to leave, or its gang has finished; since when.
    Leaving(JobId, Generation, Now),
}

/// Why a worker counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossReason {
    Silent,
    SessionEnded,
    NewSession,
    DidNotLeave,
    Unreadable,
}

#[derive(Debug, Default)]
pub struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
}

impl Fleet {
    pub fn join(&mut self, worker: WorkerId, duty: Duty, now: Now) {
        self.workers.insert(worker, Worker { heard: now, duty, device: None, draining: false, suspicions: 0 });
    }

    pub fn computes_on(&mut self, worker: &WorkerId, device: DeviceKind) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.device = Some(device);
        }
    }

    /// The kind that a job computes on which asks for none: the one of most workers, of as many the GPUs.
    pub fn prevailing(&self) -> DeviceKind {
        let count = |kind| self.working().filter(|(_, worker)| worker.device == Some(kind)).count();
        if count(DeviceKind::Cuda) > 0 && count(DeviceKind::Cuda) >= count(DeviceKind::Cpu) {
            DeviceKind::Cuda
        } else {
            DeviceKind::Cpu
        }
    }

    /// Workers that may get work, now or later.
    fn working(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.workers.iter().filter(|(_, worker)| !worker.draining)
    }

    /// Those of them that are, or may be, of a kind.
    fn of(&self, kind: DeviceKind) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.working().filter(move |(_, worker)| worker.device.is_none_or(|device| device == kind))
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

    pub fn drain(&mut self, worker: &WorkerId) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.draining = true;
        }
    }

    pub fn is_draining(&self, worker: &WorkerId) -> bool {
        self.workers.get(worker).is_some_and(|worker| worker.draining)
    }

    pub fn suspect(&mut self, worker: &WorkerId) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.suspicions += 1;
        }
    }

    /// Workers of a kind that may get work, now or later.
    pub fn len(&self, kind: DeviceKind) -> usize {
        self.of(kind).count()
    }

    pub fn names(&self) -> Vec<WorkerId> {
        self.workers.keys().cloned().collect()
    }

    pub fn duty(&self, worker: &WorkerId) -> Option<&Duty> {
        self.workers.get(worker).map(|worker| &worker.duty)
    }

    pub fn duties(&self) -> impl Iterator<Item = (&WorkerId, &Duty)> {
        self.workers.iter().map(|(name, worker)| (name, &worker.duty))
    }

    /// Idle workers of a kind: least suspected first, then in the order of their names, so that the same fleet makes the
    /// same gangs.
    pub fn idle(&self, kind: DeviceKind) -> Vec<WorkerId> {
        let idle = self.of(kind).filter(|(_, worker)| worker.duty == Duty::Idle);
        let mut idle: Vec<_> = idle.map(|(name, worker)| (worker.suspicions, name.clone())).collect();
        idle.sort();
        idle.into_iter().map(|(_, name)| name).collect()
    }

    /// Workers of a kind that will be idle as soon as they have left.
    pub fn leaving(&self, kind: DeviceKind) -> usize {
        self.of(kind).filter(|(_, worker)| matches!(worker.duty, Duty::Leaving(..))).count()
    }

    /// Workers of a kind that make histories, and may be asked to give way, with their job and attempt.
    pub fn on_tasks(&self, kind: DeviceKind) -> Vec<(WorkerId, JobId, Generation)> {
        let tasks = self.of(kind).filter_map(|(name, worker)| match &worker.duty {
            Duty::Task(job, generation, _) => Some((name.clone(), job.clone(), *generation)),
            _ => None,
        });
        tasks.collect()
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
    pub fn overdue(&self, now: Now, timeouts: &Timeouts) -> Vec<(WorkerId, LossReason, String)> {
        let longer = |since: Now, limit: Duration| now.since(since) > limit;
        self.workers
            .iter()
            .filter_map(|(name, worker)| {
                if longer(worker.heard, timeouts.detection) {
                    let why = format!("was silent for more than {:?}", timeouts.detection);
                    return Some((name.clone(), LossReason::Silent, why));
                }
                match worker.duty {
                    Duty::Leaving(_, _, since) if longer(since, timeouts.soft_abort) => {
                        let why = format!("did not leave its gang within {:?}", timeouts.soft_abort);
                        Some((name.clone(), LossReason::DidNotLeave, why))
                    }
                    _ => None,
                }
            })
            .collect()
    }
}
