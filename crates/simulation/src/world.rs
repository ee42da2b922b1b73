//! The simulated world: a clock, a queue of what will happen, coordinators that are real, workers and network that are
//! not.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rewind_control::{Event as ControlEvent, Now};
use rewind_coordinator::replica::{Input, Output, Replica};
use rewind_job::{Digest, Term, Timeouts, WorkerCommand, WorkerEvent, WorkerId};
use rewind_state::SimulatedStore;

use crate::{
    artifacts::Artifacts,
    checks::Checks,
    faults::Fault,
    plants::Plant,
    watched::{Log, Watched},
    worker::FakeWorker,
};

/// Milliseconds between two ticks of a coordinator, and between two heartbeats.
pub const BEAT: u64 = 500;
/// A worker's transport notices a peer that does not answer after this (keep-alive interval and timeout).
pub const KEEP_ALIVE: u64 = 4500;
const EVENTS_KEPT: usize = 40;

/// Something that will happen.
#[derive(Clone, Debug)]
pub enum Happening {
    Tick(usize, u64),
    Heartbeat(usize, u64),
    /// A worker tries to begin a session.
    Connect(usize, u64),
    Up {
        connection: u64,
        sequence: u64,
        event: WorkerEvent,
    },
    Down {
        connection: u64,
        term: Term,
        command: WorkerCommand,
    },
    BrokenAtCoordinator(u64),
    BrokenAtWorker(u64),
    /// A worker's process reaches its next point.
    Work(usize, u64),
    Fault(Fault),
    Heal(Fault, usize),
    User(usize),
    Deleted(usize, u64, Vec<Digest>),
}

pub struct Coordinator {
    pub replica: Option<Replica>,
    /// Which life this is.
    pub life: u64,
    pub frozen: bool,
    pub waiting: VecDeque<Happening>,
    pub reachable: Arc<AtomicBool>,
}

/// A session's transport: in order in both directions.
pub struct Connection {
    pub worker: usize,
    pub worker_life: u64,
    pub coordinator: usize,
    pub coordinator_life: u64,
    pub up_at: u64,
    pub down_at: u64,
    /// Everything in this direction is lost from now on.
    pub up_is_lost: bool,
    pub down_is_lost: bool,
    pub open_at_coordinator: bool,
}

pub struct World {
    pub rng: ChaCha8Rng,
    pub now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    pub timeouts: Timeouts,
    pub store: Arc<SimulatedStore>,
    pub log: Log,
    pub coordinators: Vec<Coordinator>,
    pub workers: Vec<FakeWorker>,
    pub connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    pub artifacts: Artifacts,
    pub checks: Checks,
    pub plant: Option<Plant>,
    pub faults: BTreeMap<String, u64>,
    pub counts: BTreeMap<String, u64>,
    pub events: u64,
    pub recent: VecDeque<String>,
    pub trace: bool,
    /// Messages of sessions that may come again.
    pub old_messages: Vec<(u64, u64, WorkerEvent)>,
    pub partitioned: Vec<bool>,
    pub delay: u64,
    pub wishes: Vec<ControlEvent>,
    tickets: u64,
    /// Users that wait for an answer.
    asked: BTreeMap<u64, usize>,
}

impl World {
    pub fn new(rng: ChaCha8Rng, coordinators: usize, workers: usize, plant: Option<Plant>, trace: bool) -> Self {
        let mut world = Self {
            rng,
            now: 1_000_000,
            queue: BTreeMap::new(),
            queued: 0,
            timeouts: Timeouts::default(),
            store: Arc::new(SimulatedStore::default()),
            log: Log::default(),
            coordinators: Vec::new(),
            workers: (0..workers).map(FakeWorker::new).collect(),
            connections: BTreeMap::new(),
            next_connection: 0,
            artifacts: Artifacts::default(),
            checks: Checks::default(),
            plant,
            faults: BTreeMap::new(),
            counts: BTreeMap::new(),
            events: 0,
            recent: VecDeque::new(),
            trace,
            old_messages: Vec::new(),
            partitioned: vec![false; workers],
            delay: 0,
            wishes: Vec::new(),
            tickets: 0,
            asked: BTreeMap::new(),
        };
        for index in 0..coordinators {
            world.coordinators.push(Coordinator {
                replica: None,
                life: 0,
                frozen: false,
                waiting: VecDeque::new(),
                reachable: Arc::new(AtomicBool::new(true)),
            });
            world.start_coordinator(index);
        }
        for index in 0..workers {
            world.start_worker(index);
        }
        world
    }

    pub fn after(&mut self, delay: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((self.now + delay, self.queued), happening);
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((time.max(self.now), self.queued), happening);
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.random_range(low..=high)
    }

    /// Lets the next thing happen; none when nothing will.
    pub fn step(&mut self) -> bool {
        let Some(((time, _), happening)) = self.queue.pop_first() else { return false };
        self.store.pass(Duration::from_millis(time - self.now));
        self.now = time;
        self.events += 1;
        if self.trace || self.plant.is_none() {
            let is_noise = matches!(happening, Happening::Tick(..) | Happening::Heartbeat(..));
            let is_beat = matches!(&happening, Happening::Up { event: WorkerEvent::Heartbeat, .. });
            if !is_noise && !is_beat {
                self.note(|| brief(&happening));
            }
        }
        self.happen(happening);
        true
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} {}", self.now, text());
        } else if cfg!(debug_assertions) && self.recent.capacity() > 0 {
            if self.recent.len() == EVENTS_KEPT {
                self.recent.pop_front();
            }
            self.recent.push_back(format!("{:>9} {}", self.now, text()));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick(index, life) => {
                if self.coordinators[index].life == life {
                    self.after(BEAT, Happening::Tick(index, life));
                    if !self.coordinators[index].frozen {
                        self.give(index, Input::Tick);
                    }
                }
            }
            Happening::Up { connection, .. } | Happening::BrokenAtCoordinator(connection) => {
                let Some(found) = self.connections.get(&connection) else { return };
                let coordinator = &mut self.coordinators[found.coordinator];
                if coordinator.life != found.coordinator_life {
                    return;
                }
                if coordinator.frozen {
                    return coordinator.waiting.push_back(happening);
                }
                self.arrive(happening);
            }
            Happening::Down { connection, term, command } => self.command_arrives(connection, term, command),
            Happening::BrokenAtWorker(connection) => self.session_breaks(connection),
            Happening::Heartbeat(index, life) => self.heartbeat(index, life),
            Happening::Connect(index, life) => self.connect(index, life),
            Happening::Work(index, life) => self.work(index, life),
            Happening::Fault(fault) => self.fail(fault),
            Happening::Heal(fault, index) => self.heal(fault, index),
            Happening::User(index) => self.user_asks(index),
            Happening::Deleted(index, life, digests) => {
                if self.coordinators[index].life == life {
                    self.give(index, Input::Deleted(digests));
                }
            }
        }
    }

    /// Something reaches a coordinator that runs.
    fn arrive(&mut self, happening: Happening) {
        match happening {
            Happening::Up { connection, sequence, mut event } => {
                let Some(found) = self.connections.get(&connection) else { return };
                let (index, worker) = (found.coordinator, self.workers[found.worker].name.clone());
                if sequence > 0 && self.old_messages.len() < 64 {
                    self.old_messages.push((connection, sequence, event.clone()));
                }
                self.tamper(index, &worker, &mut event);
                if matches!(event, WorkerEvent::Joined { .. }) {
                    return self.give(index, Input::SessionBegan { worker, session: connection, joined: event });
                }
                self.give(index, Input::Said { worker, session: connection, sequence, event });
            }
            Happening::BrokenAtCoordinator(connection) => {
                let Some(found) = self.connections.get_mut(&connection) else { return };
                found.open_at_coordinator = false;
                let (index, worker) = (found.coordinator, self.workers[found.worker].name.clone());
                let input = match self.plant {
                    Some(Plant::LossIsFailure) => {
                        Input::Garbled { worker, session: connection, problem: "planted".into() }
                    }
                    _ => Input::SessionEnded { worker, session: connection },
                };
                self.give(index, input);
            }
            _ => {}
        }
    }

    /// Planted bugs that change what a coordinator hears.
    fn tamper(&mut self, index: usize, worker: &WorkerId, event: &mut WorkerEvent) {
        let Some(plant @ (Plant::NoGenerationCheck | Plant::ReattachedBlindly)) = self.plant else { return };
        let Some(control) = self.coordinators[index].replica.as_ref().and_then(Replica::control) else { return };
        let present = |job: &rewind_job::JobId| control.status(job).map(|status| status.generation);
        match (plant, event) {
            (
                Plant::NoGenerationCheck,
                WorkerEvent::ShardDurable { job, generation, .. }
                | WorkerEvent::Prepared { job, generation, .. }
                | WorkerEvent::Failed { job, generation, .. }
                | WorkerEvent::Left { job, generation, .. }
                | WorkerEvent::Finished { job, generation, .. },
            ) => *generation = present(job).unwrap_or(*generation),
            (Plant::ReattachedBlindly, WorkerEvent::Joined { working, .. }) => {
                let duty = control.duties().find(|(name, _)| *name == worker);
                if let Some((_, rewind_control::Duty::Assigned(job, generation))) = duty {
                    let (job, generation) = (job.clone(), *generation);
                    *working = Some(rewind_job::Working { job, generation, committed: None });
                }
            }
            _ => {}
        }
    }

    /// A coordinator decides; what it decides is checked and done.
    pub fn give(&mut self, index: usize, input: Input) {
        let now = Now(self.now);
        let early = (self.plant == Some(Plant::AcknowledgedTooEarly)).then(|| early_acknowledgement(&input)).flatten();
        let coordinator = &mut self.coordinators[index];
        let life = coordinator.life;
        let Some(replica) = &mut coordinator.replica else { return };
        let number = index * 1000 + life as usize;
        let had_led = replica.term().is_some();
        if had_led {
            let works_on = |worker: &WorkerId| {
                let mut duties = replica.control().into_iter().flat_map(rewind_control::Control::duties);
                duties.find(|(name, _)| *name == worker).and_then(|(_, duty)| match duty {
                    rewind_control::Duty::Assigned(job, generation)
                    | rewind_control::Duty::Task(job, generation, _) => Some((job.clone(), *generation)),
                    _ => None,
                })
            };
            self.checks.reasons.hear(number, &input, self.now, works_on);
        }
        self.checks.now = self.now;
        let outcome = replica.handle(input, now);
        let waits = replica.waits_for_store();
        if !had_led && replica.term().is_some() {
            self.checks.reasons.leads(number, self.now);
        }
        for landed in self.log.take() {
            self.checks.landed(&landed, &self.artifacts);
            if self.plant == Some(Plant::DeletedTooEarly) {
                self.delete_too_early(&landed.writes);
            }
        }
        self.checks.reasons.waits(number, waits, self.now);
        let outputs = match outcome {
            Ok(outputs) => outputs,
            Err(error) => {
                self.checks.break_promise("a-coordinator-lives", format!("a coordinator ended: {error}"));
                return;
            }
        };
        if let Some((connection, command)) = early.filter(|_| waits) {
            let term = self.coordinators[index].replica.as_ref().and_then(Replica::term).unwrap_or_default();
            self.send_down(connection, term, command);
        }
        let sent: Vec<_> = outputs
            .iter()
            .filter_map(|output| match output {
                Output::Send { worker, command, .. } => Some((worker.clone(), command.clone())),
                _ => None,
            })
            .collect();
        self.checks.sent(&sent);
        for output in outputs {
            self.carry_out(index, life, output);
        }
        if let Some(replica) = &self.coordinators[index].replica
            && let (Some(control), Some(term)) = (replica.control(), replica.term())
            && !replica.waits_for_store()
            && self.store_knows(term)
        {
            let shown = control.jobs();
            self.checks.shown(&shown);
        }
    }

    /// Whether this term still leads in the store.
    fn store_knows(&self, term: Term) -> bool {
        use rewind_state::StateStore;
        self.store.leader().ok().flatten().is_some_and(|leader| leader.term == term)
    }

    fn delete_too_early(&mut self, writes: &[rewind_state::Write]) {
        let manifests = writes.iter().filter(|write| write.key.starts_with("manifest/"));
        let manifest = manifests.filter_map(|write| write.value.as_deref()).next();
        let manifest = manifest.and_then(|value| serde_json::from_slice::<rewind_job::Manifest>(value).ok());
        if let Some(shard) = manifest.and_then(|manifest| manifest.shards.first().cloned()) {
            self.artifacts.delete_if_older(&shard, u64::MAX);
            self.checks.deleted(&shard);
        }
    }

    fn carry_out(&mut self, index: usize, life: u64, output: Output) {
        match output {
            Output::Send { session, term, command, .. } => self.send_down(session, term, command),
            Output::CloseSession { session, .. } => {
                if let Some(connection) = self.connections.get_mut(&session) {
                    connection.open_at_coordinator = false;
                    let (at, lost) = (connection.down_at, connection.down_is_lost);
                    if !lost {
                        self.at(at + 2, Happening::BrokenAtWorker(session));
                    }
                }
            }
            Output::Delete(doomed) => {
                for (artifact, decided) in &doomed {
                    if self.artifacts.delete_if_older(artifact, decided.0) {
                        self.checks.deleted(artifact);
                    }
                }
                let delay = self.between(1, 300);
                let gone = doomed.into_iter().map(|(artifact, _)| artifact).collect();
                self.after(delay, Happening::Deleted(index, life, gone));
            }
            Output::Count(count) => *self.counts.entry(format!("{count:?}")).or_default() += 1,
            Output::Leads(_) => *self.counts.entry("Leads".into()).or_default() += 1,
            Output::StandsBy(_) => *self.counts.entry("StandsBy".into()).or_default() += 1,
            Output::Refuse { ticket } => {
                *self.counts.entry("Refused".into()).or_default() += 1;
                if let Some(wish) = self.asked.remove(&ticket) {
                    self.after(1000, Happening::User(wish));
                }
            }
            Output::Answer { ticket, .. } => drop(self.asked.remove(&ticket)),
            Output::Publish(_)
            | Output::Noted(..)
            | Output::OpenMeeting(..)
            | Output::CloseMeeting(..)
            | Output::CloseAllMeetings => {}
        }
    }

    fn latency(&mut self) -> u64 {
        let delay = self.delay;
        self.between(1, 5) + if delay > 0 { self.between(0, delay) } else { 0 }
    }

    fn send_down(&mut self, connection: u64, term: Term, command: WorkerCommand) {
        let latency = self.latency();
        let now = self.now;
        let Some(found) = self.connections.get_mut(&connection) else { return };
        if found.down_is_lost {
            return;
        }
        found.down_at = found.down_at.max(now + latency);
        let at = found.down_at;
        self.at(at, Happening::Down { connection, term, command });
    }

    pub fn send_up(&mut self, connection: u64, sequence: u64, event: WorkerEvent) {
        let latency = self.latency();
        let now = self.now;
        let Some(found) = self.connections.get_mut(&connection) else { return };
        if found.up_is_lost {
            return;
        }
        found.up_at = found.up_at.max(now + latency);
        let at = found.up_at;
        self.at(at, Happening::Up { connection, sequence, event });
    }

    /// The session ends in order at the coordinator's side: a closed socket.
    pub fn close_at_coordinator(&mut self, connection: u64) {
        let Some(found) = self.connections.get(&connection) else { return };
        let (at, lost) = (found.up_at, found.up_is_lost);
        if !lost {
            self.at(at + 2, Happening::BrokenAtCoordinator(connection));
        }
    }

    /// A transport to a coordinator that answers; its number is the session's.
    pub fn open(&mut self, worker: usize, coordinator: usize) -> u64 {
        self.next_connection += 1;
        let connection = Connection {
            worker,
            worker_life: self.workers[worker].life,
            coordinator,
            coordinator_life: self.coordinators[coordinator].life,
            up_at: self.now,
            down_at: self.now,
            up_is_lost: false,
            down_is_lost: false,
            open_at_coordinator: true,
        };
        self.connections.insert(self.next_connection, connection);
        self.next_connection
    }

    pub fn start_coordinator(&mut self, index: usize) {
        self.coordinators[index].life += 1;
        let life = self.coordinators[index].life;
        let store = Watched {
            replica: index * 1000 + life as usize,
            store: self.store.clone(),
            reachable: self.coordinators[index].reachable.clone(),
            log: self.log.clone(),
            plant: self.plant,
        };
        let replica = Replica::new(Arc::new(store), format!("coordinator-{index}#{life}"), self.timeouts);
        let coordinator = &mut self.coordinators[index];
        coordinator.replica = Some(replica);
        coordinator.frozen = false;
        coordinator.waiting.clear();
        let delay = self.between(1, BEAT);
        self.after(delay, Happening::Tick(index, life));
    }

    pub fn crash_coordinator(&mut self, index: usize) {
        // Its users ask again.
        let asked = std::mem::take(&mut self.asked);
        let coordinator = &mut self.coordinators[index];
        coordinator.replica = None;
        coordinator.life += 1;
        coordinator.frozen = false;
        coordinator.waiting.clear();
        for wish in asked.into_values() {
            self.after(1000, Happening::User(wish));
        }
        let broken: Vec<u64> =
            self.connections.iter().filter(|(_, c)| c.coordinator == index).map(|(n, _)| *n).collect();
        for connection in broken {
            self.after(3, Happening::BrokenAtWorker(connection));
        }
    }

    pub fn thaw_coordinator(&mut self, index: usize) {
        self.coordinators[index].frozen = false;
        let waiting = std::mem::take(&mut self.coordinators[index].waiting);
        for happening in waiting {
            self.arrive(happening);
        }
    }

    pub fn leader(&self) -> Option<usize> {
        let leads = |c: &Coordinator| c.replica.as_ref().is_some_and(|replica| replica.term().is_some());
        // The youngest term, should a deposed one not know yet.
        let leading = self.coordinators.iter().enumerate().filter(|(_, coordinator)| leads(coordinator));
        leading.max_by_key(|(_, c)| c.replica.as_ref().and_then(Replica::term)).map(|(index, _)| index)
    }

    pub fn ask(&mut self, event: ControlEvent, wish: Option<usize>) {
        let Some(leader) = self.leader().filter(|leader| !self.coordinators[*leader].frozen) else { return };
        self.tickets += 1;
        if let Some(wish) = wish {
            self.asked.insert(self.tickets, wish);
        }
        self.give(leader, Input::Ask { ticket: self.tickets, event });
    }

    pub fn set_reachable(&self, index: usize, reachable: bool) {
        self.coordinators[index].reachable.store(reachable, Ordering::Relaxed);
    }

    pub fn is_reachable(&self, index: usize) -> bool {
        self.coordinators[index].reachable.load(Ordering::Relaxed)
    }

    pub fn keep_recent(&mut self) {
        self.recent.reserve(EVENTS_KEPT);
    }
}

fn early_acknowledgement(input: &Input) -> Option<(u64, WorkerCommand)> {
    match input {
        Input::Said { session, sequence, .. } if *sequence > 0 => {
            Some((*session, WorkerCommand::Acknowledged { sequence: *sequence }))
        }
        _ => None,
    }
}

/// A happening without its bulk.
fn brief(happening: &Happening) -> String {
    let text = match happening {
        Happening::Down { connection, term, command: WorkerCommand::Assign(a) } => {
            format!("Down({connection}, term {term}) Assign {} generation {} rank {}", a.job, a.generation, a.rank)
        }
        Happening::Down { connection, term, command: WorkerCommand::RunTask(t) } => {
            format!("Down({connection}, term {term}) RunTask {} generation {} task {}", t.job, t.generation, t.task)
        }
        Happening::Up { connection, sequence, event: WorkerEvent::Finished { job, generation, .. } } => {
            format!("Up({connection}, {sequence}) Finished {job} generation {generation}")
        }
        other => format!("{other:?}"),
    };
    text.chars().take(220).collect()
}
