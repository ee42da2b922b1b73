//! Carries out decisions: one thread owns control and store, and does what control says, in its order.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rewind_control::{Command, Control, Event, Now};
use rewind_job::{JobId, Report, StepWeights, WorkerCommand, WorkerEvent, WorkerId};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{records::Records, rendezvous::Meetings, store::StoreError};

/// What reaches the driver.
pub enum Input {
    /// A decision is wanted.
    Event(Event),
    /// A session begins; `Joined` follows.
    SessionBegan {
        worker: WorkerId,
        session: u64,
        commands: mpsc::UnboundedSender<WorkerCommand>,
    },
    /// A session's worker said something. Ignored when a newer session has taken its place.
    Said {
        worker: WorkerId,
        session: u64,
        event: WorkerEvent,
    },
    SessionEnded {
        worker: WorkerId,
        session: u64,
    },
    Submit(Box<rewind_job::Specification>, oneshot::Sender<JobId>),
    /// Reads without deciding.
    Look(Box<dyn FnOnce(&Control) + Send>),
    Report(JobId, oneshot::Sender<Result<Option<(Report, Vec<StepWeights>)>, StoreError>>),
    /// Tell all workers to end, and stop.
    Stop,
}

/// The driver's other side.
#[derive(Clone)]
pub struct Driver {
    inputs: mpsc::UnboundedSender<Input>,
    published: broadcast::Sender<JobId>,
}

impl Driver {
    /// A driver that has stopped takes nothing; its callers are being stopped too.
    pub fn give(&self, input: Input) {
        let _ = self.inputs.send(input);
    }

    /// Asks control for something, without changing it.
    pub async fn look<T: Send + 'static>(&self, look: impl FnOnce(&Control) -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.give(Input::Look(Box::new(move |control| drop(answer.send(look(control))))));
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
}

struct Actor {
    control: Control,
    records: Records,
    meetings: Arc<Meetings>,
    sessions: HashMap<WorkerId, Session>,
    published: broadcast::Sender<JobId>,
}

/// Starts the driver's thread. It ends, with the error that ended it, after [`Input::Stop`] or when the store fails.
pub fn start(
    control: Control,
    restored: Vec<Command>,
    records: Records,
    meetings: Arc<Meetings>,
) -> std::io::Result<(Driver, oneshot::Receiver<Result<(), StoreError>>)> {
    let (inputs, mut received) = mpsc::unbounded_channel();
    let (published, _) = broadcast::channel(1024);
    let (ended, end) = oneshot::channel();
    let driver = Driver { inputs, published: published.clone() };
    std::thread::Builder::new().name("driver".into()).spawn(move || {
        let mut actor = Actor { control, records, meetings, sessions: HashMap::new(), published };
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

fn now() -> Now {
    Now(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

impl Actor {
    fn take(&mut self, input: Input) -> Result<(), StoreError> {
        match input {
            Input::Event(event) => self.decide(event),
            Input::SessionBegan { worker, session, commands } => {
                self.sessions.insert(worker, Session { number: session, commands });
                Ok(())
            }
            Input::Said { worker, session, event } if self.is_present(&worker, session) => {
                if !matches!(event, WorkerEvent::Heartbeat | WorkerEvent::Progress { .. }) {
                    tracing::debug!(%worker, ?event, "said");
                }
                self.decide(Event::Said(worker, event))
            }
            Input::SessionEnded { worker, session } if self.is_present(&worker, session) => {
                tracing::info!(%worker, "session ended");
                self.sessions.remove(&worker);
                self.decide(Event::SessionEnded(worker))
            }
            Input::Said { .. } | Input::SessionEnded { .. } | Input::Stop => Ok(()),
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
        let commands = self.control.handle(event, now());
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
