//! The promises, checked against every transaction that lands and every command that is sent.

use std::collections::{BTreeMap, BTreeSet};

use rewind_control::{JobHead, TaskRecord};
use rewind_job::{Digest, Generation, JobId, JobState, Manifest, Rank, Specification, Term, WorkerCommand, WorkerId};

use crate::{artifacts::Artifacts, watched::Landed};

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
        let Some(before) = before else { return };
        let twice = before.output.is_some();
        self.require(!twice, "a-history-is-committed-once", || {
            format!("{job}: task {} changed after its end", record.task)
        });
        self.require(record.generation >= before.generation, "stale-messages-change-nothing", || {
            format!("{job}: task {} went back to an older generation", record.task)
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
            let stored = self.jobs.get(&status.job).and_then(|known| known.head.as_ref()).map(|head| head.state);
            self.require(stored == Some(status.state), "what-is-shown-is-stored", || {
                format!("{} is shown as {:?} and stored as {stored:?}", status.job, status.state)
            });
        }
    }
}
