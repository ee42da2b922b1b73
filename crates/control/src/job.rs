//! A job as control knows it, and as it is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rewind_job::{
    Action, DeviceKind, Digest, Generation, JobEvent, JobId, JobState, JobStatus, Layout, Manifest, Progress, Rank,
    Round, RoundDone, ShardPlan, Specification, StepIndex, StepWeights, TaskCount, TaskIndex, Verdict, WorkerId,
    WorldSize, shortened_to,
};
use serde::{Deserialize, Serialize};

use crate::{Now, post_mortem::PostMortem};

/// One thing to store. Every value stays small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// Written once.
    Specification(JobId, Box<Specification>),
    Head(JobId, JobHead),
    /// A round is committed: written once, unless it was discarded before.
    Manifest(JobId, Box<Manifest>),
    /// A committed round's checkpoint is needed no more: its manifest without shards.
    Released(JobId, Box<Manifest>),
    /// A committed round's checkpoint is altered or gone: the round never happened.
    Discarded(JobId, StepIndex, Round),
    Event(JobId, JobEvent),
    Report(JobId, Digest, Vec<StepWeights>),
    Task(JobId, TaskRecord),
    /// This artifact is to be deleted, decided then.
    Doomed(Digest, u64),
    /// It is deleted.
    Gone(Digest),
}

/// What changes about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobHead {
    pub state: JobState,
    pub reason: String,
    pub generation: Generation,
    pub submitted_at: u64,
    /// What the client calls its submission, so that it can be repeated; may be empty.
    #[serde(default)]
    pub submission: String,
    /// Generations that failed since the last commit, because a worker said so.
    pub failures: u32,
    /// Generations that ended since the last commit, because a worker was lost.
    pub losses: u32,
    /// The furthest round that was ever committed, and how often a checkpoint was discarded since.
    #[serde(default)]
    pub furthest: Option<(StepIndex, Round)>,
    #[serde(default)]
    pub discards: u32,
    /// The user wants it paused after the round under way.
    pub pausing: bool,
    /// What its gangs have computed on since the first round was committed: another kind would give other bits.
    #[serde(default)]
    pub device: Option<DeviceKind>,
    /// The gang that runs the job; a coordinator that takes over finds its members by it.
    pub gang: Option<StoredGang>,
    /// What a reader of the report must know.
    pub warnings: Vec<String>,
    /// How it ended, where it unlearned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// A gang that has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredGang {
    /// In the order of their ranks.
    pub members: Vec<WorkerId>,
    pub plan: ShardPlan,
}

/// What is stored of a task that was given to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    pub task: TaskIndex,
    /// Of the last attempt.
    pub generation: Generation,
    /// Who works on it now.
    pub worker: Option<WorkerId>,
    pub failures: u32,
    /// Attempts that ended because their worker was lost.
    #[serde(default)]
    pub losses: u32,
    /// The history; set once.
    pub output: Option<Digest>,
}

/// All that is stored of a job but its report.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredJob {
    pub job: JobId,
    pub specification: Specification,
    pub head: JobHead,
    /// In order.
    pub manifests: Vec<Manifest>,
    /// In order.
    pub events: Vec<JobEvent>,
    /// Of those tasks that were ever given to a worker, in order.
    pub tasks: Vec<TaskRecord>,
}

/// A stored record that no job has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impossible {
    /// `specification`, `head`, `manifest`, `event` or `task`.
    pub record: &'static str,
    /// Among the job's records of this kind, from 0.
    pub index: usize,
    pub problem: String,
}

/// Counts of what happens to a job stay far below this.
const LARGEST_COUNT: u64 = 1 << 31;
/// The end of the year 9999 in Unix milliseconds: certificates write dates of four digits.
const LATEST: u64 = 253_402_300_799_999;

impl StoredJob {
    /// A leader computes with what it takes up: damage is found before.
    ///
    /// # Errors
    /// Which record is impossible, and why.
    pub fn check(&self) -> Result<(), Impossible> {
        let Self { head, manifests, events, tasks, specification, .. } = self;
        let require_at = |holds: bool, record, index, problem: &str| {
            if holds { Ok(()) } else { Err(Impossible { record, index, problem: problem.to_owned() }) }
        };
        let require = |holds, record, problem| require_at(holds, record, 0, problem);
        let counts = [head.failures, head.losses, head.discards].map(u64::from);
        let furthest = head.furthest.map_or(0, |(_, round)| u64::from(round.0));
        let largest = counts.into_iter().fold(head.generation.0.max(furthest), u64::max);
        require(largest < LARGEST_COUNT, "head", "a count is larger than any job's")?;
        if let Some(StoredGang { members, plan }) = &head.gang {
            let one_each = !members.is_empty() && plan.boundaries.len() == members.len() + 1;
            let in_order = plan.boundaries.first() == Some(&0) && plan.boundaries.is_sorted();
            require(one_each && in_order, "head", "the plan does not deal tiles to the gang's members")?;
        }
        let mut last = None;
        for (index, Manifest { step, round, .. }) in manifests.iter().enumerate() {
            let there = (step.0 as usize) < specification.steps.len() && u64::from(round.0) < LARGEST_COUNT;
            require_at(there && round.0 > 0, "manifest", index, "of a round that the job does not have")?;
            require_at(last < Some((step, round)), "manifest", index, "the rounds are not in order")?;
            last = Some((step, round));
        }
        for (index, event) in events.iter().enumerate() {
            require_at(event.sequence < LARGEST_COUNT, "event", index, "its number is larger than any job's")?;
            require_at(event.at <= LATEST, "event", index, "of a time after the year 9999")?;
        }
        let packs = specification.collect().is_none_or(|collect| collect.pack > 0);
        require(packs, "specification", "its tasks make no networks")?;
        let total = specification.collect().map_or(0, rewind_job::Collect::tasks);
        for (index, TaskRecord { task, failures, losses, .. }) in tasks.iter().enumerate() {
            require_at(task.0 < total, "task", index, "the job has no such task")?;
            let sound = u64::from(*failures.max(losses)) < LARGEST_COUNT;
            require_at(sound, "task", index, "a count is larger than any task's")?;
        }
        Ok(())
    }
}

/// A job and its gang.
#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub specification: Specification,
    pub head: JobHead,
    pub manifests: Vec<Manifest>,
    pub events: Vec<JobEvent>,
    pub gang: Option<Gang>,
    pub tasks: BTreeMap<TaskIndex, TaskRecord>,
    pub pace: Pace,
    pub progress: Option<Progress>,
    /// What it waits for, as its status says it; depends on the fleet and is not stored.
    pub waiting: String,
    /// What of that the events say already.
    pub waits_noted: BTreeSet<Wait>,
    pub waiting_since: Now,
    /// The next generation begins no earlier.
    pub not_before: Now,
    /// The last gang dissolved because a member felt a loss that was not seen here.
    pub felt: bool,
    /// What the members of the last gang say about their last collective call.
    pub post_mortem: Option<PostMortem>,
    /// Shards that no manifest names any more, or never will: to be doomed.
    pub leftovers: Vec<Digest>,
}

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    Pause,
    Queue,
    Grace,
    Workers,
}

/// The workers of a generation, by rank, and what they have reported.
#[derive(Debug)]
pub struct Gang {
    pub members: Vec<WorkerId>,
    pub assigned_at: Now,
    pub prepared: Vec<Option<Layout>>,
    /// Set when they have begun.
    pub plan: Option<ShardPlan>,
    /// Rounds that are not committed yet.
    pub durable: BTreeMap<(StepIndex, Round), Vec<Option<RoundDone>>>,
    /// Members that were done before rank 0 had finished; they may do other work by now.
    pub left: BTreeSet<WorkerId>,
    /// It ends at its next commit.
    pub yielding: Option<Yield>,
}

/// Why a gang is to end at its next commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Yield {
    pub then: JobState,
    pub reason: String,
    /// Without a commit by then it ends all the same.
    pub at_the_latest: Now,
}

impl Gang {
    pub fn new(members: Vec<WorkerId>, now: Now) -> Self {
        Self {
            prepared: vec![None; members.len()],
            members,
            assigned_at: now,
            plan: None,
            durable: BTreeMap::new(),
            left: BTreeSet::new(),
            yielding: None,
        }
    }

    pub fn rank_of(&self, worker: &WorkerId) -> Option<Rank> {
        let rank = self.members.iter().position(|member| member == worker)?;
        (!self.left.contains(worker)).then_some(Rank(rank as u32))
    }

    /// Members that have not left.
    pub fn present(&self) -> impl Iterator<Item = &WorkerId> {
        self.members.iter().filter(|member| !self.left.contains(*member))
    }
}

impl Job {
    pub fn restore(stored: StoredJob, now: Now) -> Self {
        let StoredJob { job, specification, head, manifests, events, tasks } = stored;
        Self {
            id: job,
            specification,
            head,
            manifests,
            events,
            gang: None,
            tasks: tasks.into_iter().map(|record| (record.task, record)).collect(),
            pace: Pace::default(),
            progress: None,
            waiting: String::new(),
            waits_noted: BTreeSet::new(),
            waiting_since: now,
            not_before: now,
            felt: false,
            post_mortem: None,
            leftovers: Vec::new(),
        }
    }

    pub fn committed(&self) -> Option<(StepIndex, Round)> {
        self.manifests.last().map(|manifest| (manifest.step, manifest.round))
    }

    /// The first step from `index` on that makes weights, and so has rounds.
    fn step_with_rounds(&self, index: usize) -> Option<StepIndex> {
        let rest = self.specification.steps.iter().enumerate().skip(index);
        let mut with_rounds = rest.filter(|(_, step)| !matches!(step.action, Action::Evaluate(_) | Action::Given(_)));
        with_rounds.next().map(|(index, _)| StepIndex(index as u32))
    }

    /// The only round that may be committed now; none when all are.
    pub fn next_round(&self) -> Option<(StepIndex, Round)> {
        match self.manifests.last() {
            None => Some((self.step_with_rounds(0)?, Round(1))),
            Some(last) if last.outcome.is_some() => {
                Some((self.step_with_rounds(last.step.next().0 as usize)?, Round(1)))
            }
            Some(last) => Some((last.step, last.round.next())),
        }
    }

    /// Whether all rounds of all steps are committed: what is left is to measure.
    pub fn is_done(&self) -> bool {
        self.head.state == JobState::Running && self.next_round().is_none()
    }

    pub fn step_name(&self, step: StepIndex) -> String {
        let found = self.specification.steps.get(step.0 as usize);
        found.map_or_else(|| format!("step {step}"), |step| step.name.clone())
    }

    /// Where the work is: `in round 3 of pretrained`.
    pub fn whereabouts(&self) -> String {
        match self.next_round() {
            _ if self.head.state == JobState::Preparing => "while it prepared".into(),
            Some((step, round)) => format!("in round {round} of {}", self.step_name(step)),
            None => "while the results were measured".into(),
        }
    }

    pub fn status(&self) -> JobStatus {
        let present = self.gang.as_ref().map(|gang| WorldSize(gang.members.len() as u32));
        JobStatus {
            job: self.id.clone(),
            name: self.specification.name.clone(),
            state: self.head.state,
            reason: if self.head.state == JobState::Waiting { &self.waiting } else { &self.head.reason }.clone(),
            generation: self.head.generation,
            priority: self.specification.priority,
            world_size: present.unwrap_or(self.specification.fleet.world_size),
            progress: self.progress.clone().or_else(|| self.task_progress()),
            tasks: self.task_count(),
            committed: self.committed(),
            steps: self.specification.steps.iter().map(|step| step.name.clone()).collect(),
            submitted_at: self.head.submitted_at / 1000,
            verdict: self.head.verdict,
            fails: self.head.verdict.is_some_and(|verdict| self.specification.fails_with(verdict)),
        }
    }

    fn task_count(&self) -> Option<TaskCount> {
        let total = self.specification.collect()?.tasks();
        let done = self.tasks.values().filter(|record| record.output.is_some()).count() as u32;
        let running = self.tasks.values().filter(|record| record.worker.is_some()).count() as u32;
        let left = self.pace.left(total - done, running);
        Some(TaskCount { total, running, done, left })
    }

    fn task_progress(&self) -> Option<Progress> {
        let TaskCount { total, running, done, left } = self.task_count()?;
        let left = match left {
            Some(seconds) if done < total => {
                format!(", about {} left", humantime::format_duration(Duration::from_secs(round_up(seconds))))
            }
            _ => String::new(),
        };
        let text = format!("histories: {done} of {total} made, {running} under way{left}");
        Some(Progress { step: StepIndex(0), text, fraction: f64::from(done) / f64::from(total.max(1)) })
    }

    /// A decision and its reason: the state, an event for the record, and both to be stored.
    pub fn decide(&mut self, state: JobState, reason: String, now: Now) -> Vec<Change> {
        let reason = short(reason);
        self.head.state = state;
        self.head.reason = reason.clone();
        self.head.pausing = false;
        vec![self.note(reason, now), self.head_change()]
    }

    /// A warning for the report. The latest are kept; the job's events have all.
    pub fn warn(&mut self, text: String) {
        self.head.warnings.push(short(text));
        let surplus = self.head.warnings.len().saturating_sub(WARNINGS);
        self.head.warnings.drain(..surplus);
    }

    pub fn head_change(&self) -> Change {
        Change::Head(self.id.clone(), self.head.clone())
    }

    /// The job waits for a gang; the reason is why it has none.
    pub fn wait(&mut self, reason: String, now: Now) -> Vec<Change> {
        self.progress = None;
        self.waiting.clear();
        self.waits_noted.clear();
        self.waiting_since = now;
        self.head.gang = None;
        self.decide(JobState::Waiting, reason, now)
    }

    /// An event for the record, to be stored.
    pub fn note(&mut self, text: String, now: Now) -> Change {
        let sequence = self.events.last().map_or(0, |event| event.sequence) + 1;
        let event = JobEvent { sequence, at: now.0, generation: self.head.generation, text: short(text) };
        self.events.push(event.clone());
        Change::Event(self.id.clone(), event)
    }
}

/// Warnings of a job's head, which is one value.
const WARNINGS: usize = 20;
/// Estimates are shown to two digits or so.
fn round_up(seconds: u64) -> u64 {
    let step = match seconds {
        0..60 => 5,
        60..600 => 30,
        600..3600 => 60,
        _ => 600,
    };
    seconds.div_ceil(step) * step
}

/// How fast tasks are done; of those that began under this leader, so it is not stored.
#[derive(Debug, Default)]
pub struct Pace {
    began: BTreeMap<TaskIndex, Now>,
    /// Milliseconds that all tasks took that were done.
    took: u64,
    done: u64,
}

impl Pace {
    pub fn begins(&mut self, task: TaskIndex, now: Now) {
        self.began.insert(task, now);
    }

    pub fn done(&mut self, task: TaskIndex, now: Now) {
        if let Some(began) = self.began.remove(&task) {
            self.took += now.since(began).as_millis() as u64;
            self.done += 1;
        }
    }

    /// Seconds that `open` tasks take on `running` workers.
    fn left(&self, open: u32, running: u32) -> Option<u64> {
        let each = self.took.checked_div(self.done)?;
        Some((each * u64::from(open)).checked_div(u64::from(running))?.div_ceil(1000))
    }
}

/// Characters of the longest text that is stored.
const LONGEST_TEXT: usize = 4000;

/// A worker may say anything at any length; what is stored stays small.
pub fn short(text: String) -> String {
    shortened_to(LONGEST_TEXT, text)
}
