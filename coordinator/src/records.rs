//! Jobs in the state store: one key a head, one a manifest, one an event; never a list of everything.

use std::collections::BTreeMap;

use rewind_control::{Change, StoredJob};
use rewind_job::{JobEvent, JobId, Manifest, Report, StepWeights};
use serde::{Serialize, de::DeserializeOwned};

use crate::store::{StateStore, StoreError, Version, Write};

/// Jobs over a state store. Knows the version of every head it has read or written.
pub struct Records {
    store: Box<dyn StateStore>,
    heads: BTreeMap<JobId, Version>,
}

impl Records {
    /// Reads all jobs, oldest first.
    pub fn open(store: Box<dyn StateStore>) -> Result<(Self, Vec<StoredJob>), StoreError> {
        let mut records = Self { store, heads: BTreeMap::new() };
        let mut jobs = Vec::new();
        for (key, value, _) in records.store.list("specification/")? {
            let job = JobId(key.trim_start_matches("specification/").to_owned());
            let Some((head, version)) = records.store.read(&format!("head/{job}"))? else {
                continue;
            };
            records.heads.insert(job.clone(), version);
            jobs.push(StoredJob {
                specification: decode(&key, &value)?,
                head: decode(&format!("head/{job}"), &head)?,
                manifests: records.all::<Manifest>(&format!("manifest/{job}/"))?,
                events: records.all::<JobEvent>(&format!("event/{job}/"))?,
                job,
            });
        }
        Ok((records, jobs))
    }

    /// Stores changes, all or none.
    pub fn store(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut writes: BTreeMap<String, Write> = BTreeMap::new();
        let mut heads = Vec::new();
        for change in changes {
            let (key, value, expected) = match change {
                Change::Specification(job, specification) => {
                    (format!("specification/{job}"), encode(specification), None)
                }
                Change::Head(job, head) => {
                    heads.push(job.clone());
                    (format!("head/{job}"), encode(head), self.heads.get(job).copied())
                }
                Change::Manifest(job, manifest) => {
                    let key = format!("manifest/{job}/{:04}/{:08}", manifest.step.0, manifest.round.0);
                    (key, encode(manifest), None)
                }
                Change::Event(job, event) => (format!("event/{job}/{:08}", event.sequence), encode(event), None),
                Change::Report(job, report, weights) => (format!("report/{job}"), encode(&(report, weights)), None),
            };
            // Of two writes to a head the later one counts.
            writes.insert(key.clone(), Write { key, value, expected });
        }
        self.store.write(&writes.into_values().collect::<Vec<_>>())?;
        heads.dedup();
        for job in heads {
            *self.heads.entry(job).or_insert(0) += 1;
        }
        Ok(())
    }

    pub fn report(&self, job: &JobId) -> Result<Option<(Report, Vec<StepWeights>)>, StoreError> {
        let key = format!("report/{job}");
        self.store.read(&key)?.map(|(value, _)| decode(&key, &value)).transpose()
    }

    fn all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, StoreError> {
        self.store.list(prefix)?.iter().map(|(key, value, _)| decode(key, value)).collect()
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records are made of structures, strings and finite numbers")
}

fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value)
        .map_err(|error| StoreError::Unreadable { key: key.to_owned(), problem: error.to_string() })
}
