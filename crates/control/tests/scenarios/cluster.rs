//! A cluster in words: `cluster.join(1); cluster.lose(1); cluster.eventually_all_work()`.
//!
//! Its workers are scripted: they answer as a worker must, when the test lets them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
    time::Duration,
};

use rewind_control::{Command, Control, Event, Now, TaskRecord};
use rewind_job::{
    Assignment, DeviceKind, Digest, Failure, Generation, JobId, JobState, JobStatus, Layout, Manifest, Rank, Round,
    RoundDone, RoundRecord, Specification, StepIndex, StepOutcome, StopReason, TaskAssignment, TaskIndex, Timeouts,
    WorkerCommand, WorkerEvent, WorkerId, Working, WorldSize,
};
use serde_json::json;

use crate::stored::Stored;

/// Rounds of each of the two steps that have some.
pub const ROUNDS: u32 = 2;

pub struct Cluster {
    timeouts: Timeouts,
    pub control: Control,
    pub now: Now,
    pub stored: Stored,
    pub workers: BTreeMap<WorkerId, Worker>,
    /// Who works where, from its assignment to its `Left`.
    busy: BTreeMap<WorkerId, (JobId, Generation)>,
    /// Workers that a new coordinator expects, and that have not come.
    expected: BTreeMap<WorkerId, Worker>,
    /// Workers that lost their coordinator, and that the new one does not expect.
    strangers: BTreeMap<WorkerId, Worker>,
    deleted: Vec<Digest>,
    /// What the last event led to.
    pub commands: Vec<Command>,
}

/// A scripted worker whose session lives.
#[derive(Default)]
pub struct Worker {
    pub inbox: VecDeque<WorkerCommand>,
    pub assignment: Option<Assignment>,
    pub task: Option<TaskAssignment>,
    /// It is to end, and says so in every session.
    draining: bool,
    begun: bool,
    committed: Option<(StepIndex, Round)>,
    sent: Option<(StepIndex, Round)>,
    device: DeviceKind,
}

pub fn worker(number: u32) -> WorkerId {
    WorkerId(format!("worker-{number}"))
}

pub fn specification(world: u32) -> Specification {
    let text = format!(
        r#"
        name = "two steps"
        fleet = {{ world-size = {world} }}
        model = {{ architecture = "mlp" }}
        [data]
        pool = {{ images = "i", labels = "l" }}
        split = {{ train = 80, test = 10, validation = 10, attack = 0 }}
        forget = {{ class = {{ label = 1 }} }}
        [[step]]
        name = "pretrained"
        pretrain = {{ epochs = {ROUNDS}, batch-size = 8, optimiser = {{ sgd = {{ learning-rate = 0.1 }} }} }}
        [[step]]
        name = "between"
        evaluate = {{}}
        [[step]]
        name = "unlearned"
        [step.unlearn]
        from = "pretrained"
        method = {{ neg-grad = {{}} }}
        forward = {{ optimiser = {{ sgd = {{ learning-rate = 0.1 }} }}, batch-size = 8 }}
        stop = {{ rounds = {ROUNDS} }}
        [[step]]
        name = "evaluation"
        evaluate = {{}}
        "#
    );
    Specification::parse(&text, Path::new("/data")).expect("is valid")
}

/// A job that makes histories.
pub fn histories(tasks: u32) -> Specification {
    let text = format!(
        r#"
        name = "histories"
        model = {{ architecture = "mlp" }}
        [data]
        pool = {{ images = "i", labels = "l" }}
        split = {{ train = 80, test = 10, validation = 10, attack = 0 }}
        forget = {{ class = {{ label = 1 }} }}
        [[step]]
        name = "histories"
        [step.collect]
        networks = {tasks}
        optimisers = [{{ sgd = {{ learning-rate = 0.1 }} }}]
        epochs = [1]
        "#
    );
    Specification::parse(&text, Path::new("/data")).expect("is valid")
}

pub fn layout() -> Layout {
    Layout::new([("weight".into(), vec![40, 1000]), ("bias".into(), vec![10])])
}

pub fn round_done(step: u32, round: u32) -> RoundDone {
    let outcome = StepOutcome {
        selected: Round(round),
        stop: StopReason { rule: "rounds".into(), text: format!("all {ROUNDS} rounds are done") },
    };
    RoundDone {
        step: StepIndex(step),
        round: Round(round),
        shard: Digest(format!("shard of {step}/{round}")),
        record: record(round),
        best: Round(round),
        outcome: (round == ROUNDS).then_some(outcome),
    }
}

/// What a task makes.
pub fn history(task: TaskIndex) -> Digest {
    Digest(format!("history {task}"))
}

fn record(round: u32) -> RoundRecord {
    let record = json!({
        "round": round, "loss": 0.5, "weight_change": 0.0, "seconds": 0.0, "forget_epochs": 0.0, "bytes_moved": 0,
    });
    serde_json::from_value(record).expect("is a record")
}

/// The round after the last committed one, as a worker knows it from the specification above.
fn next_round(committed: Option<(StepIndex, Round)>) -> Option<(u32, u32)> {
    match committed.map(|(step, round)| (step.0, round.0)) {
        None => Some((0, 1)),
        Some((0, ROUNDS)) => Some((2, 1)),
        Some((2, ROUNDS)) => None,
        Some((step, round)) => Some((step, round + 1)),
    }
}

impl Cluster {
    pub fn new() -> Self {
        Self::with(Timeouts::default())
    }

    pub fn with(timeouts: Timeouts) -> Self {
        let now = Now(1_000_000);
        let (control, commands) = Control::restore(timeouts, Vec::new(), Vec::new(), now);
        assert!(commands.is_empty());
        Self {
            timeouts,
            control,
            now,
            stored: Stored::default(),
            workers: BTreeMap::new(),
            busy: BTreeMap::new(),
            expected: BTreeMap::new(),
            strangers: BTreeMap::new(),
            deleted: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Workers 1 to `count`, idle.
    pub fn of(count: u32) -> Self {
        let mut cluster = Self::new();
        (1..=count).for_each(|number| cluster.join(number));
        cluster
    }

    pub fn handle(&mut self, event: Event) {
        let commands = self.control.handle(event, self.now);
        self.carry_out(commands);
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        let mut gangs: BTreeMap<(JobId, Generation), Vec<(Rank, WorldSize)>> = BTreeMap::new();
        for command in commands.clone() {
            match command {
                Command::Store(changes) => {
                    assert!(changes.len() <= 40, "a store takes no more at once");
                    self.stored.write(changes);
                }
                Command::Send(to, command) => {
                    match &command {
                        WorkerCommand::Assign(assignment) => {
                            let head = self.stored.head(&assignment.job);
                            assert_eq!(head.state, JobState::Preparing, "a decision is stored before it is sent");
                            assert_eq!(head.generation, assignment.generation);
                            assert_eq!(assignment.committed, self.stored.jobs[&assignment.job].manifests);
                            let place = (assignment.job.clone(), assignment.generation);
                            gangs.entry(place.clone()).or_default().push((assignment.rank, assignment.world_size));
                            let before = self.busy.insert(to.clone(), place);
                            assert_eq!(before, None, "{to} got work while it had some");
                        }
                        WorkerCommand::RunTask(task) => {
                            let record = &self.stored.jobs[&task.job].tasks[&task.task];
                            assert_eq!((record.generation, &record.worker), (task.generation, &Some(to.clone())));
                            let before = self.busy.insert(to.clone(), (task.job.clone(), task.generation));
                            assert_eq!(before, None, "{to} got a task while it had work");
                        }
                        WorkerCommand::Committed { job, manifest, .. } => {
                            assert_eq!(self.stored.jobs[job].manifests.last(), Some(&**manifest), "stored, then sent");
                        }
                        _ => {}
                    }
                    match self.workers.get_mut(&to) {
                        Some(worker) => worker.inbox.push_back(command),
                        // It learns all when it comes.
                        None => assert!(self.expected.contains_key(&to), "{to} is lost and was sent {command:?}"),
                    }
                }
                Command::CloseSession(worker) => self.forget(&worker),
                Command::Delete(artifacts) => {
                    for (artifact, _) in artifacts {
                        assert!(!self.stored.needs(&artifact), "{artifact} is needed, and to be deleted");
                        self.deleted.push(artifact);
                    }
                }
                Command::Count(_) => {}
                Command::Publish(job) => assert!(self.control.status(&job).is_some()),
                Command::DropRendezvous(job, generation) => {
                    assert_eq!(self.stored.head(&job).generation, generation);
                }
            }
        }
        for (gang, members) in gangs {
            let expected: Vec<_> = members[0].1.ranks().map(|rank| (rank, members[0].1)).collect();
            assert_eq!(members, expected, "{gang:?} is whole");
        }
        let sessions: BTreeSet<WorkerId> = self.workers.keys().chain(self.expected.keys()).cloned().collect();
        let workers: BTreeSet<WorkerId> = self.control.workers().into_iter().collect();
        assert_eq!(workers, sessions, "a worker that counts as lost has no session, others have one");
        for status in self.control.jobs() {
            assert_eq!(status.state, self.stored.head(&status.job).state, "what is shown is stored");
            assert!(!status.reason.is_empty(), "{} says why", status.job);
        }
        self.commands = commands;
    }

    fn forget(&mut self, worker: &WorkerId) {
        self.workers.remove(worker);
        self.busy.remove(worker);
        self.expected.remove(worker);
        self.strangers.remove(worker);
    }

    /// A new process of this name.
    pub fn join(&mut self, number: u32) {
        self.forget(&worker(number));
        self.begin_session(number, Worker::default());
    }

    /// The same of another kind.
    pub fn join_with(&mut self, number: u32, device: DeviceKind) {
        self.forget(&worker(number));
        self.begin_session(number, Worker { device, ..Worker::default() });
    }

    /// A worker comes to the new coordinator with what the old one gave it.
    pub fn come_back(&mut self, number: u32) {
        let name = worker(number);
        let me = self.expected.remove(&name).or_else(|| self.strangers.remove(&name));
        self.begin_another(number, me.unwrap_or_default());
    }

    /// Whether the worker lost its coordinator, and has not come to the new one.
    pub fn is_away(&self, number: u32) -> bool {
        self.expected.contains_key(&worker(number)) || self.strangers.contains_key(&worker(number))
    }

    /// The same process begins a new session before the end of the old one was seen.
    pub fn reconnect(&mut self, number: u32) {
        let me = self.workers.remove(&worker(number)).expect("lives");
        self.begin_another(number, me);
    }

    /// What was on its way to the worker is lost.
    fn begin_another(&mut self, number: u32, mut me: Worker) {
        me.inbox.clear();
        let on_task = me.task.as_ref().map(|task| (task.job.clone(), task.generation));
        let in_gang = me.assignment.as_ref().map(|assignment| (assignment.job.clone(), assignment.generation));
        match in_gang.or(on_task) {
            Some(place) => drop(self.busy.insert(worker(number), place)),
            None => drop(self.busy.remove(&worker(number))),
        }
        self.begin_session(number, me);
    }

    fn begin_session(&mut self, number: u32, me: Worker) {
        let working = me.assignment.as_ref().map(|assignment| Working {
            job: assignment.job.clone(),
            generation: assignment.generation,
            committed: me.committed,
        });
        let on_task =
            |task: &TaskAssignment| Working { job: task.job.clone(), generation: task.generation, committed: None };
        let working = working.or_else(|| me.task.as_ref().map(on_task));
        let (draining, device) = (me.draining, me.device);
        // What it had sent and is not committed it says again.
        let again = me.sent.filter(|_| me.sent != me.committed).zip(me.assignment.clone());
        self.workers.insert(worker(number), me);
        let (name, version) = (worker(number), "0".into());
        let joined = WorkerEvent::Joined { worker: name.clone(), process: number, version, cores: 1, device, working };
        self.handle(Event::Said(name, joined));
        if draining {
            self.says(number, WorkerEvent::Draining);
        }
        if let Some(((step, round), assignment)) = again {
            let Assignment { job, generation, rank, .. } = assignment;
            let round = Box::new(round_done(step.0, round.0));
            self.says(number, WorkerEvent::ShardDurable { job, generation, rank, round });
        }
    }

    pub fn lose(&mut self, number: u32) {
        self.forget(&worker(number));
        self.handle(Event::SessionEnded(worker(number)));
    }

    pub fn submit(&mut self, world: u32) -> JobId {
        let job = self.control.job_of("");
        self.handle(Event::submitted(specification(world)));
        job
    }

    pub fn submit_histories(&mut self, tasks: u32) -> JobId {
        let job = self.control.job_of("");
        self.handle(Event::submitted(histories(tasks)));
        job
    }

    /// The worker was told to end, and wants to be let go.
    pub fn drain(&mut self, number: u32) {
        if let Some(me) = self.workers.get_mut(&worker(number)) {
            me.draining = true;
            self.says(number, WorkerEvent::Draining);
        }
    }

    pub fn pause(&mut self, job: &JobId) {
        self.handle(Event::PauseWanted(job.clone()));
    }

    pub fn resume(&mut self, job: &JobId) {
        self.handle(Event::ResumeWanted(job.clone()));
    }

    pub fn cancel(&mut self, job: &JobId) {
        self.handle(Event::CancelWanted(job.clone()));
    }

    /// Time passes; these workers are heard meanwhile.
    pub fn pass(&mut self, time: Duration, heard: &[u32]) {
        let heartbeat = self.timeouts.heartbeat.as_millis() as u64;
        let end = self.now.0 + time.as_millis() as u64;
        while self.now.0 < end {
            self.now.0 += heartbeat;
            for &number in heard {
                self.says(number, WorkerEvent::Heartbeat);
            }
            self.handle(Event::Tick);
        }
    }

    pub fn says(&mut self, number: u32, event: WorkerEvent) {
        if !self.workers.contains_key(&worker(number)) {
            return;
        }
        if let WorkerEvent::Left { job, generation, .. } = &event
            && self.busy.get(&worker(number)) == Some(&(job.clone(), *generation))
        {
            self.busy.remove(&worker(number));
        }
        let is_stale = self.is_stale(number, &event);
        self.handle(Event::Said(worker(number), event));
        assert!(!is_stale || self.changed_nothing(), "a stale message led to {:?}", self.commands);
    }

    /// Whether a message speaks of work that is no longer done.
    fn is_stale(&self, number: u32, event: &WorkerEvent) -> bool {
        let Some((id, generation)) = event.work() else { return false };
        if matches!(event, WorkerEvent::Left { .. }) {
            return false;
        }
        let Some(kept) = self.stored.jobs.get(id) else { return true };
        let head = self.stored.head(id);
        if kept.specification.collect().is_some() {
            let is_its =
                |record: &TaskRecord| (&record.worker, record.generation) == (&Some(worker(number)), generation);
            return !kept.tasks.values().any(is_its);
        }
        generation != head.generation || !matches!(head.state, JobState::Preparing | JobState::Running)
    }

    /// The job and generation that a worker works for.
    pub fn place(&self, number: u32) -> (JobId, Generation) {
        let assignment = self.workers[&worker(number)].assignment.as_ref().expect("has an assignment");
        (assignment.job.clone(), assignment.generation)
    }

    pub fn fails(&mut self, number: u32, reason: &str, retryable: bool) {
        let Some(me) = self.workers.get(&worker(number)) else { return };
        let gang = me.assignment.as_ref().map(|a| (a.job.clone(), a.generation, a.rank));
        let task = me.task.as_ref().map(|task| (task.job.clone(), task.generation, Rank(0)));
        let Some((job, generation, rank)) = gang.or(task) else { return };
        let failure = Failure { reason: reason.into(), retryable, bad_checkpoints: Vec::new() };
        self.says(number, WorkerEvent::Failed { job: job.clone(), generation, rank, failure });
        if let Some(me) = self.workers.get_mut(&worker(number)).filter(|me| me.task.is_some()) {
            me.task = None;
            self.says(number, WorkerEvent::Left { job, generation, last: None });
        }
    }

    /// The worker's part of a checkpoint cannot be read.
    pub fn finds_altered(&mut self, number: u32, step: u32, round: u32) {
        let Some(me) = self.workers.get(&worker(number)) else { return };
        let Some(Assignment { job, generation, rank, .. }) = me.assignment.clone() else { return };
        let bad_checkpoints = vec![Digest(format!("shard of {step}/{round}"))];
        let failure = Failure { reason: "altered".into(), retryable: true, bad_checkpoints };
        self.says(number, WorkerEvent::Failed { job, generation, rank, failure });
    }

    pub fn durable(&mut self, number: u32, step: u32, round: u32) {
        let (job, generation) = self.place(number);
        let round = Box::new(round_done(step, round));
        self.says(number, WorkerEvent::ShardDurable { job, generation, rank: Rank(0), round });
    }

    /// The worker takes its next command and answers it. Returns whether there was one.
    pub fn obey(&mut self, number: u32) -> bool {
        let Some(me) = self.workers.get_mut(&worker(number)) else { return false };
        let Some(command) = me.inbox.pop_front() else { return false };
        match command {
            WorkerCommand::Assign(assignment) => {
                let Assignment { job, generation, rank, committed, .. } = (*assignment).clone();
                me.committed = committed.last().map(|manifest: &Manifest| (manifest.step, manifest.round));
                me.sent = me.committed;
                me.begun = false;
                me.assignment = Some(*assignment);
                self.says(number, WorkerEvent::Prepared { job, generation, rank, layout: layout() });
            }
            WorkerCommand::Begin { plan, .. } => {
                assert_eq!(Some(plan.world_size()), me.assignment.as_ref().map(|assignment| assignment.world_size));
                me.begun = true;
            }
            WorkerCommand::Committed { manifest, .. } => me.committed = Some((manifest.step, manifest.round)),
            WorkerCommand::Abort { job, generation, .. } => {
                me.assignment = None;
                me.task = None;
                me.begun = false;
                me.sent = me.committed;
                self.says(number, WorkerEvent::Left { job, generation, last: None });
            }
            WorkerCommand::RunTask(task) => me.task = Some(*task),
            WorkerCommand::Shutdown => self.lose(number),
            WorkerCommand::Acknowledged { .. } => {}
        }
        true
    }

    /// The worker does its next piece of work, if it has begun and its last round is committed.
    pub fn work(&mut self, number: u32) -> bool {
        if let Some(task) = self.workers.get_mut(&worker(number)).and_then(|me| me.task.take()) {
            let TaskAssignment { job, generation, task, .. } = task;
            let done = WorkerEvent::TaskDone { job: job.clone(), generation, task, output: history(task) };
            self.says(number, done);
            self.says(number, WorkerEvent::Left { job, generation, last: None });
            return true;
        }
        let Some(me) = self.workers.get_mut(&worker(number)).filter(|me| me.begun && me.sent == me.committed) else {
            return false;
        };
        let Some(assignment) = me.assignment.clone() else { return false };
        let (job, generation, rank) = (assignment.job.clone(), assignment.generation, assignment.rank);
        match next_round(me.committed) {
            Some((step, round)) => {
                me.sent = Some((StepIndex(step), Round(round)));
                let round = Box::new(round_done(step, round));
                self.says(number, WorkerEvent::ShardDurable { job, generation, rank, round });
            }
            None => {
                me.assignment = None;
                me.begun = false;
                if rank == Rank(0) {
                    let finished = WorkerEvent::Finished {
                        job: job.clone(),
                        generation,
                        report: Digest(format!("report of {job}")),
                        weights: Vec::new(),
                        verdict: None,
                    };
                    self.says(number, finished);
                }
                self.says(number, WorkerEvent::Left { job, generation, last: None });
            }
        }
        true
    }

    /// Every worker obeys until nobody is told anything more.
    pub fn all_obey(&mut self) {
        let numbers: BTreeSet<u32> = (1..=8).collect();
        while numbers.iter().any(|&number| self.obey(number)) {}
    }

    /// Every worker that can does one piece of work. Returns whether there was one.
    fn each_works(&mut self) -> bool {
        (1..=8).filter(|&number| self.work(number)).count() > 0
    }

    /// Every worker obeys and works until nothing is left to do.
    pub fn all_work(&mut self) {
        for _ in 0..1000 {
            self.all_obey();
            if !self.each_works() {
                return;
            }
        }
        panic!("the work does not end");
    }

    /// As [`Self::all_work`]; time passes for jobs that try again later.
    pub fn work_through_waits(&mut self) {
        for _ in 0..12 {
            self.all_work();
            let numbers: Vec<u32> = (1..=8).filter(|number| self.workers.contains_key(&worker(*number))).collect();
            self.pass(Duration::from_secs(1), &numbers);
        }
        self.all_work();
    }

    /// All work until `rounds` rounds of the job are committed.
    pub fn work_until(&mut self, job: &JobId, rounds: usize) {
        while self.manifests(job).len() < rounds {
            self.all_obey();
            assert!(self.each_works(), "stands still");
        }
    }

    /// The coordinator ends, and another one reads what it stored. All sessions are lost; the workers of a running
    /// gang are expected.
    pub fn restart(&mut self) {
        let mut workers = std::mem::take(&mut self.workers);
        workers.append(&mut self.expected);
        workers.append(&mut self.strangers);
        let (control, commands) = Control::restore(self.timeouts, self.stored.read(), self.stored.doomed(), self.now);
        self.expected = control
            .workers()
            .into_iter()
            .map(|name| (name.clone(), workers.remove(&name).unwrap_or_default()))
            .collect();
        self.strangers = workers;
        self.busy.retain(|name, _| self.expected.contains_key(name));
        self.control = control;
        self.carry_out(commands);
    }

    pub fn status(&self, job: &JobId) -> JobStatus {
        self.control.status(job).expect("is known")
    }

    pub fn state(&self, job: &JobId) -> JobState {
        self.status(job).state
    }

    pub fn reason(&self, job: &JobId) -> String {
        self.status(job).reason
    }

    /// Step and round of every commit, and the generation that did it.
    pub fn manifests(&self, job: &JobId) -> Vec<(u32, u32, u64)> {
        let manifests = &self.stored.jobs[job].manifests;
        manifests.iter().map(|manifest| (manifest.step.0, manifest.round.0, manifest.generation.0)).collect()
    }

    /// Whether an event of the record has this text in it.
    pub fn recorded(&self, job: &JobId, text: &str) -> bool {
        self.stored.jobs[job].events.iter().any(|event| event.text.contains(text))
    }

    /// Who works on which task.
    pub fn on_tasks(&self, job: &JobId) -> Vec<(u32, WorkerId)> {
        let records = self.control.tasks(job);
        records.into_iter().filter_map(|record| Some((record.task.0, record.worker?))).collect()
    }

    /// Artifacts that were to be deleted so far.
    pub fn deletions(&self) -> Vec<Digest> {
        self.deleted.clone()
    }

    /// Whether the last event led to nothing but counting.
    pub fn changed_nothing(&self) -> bool {
        self.commands.iter().all(|command| matches!(command, Command::Count(_)))
    }

    /// Workers that the last event's commands tell to leave, with the reason.
    pub fn aborted(&self) -> Vec<(WorkerId, String)> {
        let aborts = self.commands.iter().filter_map(|command| match command {
            Command::Send(worker, WorkerCommand::Abort { reason, .. }) => Some((worker.clone(), reason.clone())),
            _ => None,
        });
        aborts.collect()
    }
}
