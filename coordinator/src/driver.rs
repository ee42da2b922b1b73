//! Carries out decisions: one thread owns control and store, and does what control says, in its order.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rewind_control::{Command, Control, Event, Now};
use rewind_job::{JobId, Report, StepWeights, WorkerCommand, WorkerEvent, WorkerId};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{records::Records, rendezvous::Meetings, store::StoreError};

/// A job's report and the weights of its steps, if it has finished.
pub type StoredReport = Option<(Report, Vec<StepWeights>)>;

/// Inputs that may wait for the driver; who gives more waits too.
const INPUTS: usize = 1024;

/// What reaches the driver.
pub enum Input {
    /// A decision is wanted.
    Event(Event),
    /// A session begins; `Joined` follows.
    SessionBegan {
        worker: WorkerId,
        session: u64,
        commands: mpsc::UnboundedSender<WorkerCommand>,
        /// Dropped when the session must end.
        alive: oneshot::Sender<()>,
    },
    /// A session's worker said something. Ignored when a newer session has taken its place.
    Said {
        worker: WorkerId,
        session: u64,
        event: WorkerEvent,
    },
    /// A session's worker sent what cannot be read.
    Garbled {
        worker: WorkerId,
        session: u64,
        problem: String,
    },
    SessionEnded {
        worker: WorkerId,
        session: u64,
    },
    Submit(Box<rewind_job::Specification>, oneshot::Sender<JobId>),
    /// Reads without deciding.
    Look(Box<dyn FnOnce(&Control) + Send>),
    Report(JobId, oneshot::Sender<Result<StoredReport, StoreError>>),
    /// Tell all workers to end, and stop.
    Stop,
}

/// The driver's other side.
#[derive(Clone)]
pub struct Driver {
    inputs: mpsc::Sender<Input>,
    published: broadcast::Sender<JobId>,
}

impl Driver {
    /// A driver that has stopped takes nothing; its callers are being stopped too.
    pub async fn give(&self, input: Input) {
        let _ = self.inputs.send(input).await;
    }

    /// Asks control for something, without changing it.
    pub async fn look<T: Send + 'static>(&self, look: impl FnOnce(&Control) -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.give(Input::Look(Box::new(move |control| drop(answer.send(look(control)))))).await;
        answered.await.ok()
    }

    /// Names of jobs whenever their status changes.
    pub fn subscribe(&self) -> broadcast::Receiver<JobId> {
        self.published.subscribe()
    }
}

struct Session {
    number: u64,
    commands: mpsc::UnboundedSender<WorkerCommand>,
    _alive: oneshot::Sender<()>,
}

struct Actor {
    control: Control,
    records: Records,
    meetings: Arc<Meetings>,
    sessions: HashMap<WorkerId, Session>,
    published: broadcast::Sender<JobId>,
    clock: Clock,
}

/// Milliseconds since 1970 that never go back, whatever happens to the machine's clock.
struct Clock {
    began: Instant,
    at: u64,
}

impl Clock {
    fn new() -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Self { began: Instant::now(), at }
    }

    fn now(&self) -> Now {
        Now(self.at + self.began.elapsed().as_millis() as u64)
    }
}

/// Starts the driver's thread. It ends, with the error that ended it, after [`Input::Stop`] or when the store fails.
pub fn start(
    control: Control,
    restored: Vec<Command>,
    records: Records,
    meetings: Arc<Meetings>,
) -> std::io::Result<(Driver, oneshot::Receiver<Result<(), StoreError>>)> {
    let (inputs, mut received) = mpsc::channel(INPUTS);
    let (published, _) = broadcast::channel(1024);
    let (ended, end) = oneshot::channel();
    let driver = Driver { inputs, published: published.clone() };
    std::thread::Builder::new().name("driver".into()).spawn(move || {
        let clock = Clock::new();
        let mut actor = Actor { control, records, meetings, sessions: HashMap::new(), published, clock };
        let mut outcome = actor.carry_out(restored);
        while outcome.is_ok()
            && let Some(input) = received.blocking_recv()
        {
            if matches!(input, Input::Stop) {
                for session in actor.sessions.values() {
                    let _ = session.commands.send(WorkerCommand::Shutdown);
                }
                break;
            }
            outcome = actor.take(input);
        }
        let _ = ended.send(outcome);
    })?;
    Ok((driver, end))
}

impl Actor {
    fn take(&mut self, input: Input) -> Result<(), StoreError> {
        match input {
            Input::Event(event) => self.decide(event),
            Input::SessionBegan { worker, session, commands, alive } => {
                self.sessions.insert(worker, Session { number: session, commands, _alive: alive });
                Ok(())
            }
            Input::Said { worker, session, event } if self.is_present(&worker, session) => {
                if !matches!(event, WorkerEvent::Heartbeat | WorkerEvent::Progress { .. }) {
                    tracing::debug!(%worker, ?event, "said");
                }
                self.decide(Event::Said(worker, event))
            }
            Input::Garbled { worker, session, problem } if self.is_present(&worker, session) => {
                tracing::warn!(%worker, "sent a message that cannot be read: {problem}");
                self.decide(Event::Unreadable(worker, problem))
            }
            Input::SessionEnded { worker, session } if self.is_present(&worker, session) => {
                tracing::info!(%worker, "session ended");
                self.sessions.remove(&worker);
                self.decide(Event::SessionEnded(worker))
            }
            Input::Said { .. } | Input::Garbled { .. } | Input::SessionEnded { .. } | Input::Stop => Ok(()),
            Input::Submit(specification, answer) => {
                let job = self.control.next_job();
                self.decide(Event::Submitted(specification))?;
                let _ = answer.send(job);
                Ok(())
            }
            Input::Look(look) => {
                look(&self.control);
                Ok(())
            }
            Input::Report(job, answer) => {
                let _ = answer.send(self.records.report(&job));
                Ok(())
            }
        }
    }

    fn is_present(&self, worker: &WorkerId, session: u64) -> bool {
        self.sessions.get(worker).is_some_and(|present| present.number == session)
    }

    fn decide(&mut self, event: Event) -> Result<(), StoreError> {
        let commands = self.control.handle(event, self.clock.now());
        self.carry_out(commands)
    }

    fn carry_out(&mut self, commands: Vec<Command>) -> Result<(), StoreError> {
        for command in commands {
            match command {
                Command::Store(changes) => {
                    self.records.store(&changes)?;
                    for change in &changes {
                        if let rewind_control::Change::Event(job, event) = change {
                            tracing::info!(%job, generation = event.generation.0, "{}", event.text);
                        }
                    }
                }
                Command::Send(worker, command) => {
                    if let WorkerCommand::Assign(assignment) = &command {
                        self.meetings.open(&assignment.job, assignment.generation);
                    }
                    if let Some(session) = self.sessions.get(&worker) {
                        // A session that just broke is reported by its reader.
                        let _ = session.commands.send(command);
                    }
                }
                Command::CloseSession(worker) => {
                    self.sessions.remove(&worker);
                }
                Command::Publish(job) => {
                    // Nobody watching is no error.
                    let _ = self.published.send(job);
                }
                Command::DropRendezvous(job, generation) => self.meetings.close(&job, generation),
            }
        }
        Ok(())
    }
}
