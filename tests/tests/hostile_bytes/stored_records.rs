//! Values of the state store that something else wrote, or that were damaged.

use std::{fs, sync::Arc, time::Duration};

use rewind_control::{Control, Event, JobHead, Now, StoredGang, StoredJob, TaskRecord};
use rewind_coordinator::records::Records;
use rewind_hostile_bytes::Parser;
use rewind_job::{
    Action, DeviceKind, Digest, Generation, JobEvent, JobId, JobState, JobStatus, Manifest, Rank, Round, RoundDone,
    RoundRecord, ShardPlan, Specification, StepIndex, TaskIndex, Term, Timeouts, WorkerEvent, Working,
};
use rewind_proto::{from_json, to_json};
use rewind_state::{EmbeddedStore, StateStore, Write};
use serde::Serialize;

use crate::{json, parse, text, words};

/// All that is stored of a job, but its name.
type AtRest = (Specification, JobHead, Vec<Manifest>, Vec<JobEvent>, Vec<TaskRecord>);

fn example(name: &str) -> Specification {
    let bytes = fs::read(rewind_tests::repository().join("examples").join(name)).expect("reads");
    parse(text(&bytes).expect("text")).expect("is valid")
}

fn at_rest(specification: Specification, tasks: Vec<TaskRecord>) -> AtRest {
    let plan = ShardPlan { boundaries: vec![0, 3] };
    let head = JobHead {
        state: JobState::Running,
        reason: "runs".into(),
        generation: Generation(3),
        submitted_at: 5000,
        submission: "mine".into(),
        failures: 1,
        losses: 2,
        furthest: Some((StepIndex(0), Round(2))),
        discards: 1,
        pausing: false,
        device: Some(rewind_job::DeviceKind::Cpu),
        gang: tasks.is_empty().then(|| StoredGang { members: vec!["worker-1".into()], plan }),
        warnings: vec!["went back".into()],
        verdict: None,
    };
    let manifest = |round| Manifest {
        step: StepIndex(0),
        round: Round(round),
        generation: Generation(2),
        shards: vec![Digest(format!("{round:064x}"))],
        record: RoundRecord { round: Round(round), ..RoundRecord::default() },
        best: Round(1),
        outcome: None,
    };
    let manifests = if tasks.is_empty() { (1..=2).map(manifest).collect() } else { Vec::new() };
    let event = JobEvent { sequence: 1, at: 5000, generation: Generation(0), text: "submitted".into() };
    (specification, head, manifests, vec![event], tasks)
}

fn seeds() -> Vec<Vec<u8>> {
    let task = |index, worker: Option<&str>, output: Option<&str>| TaskRecord {
        task: TaskIndex(index),
        generation: Generation(2),
        worker: worker.map(Into::into),
        failures: 1,
        losses: 0,
        output: output.map(|digit| Digest(digit.repeat(64))),
    };
    let tasks = vec![task(0, None, Some("a")), task(1, Some("worker-1"), None)];
    [at_rest(example("quick.toml"), Vec::new()), at_rest(example("histories.toml"), tasks)]
        .iter()
        .map(|job| serde_json::to_vec(job).expect("writes"))
        .collect()
}

/// A leader takes the job up, hears a worker, and time passes.
fn lead(stored: StoredJob) {
    let (job, generation) = (stored.job.clone(), stored.head.generation);
    let committed = stored.manifests.last().map(|manifest| (manifest.step, manifest.round));
    let next = Round(committed.map_or(1, |(_, round)| round.0.wrapping_add(1)));
    let now = Now(10_000_000);
    let (mut control, _) = Control::restore(Timeouts::default(), vec![stored], Vec::new(), now);
    let say = |event| Event::Said("worker-1".into(), event);
    let joined = WorkerEvent::Joined {
        worker: "worker-1".into(),
        process: 1,
        version: "0".into(),
        cores: 2,
        device: DeviceKind::Cpu,
        working: Some(Working { job: job.clone(), generation, committed }),
    };
    let record = RoundRecord { round: next, ..RoundRecord::default() };
    let step = committed.map_or(StepIndex(0), |(step, _)| step);
    let round = RoundDone { step, round: next, shard: Digest("c".repeat(64)), record, best: next, outcome: None };
    let durable = WorkerEvent::ShardDurable { job: job.clone(), generation, rank: Rank(0), round: Box::new(round) };
    let done =
        WorkerEvent::TaskDone { job: job.clone(), generation, task: TaskIndex(1), output: Digest("b".repeat(64)) };
    let events = [
        Event::Tick,
        say(joined.clone()),
        say(durable),
        say(done),
        Event::SessionEnded("worker-1".into()),
        say(joined),
        Event::PauseWanted(job.clone()),
        Event::ResumeWanted(job.clone()),
        Event::Submitted { submission: "other".into(), specification: Box::new(example("quick.toml")) },
    ];
    for (seconds, event) in (0..).zip(events) {
        control.handle(event, Now(now.0 + 1000 * seconds));
        for status in control.jobs() {
            let again: JobStatus = from_json("status_json", &to_json(&status)).expect("what is listed is read");
            assert_eq!(again.job, status.job);
        }
    }
    control.handle(Event::Tick, Now(now.0 + 4_000_000));
    control.handle(Event::CancelWanted(job), Now(now.0 + 4_001_000));
}

#[test]
fn stored_jobs_are_refused_or_led() {
    Parser::of("stored jobs").cases(4000).memory(16 << 20).run(&seeds(), |bytes| {
        let (specification, head, manifests, events, tasks): AtRest = json(bytes)?;
        let stored = StoredJob { job: "job-7".into(), specification, head, manifests, events, tasks };
        stored.check().map_err(|found| format!("{} {}: {}", found.record, found.index, found.problem))?;
        lead(stored);
        Ok(())
    });
}

/// As a coordinator finds it in a real store.
struct Store {
    _folder: tempfile::TempDir,
    store: Arc<EmbeddedStore>,
    term: Term,
}

impl Store {
    fn of(job: &AtRest) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(EmbeddedStore::open(&folder.path().join("state.redb")).expect("opens"));
        let term = store.campaign("here", Duration::from_secs(3600)).expect("campaigns").term;
        let stored = Self { _folder: folder, store, term };
        let (specification, head, manifests, events, tasks) = job;
        stored.write("specification/job-1", &bytes(specification));
        stored.write("head/job-1", &bytes(head));
        for (index, manifest) in manifests.iter().enumerate() {
            stored.write(&format!("manifest/job-1/0000/{:08}", index + 1), &bytes(manifest));
        }
        for (index, event) in events.iter().enumerate() {
            stored.write(&format!("event/job-1/{:08}", index + 1), &bytes(event));
        }
        for task in tasks {
            stored.write(&format!("task/job-1/{:08}", task.task.0), &bytes(task));
        }
        stored
    }

    fn write(&self, key: &str, value: &[u8]) {
        let expected = self.store.read(key).expect("reads").map(|(_, version)| version);
        let write = Write { key: key.into(), value: Some(value.into()), expected };
        self.store.write(self.term, &[write]).expect("writes");
    }

    /// What a leader takes up, or why it does not.
    fn taken_up(&self) -> Result<Vec<StoredJob>, String> {
        Records::open(self.store.clone(), self.term).map(|(_, stored)| stored.jobs).map_err(words)
    }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("writes")
}

#[test]
fn counts_rounds_and_plans_that_no_job_has_are_refused_by_their_record() {
    let refused_of = |seed: usize, key: &str, spoil: &dyn Fn(&mut AtRest)| {
        let mut job: AtRest = json(&seeds()[seed]).expect("is what was written");
        assert_eq!(Store::of(&job).taken_up().map(|jobs| jobs.len()), Ok(1));
        spoil(&mut job);
        let refusal = Store::of(&job).taken_up().expect_err("is refused");
        assert!(refusal.starts_with(&format!("`{key}` in the state store")), "{refusal}");
        assert!(refusal.ends_with("or restore the store from a backup"), "{refusal}");
    };
    let refused = |key: &str, spoil: &dyn Fn(&mut AtRest)| refused_of(0, key, spoil);
    let boundaries = |head: &mut JobHead, boundaries: &[usize]| {
        head.gang.as_mut().expect("has one").plan.boundaries = boundaries.to_vec();
    };
    refused("head/job-1", &|(_, head, ..)| head.generation = Generation(u64::MAX));
    refused("head/job-1", &|(_, head, ..)| head.losses = u32::MAX);
    refused("head/job-1", &|(_, head, ..)| boundaries(head, &[]));
    refused("head/job-1", &|(_, head, ..)| boundaries(head, &[0, 3, 2]));
    refused("manifest/job-1/0000/00000002", &|(_, _, manifests, ..)| manifests[1].round = Round(u32::MAX));
    refused("manifest/job-1/0000/00000002", &|(_, _, manifests, ..)| manifests[1].step = StepIndex(99));
    refused("manifest/job-1/0000/00000002", &|(_, _, manifests, ..)| manifests.swap(0, 1));
    refused("event/job-1/00000001", &|(_, _, _, events, _)| events[0].sequence = u64::MAX);
    refused("event/job-1/00000001", &|(_, _, _, events, _)| events[0].at = u64::MAX);
    refused_of(1, "task/job-1/4294967295", &|(.., tasks)| tasks[1].task = TaskIndex(u32::MAX));
    refused_of(1, "task/job-1/00000001", &|(.., tasks)| tasks[1].losses = u32::MAX);
    refused_of(1, "specification/job-1", &|(specification, ..)| {
        let Action::Collect(collect) = &mut specification.steps[0].action else { panic!("makes histories") };
        collect.pack = 0;
    });
}

/// Value by value, as the coordinator reads them.
#[test]
fn a_value_of_the_store_is_refused_by_its_key_or_read() {
    let job: AtRest = json(&seeds()[0]).expect("is what was written");
    let values = [
        ("specification/job-1", bytes(&job.0)),
        ("head/job-1", bytes(&job.1)),
        ("manifest/job-1/0000/00000001", bytes(&job.2[0])),
        ("event/job-1/00000001", bytes(&job.3[0])),
    ];
    for (spoilt, good) in &values {
        let store = Store::of(&job);
        Parser::of("values of the store").cases(40).memory(16 << 20).run(std::slice::from_ref(good), |bytes| {
            store.write(spoilt, bytes);
            let jobs = store.taken_up().map_err(|error| {
                assert!(error.contains("job-1"), "names no key: {error}");
                error
            })?;
            assert_eq!(jobs.first().map(|job| job.job.clone()), Some(JobId::from("job-1")));
            Ok(())
        });
    }
}
