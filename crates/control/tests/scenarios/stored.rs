//! What a store would hold, and the promises that every write keeps.

use std::collections::BTreeMap;

use rewind_control::{Change, JobHead, StoredJob, TaskRecord};
use rewind_job::{Digest, JobEvent, JobId, JobState, Manifest, Specification, TaskIndex};

#[derive(Default)]
pub struct Stored {
    pub jobs: BTreeMap<JobId, Kept>,
    pub doomed: BTreeMap<Digest, u64>,
}

#[derive(Clone)]
pub struct Kept {
    pub specification: Specification,
    pub head: Option<JobHead>,
    pub manifests: Vec<Manifest>,
    pub events: Vec<JobEvent>,
    pub has_report: bool,
    pub tasks: BTreeMap<TaskIndex, TaskRecord>,
}

impl Stored {
    pub fn write(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Specification(job, specification) => {
                    let kept = Kept {
                        specification: *specification,
                        head: None,
                        manifests: Vec::new(),
                        events: Vec::new(),
                        has_report: false,
                        tasks: BTreeMap::new(),
                    };
                    assert!(self.jobs.insert(job, kept).is_none(), "a job is submitted once");
                }
                Change::Head(job, head) => {
                    let kept = self.kept(&job);
                    if let Some(before) = &kept.head {
                        let may_change = !before.state.is_final() || before.state == JobState::Failed;
                        assert!(may_change, "{job} was {:?} and changed to {head:?}", before.state);
                        assert!(head.generation >= before.generation, "generations only grow");
                    }
                    kept.head = Some(head);
                }
                Change::Manifest(job, manifest) => {
                    let kept = self.kept(&job);
                    let last = kept.manifests.last().map(|last| (last.step, last.round));
                    assert!(last < Some((manifest.step, manifest.round)), "{last:?} then {manifest:?}");
                    let fleet = &kept.specification.fleet;
                    let worlds = fleet.fewest().0 as usize..=fleet.world_size.0 as usize;
                    assert!(worlds.contains(&manifest.shards.len()), "a commit names every shard");
                    kept.manifests.push(*manifest);
                }
                Change::Event(job, event) => {
                    let kept = self.kept(&job);
                    assert_eq!(event.sequence, kept.events.len() as u64 + 1, "no event is lost");
                    assert!(!event.text.is_empty());
                    kept.events.push(event);
                }
                Change::Released(job, manifest) => {
                    let kept = self.kept(&job).manifests.iter_mut();
                    let found = kept.into_iter().find(|m| (m.step, m.round) == (manifest.step, manifest.round));
                    assert!(manifest.shards.is_empty());
                    *found.expect("a released round was committed") = *manifest;
                }
                Change::Discarded(job, step, round) => {
                    let last = self.kept(&job).manifests.pop().expect("a discarded round was committed");
                    assert_eq!((last.step, last.round), (step, round), "the last is discarded first");
                }
                Change::Task(job, record) => {
                    let before = self.kept(&job).tasks.insert(record.task, record.clone());
                    let done = before.filter(|before| before.output.is_some());
                    assert!(done.is_none_or(|done| done == record), "a history is committed once");
                }
                Change::Doomed(artifact, since) => drop(self.doomed.insert(artifact, since)),
                Change::Gone(artifact) => drop(self.doomed.remove(&artifact)),
                Change::Report(job, _, _) => {
                    let kept = self.kept(&job);
                    assert!(!kept.has_report, "{job} reports once");
                    kept.has_report = true;
                }
            }
        }
        for stored in self.read() {
            assert_eq!(stored.check(), Ok(()), "{}: a leader would not take it up", stored.job);
        }
        for (job, kept) in &self.jobs {
            let state = kept.head.as_ref().map(|head| head.state);
            let is_finished = state == Some(JobState::Finished) && kept.specification.collect().is_none();
            assert_eq!(kept.has_report, is_finished, "{job}: finished and reported together");
        }
    }

    fn kept(&mut self, job: &JobId) -> &mut Kept {
        self.jobs.get_mut(job).expect("a job begins with its specification")
    }

    pub fn head(&self, job: &JobId) -> &JobHead {
        self.jobs[job].head.as_ref().expect("a job has a head")
    }

    /// Whether a checkpoint or a history that counts is this artifact.
    pub fn needs(&self, artifact: &Digest) -> bool {
        self.jobs.values().any(|kept| {
            kept.manifests.iter().any(|manifest| manifest.shards.contains(artifact))
                || kept.tasks.values().any(|record| record.output.as_ref() == Some(artifact))
        })
    }

    pub fn doomed(&self) -> Vec<(Digest, u64)> {
        self.doomed.iter().map(|(artifact, since)| (artifact.clone(), *since)).collect()
    }

    /// What a restarted coordinator reads.
    pub fn read(&self) -> Vec<StoredJob> {
        self.jobs
            .iter()
            .map(|(job, kept)| StoredJob {
                job: job.clone(),
                specification: kept.specification.clone(),
                head: kept.head.clone().expect("a job has a head"),
                manifests: kept.manifests.clone(),
                events: kept.events.clone(),
                tasks: kept.tasks.values().cloned().collect(),
            })
            .collect()
    }
}
