//! Jobs in the state store: one key a head, one a manifest, one an event; never a list of everything.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rewind_control::{Change, Impossible, JobHead, StoredJob, TaskRecord};
use rewind_job::{
    BEGUN_BY_ANOTHER_VERSION, Digest, JobEvent, JobId, Manifest, Round, Specification, StepIndex, StepWeights, Term,
    check_format, shortened,
};
use rewind_state::{StateStore, StoreError, Version, Write};
use rewind_telemetry::{
    fail_point,
    metrics::coordinator::{STORE_WRITE_FAILURES, STORE_WRITE_SECONDS},
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

/// Jobs over a state store, as the leader of a term. Knows the version of every value that may change.
pub struct Records {
    store: Arc<dyn StateStore>,
    term: Term,
    versions: BTreeMap<String, Version>,
}

/// Between two renewals of the lead while everything is read.
const RENEWAL: Duration = Duration::from_millis(200);

/// The form of what this version stores; it reads older ones, too.
///
/// | format | since | what changed |
/// |---|---|---|
/// | 1 | 0.1.0 | was not written down |
/// | 2 | 0.2.0 | specifications have a format of their own; those without are read as version 0.1 meant them |
/// | 3 | 0.3.0 | rounds keep what they measured as `scores`; heads keep verdicts |
const STATE_FORMAT: u32 = 3;
/// Where it is stored.
const FORMAT_KEY: &str = "format";

/// All that a new leader takes up.
pub struct Stored {
    /// In the order of their keys.
    pub jobs: Vec<StoredJob>,
    /// Artifacts to delete, and since when.
    pub doomed: Vec<(Digest, u64)>,
}

impl Records {
    /// Reads everything, and keeps the lead meanwhile.
    pub fn open(store: Arc<dyn StateStore>, term: Term) -> Result<(Self, Stored), StoreError> {
        let mut records = Self { store, term, versions: BTreeMap::new() };
        let (format, version) = records.format()?;
        let mut heads: BTreeMap<String, JobHead> =
            records.all("head/")?.into_iter().map(|(key, head)| (job_in(&key).to_owned(), head)).collect();
        let mut manifests = by_job(records.all::<Manifest>("manifest/")?);
        let mut events = by_job(records.all::<JobEvent>("event/")?);
        let mut tasks = by_job(records.all::<TaskRecord>("task/")?);
        let jobs = records.all::<Specification>("specification/")?.into_iter().filter_map(|(key, specification)| {
            let job = job_in(&key);
            Some(StoredJob {
                head: heads.remove(job)?,
                manifests: manifests.remove(job).unwrap_or_default(),
                events: events.remove(job).unwrap_or_default(),
                tasks: tasks.remove(job).unwrap_or_default(),
                job: JobId(job.to_owned()),
                specification,
            })
        });
        let mut jobs: Vec<StoredJob> = jobs.collect();
        for job in &jobs {
            if let Err(impossible) = job.check() {
                let key = records.key_of(&job.job, &impossible)?;
                return Err(StoreError::Unreadable { key, problem: impossible.problem });
            }
        }
        let doomed = records.all("doomed/")?.into_iter().map(|(key, since)| (Digest(job_in(&key).to_owned()), since));
        let doomed = doomed.collect();
        // After all could be read: what an older version can still lead stays its own until then.
        if format < STATE_FORMAT {
            records.store(&begun_by_another_version(&mut jobs))?;
            let value = Some(encode(&STATE_FORMAT));
            records.store.write(term, &[Write { key: FORMAT_KEY.to_owned(), value, expected: version }])?;
        }
        Ok((records, Stored { jobs, doomed }))
    }

    /// What the store's records mean, and the version of the record that says so.
    fn format(&self) -> Result<(u32, Option<Version>), StoreError> {
        let Some((value, version)) = self.store.read(FORMAT_KEY)? else { return Ok((1, None)) };
        let format: u32 = decode(FORMAT_KEY, &value)?;
        check_format(format, STATE_FORMAT)
            .map_err(|problem| StoreError::Unreadable { key: FORMAT_KEY.to_owned(), problem })?;
        Ok((format, Some(version)))
    }

    /// Stores changes, all or none. The same call may be repeated after [`StoreError::Unavailable`].
    pub fn store(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut writes: BTreeMap<String, Write> = BTreeMap::new();
        for change in changes {
            let (key, value) = entry(change);
            // A round is committed once: its manifest must be new, whatever is known of it.
            let must_be_new = matches!(change, Change::Manifest(..));
            let expected = self.versions.get(&key).copied().filter(|_| !must_be_new);
            // Of two writes to a key the later one counts.
            writes.insert(key.clone(), Write { key, value, expected });
        }
        let writes: Vec<Write> = writes.into_values().collect();
        let commits = changes.iter().any(|change| matches!(change, Change::Manifest(..)));
        if commits {
            fail_point("before-commit");
        }
        let begun = Instant::now();
        self.store.write(self.term, &writes).inspect_err(|_| STORE_WRITE_FAILURES.add(1))?;
        STORE_WRITE_SECONDS.observe(begun.elapsed());
        if commits {
            fail_point("after-commit");
        }
        for write in writes {
            match (write.value, is_written_once(&write.key)) {
                (Some(_), true) => {}
                (Some(_), false) => *self.versions.entry(write.key).or_insert(0) += 1,
                (None, _) => drop(self.versions.remove(&write.key)),
            }
        }
        Ok(())
    }

    pub fn report(&self, job: &JobId) -> Result<Option<(Digest, Vec<StepWeights>)>, StoreError> {
        let key = format!("report/{job}");
        self.store.read(&key)?.map(|(value, _)| decode(&key, &value)).transpose()
    }

    /// Where a record is stored; what an impossible one says of its own place may be what is wrong with it.
    fn key_of(&mut self, job: &JobId, Impossible { record, index, .. }: &Impossible) -> Result<String, StoreError> {
        let numbered = self.all::<IgnoredAny>(&format!("{record}/{job}/"))?.into_iter().nth(*index);
        Ok(numbered.map_or_else(|| format!("{record}/{job}"), |(key, _)| key))
    }

    /// Everything of a kind, in the order of its keys. Reading may take longer than a lease.
    fn all<T: DeserializeOwned>(&mut self, kind: &str) -> Result<Vec<(String, T)>, StoreError> {
        let mut values: Vec<(String, T)> = Vec::new();
        let mut renewed = Instant::now();
        loop {
            let page = self.store.page(kind, values.last().map_or("", |(key, _)| key))?;
            if renewed.elapsed() > RENEWAL {
                self.store.renew(self.term)?;
                renewed = Instant::now();
            }
            if page.is_empty() {
                return Ok(values);
            }
            for (key, value, version) in page {
                let value = decode(&key, &value)?;
                if !is_written_once(&key) {
                    self.versions.insert(key.clone(), version);
                }
                values.push((key, value));
            }
        }
    }
}

/// Notes it with each job that an older version has left under way; gives the heads to store.
fn begun_by_another_version(jobs: &mut [StoredJob]) -> Vec<Change> {
    let is_told = |job: &StoredJob| job.head.warnings.iter().any(|text| text.starts_with(BEGUN_BY_ANOTHER_VERSION));
    let under_way = |job: &&mut StoredJob| !job.manifests.is_empty() && !job.head.state.is_final() && !is_told(job);
    let note = |job: &mut StoredJob| {
        let text = "of this program, which goes on with it: what it certifies was computed by both.";
        job.head.warnings.push(format!("{BEGUN_BY_ANOTHER_VERSION} {text}"));
        Change::Head(job.job.clone(), job.head.clone())
    };
    jobs.iter_mut().filter(under_way).map(note).collect()
}

/// `job-7` of `event/job-7/00000003`.
fn job_in(key: &str) -> &str {
    key.split('/').nth(1).unwrap_or_default()
}

fn by_job<T>(values: Vec<(String, T)>) -> BTreeMap<String, Vec<T>> {
    let mut of_jobs: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (key, value) in values {
        of_jobs.entry(job_in(&key).to_owned()).or_default().push(value);
    }
    of_jobs
}

/// Values that never change: that their keys are new is all there is to know of their versions.
fn is_written_once(key: &str) -> bool {
    ["specification/", "event/", "report/"].iter().any(|prefix| key.starts_with(prefix))
}

/// Where a change is stored, and as what; none deletes.
fn entry(change: &Change) -> (String, Option<Vec<u8>>) {
    let manifest_key =
        |job: &JobId, step: StepIndex, round: Round| format!("manifest/{job}/{:04}/{:08}", step.0, round.0);
    match change {
        Change::Specification(job, specification) => (format!("specification/{job}"), Some(encode(specification))),
        Change::Head(job, head) => (format!("head/{job}"), Some(encode(head))),
        Change::Manifest(job, manifest) | Change::Released(job, manifest) => {
            (manifest_key(job, manifest.step, manifest.round), Some(encode(manifest)))
        }
        Change::Discarded(job, step, round) => (manifest_key(job, *step, *round), None),
        Change::Event(job, event) => (format!("event/{job}/{:08}", event.sequence), Some(encode(event))),
        Change::Report(job, report, weights) => (format!("report/{job}"), Some(encode(&(report, weights)))),
        Change::Task(job, record) => (format!("task/{job}/{:08}", record.task.0), Some(encode(record))),
        Change::Doomed(digest, since) => (format!("doomed/{digest}"), Some(encode(since))),
        Change::Gone(digest) => (format!("doomed/{digest}"), None),
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records are made of structures, strings and finite numbers")
}

fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value)
        .map_err(|error| StoreError::Unreadable { key: key.to_owned(), problem: shortened(error.to_string()) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rewind_control::{Control, Event, JobHead, Now};
    use rewind_job::{Generation, JobState, Round, Specification, StepIndex, Timeouts};
    use rewind_state::EmbeddedStore;

    use super::*;

    fn open(folder: &Path) -> (Records, Vec<StoredJob>) {
        let (store, term) = lead(folder);
        let (records, stored) = Records::open(store, term).expect("reads");
        (records, stored.jobs)
    }

    fn lead(folder: &Path) -> (Arc<dyn StateStore>, Term) {
        let store = EmbeddedStore::open(&folder.join("state.redb")).expect("opens");
        let term = store.campaign("here", Duration::from_secs(60)).expect("campaigns").term;
        (Arc::new(store), term)
    }

    fn submitted() -> Vec<Change> {
        let text = r#"
            name = "weights and forget data"
            model = { architecture = "mlp", weights = "/w" }
            data = { forget = { files = { images = "/i", labels = "/l" } } }
            [[step]]
            name = "unlearned"
            [step.unlearn]
            method = { neg-grad = {} }
            forward = { optimiser = { sgd = { learning-rate = 0.1 } }, batch-size = 8 }
            stop = { rounds = 200 }
        "#;
        let specification = Specification::parse(text, Path::new("/")).expect("is valid");
        let (mut control, _) = Control::restore(Timeouts::default(), Vec::new(), Vec::new(), Now(5000));
        let commands = control.handle(Event::submitted(specification), Now(5000));
        let changes = commands.into_iter().filter_map(|command| match command {
            rewind_control::Command::Store(changes) => Some(changes),
            _ => None,
        });
        changes.flatten().collect()
    }

    fn manifest(round: u32) -> Change {
        let record = serde_json::json!({
            "round": round, "loss": 0.1, "weight_change": 0.0, "seconds": 0.0, "forget_epochs": 0.0, "bytes_moved": 0,
        });
        let manifest = Manifest {
            step: StepIndex(0),
            round: Round(round),
            generation: Generation(1),
            shards: Vec::new(),
            record: serde_json::from_value(record).expect("is a record"),
            best: Round(round),
            outcome: None,
        };
        Change::Manifest("job-1".into(), Box::new(manifest))
    }

    fn head(state: JobState) -> Change {
        let head = JobHead {
            state,
            reason: "so".into(),
            generation: Generation(1),
            submitted_at: 5000,
            submission: String::new(),
            failures: 2,
            losses: 0,
            furthest: None,
            discards: 0,
            pausing: false,
            device: None,
            gang: None,
            warnings: Vec::new(),
            verdict: None,
        };
        Change::Head("job-1".into(), head)
    }

    #[test]
    fn a_job_is_read_as_it_was_stored_with_its_rounds_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut records, stored) = open(folder.path());
        assert!(stored.is_empty());
        records.store(&submitted()).expect("stores");
        for round in 1..=120 {
            records.store(&[manifest(round), head(JobState::Running)]).expect("stores");
        }
        drop(records);
        let (mut records, stored) = open(folder.path());
        assert_eq!(stored.len(), 1);
        let rounds: Vec<u32> = stored[0].manifests.iter().map(|manifest| manifest.round.0).collect();
        assert_eq!(rounds, (1..=120).collect::<Vec<_>>());
        assert_eq!((stored[0].head.state, stored[0].head.failures), (JobState::Running, 2));
        assert_eq!(stored[0].events[0].text, "submitted");
        records.store(&[head(JobState::Failed)]).expect("goes on with the versions it read");
    }

    #[test]
    fn a_round_is_committed_once_whatever_stands_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut records, _) = open(folder.path());
        records.store(&submitted()).expect("stores");
        records.store(&[manifest(1), head(JobState::Running)]).expect("stores");
        let again = records.store(&[head(JobState::Finished), manifest(1)]);
        assert!(matches!(again, Err(StoreError::Conflict(key)) if key == "manifest/job-1/0000/00000001"));
        drop(records);
        let (_, stored) = open(folder.path());
        assert_eq!(stored[0].head.state, JobState::Running, "all or nothing");
    }

    #[test]
    fn a_head_that_another_coordinator_wrote_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut records, _) = open(folder.path());
        records.store(&submitted()).expect("stores");
        records.versions.insert("head/job-1".into(), 9);
        assert!(matches!(records.store(&[head(JobState::Failed)]), Err(StoreError::Conflict(_))));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, term) = lead(folder.path());
        let write = |key: &str, value: &[u8]| Write { key: key.into(), value: Some(value.into()), expected: None };
        store.write(term, &[write("specification/job-1", b"{}"), write("head/job-1", b"{}")]).expect("writes");
        let error = Records::open(store, term).err().expect("refused").to_string();
        assert!(error.starts_with("`head/job-1` in the state store is not readable: "), "{error}");
    }

    /// A store that is slow to read.
    struct Slow(EmbeddedStore);

    impl StateStore for Slow {
        fn write(&self, term: Term, writes: &[Write]) -> Result<(), StoreError> {
            self.0.write(term, writes)
        }

        fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError> {
            self.0.read(key)
        }

        fn page(&self, prefix: &str, after: &str) -> Result<Vec<rewind_state::Entry>, StoreError> {
            std::thread::sleep(RENEWAL + Duration::from_millis(50));
            self.0.page(prefix, after)
        }

        fn campaign(&self, address: &str, lease: Duration) -> Result<rewind_state::Leader, StoreError> {
            self.0.campaign(address, lease)
        }

        fn leader(&self) -> Result<Option<rewind_state::Leader>, StoreError> {
            self.0.leader()
        }

        fn renew(&self, term: Term) -> Result<(), StoreError> {
            self.0.renew(term)
        }

        fn resign(&self, term: Term) -> Result<(), StoreError> {
            self.0.resign(term)
        }

        fn watch_leader(&self) -> Result<std::sync::mpsc::Receiver<()>, StoreError> {
            self.0.watch_leader()
        }
    }

    #[test]
    fn reading_longer_than_a_lease_does_not_cost_the_lead() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut records, _) = open(folder.path());
        records.store(&submitted()).expect("stores");
        for round in 1..=300 {
            records.store(&[manifest(round), head(JobState::Running)]).expect("stores");
        }
        records.store.resign(records.term).expect("resigns");
        drop(records);
        let store = Slow(EmbeddedStore::open(&folder.path().join("state.redb")).expect("opens"));
        let term = store.campaign("slow", Duration::from_millis(800)).expect("campaigns").term;
        let begun = Instant::now();
        let (mut records, stored) = Records::open(Arc::new(store), term).expect("reads");
        assert!(begun.elapsed() > Duration::from_millis(1600), "as long as two leases");
        assert_eq!(stored.jobs[0].manifests.len(), 300);
        records.store(&[head(JobState::Failed)]).expect("still leads");
    }
}
