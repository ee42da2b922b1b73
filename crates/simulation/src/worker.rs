//! A fake worker: it follows the real worker's protocol, and its weights are hashes.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use rewind_job::{
    DeviceKind, Digest, Failure, Generation, JobId, LastCollective, Layout, Manifest, Round, RoundDone, StepIndex,
    StepOutcome, StopReason, Term, WorkerCommand, WorkerEvent, WorkerId, Working,
};

use crate::{
    artifacts::Content,
    jobs::{self, STEPS},
    world::{BEAT, Happening, KEEP_ALIVE, World},
};

/// Longest wait for peers, as the real collective's deadline.
const COLLECTIVE_DEADLINE: u64 = 60_000;

pub struct FakeWorker {
    pub name: WorkerId,
    /// Which process this is.
    pub life: u64,
    pub alive: bool,
    pub frozen: bool,
    pub draining: bool,
    /// What came while it was frozen.
    pub waiting: VecDeque<Happening>,
    pub session: Option<u64>,
    next: usize,
    term: Term,
    pub work: Option<Work>,
    unacknowledged: VecDeque<(u64, WorkerEvent)>,
    last_sequence: u64,
}

/// What a worker was given last, until it is known to be left.
#[derive(Clone)]
pub struct Work {
    pub job: JobId,
    pub generation: Generation,
    pub phase: Phase,
    rank: rewind_job::Rank,
    world: u32,
    specification: rewind_job::Specification,
    task: Option<rewind_job::TaskIndex>,
    pub committed: Vec<Manifest>,
    /// The last round that it has computed, and the state after it.
    pub computed: Option<(u32, u32)>,
    state: u64,
    begun: bool,
    /// Since when it waits for its peers.
    waits_since: Option<u64>,
    calls: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Preparing,
    /// Waits for `Begin`.
    Prepared,
    /// Computes the round after `computed`, together with the others.
    Computing,
    /// Has computed a round and waits until the one before it is committed.
    WaitsForCommit,
    /// Measures, together with the others.
    Measuring,
    Task,
    Left,
}

impl FakeWorker {
    pub fn new(index: usize) -> Self {
        Self {
            name: WorkerId(format!("worker-{}", index + 1)),
            life: 0,
            alive: false,
            frozen: false,
            draining: false,
            waiting: VecDeque::new(),
            session: None,
            next: 0,
            term: Term(0),
            work: None,
            unacknowledged: VecDeque::new(),
            last_sequence: 0,
        }
    }

    fn forget(&mut self, which: impl Fn(&WorkerEvent) -> bool) {
        self.unacknowledged.retain(|(_, event)| !which(event));
    }

    fn runs(&self, life: u64) -> bool {
        self.alive && self.life == life
    }
}

/// The state after a round: a function of everything that made it.
pub fn state_after(before: u64, place: (u32, u32), world: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, place, world).hash(&mut hasher);
    hasher.finish()
}

impl World {
    pub fn start_worker(&mut self, index: usize) {
        let next = self.between(0, 7) as usize;
        let worker = &mut self.workers[index];
        let life = worker.life + 1;
        *worker = FakeWorker { life, alive: true, next, ..FakeWorker::new(index) };
        let delay = self.between(1, 400);
        self.after(delay, Happening::Connect(index, life));
        self.after(delay, Happening::Heartbeat(index, life));
    }

    pub fn crash_worker(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        worker.alive = false;
        worker.frozen = false;
        worker.work = None;
        worker.life += 1;
        if let Some(session) = worker.session.take() {
            self.close_at_coordinator(session);
        }
    }

    pub fn thaw_worker(&mut self, index: usize) {
        self.workers[index].frozen = false;
        for happening in std::mem::take(&mut self.workers[index].waiting) {
            match happening {
                Happening::Down { connection, term, command } => self.command_arrives(connection, term, command),
                Happening::BrokenAtWorker(connection) => self.session_breaks(connection),
                Happening::Work(index, life) => self.work(index, life),
                Happening::Connect(index, life) => self.connect(index, life),
                _ => {}
            }
        }
    }

    pub fn heartbeat(&mut self, index: usize, life: u64) {
        if !self.workers[index].runs(life) {
            return;
        }
        self.after(BEAT, Happening::Heartbeat(index, life));
        if let Some(session) = self.workers[index].session.filter(|_| !self.workers[index].frozen) {
            self.send_up(session, 0, WorkerEvent::Heartbeat);
        }
    }

    /// Tries the next coordinator; one that stands by names the leader.
    pub fn connect(&mut self, index: usize, life: u64) {
        if !self.workers[index].runs(life) || self.workers[index].session.is_some() {
            return;
        }
        if self.workers[index].frozen {
            return self.workers[index].waiting.push_back(Happening::Connect(index, life));
        }
        let target = self.workers[index].next % self.coordinators.len();
        let again = Happening::Connect(index, life);
        let coordinator = &self.coordinators[target];
        if self.partitioned[index] || coordinator.frozen {
            self.workers[index].next += 1;
            return self.after(3000, again);
        }
        let Some(replica) = &coordinator.replica else {
            self.workers[index].next += 1;
            return self.after(200, again);
        };
        if replica.term().is_none() {
            self.workers[index].next = self.leader().unwrap_or(target + 1);
            return self.after(200, again);
        }
        let session = self.open(index, target);
        self.workers[index].session = Some(session);
        let worker = &self.workers[index];
        let working = worker.work.as_ref().map(|work| Working {
            job: work.job.clone(),
            generation: work.generation,
            committed: work.committed.last().map(|manifest| (manifest.step, manifest.round)),
        });
        let joined = WorkerEvent::Joined {
            worker: worker.name.clone(),
            process: life as u32,
            version: "0".into(),
            cores: 1,
            device: DeviceKind::Cpu,
            working,
        };
        let mut first = vec![(0, joined)];
        first.extend(worker.draining.then_some((0, WorkerEvent::Draining)));
        first.extend(worker.unacknowledged.iter().cloned());
        for (sequence, event) in first {
            self.send_up(session, sequence, event);
        }
    }

    pub fn session_breaks(&mut self, connection: u64) {
        let Some(found) = self.connections.get(&connection) else { return };
        let (index, life) = (found.worker, found.worker_life);
        if !self.workers[index].runs(life) {
            return;
        }
        if self.workers[index].frozen {
            return self.workers[index].waiting.push_back(Happening::BrokenAtWorker(connection));
        }
        if self.workers[index].session != Some(connection) {
            return;
        }
        self.workers[index].session = None;
        self.workers[index].next += 1;
        self.close_at_coordinator(connection);
        self.after(200, Happening::Connect(index, life));
    }

    /// Both sides lose the session without a word; each finds out by itself.
    pub fn cut(&mut self, connection: u64) {
        self.after(KEEP_ALIVE, Happening::BrokenAtWorker(connection));
    }

    pub fn say(&mut self, index: usize, event: WorkerEvent) {
        let worker = &mut self.workers[index];
        worker.last_sequence += 1;
        let sequence = worker.last_sequence;
        worker.unacknowledged.push_back((sequence, event.clone()));
        if let Some(session) = worker.session {
            self.send_up(session, sequence, event);
        }
    }

    pub fn command_arrives(&mut self, connection: u64, term: Term, command: WorkerCommand) {
        let Some(found) = self.connections.get(&connection) else { return };
        let (index, life) = (found.worker, found.worker_life);
        if !self.workers[index].runs(life) || self.workers[index].session != Some(connection) {
            return;
        }
        if self.workers[index].frozen {
            return self.workers[index].waiting.push_back(Happening::Down { connection, term, command });
        }
        if term < self.workers[index].term {
            return self.session_breaks(connection);
        }
        self.workers[index].term = term;
        self.obey(index, command);
    }

    fn obey(&mut self, index: usize, command: WorkerCommand) {
        let present = self.workers[index].work.clone();
        let is_present = |job: &JobId, generation: Generation| {
            present.as_ref().is_some_and(|work| &work.job == job && work.generation == generation)
        };
        match command {
            WorkerCommand::Assign(a) => {
                if present.as_ref().is_some_and(|work| work.job == a.job && work.generation >= a.generation) {
                    return;
                }
                self.is_free(index, &a.job);
                let mut work = Work::new(&a.job, a.generation, a.specification.clone());
                (work.rank, work.world, work.committed) = (a.rank, a.world_size.0, a.committed.clone());
                work.computed = work.committed.last().map(|m| (m.step.0, m.round.0));
                self.workers[index].work = Some(work);
                let delay = self.between(50, 1500);
                self.wake(index, delay);
            }
            WorkerCommand::RunTask(task) => {
                if present.as_ref().is_some_and(|work| work.job == task.job && work.generation >= task.generation) {
                    return;
                }
                self.is_free(index, &task.job);
                let mut work = Work::new(&task.job, task.generation, task.specification.clone());
                (work.phase, work.task) = (Phase::Task, Some(task.task));
                self.workers[index].work = Some(work);
                let delay = self.between(300, 4000);
                self.wake(index, delay);
            }
            WorkerCommand::Begin { job, generation, .. } if is_present(&job, generation) => {
                self.workers[index].forget(|event| matches!(event, WorkerEvent::Prepared { .. }));
                if let Some(work) = &mut self.workers[index].work {
                    work.begun = true;
                }
                self.wake(index, 1);
            }
            WorkerCommand::Committed { job, generation, manifest } if is_present(&job, generation) => {
                let place = (manifest.step, manifest.round);
                self.workers[index].forget(|event| {
                    matches!(event, WorkerEvent::ShardDurable { round, .. } if (round.step, round.round) <= place)
                });
                if let Some(work) = &mut self.workers[index].work {
                    let last = work.committed.last().map(|m| (m.step, m.round));
                    if last < Some((manifest.step, manifest.round)) {
                        work.committed.push(*manifest);
                    }
                }
                self.wake(index, 1);
            }
            WorkerCommand::Abort { job, generation, .. } => match present {
                Some(work) if is_present(&job, generation) && work.phase != Phase::Left => self.leave(index),
                _ => self.say(index, WorkerEvent::Left { job, generation, last: None }),
            },
            WorkerCommand::Acknowledged { sequence } => {
                let worker = &mut self.workers[index];
                let Some(at) = worker.unacknowledged.iter().position(|(known, _)| *known == sequence) else { return };
                if let Some((_, WorkerEvent::Left { job, generation, .. })) = worker.unacknowledged.remove(at)
                    && worker.work.as_ref().is_some_and(|work| work.job == job && work.generation == generation)
                {
                    worker.work = None;
                    worker.forget(|event| !event.is_settled_when_decided());
                }
            }
            WorkerCommand::Shutdown => {
                self.crash_worker(index);
                let delay = self.between(500, 3000);
                self.after(delay, Happening::Heal(crate::faults::Fault::WorkerCrash, index));
            }
            WorkerCommand::Begin { .. } | WorkerCommand::Committed { .. } => {}
        }
    }

    /// A worker that has not left its work must not be given other work.
    fn is_free(&mut self, index: usize, job: &JobId) {
        let busy = self.workers[index].work.as_ref().filter(|work| work.phase != Phase::Left);
        if let Some(work) = busy {
            let what = format!("worker {index} got {job} while it works on {} ({:?})", work.job, work.phase);
            self.checks.break_promise("gangs-are-whole-or-absent", what);
        }
    }

    fn wake(&mut self, index: usize, delay: u64) {
        let life = self.workers[index].life;
        self.after(delay, Happening::Work(index, life));
    }

    fn leave(&mut self, index: usize) {
        let Some(work) = &mut self.workers[index].work else { return };
        work.phase = Phase::Left;
        let last =
            LastCollective { sequence: work.calls, operation: "all-reduce".into(), ended: work.waits_since.is_none() };
        let left = WorkerEvent::Left { job: work.job.clone(), generation: work.generation, last: Some(last) };
        self.say(index, left);
    }

    fn fails(&mut self, index: usize, reason: &str, bad_checkpoints: Vec<Digest>) {
        let Some(work) = &self.workers[index].work else { return };
        let failure = Failure { reason: reason.into(), retryable: true, bad_checkpoints };
        let (job, generation, rank) = (work.job.clone(), work.generation, work.rank);
        self.say(index, WorkerEvent::Failed { job, generation, rank, failure });
        self.leave(index);
    }

    /// The worker's process reaches its next point.
    pub fn work(&mut self, index: usize, life: u64) {
        if !self.workers[index].runs(life) {
            return;
        }
        if self.workers[index].frozen {
            return self.workers[index].waiting.push_back(Happening::Work(index, life));
        }
        let Some(work) = self.workers[index].work.clone() else { return };
        match work.phase {
            Phase::Preparing => {
                let (job, generation, rank) = (work.job.clone(), work.generation, work.rank);
                let layout = Layout::new([("weight".into(), vec![40, 1000]), ("bias".into(), vec![10])]);
                self.set_phase(index, Phase::Prepared);
                self.say(index, WorkerEvent::Prepared { job, generation, rank, layout });
                self.wake(index, 1);
            }
            Phase::Prepared if work.begun => self.load(index, &work),
            Phase::Computing | Phase::Measuring => self.together(index, work),
            Phase::WaitsForCommit => self.after_commit(index, &work),
            Phase::Task => self.finish_task(index, &work),
            Phase::Prepared | Phase::Left => {}
        }
    }

    fn set_phase(&mut self, index: usize, phase: Phase) {
        if let Some(work) = &mut self.workers[index].work {
            work.phase = phase;
        }
    }

    /// Reads the checkpoint that the work goes on from.
    fn load(&mut self, index: usize, work: &Work) {
        let mut state = 0;
        if let Some(last) = work.committed.last() {
            if last.shards.is_empty() {
                let what = format!("{}: the last round's checkpoint was released", work.job);
                return self.checks.break_promise("no-needed-checkpoint-is-deleted", what);
            }
            for shard in &last.shards {
                match self.artifacts.state(shard) {
                    Some(found) => state = found,
                    None => return self.fails(index, "a checkpoint is altered or missing", vec![shard.clone()]),
                }
            }
        }
        if let Some(work) = &mut self.workers[index].work {
            work.state = state;
        }
        self.next_round(index);
    }

    fn next_round(&mut self, index: usize) {
        let Some(work) = &mut self.workers[index].work else { return };
        work.waits_since = Some(self.now);
        work.calls += 1;
        work.phase = if next_place(work.computed).is_some() { Phase::Computing } else { Phase::Measuring };
        let delay = self.between(300, 2000);
        self.wake(index, delay);
    }

    /// A call of all members: it ends when all have entered it, fails when one is dead, waits when one stands still.
    fn together(&mut self, index: usize, work: Work) {
        let mut here = 0;
        let (mut dead, mut passed) = (false, false);
        let mut ranks = vec![false; work.world as usize];
        for other in &self.workers {
            let Some(theirs) = other.work.as_ref().filter(|w| w.job == work.job && w.generation == work.generation)
            else {
                continue;
            };
            ranks[theirs.rank.0 as usize] = other.alive;
            if theirs.phase == Phase::Left {
                // After its part is done its socket closes; before, that is a lost peer.
                dead |= theirs.calls <= work.calls && work.phase != Phase::Measuring;
                here += u32::from(work.phase == Phase::Measuring);
            } else if theirs.calls > work.calls {
                passed = true;
            } else if theirs.calls == work.calls && theirs.waits_since.is_some() && !other.frozen {
                here += 1;
            }
        }
        dead |= work.phase == Phase::Computing && ranks.contains(&false);
        if work.phase == Phase::Measuring && ranks.contains(&false) && !passed && work.rank.0 == 0 {
            // A member that had left for good is done; one that died before is not known here. It measures alone.
            here = work.world;
        }
        if dead && !passed {
            return self.fails(index, "the peer closed the connection", Vec::new());
        }
        if here < work.world && !passed && work.phase == Phase::Computing {
            if self.now - work.waits_since.unwrap_or(self.now) > COLLECTIVE_DEADLINE {
                return self.fails(index, "waited for its peers for too long", Vec::new());
            }
            return self.wake(index, 50);
        }
        self.entered(index, &work);
    }

    fn entered(&mut self, index: usize, work: &Work) {
        let Some(mine) = &mut self.workers[index].work else { return };
        mine.waits_since = None;
        if work.phase == Phase::Measuring {
            return self.finish(index, work);
        }
        let Some(place) = next_place(work.computed) else { return };
        mine.computed = Some(place);
        mine.state = state_after(work.state, place, work.world);
        // Others may still be on their way out of this call.
        mine.calls += 1;
        mine.phase = Phase::WaitsForCommit;
        let ahead = jobs::rounds_between(mine.committed.last().map(|m| (m.step.0, m.round.0)), place);
        if ahead > 2 {
            let what = format!("{}: {place:?} was computed with {ahead} rounds not committed", work.job);
            self.checks.break_promise("a-killed-worker-costs-two-rounds-at-most", what);
        }
        self.wake(index, 1);
    }

    /// Hands the computed round over once the one before it is committed.
    fn after_commit(&mut self, index: usize, work: &Work) {
        let Some(place) = work.computed else { return };
        let committed = work.committed.last().map(|m| (m.step.0, m.round.0));
        if committed >= Some(place) {
            return self.next_round(index);
        }
        if jobs::rounds_between(committed, place) > 1 {
            return;
        }
        let content = Content { job: work.job.clone(), place, rank: work.rank, state: work.state };
        let Some(shard) = self.artifacts.put(content, self.now) else {
            return self.fails(index, "no space left on device", Vec::new());
        };
        let is_last = place.1 == STEPS[usize::from(place.0 != STEPS[0].0)].1;
        let outcome = StepOutcome {
            selected: Round(place.1),
            stop: StopReason { rule: "rounds".into(), text: "all rounds are done".into() },
        };
        let round = Box::new(RoundDone {
            step: StepIndex(place.0),
            round: Round(place.1),
            shard,
            record: jobs::record(place.1),
            best: Round(place.1),
            outcome: is_last.then_some(outcome),
        });
        let (job, generation, rank) = (work.job.clone(), work.generation, work.rank);
        self.say(index, WorkerEvent::ShardDurable { job, generation, rank, round });
        // A step's end waits for its last commit; within a step the next round begins at once.
        if is_last { self.wait_for_last_commit(index) } else { self.next_round(index) }
    }

    fn wait_for_last_commit(&mut self, index: usize) {
        // `Committed` wakes it; until then nothing is to be handed over again.
        self.set_phase(index, Phase::WaitsForCommit);
        if let Some(work) = &mut self.workers[index].work {
            work.waits_since = None;
        }
    }

    fn finish(&mut self, index: usize, work: &Work) {
        let selected = work.committed.iter().filter(|manifest| manifest.outcome.is_some());
        let missing: Vec<Digest> =
            selected.flat_map(|m| &m.shards).filter(|s| self.artifacts.state(s).is_none()).cloned().collect();
        if !missing.is_empty() {
            return self.fails(index, "a result is altered or missing", missing);
        }
        if work.rank.0 == 0 {
            let event = WorkerEvent::Finished {
                job: work.job.clone(),
                generation: work.generation,
                report: Digest(format!("report of {}", work.job)),
                weights: Vec::new(),
                verdict: None,
            };
            self.check_result(work);
            self.say(index, event);
        }
        self.leave(index);
    }

    /// The final weights are the bits of the undisturbed run, if the number of workers was the same throughout.
    fn check_result(&mut self, work: &Work) {
        let worlds: std::collections::BTreeSet<usize> =
            work.committed.iter().filter(|m| !m.shards.is_empty()).map(|m| m.shards.len()).collect();
        let wanted = work.specification.fleet.world_size.0;
        let has_shrunk = work.specification.fleet.at_least.is_some();
        if has_shrunk || worlds != [wanted as usize].into() {
            return;
        }
        let undisturbed = jobs::places().into_iter().fold(0, |state, place| state_after(state, place, wanted));
        if work.state != undisturbed {
            let what = format!("{}: {:016x} instead of {undisturbed:016x}", work.job, work.state);
            self.checks.break_promise("the-bits-of-the-undisturbed-run", what);
        }
        *self.counts.entry("BitsCompared".into()).or_default() += 1;
    }

    fn finish_task(&mut self, index: usize, work: &Work) {
        let Some(task) = work.task else { return };
        let place = (1_000_000, task.0);
        let state = state_after(7, place, 1);
        let content = Content { job: work.job.clone(), place, rank: rewind_job::Rank(0), state };
        let Some(output) = self.artifacts.put(content, self.now) else {
            return self.fails(index, "no space left on device", Vec::new());
        };
        let (job, generation) = (work.job.clone(), work.generation);
        self.say(index, WorkerEvent::TaskDone { job, generation, task, output });
        self.leave(index);
    }
}

impl Work {
    fn new(job: &JobId, generation: Generation, specification: rewind_job::Specification) -> Self {
        Self {
            job: job.clone(),
            generation,
            phase: Phase::Preparing,
            rank: rewind_job::Rank(0),
            world: 1,
            specification,
            task: None,
            committed: Vec::new(),
            computed: None,
            state: 0,
            begun: false,
            waits_since: None,
            calls: 0,
        }
    }
}

/// The round after this one.
pub fn next_place(place: Option<(u32, u32)>) -> Option<(u32, u32)> {
    let all = jobs::places();
    match place {
        None => all.first().copied(),
        Some(place) => all.iter().copied().find(|other| *other > place),
    }
}
