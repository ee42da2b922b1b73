//! The replica in the real world: one thread runs it, and does what it says, in its order.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rewind_artifacts::ArtifactStore;
use rewind_control::{Control, Count, Duty, Event, LossReason, Now};
use rewind_job::{Digest, JobId, JobState, StepWeights, TaskCount, Term, WorkerEvent, WorkerId};
use rewind_proto::v1::CoordinatorMessage;
use rewind_state::StoreError;
use rewind_telemetry::metrics::{self, coordinator as shown};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{
    rendezvous::Meetings,
    replica::{Input, Output, Replica, SessionNumber},
};

/// The artifact that is a job's report, and the weights of its steps, if it has finished.
pub type StoredReport = Option<(Digest, Vec<StepWeights>)>;

/// Inputs that may wait for the driver; who gives more waits too.
const INPUTS: usize = 1024;

/// What reaches the driver.
enum Message {
    Replica(Input),
    /// A session begins: where its commands go.
    Session {
        worker: WorkerId,
        session: SessionNumber,
        commands: mpsc::UnboundedSender<CoordinatorMessage>,
        /// Dropped when the session must end.
        alive: oneshot::Sender<()>,
    },
    Ask(Event, oneshot::Sender<JobId>),
    /// Reads without deciding.
    Look(Box<dyn FnOnce(&Control) + Send>),
    Report(JobId, oneshot::Sender<Result<StoredReport, StoreError>>),
    /// Give up the lead and stop.
    Stop,
}

/// Whether this coordinator leads, and who does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lead {
    /// Set while this coordinator leads.
    pub term: Option<Term>,
    /// Where the leader is reached, as far as is known.
    pub leader: Option<String>,
}

/// The driver's other side.
#[derive(Clone)]
pub struct Driver {
    messages: mpsc::Sender<Message>,
    published: broadcast::Sender<JobId>,
    lead: watch::Receiver<Lead>,
}

impl Driver {
    /// A driver that has stopped takes nothing; its callers are being stopped too.
    pub async fn give(&self, input: Input) {
        let _ = self.messages.send(Message::Replica(input)).await;
    }

    /// Begins a session; returns its commands, and what ends when it must.
    pub async fn begin_session(
        &self,
        worker: &WorkerId,
        session: SessionNumber,
        joined: WorkerEvent,
    ) -> (mpsc::UnboundedReceiver<CoordinatorMessage>, oneshot::Receiver<()>) {
        let (commands, to_send) = mpsc::unbounded_channel();
        let (alive, over) = oneshot::channel();
        let _ = self.messages.send(Message::Session { worker: worker.clone(), session, commands, alive }).await;
        self.give(Input::SessionBegan { worker: worker.clone(), session, joined }).await;
        (to_send, over)
    }

    /// Returns the job when the decision is durable; none when this coordinator does not lead.
    pub async fn ask(&self, event: Event) -> Option<JobId> {
        let (answer, answered) = oneshot::channel();
        let _ = self.messages.send(Message::Ask(event, answer)).await;
        answered.await.ok()
    }

    /// Asks control for something, without changing it; none when this coordinator does not lead.
    pub async fn look<T: Send + 'static>(&self, look: impl FnOnce(&Control) -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let message = Message::Look(Box::new(move |control| drop(answer.send(look(control)))));
        let _ = self.messages.send(message).await;
        answered.await.ok()
    }

    pub async fn report(&self, job: JobId) -> Option<Result<StoredReport, StoreError>> {
        let (answer, answered) = oneshot::channel();
        let _ = self.messages.send(Message::Report(job, answer)).await;
        answered.await.ok()
    }

    pub async fn stop(&self) {
        let _ = self.messages.send(Message::Stop).await;
    }

    /// Names of jobs whenever their status changes.
    pub fn subscribe(&self) -> broadcast::Receiver<JobId> {
        self.published.subscribe()
    }

    pub fn lead(&self) -> watch::Receiver<Lead> {
        self.lead.clone()
    }
}

struct Session {
    number: SessionNumber,
    commands: mpsc::UnboundedSender<CoordinatorMessage>,
    _alive: oneshot::Sender<()>,
}

struct Actor {
    replica: Replica,
    meetings: Arc<Meetings>,
    artifacts: Arc<dyn ArtifactStore>,
    sessions: HashMap<WorkerId, Session>,
    asked: HashMap<u64, oneshot::Sender<JobId>>,
    tickets: u64,
    published: broadcast::Sender<JobId>,
    lead: watch::Sender<Lead>,
    /// For what the actor tells itself.
    messages: mpsc::WeakSender<Message>,
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

/// Starts the driver's thread. It ends, with the error that ended it, after [`Driver::stop`] or when the store fails.
pub fn start(
    replica: Replica,
    meetings: Arc<Meetings>,
    artifacts: Arc<dyn ArtifactStore>,
) -> std::io::Result<(Driver, oneshot::Receiver<Result<(), StoreError>>)> {
    let (messages, mut received) = mpsc::channel(INPUTS);
    let (published, _) = broadcast::channel(1024);
    let (lead, lead_seen) = watch::channel(Lead::default());
    let (ended, end) = oneshot::channel();
    let driver = Driver { messages: messages.clone(), published: published.clone(), lead: lead_seen };
    let mut actor = Actor {
        replica,
        meetings,
        artifacts,
        sessions: HashMap::new(),
        asked: HashMap::new(),
        tickets: 0,
        published,
        lead,
        messages: messages.downgrade(),
        clock: Clock::new(),
    };
    std::thread::Builder::new().name("driver".into()).spawn(move || {
        let mut outcome = Ok(());
        while outcome.is_ok()
            && let Some(message) = received.blocking_recv()
        {
            if matches!(message, Message::Stop) {
                actor.replica.resign();
                break;
            }
            outcome = actor.take(message);
        }
        let _ = ended.send(outcome);
    })?;
    Ok((driver, end))
}

impl Actor {
    fn take(&mut self, message: Message) -> Result<(), StoreError> {
        match message {
            Message::Replica(input) => {
                if let Input::Said { worker, event, .. } = &input
                    && !matches!(event, WorkerEvent::Heartbeat | WorkerEvent::Progress { .. })
                {
                    tracing::debug!(%worker, ?event, "said");
                }
                self.decide(input)?;
            }
            Message::Session { worker, session, commands, alive } => {
                self.sessions.insert(worker, Session { number: session, commands, _alive: alive });
            }
            Message::Ask(event, answer) => {
                self.tickets += 1;
                self.asked.insert(self.tickets, answer);
                self.decide(Input::Ask { ticket: self.tickets, event })?;
            }
            Message::Look(look) => {
                if let Some(control) = self.replica.control() {
                    look(control);
                }
            }
            Message::Report(job, answer) => {
                if let Some(records) = self.replica.records() {
                    let _ = answer.send(records.report(&job));
                }
            }
            Message::Stop => {}
        }
        Ok(())
    }

    fn decide(&mut self, input: Input) -> Result<(), StoreError> {
        let (waited, is_tick) = (self.replica.waits_for_store(), matches!(input, Input::Tick));
        for output in self.replica.handle(input, self.clock.now())? {
            self.carry_out(output);
        }
        match (waited, self.replica.waits_for_store()) {
            (false, true) => tracing::warn!("the state store is away: nothing is committed until it is back"),
            (true, false) => tracing::info!("the state store is back"),
            _ => {}
        }
        let address = |leader: &rewind_state::Leader| leader.address.split('#').next().map(str::to_owned);
        let lead = Lead { term: self.replica.term(), leader: self.replica.leader().and_then(address) };
        if is_tick {
            self.show();
        }
        self.lead.send_if_modified(|before| std::mem::replace(before, lead.clone()) != lead);
        Ok(())
    }

    /// What is, for the metrics.
    fn show(&self) {
        shown::IS_LEADER.set(self.replica.term().is_some());
        shown::FENCING_TERM.set(self.replica.term().map_or(0, |term| term.0));
        shown::WAITS_FOR_STORE.set(self.replica.waits_for_store());
        // Who stands by knows of no jobs, workers and tasks, and shows none.
        let control = self.replica.control();
        let jobs = control.map_or_else(Vec::new, Control::jobs);
        shown::JOBS.count(jobs.iter().map(|status| match status.state {
            JobState::Waiting => metrics::JobState::Waiting,
            JobState::Preparing => metrics::JobState::Preparing,
            JobState::Running => metrics::JobState::Running,
            JobState::Paused => metrics::JobState::Paused,
            JobState::Finished => metrics::JobState::Finished,
            JobState::Failed => metrics::JobState::Failed,
            JobState::Cancelled => metrics::JobState::Cancelled,
        }));
        shown::WORKERS.count(control.into_iter().flat_map(Control::duties).map(|(_, duty)| match duty {
            Duty::Idle => metrics::Duty::Idle,
            Duty::Assigned(..) => metrics::Duty::Gang,
            Duty::Task(..) => metrics::Duty::Task,
            Duty::Leaving(..) => metrics::Duty::Leaving,
        }));
        let tasks = || jobs.iter().filter_map(|status| Some((status.state, status.tasks?)));
        let sum = |of: fn((JobState, TaskCount)) -> u32| tasks().map(of).map(u64::from).sum();
        let open = |(state, tasks): (JobState, TaskCount)| match state {
            JobState::Finished | JobState::Failed | JobState::Cancelled => 0,
            _ => tasks.total.saturating_sub(tasks.running + tasks.done),
        };
        shown::HISTORY_TASKS.set(metrics::TaskState::Open, sum(open));
        shown::HISTORY_TASKS.set(metrics::TaskState::Running, sum(|(_, tasks)| tasks.running));
        shown::HISTORY_TASKS.set(metrics::TaskState::Done, sum(|(_, tasks)| tasks.done));
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { worker, session, term, command } => {
                if let Some(session) = self.sessions.get(&worker).filter(|present| present.number == session) {
                    let message = CoordinatorMessage { term: term.0, ..command.into() };
                    // A session that just broke is reported by its reader.
                    let _ = session.commands.send(message);
                }
            }
            Output::CloseSession { worker, session } => {
                if self.sessions.get(&worker).is_some_and(|present| present.number == session) {
                    self.sessions.remove(&worker);
                }
            }
            Output::Answer { ticket, job } => {
                if let Some(answer) = self.asked.remove(&ticket) {
                    let _ = answer.send(job);
                }
            }
            Output::Refuse { ticket } => drop(self.asked.remove(&ticket)),
            // Nobody watching is no error.
            Output::Publish(job) => drop(self.published.send(job)),
            Output::Noted(job, event) => {
                tracing::info!(%job, generation = event.generation.0, "{}", event.text);
            }
            Output::OpenMeeting(job, generation) => self.meetings.open(&job, generation),
            Output::CloseMeeting(job, generation) => self.meetings.close(&job, generation),
            Output::CloseAllMeetings => self.meetings.close_all(),
            Output::Delete(artifacts) => self.delete(artifacts),
            Output::Count(count) => add(count),
            Output::Leads(term) => {
                shown::ELECTIONS.add(1);
                tracing::info!(term = term.0, "leads");
            }
            Output::StandsBy(why) => tracing::warn!("stands by: {why}"),
        }
    }

    /// Beside the driver's thread: a store may be slow. Control asks for one deletion at a time.
    fn delete(&self, doomed: Vec<(Digest, Now)>) {
        let (artifacts, messages) = (self.artifacts.clone(), self.messages.clone());
        let delete = move || {
            let gone = doomed.into_iter().filter(|(artifact, decided)| delete(&*artifacts, artifact, *decided));
            let gone = Input::Deleted(gone.map(|(artifact, _)| artifact).collect());
            if let Some(messages) = messages.upgrade() {
                let _ = messages.blocking_send(Message::Replica(gone));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("delete".into()).spawn(delete) {
            tracing::warn!("failed to start a thread: {error}: nothing is deleted until another coordinator leads");
        }
    }
}

/// Returns whether there is no more to do about it.
fn delete(artifacts: &dyn ArtifactStore, artifact: &Digest, decided: Now) -> bool {
    match artifacts.delete_if_older(artifact, UNIX_EPOCH + Duration::from_millis(decided.0)) {
        Ok(true) => {
            shown::CHECKPOINTS_COLLECTED.add(1);
            tracing::debug!(%artifact, "deleted");
        }
        Ok(false) => tracing::debug!(%artifact, "was written again, or is gone: it is left alone"),
        Err(error) => {
            tracing::warn!("{error}; it is tried again later");
            return false;
        }
    }
    true
}

/// Counts a decision in its metric.
fn add(count: Count) {
    let lost = |reason| shown::WORKERS_LOST.add(reason, 1);
    match count {
        Count::Committed => shown::COMMITS.add(1),
        Count::GenerationStarted => shown::GENERATIONS_STARTED.add(1),
        Count::FewerWorkers => shown::GENERATIONS_WITH_FEWER_WORKERS.add(1),
        Count::Lost(LossReason::Silent) => lost(metrics::LossReason::Silent),
        Count::Lost(LossReason::SessionEnded) => lost(metrics::LossReason::SessionEnded),
        Count::Lost(LossReason::NewSession) => lost(metrics::LossReason::NewSession),
        Count::Lost(LossReason::DidNotLeave) => lost(metrics::LossReason::DidNotLeave),
        Count::Lost(LossReason::Unreadable) => lost(metrics::LossReason::Unreadable),
        Count::Reattached => shown::WORKERS_REATTACHED.add(1),
        Count::Drained => shown::WORKERS_DRAINED.add(1),
        Count::StaleMessage => shown::STALE_MESSAGES.add(1),
        Count::TaskStarted => shown::TASKS_STARTED.add(1),
        Count::TaskDone => shown::TASKS_DONE.add(1),
        Count::TaskPreempted => shown::TASKS_PREEMPTED.add(1),
        Count::CheckpointDiscarded => shown::CHECKPOINTS_DISCARDED.add(1),
        Count::DeadlinePassed => shown::DEADLINES_PASSED.add(1),
    }
}
