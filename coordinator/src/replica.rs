//! One of several coordinators: leads or stands by. Decides nothing about jobs itself; it makes decisions durable
//! before they are acted upon, and stops acting when it leads no more.
//!
//! Synchronous, with time as an argument: the driver's thread runs it beside the real world, and the simulation runs it
//! beside a simulated one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rewind_artifacts::digest_of;
use rewind_control::{Change, Command, Control, Count, Event, Now};
use rewind_job::{Digest, Generation, JobEvent, JobId, Term, Timeouts, WorkerCommand, WorkerEvent, WorkerId};
use rewind_state::{Leader, StateStore, StoreError};

use crate::records::Records;

/// Number of a session, unique in its coordinator's life.
pub type SessionNumber = u64;

/// What reaches a coordinator.
#[derive(Debug)]
pub enum Input {
    /// A user wants something; [`Output::Answer`] or [`Output::Refuse`] follows with the same ticket.
    Ask {
        ticket: u64,
        event: Event,
    },
    /// A session begins, with `Joined`. One input: between two, the worker before it could be given work.
    SessionBegan {
        worker: WorkerId,
        session: SessionNumber,
        joined: WorkerEvent,
    },
    /// A session's worker said something. Ignored when a newer session has taken its place.
    Said {
        worker: WorkerId,
        session: SessionNumber,
        sequence: u64,
        event: WorkerEvent,
    },
    /// A session's worker sent what cannot be read.
    Garbled {
        worker: WorkerId,
        session: SessionNumber,
        problem: String,
    },
    SessionEnded {
        worker: WorkerId,
        session: SessionNumber,
    },
    /// [`Output::Delete`] is done.
    Deleted(Vec<Digest>),
    /// Time passed, or the leader may have changed.
    Tick,
}

/// What a coordinator does.
#[derive(Debug, PartialEq)]
pub enum Output {
    Send {
        worker: WorkerId,
        session: SessionNumber,
        term: Term,
        command: WorkerCommand,
    },
    CloseSession {
        worker: WorkerId,
        session: SessionNumber,
    },
    /// What was asked is decided, durably; a submission's job has this name.
    Answer {
        ticket: u64,
        job: JobId,
    },
    /// This coordinator does not lead, or not any more.
    Refuse {
        ticket: u64,
    },
    Publish(JobId),
    Noted(JobId, JobEvent),
    OpenMeeting(JobId, Generation),
    CloseMeeting(JobId, Generation),
    /// No generation meets any more.
    CloseAllMeetings,
    /// Each artifact, and since when it is to be deleted.
    Delete(Vec<(Digest, Now)>),
    Count(Count),
    /// This coordinator leads from now on.
    Leads(Term),
    /// It leads no more, and why.
    StandsBy(String),
}

/// Inputs that are kept while the store is away; ends of sessions and deletions are kept beyond that.
const HELD: usize = 10_000;

/// What waits for the store, in order.
#[derive(Debug)]
enum Pending {
    Command(Command),
    Acknowledge { worker: WorkerId, session: SessionNumber, sequence: u64 },
    Answer { ticket: u64, job: JobId },
}

struct Leading {
    term: Term,
    control: Control,
    records: Records,
    renewed: Now,
    /// Decided, but not durable or not done yet.
    pending: VecDeque<Pending>,
    /// What came while decisions waited for the store: decided upon when they are durable.
    held: VecDeque<Input>,
    away: bool,
    /// The lease may be over, and the store does not answer: another may lead.
    suspended: bool,
}

/// A coordinator.
pub struct Replica {
    store: Arc<dyn StateStore>,
    address: String,
    timeouts: Timeouts,
    leading: Option<Box<Leading>>,
    /// Who leads, as far as is known.
    leader: Option<Leader>,
    /// In order, so that the same inputs have the same outputs.
    sessions: BTreeMap<WorkerId, SessionNumber>,
}

impl Replica {
    /// Stands by until its first [`Input::Tick`]. `address` is where it is reached.
    pub fn new(store: Arc<dyn StateStore>, address: String, timeouts: Timeouts) -> Self {
        Self { store, address, timeouts, leading: None, leader: None, sessions: BTreeMap::new() }
    }

    /// The decisions, while this coordinator leads.
    pub fn control(&self) -> Option<&Control> {
        self.leading.as_ref().map(|leading| &leading.control)
    }

    pub fn records(&self) -> Option<&Records> {
        self.leading.as_ref().map(|leading| &leading.records)
    }

    /// The term in which this coordinator leads, as far as it knows.
    pub fn term(&self) -> Option<Term> {
        self.leading.as_ref().filter(|leading| !leading.suspended).map(|leading| leading.term)
    }

    /// Who leads, as far as is known.
    pub fn leader(&self) -> Option<&Leader> {
        self.leader.as_ref()
    }

    /// Whether decisions wait for the store, or would.
    pub fn waits_for_store(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.away || leading.suspended)
    }

    /// # Errors
    /// A store that cannot be read: this coordinator cannot go on.
    pub fn handle(&mut self, input: Input, now: Now) -> Result<Vec<Output>, StoreError> {
        let mut outputs = Vec::new();
        match input {
            Input::Tick => self.tick(now, &mut outputs)?,
            input if self.leading.is_none() => self.refuse(input, &mut outputs),
            input => self.take(input, now, &mut outputs)?,
        }
        Ok(outputs)
    }

    /// Gives up the lead, so that another coordinator need not wait for the lease to end.
    pub fn resign(&mut self) {
        if let Some(leading) = self.leading.take() {
            let _ = self.store.resign(leading.term);
        }
    }

    fn tick(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), StoreError> {
        if self.leading.is_none() {
            return self.try_to_lead(now, outputs);
        }
        self.renew(now, outputs)?;
        self.flush(outputs)?;
        self.release_held(now, outputs)?;
        let ready = |leading: &&mut Box<Leading>| leading.pending.is_empty() && !leading.suspended;
        if let Some(leading) = self.leading.as_mut().filter(ready) {
            let commands = leading.control.handle(Event::Tick, now);
            leading.pending.extend(commands.into_iter().map(Pending::Command));
            self.flush(outputs)?;
        }
        Ok(())
    }

    fn try_to_lead(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), StoreError> {
        let outcome = match self.store.leader() {
            // One's own name from a life before: that lead has to run out.
            Ok(Some(leader)) => Ok(Err(leader)),
            Ok(None) => self
                .store
                .campaign(&self.address, self.timeouts.lease)
                .map(|leader| if leader.address == self.address { Ok(leader) } else { Err(leader) }),
            Err(error) => Err(error),
        };
        let leader = match outcome {
            Ok(Ok(leader)) => leader,
            Ok(Err(other)) => {
                self.leader = Some(other);
                return Ok(());
            }
            Err(StoreError::Unavailable(_)) => {
                self.leader = None;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let (records, stored) = match Records::open(self.store.clone(), leader.term) {
            Ok(opened) => opened,
            Err(StoreError::Unavailable(_) | StoreError::Deposed(_)) => {
                // What cannot be read cannot be led: another may.
                let _ = self.store.resign(leader.term);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let (control, commands) = Control::restore(self.timeouts, stored.jobs, stored.doomed, now);
        outputs.push(Output::Leads(leader.term));
        let pending = commands.into_iter().map(Pending::Command).collect();
        let term = leader.term;
        self.leader = Some(leader);
        self.leading = Some(Box::new(Leading {
            term,
            control,
            records,
            renewed: now,
            pending,
            held: VecDeque::new(),
            away: false,
            suspended: false,
        }));
        self.flush(outputs)
    }

    /// At half of the lease, and then at every tick until it succeeds.
    fn renew(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), StoreError> {
        let Some(leading) = &mut self.leading else { return Ok(()) };
        if now.since(leading.renewed) < self.timeouts.lease / 2 {
            return Ok(());
        }
        match self.store.renew(leading.term) {
            Ok(()) => {
                leading.renewed = now;
                leading.suspended = false;
            }
            // Losing the lease stops commits, not compute: nothing is told to anybody before another leads. But workers
            // must not wait here while it does: they are let go with their work, and come back if nobody else leads.
            Err(StoreError::Unavailable(_)) if now.since(leading.renewed) > self.timeouts.lease => {
                leading.suspended = true;
                let sessions = std::mem::take(&mut self.sessions).into_iter();
                outputs.extend(sessions.map(|(worker, session)| Output::CloseSession { worker, session }));
            }
            Err(StoreError::Unavailable(_)) => {}
            Err(StoreError::Deposed(term)) => self.stand_by(format!("term {term} is over"), outputs),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take(&mut self, input: Input, now: Now, outputs: &mut Vec<Output>) -> Result<(), StoreError> {
        let Some(leading) = &mut self.leading else { return Ok(()) };
        if !leading.pending.is_empty() {
            // Heartbeats and progress are worth nothing later.
            let passes =
                matches!(&input, Input::Said { event: WorkerEvent::Heartbeat | WorkerEvent::Progress { .. }, .. });
            let is_full = leading.held.len() >= HELD;
            match input {
                _ if passes => {}
                Input::Ask { ticket, .. } if is_full => outputs.push(Output::Refuse { ticket }),
                // It comes again, with all that it had to say.
                Input::SessionBegan { worker, session, .. } | Input::Said { worker, session, .. } if is_full => {
                    outputs.push(Output::CloseSession { worker, session });
                }
                input => leading.held.push_back(input),
            }
            return Ok(());
        }
        let (event, after) = match input {
            Input::Ask { ticket, event } => {
                let job = match &event {
                    Event::Submitted { submission, .. } => leading.control.job_of(submission),
                    Event::CancelWanted(job) | Event::PauseWanted(job) | Event::ResumeWanted(job) => job.clone(),
                    _ => JobId(String::new()),
                };
                (event, Some(Pending::Answer { ticket, job }))
            }
            Input::SessionBegan { worker, session, joined } => {
                if let Some(before) = self.sessions.insert(worker.clone(), session) {
                    outputs.push(Output::CloseSession { worker: worker.clone(), session: before });
                }
                (Event::Said(worker, joined), None)
            }
            Input::Said { worker, session, sequence, event } => {
                if self.sessions.get(&worker) != Some(&session) {
                    return Ok(());
                }
                let settled = sequence > 0 && event.is_settled_when_decided();
                let acknowledge = settled.then(|| Pending::Acknowledge { worker: worker.clone(), session, sequence });
                (Event::Said(worker, event), acknowledge)
            }
            Input::Garbled { worker, session, problem } => {
                if self.sessions.get(&worker) != Some(&session) {
                    return Ok(());
                }
                (Event::Unreadable(worker, problem), None)
            }
            Input::SessionEnded { worker, session } => {
                if self.sessions.get(&worker) != Some(&session) {
                    return Ok(());
                }
                self.sessions.remove(&worker);
                (Event::SessionEnded(worker), None)
            }
            Input::Deleted(artifacts) => (Event::Deleted(artifacts), None),
            Input::Tick => return Ok(()),
        };
        let commands = leading.control.handle(event, now);
        leading.pending.extend(commands.into_iter().map(Pending::Command));
        leading.pending.extend(after);
        self.flush(outputs)
    }

    /// Decides upon what came while decisions waited.
    fn release_held(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), StoreError> {
        while let Some(leading) = self.leading.as_mut().filter(|leading| leading.pending.is_empty()) {
            let Some(input) = leading.held.pop_front() else { return Ok(()) };
            self.take(input, now, outputs)?;
        }
        Ok(())
    }

    /// Carries out what is decided, in order: what must be stored is stored before what follows.
    fn flush(&mut self, outputs: &mut Vec<Output>) -> Result<(), StoreError> {
        loop {
            let Some(leading) = &mut self.leading else { return Ok(()) };
            let Some(next) = leading.pending.front() else {
                leading.away = false;
                return Ok(());
            };
            if let Pending::Command(Command::Store(changes)) = next {
                match leading.records.store(changes) {
                    Ok(()) => {}
                    Err(StoreError::Unavailable(_)) => {
                        leading.away = true;
                        return Ok(());
                    }
                    Err(error @ (StoreError::Deposed(_) | StoreError::Conflict(_))) => {
                        self.stand_by(error.to_string(), outputs);
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
            if let Some(done) = leading.pending.pop_front() {
                self.carry_out(done, outputs);
            }
        }
    }

    fn carry_out(&mut self, pending: Pending, outputs: &mut Vec<Output>) {
        let Some(leading) = &self.leading else { return };
        let term = leading.term;
        let command = match pending {
            Pending::Command(command) => command,
            Pending::Acknowledge { worker, session, sequence } => {
                let command = WorkerCommand::Acknowledged { sequence };
                if self.sessions.get(&worker) == Some(&session) {
                    outputs.push(Output::Send { worker, session, term, command });
                }
                return;
            }
            Pending::Answer { ticket, job } => return outputs.push(Output::Answer { ticket, job }),
        };
        match command {
            Command::Store(changes) => {
                outputs.extend(changes.into_iter().filter_map(|change| match change {
                    Change::Event(job, event) => Some(Output::Noted(job, event)),
                    _ => None,
                }));
            }
            Command::Send(worker, command) => {
                if let WorkerCommand::Assign(assignment) = &command {
                    outputs.push(Output::OpenMeeting(assignment.job.clone(), assignment.generation));
                }
                // A worker that is expected, but has not come yet, learns all when it comes.
                if let Some(&session) = self.sessions.get(&worker) {
                    outputs.push(Output::Send { worker, session, term, command });
                }
            }
            Command::CloseSession(worker) => {
                if let Some(session) = self.sessions.remove(&worker) {
                    outputs.push(Output::CloseSession { worker, session });
                }
            }
            Command::Publish(job) => outputs.push(Output::Publish(job)),
            Command::DropRendezvous(job, generation) => outputs.push(Output::CloseMeeting(job, generation)),
            Command::Delete(artifacts) => outputs.push(Output::Delete(artifacts)),
            Command::Count(count) => outputs.push(Output::Count(count)),
        }
    }

    fn refuse(&mut self, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Ask { ticket, .. } => outputs.push(Output::Refuse { ticket }),
            Input::SessionBegan { worker, session, .. } => outputs.push(Output::CloseSession { worker, session }),
            _ => {}
        }
    }

    /// Another leads, or may. Workers are let go, with all they have to do: they take it to the new leader.
    fn stand_by(&mut self, why: String, outputs: &mut Vec<Output>) {
        let Some(leading) = self.leading.take() else { return };
        self.leader = None;
        for pending in leading.pending {
            if let Pending::Answer { ticket, .. } = pending {
                outputs.push(Output::Refuse { ticket });
            }
        }
        for held in leading.held {
            self.refuse(held, outputs);
        }
        let sessions = std::mem::take(&mut self.sessions).into_iter();
        outputs.extend(sessions.map(|(worker, session)| Output::CloseSession { worker, session }));
        outputs.push(Output::CloseAllMeetings);
        outputs.push(Output::StandsBy(why));
    }
}

/// An address that no other coordinator has, for campaigns: the place, and a name for this process.
pub fn unique_address(url: &str, process: u32, started: u128) -> String {
    let name = digest_of(format!("{url} {process} {started}").as_bytes());
    format!("{url}#{}", &name.0[..8])
}
