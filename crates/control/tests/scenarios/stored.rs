//! What a store would hold, and the promises that every write keeps.

use std::collections::BTreeMap;

use rewind_control::{Change, JobHead, StoredJob};
use rewind_job::{JobEvent, JobId, JobState, Manifest, Specification};

#[derive(Default)]
pub struct Stored {
    pub jobs: BTreeMap<JobId, Kept>,
}

#[derive(Clone)]
pub struct Kept {
    specification: Specification,
    pub head: Option<JobHead>,
    pub manifests: Vec<Manifest>,
    pub events: Vec<JobEvent>,
    pub has_report: bool,
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
                    };
                    assert!(self.jobs.insert(job, kept).is_none(), "a job is submitted once");
                }
                Change::Head(job, head) => {
                    let kept = self.kept(&job);
                    if let Some(before) = &kept.head {
                        assert!(!before.state.is_final(), "{job} was {:?} and changed to {head:?}", before.state);
                        assert!(head.generation >= before.generation, "generations only grow");
                    }
                    kept.head = Some(head);
                }
                Change::Manifest(job, manifest) => {
                    let kept = self.kept(&job);
                    let last = kept.manifests.last().map(|last| (last.step, last.round));
                    assert!(last < Some((manifest.step, manifest.round)), "{last:?} then {manifest:?}");
                    let world = kept.specification.fleet.world_size.0 as usize;
                    assert_eq!(manifest.shards.len(), world, "a commit names every shard");
                    kept.manifests.push(*manifest);
                }
                Change::Event(job, event) => {
                    let kept = self.kept(&job);
                    assert_eq!(event.sequence, kept.events.len() as u64 + 1, "no event is lost");
                    assert!(!event.text.is_empty());
                    kept.events.push(event);
                }
                Change::Report(job, _, _) => {
                    let kept = self.kept(&job);
                    assert!(!kept.has_report, "{job} reports once");
                    kept.has_report = true;
                }
            }
        }
        for (job, kept) in &self.jobs {
            let state = kept.head.as_ref().map(|head| head.state);
            assert_eq!(kept.has_report, state == Some(JobState::Finished), "{job}: finished and reported together");
        }
    }

    fn kept(&mut self, job: &JobId) -> &mut Kept {
        self.jobs.get_mut(job).expect("a job begins with its specification")
    }

    pub fn head(&self, job: &JobId) -> &JobHead {
        self.jobs[job].head.as_ref().expect("a job has a head")
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
            })
            .collect()
    }
}
