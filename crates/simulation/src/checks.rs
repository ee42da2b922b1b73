//! The promises, checked against every transaction that lands and every command that is sent.

use std::collections::{BTreeMap, BTreeSet};

use rewind_control::{JobHead, TaskRecord};
use rewind_job::{Digest, Generation, JobId, JobState, Manifest, Rank, Specification, Term, WorkerCommand, WorkerId};

use crate::{artifacts::Artifacts, reasons::Reasons, watched::Landed};

/// Reported failures without a commit that are enough to fail a job: of a task three, of a gang more.
const FAILURES: u32 = 3;

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The promise's name in docs/promises.md.
    pub promise: &'static str,
    pub what: String,
}

/// What the store holds, followed write by write.
#[derive(Default)]
pub struct Checks {
    pub violations: Vec<Violation>,
    pub transitions: BTreeMap<(JobState, JobState), u64>,
    pub jobs: BTreeMap<JobId, Known>,
    term: Term,
    holders: BTreeMap<Term, usize>,
    assigned: BTreeMap<(JobId, Generation), BTreeMap<Rank, WorkerId>>,
    task_begun: BTreeMap<(JobId, u32), u64>,
    pub reasons: Reasons,
    /// In which term a job's present generation was stored, and when at the earliest it was decided.
    begun: BTreeMap<JobId, (Term, u64)>,
    pub now: u64,
    /// The coordinator whose transaction landed.
    lands: usize,
}

/// A job as it is stored.
#[derive(Default)]
pub struct Known {
    pub specification: Option<Specification>,
    pub head: Option<JobHead>,
    pub manifests: BTreeMap<(u32, u32), Manifest>,
    pub tasks: BTreeMap<u32, TaskRecord>,
    pub has_report: bool,
}

impl Checks {
    pub fn break_promise(&mut self, promise: &'static str, what: impl Into<String>) {
        self.violations.push(Violation { promise, what: what.into() });
    }

    fn require(&mut self, holds: bool, promise: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.break_promise(promise, what());
        }
    }

    /// A transaction landed.
    pub fn landed(&mut self, landed: &Landed, artifacts: &Artifacts) {
        let leads = landed.leader.as_ref().is_some_and(|leader| leader.term == landed.term);
        let (term, replica) = (landed.term, landed.replica);
        self.require(leads, "one-coordinator-commits", || format!("term {term} wrote although it does not lead"));
        self.require(term >= self.term, "one-coordinator-commits", || format!("term {term} wrote after a later one"));
        self.term = self.term.max(term);
        self.lands = replica;
        let holder = *self.holders.entry(term).or_insert(replica);
        self.require(holder == replica, "one-coordinator-commits", || format!("two coordinators had term {term}"));
        // What one transaction deletes is gone at once; checked from the end, as if one after another.
        let (deleted, written): (Vec<_>, Vec<_>) = landed.writes.iter().partition(|write| write.value.is_none());
        for write in deleted.into_iter().rev().chain(written) {
            self.wrote(&write.key, write.value.as_deref(), write.expected.is_none(), artifacts);
        }
    }

    fn wrote(&mut self, key: &str, value: Option<&[u8]>, is_new: bool, artifacts: &Artifacts) {
        let mut parts = key.split('/');
        let (kind, job) = (parts.next().unwrap_or_default(), JobId(parts.next().unwrap_or_default().to_owned()));
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok()).unwrap_or_default();
        match (kind, value) {
            ("specification", Some(value)) => {
                self.jobs.entry(job).or_default().specification = serde_json::from_slice(value).ok();
            }
            ("head", Some(value)) => match serde_json::from_slice::<JobHead>(value) {
                Ok(head) => self.head_changed(job, head),
                Err(error) => self.break_promise("what-is-stored-is-read", format!("{key}: {error}")),
            },
            ("manifest", Some(value)) => match serde_json::from_slice::<Manifest>(value) {
                Ok(manifest) => self.committed(job, manifest, is_new, artifacts),
                Err(error) => self.break_promise("what-is-stored-is-read", format!("{key}: {error}")),
            },
            ("manifest", None) => {
                let place = (number(parts.next()), number(parts.next()));
                self.discarded(&job, place, artifacts);
            }
            ("task", Some(value)) => {
                if let Ok(record) = serde_json::from_slice::<TaskRecord>(value) {
                    self.task_changed(job, record);
                }
            }
            ("report", Some(_)) => {
                let known = self.jobs.entry(job.clone()).or_default();
                let twice = std::mem::replace(&mut known.has_report, true);
                self.require(!twice, "a-round-is-finished-or-never-happened", || format!("{job} reported twice"));
            }
            _ => {}
        }
    }

    fn head_changed(&mut self, job: JobId, head: JobHead) {
        let known = self.jobs.entry(job.clone()).or_default();
        let before = known.head.replace(head.clone());
        let Some(before) = before else { return };
        self.ends_for_a_reason(&job, &before, &head);
        if before.generation != head.generation {
            self.begun.insert(job.clone(), (self.term, self.reasons.decided(self.lands, self.now)));
        }
        if before.state != head.state {
            *self.transitions.entry((before.state, head.state)).or_default() += 1;
        }
        let grows = head.generation >= before.generation;
        self.require(grows, "stale-messages-change-nothing", || format!("{job}: the generation went back"));
        let may = !before.state.is_final() || before.state == head.state || before.state == JobState::Failed;
        self.require(may, "a-round-is-finished-or-never-happened", || {
            format!("{job} was {:?} and became {:?}", before.state, head.state)
        });
    }

    /// A gang dissolves, and a job ends or stops, because of what the coordinator was told, or was not told for long.
    fn ends_for_a_reason(&mut self, job: &JobId, before: &JobHead, head: &JobHead) {
        let works = matches!(before.state, JobState::Preparing | JobState::Running);
        let is_wished = self.reasons.is_wished(job);
        let specification = self.jobs.get(job).and_then(|known| known.specification.as_ref());
        let Some(specification) = specification else { return };
        let is_late = specification
            .deadline
            .is_some_and(|deadline| self.now.saturating_sub(head.submitted_at) > deadline.as_millis() as u64);
        match head.state {
            JobState::Waiting if works && specification.collect().is_none() => {
                let (by, since) = self.begun.get(job).copied().unwrap_or((self.term, 0));
                let members = self.assigned.get(&(job.clone(), before.generation)).cloned().unwrap_or_default();
                let is_missed = |worker| self.reasons.is_missed(self.lands, worker, since, self.now);
                let forming = before.state == JobState::Preparing && by != self.term;
                // What lands together is told to the members afterwards: then it is not known here who they were.
                let unknown = members.is_empty() && self.reasons.is_anybody_missed(self.lands, since, self.now);
                let has_reason = is_wished || forming || unknown || members.values().any(is_missed);
                let reason = head.reason.clone();
                self.require(has_reason, "a-killed-worker-costs-two-rounds-at-most", || {
                    format!("{job}: generation {} ended for no reason: {reason}", before.generation)
                });
            }
            JobState::Failed if before.state != JobState::Failed => {
                let may = is_late || self.reasons.failures(job) >= FAILURES;
                let reason = head.reason.clone();
                self.require(may, "nothing-fails-for-no-reason", || format!("{job} failed: {reason}"));
            }
            JobState::Paused | JobState::Cancelled if before.state != head.state => {
                let reason = head.reason.clone();
                self.require(is_wished, "nothing-ends-unwished", || format!("{job}: {reason}"));
            }
            _ => {}
        }
    }

    fn committed(&mut self, job: JobId, manifest: Manifest, is_new: bool, artifacts: &Artifacts) {
        let place = (manifest.step.0, manifest.round.0);
        let name = "a-round-is-finished-or-never-happened";
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let last = known.manifests.keys().next_back().copied();
        let generation = known.head.as_ref().map_or(Generation(0), |head| head.generation);
        let released = manifest.shards.is_empty();
        let before = known.manifests.insert(place, manifest.clone());
        if released {
            return self.require(before.is_some(), name, || format!("{job}: {place:?} released before its commit"));
        }
        self.reasons.committed(&job);
        self.require(is_new && before.is_none(), name, || format!("{job}: round {place:?} committed twice"));
        self.require(last < Some(place), name, || format!("{job}: round {place:?} committed after {last:?}"));
        self.require(manifest.generation == generation, "stale-messages-change-nothing", || {
            format!("{job}: round {place:?} of generation {} committed in {generation}", manifest.generation)
        });
        let world = self.assigned.get(&(job.clone(), generation)).map(BTreeMap::len);
        self.require(world == Some(manifest.shards.len()), name, || {
            format!("{job}: {} shards of a gang of {world:?}", manifest.shards.len())
        });
        for (shard, rank) in manifest.shards.iter().zip(0..) {
            let right = artifacts.is_shard_of(shard, &job, place, Rank(rank));
            self.require(right, name, || format!("{job}: round {place:?} was committed with shard {shard}"));
        }
    }

    fn discarded(&mut self, job: &JobId, place: (u32, u32), artifacts: &Artifacts) {
        let Some(known) = self.jobs.get_mut(job) else { return };
        let last = known.manifests.keys().next_back().copied();
        known.manifests.remove(&place);
        let reason = artifacts.was_harmed(job);
        self.require(reason, "a-killed-worker-costs-two-rounds-at-most", || {
            format!("{job}: round {place:?} was discarded, and no checkpoint was harmed")
        });
        self.require(last == Some(place), "a-round-is-finished-or-never-happened", || {
            format!("{job}: {place:?} was discarded before {last:?}")
        });
    }

    fn task_changed(&mut self, job: JobId, record: TaskRecord) {
        let known = self.jobs.entry(job.clone()).or_default();
        let before = known.tasks.insert(record.task.0, record.clone());
        if record.worker.is_some() {
            let decided = self.reasons.decided(self.lands, self.now);
            self.task_begun.insert((job.clone(), record.task.0), decided);
        }
        let Some(before) = before else { return };
        self.task_ends_for_a_reason(&job, &before, &record);
        let twice = before.output.is_some();
        self.require(!twice, "a-history-is-committed-once", || {
            format!("{job}: task {} changed after its end", record.task)
        });
        self.require(record.generation >= before.generation, "stale-messages-change-nothing", || {
            format!("{job}: task {} went back to an older generation", record.task)
        });
    }

    /// A task is taken from its worker when that does not work any more, when a gang wants it, or when the user does.
    fn task_ends_for_a_reason(&mut self, job: &JobId, before: &TaskRecord, record: &TaskRecord) {
        let Some(worker) = before.worker.as_ref().filter(|_| record.worker.is_none() && record.output.is_none()) else {
            return;
        };
        let since = self.task_begun.get(&(job.clone(), record.task.0)).copied().unwrap_or(0);
        let is_missed = self.reasons.is_missed(self.lands, worker, since, self.now);
        let gangs =
            self.jobs.values().filter(|known| known.specification.as_ref().is_some_and(|s| s.collect().is_none()));
        let mut states = gangs.filter_map(|known| known.head.as_ref().map(|head| head.state));
        let is_wanted = states.any(|state| matches!(state, JobState::Waiting | JobState::Preparing));
        let fails = self.reasons.failures(job) >= FAILURES;
        let has_reason = is_missed || is_wanted || fails || self.reasons.is_wished(job);
        self.require(has_reason, "a-history-is-committed-once", || {
            format!("{job}: task {} was taken from {worker} for no reason", record.task)
        });
    }

    /// A checkpoint was deleted.
    pub fn deleted(&mut self, digest: &Digest) {
        let mut needed =
            self.jobs.iter().filter(|(_, known)| known.manifests.values().any(|m| m.shards.contains(digest)));
        if let Some((job, _)) = needed.next() {
            let what = format!("{job} needs {digest}, and it was deleted");
            self.break_promise("no-needed-checkpoint-is-deleted", what);
        }
    }

    /// Commands that a coordinator sends at once, in order. What is stored may be ahead of them by then, never behind.
    pub fn sent(&mut self, commands: &[(WorkerId, WorkerCommand)]) {
        let mut gangs = BTreeSet::new();
        for (worker, command) in commands {
            match command {
                WorkerCommand::Assign(a) => {
                    let place = (a.job.clone(), a.generation);
                    let head = self.jobs.get(&a.job).and_then(|known| known.head.as_ref());
                    let stored = head.is_some_and(|head| head.generation >= a.generation);
                    self.require(stored, "stored-before-sent", || format!("{place:?} was assigned and is not stored"));
                    self.assigned.entry(place.clone()).or_default().insert(a.rank, worker.clone());
                    gangs.insert((place, a.world_size.0 as usize));
                }
                WorkerCommand::Begin { job, generation, plan } => {
                    let head = self.jobs.get(job).and_then(|known| known.head.as_ref());
                    let gang = head.and_then(|head| head.gang.as_ref());
                    let is_over = head.is_some_and(|head| head.generation > *generation || head.gang.is_none());
                    let stored = is_over || gang.is_some_and(|gang| &gang.plan == plan);
                    self.require(stored, "stored-before-sent", || format!("{job} began and that is not stored"));
                }
                WorkerCommand::Committed { job, manifest, .. } => {
                    let known = self.jobs.get(job).and_then(|k| k.manifests.get(&(manifest.step.0, manifest.round.0)));
                    self.require(known.is_some(), "stored-before-sent", || {
                        format!("{job}: round {} of step {} is told and not stored", manifest.round, manifest.step)
                    });
                }
                WorkerCommand::RunTask(task) => {
                    let record = self.jobs.get(&task.job).and_then(|known| known.tasks.get(&task.task.0));
                    let stored = record.is_some_and(|record| record.generation >= task.generation);
                    self.require(stored, "stored-before-sent", || {
                        format!("task {} is given and not stored", task.task)
                    });
                }
                WorkerCommand::Abort { .. } | WorkerCommand::Acknowledged { .. } | WorkerCommand::Shutdown => {}
            }
        }
        for (place, world) in gangs {
            let members = &self.assigned[&place];
            let distinct: BTreeSet<_> = members.values().collect();
            let whole = members.len() == world && distinct.len() == world;
            let text = format!("{place:?}: {members:?} of a world of {world}");
            self.require(whole, "gangs-are-whole-or-absent", || text);
        }
    }

    /// What a coordinator that has nothing pending shows is what is stored.
    pub fn shown(&mut self, shown: &[rewind_job::JobStatus]) {
        for status in shown {
            let known = self.jobs.get(&status.job);
            let stored = known.and_then(|known| known.head.as_ref()).map(|head| (head.state, head.generation));
            let last = known.and_then(|known| known.manifests.keys().next_back().copied());
            let shown = (status.state, status.generation);
            self.require(stored == Some(shown), "what-is-shown-is-stored", || {
                format!("{} is shown as {shown:?} and stored as {stored:?}", status.job)
            });
            let committed = status.committed.map(|(step, round)| (step.0, round.0));
            self.require(committed == last, "a-round-is-finished-or-never-happened", || {
                format!("{}: {last:?} is committed, and the coordinator goes on after {committed:?}", status.job)
            });
        }
    }
}
