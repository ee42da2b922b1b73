//! A worker's session: its events go to the driver, the driver's commands come back.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rewind_artifacts::ArtifactStore;
use rewind_job::{Digest, Failure, Rank, WorkerEvent, WorkerId};
use rewind_proto::{
    PROTOCOL, SHARED_ARTIFACT, not_leader,
    v1::{CoordinatorMessage, Joined, WorkerMessage, fleet_server::Fleet, worker_message::Event},
};
use rewind_telemetry::metrics::{RefusalReason, coordinator::SESSIONS_REFUSED};
use tokio::{sync::oneshot, time::Instant};
use tokio_stream::{Stream, StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue, errors::InvalidMetadataValue},
};

use crate::{
    driver::Driver,
    replica::{Input, SessionNumber},
};

pub struct FleetService {
    driver: Driver,
    artifacts: Arc<dyn ArtifactStore>,
    /// An artifact that a worker of this fleet can read.
    shared: MetadataValue<Ascii>,
    sessions: AtomicU64,
    names: Names,
}

impl FleetService {
    /// # Errors
    /// `shared` is no digest.
    pub fn new(
        driver: Driver,
        artifacts: Arc<dyn ArtifactStore>,
        shared: &Digest,
    ) -> Result<Self, InvalidMetadataValue> {
        let shared = shared.0.parse()?;
        Ok(Self { driver, artifacts, shared, sessions: AtomicU64::new(0), names: Names::default() })
    }
}

/// Which process speaks under each name, in which session.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashMap<WorkerId, (u32, SessionNumber)>>>);

impl Names {
    fn inside(&self) -> MutexGuard<'_, HashMap<WorkerId, (u32, SessionNumber)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a second process under a name whose session lives.
    fn take(&self, worker: &WorkerId, process: u32, session: SessionNumber) -> Result<(), Status> {
        let mut names = self.inside();
        if names.get(worker).is_some_and(|(known, _)| *known != process) {
            SESSIONS_REFUSED.add(RefusalReason::NameTaken, 1);
            let problem = format!("another worker is called {worker}: give each a --name of its own");
            return Err(Status::already_exists(problem));
        }
        names.insert(worker.clone(), (process, session));
        Ok(())
    }

    /// A younger session of the same process keeps the name.
    fn leave(&self, worker: &WorkerId, session: SessionNumber) {
        let mut names = self.inside();
        if names.get(worker).is_some_and(|(_, present)| *present == session) {
            names.remove(worker);
        }
    }
}

/// A worker that connects says who it is within this time.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// Longest name of a worker, in bytes.
const LONGEST_NAME: usize = 128;

#[tonic::async_trait]
impl Fleet for FleetService {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<CoordinatorMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut messages = request.into_inner();
        let lead = self.driver.lead().borrow().clone();
        if lead.term.is_none() {
            SESSIONS_REFUSED.add(RefusalReason::StandsBy, 1);
            return Err(not_leader(lead.leader.as_deref()));
        }
        let (worker, process, joined) = join(&mut messages).await?;
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        self.names.take(&worker, process, session)?;
        tracing::info!(%worker, session, "session began");
        let (to_send, over) = self.driver.begin_session(&worker, session, joined).await;
        let (driver, artifacts, names) = (self.driver.clone(), self.artifacts.clone(), self.names.clone());
        tokio::spawn(async move {
            listen(driver, artifacts, messages, worker.clone(), session, over).await;
            names.leave(&worker, session);
        });
        let mut response: Response<Self::SessionStream> =
            Response::new(Box::pin(UnboundedReceiverStream::new(to_send).map(Ok)));
        response.metadata_mut().insert(SHARED_ARTIFACT, self.shared.clone());
        Ok(response)
    }
}

/// The first message says who the worker is.
async fn join(messages: &mut Streaming<WorkerMessage>) -> Result<(WorkerId, u32, WorkerEvent), Status> {
    let refuse = || {
        SESSIONS_REFUSED.add(RefusalReason::NoJoined, 1);
        Status::invalid_argument("a session begins with Joined")
    };
    let first = tokio::time::timeout(FIRST_MESSAGE, messages.message());
    let first = first.await.map_err(|_| refuse())??.ok_or_else(refuse)?;
    let Some(Event::Joined(Joined { protocol, .. })) = first.event else { return Err(refuse()) };
    if protocol != PROTOCOL {
        SESSIONS_REFUSED.add(RefusalReason::OtherProtocol, 1);
        let problem = format!("the worker speaks form {protocol} of the protocol, this coordinator form {PROTOCOL}");
        return Err(Status::failed_precondition(format!("{problem}: they are of different versions")));
    }
    let joined = WorkerEvent::try_from(first)?;
    let WorkerEvent::Joined { worker, process, version, .. } = &joined else {
        return Err(refuse());
    };
    if worker.0.is_empty() || worker.0.len() > LONGEST_NAME || worker.0.chars().any(char::is_control) {
        SESSIONS_REFUSED.add(RefusalReason::BadName, 1);
        let problem = format!("the name of a worker has 1 to {LONGEST_NAME} bytes and no control characters");
        return Err(Status::invalid_argument(problem));
    }
    if version != rewind_version::VERSION {
        tracing::warn!(%worker, "is of version {version}, this coordinator of {}", rewind_version::VERSION);
    }
    Ok((worker.clone(), *process, joined))
}

/// Messages of one worker that are taken in a second, on average; twice as many at once. A worker sends some two
/// heartbeats and, for each round, some three more.
const MESSAGES_A_SECOND: f64 = 500.0;

/// What a session may still send.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self { left: 2.0 * MESSAGES_A_SECOND, at: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let gained = now.duration_since(self.at).as_secs_f64() * MESSAGES_A_SECOND;
        self.left = (self.left + gained).min(2.0 * MESSAGES_A_SECOND) - 1.0;
        self.at = now;
        self.left >= 0.0
    }
}

/// Bytes of the longest digest, and of what else is stored of a round: a manifest names thousands of shards, and must
/// stay small.
const LONGEST_DIGEST: usize = 128;
const LARGEST_ROUND: usize = 64 << 10;
const LARGEST_FINISH: usize = 64 << 10;

/// What no state store takes is a failure of its job, not of the coordinator.
fn storable(event: WorkerEvent) -> WorkerEvent {
    let bytes_of = |json: serde_json::Result<Vec<u8>>| json.map_or(usize::MAX, |json| json.len());
    let (bytes, limit, what) = match &event {
        WorkerEvent::Finished { report, weights, .. } => {
            let bytes = bytes_of(serde_json::to_vec(&(report, weights)));
            (bytes, LARGEST_FINISH, "what a finished job leaves")
        }
        WorkerEvent::ShardDurable { round, .. } if round.shard.0.len() > LONGEST_DIGEST => {
            (round.shard.0.len(), LONGEST_DIGEST, "the digest of a shard")
        }
        WorkerEvent::ShardDurable { round, .. } => {
            (bytes_of(serde_json::to_vec(round)), LARGEST_ROUND, "the record of a round")
        }
        WorkerEvent::TaskDone { output, .. } => (output.0.len(), LONGEST_DIGEST, "the digest of a history"),
        _ => return event,
    };
    let Some((job, generation)) = event.work().filter(|_| bytes > limit) else { return event };
    let reason = format!("{what} has {bytes} bytes, and at most {limit} can be stored");
    let failure = Failure { reason, retryable: false, bad_checkpoints: Vec::new() };
    WorkerEvent::Failed { job: job.clone(), generation, rank: Rank(0), failure }
}

/// A checkpoint that the coordinator itself reads is not bad: a worker that cannot read it costs no committed round.
async fn verified(event: WorkerEvent, artifacts: &Arc<dyn ArtifactStore>) -> WorkerEvent {
    let WorkerEvent::Failed { job, generation, rank, mut failure } = event else { return event };
    let claimed = std::mem::take(&mut failure.bad_checkpoints);
    if !claimed.is_empty() {
        let artifacts = artifacts.clone();
        let is_bad = move |digest: &Digest| artifacts.get(digest).is_err_and(|error| !error.is_retryable());
        let look = move || claimed.into_iter().filter(is_bad).collect();
        failure.bad_checkpoints = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        if failure.bad_checkpoints.is_empty() {
            failure.retryable = true;
            failure.reason.push_str("; the coordinator has it: does the worker see the same artifacts?");
        }
    }
    WorkerEvent::Failed { job, generation, rank, failure }
}

/// Passes a worker's events on until the session breaks, or the driver ends it.
async fn listen(
    driver: Driver,
    artifacts: Arc<dyn ArtifactStore>,
    mut messages: Streaming<WorkerMessage>,
    worker: WorkerId,
    session: u64,
    mut over: oneshot::Receiver<()>,
) {
    let mut allowance = Allowance::new();
    loop {
        let message = tokio::select! {
            _ = &mut over => return,
            message = messages.message() => message,
        };
        if !allowance.take() {
            let problem = format!("more than {MESSAGES_A_SECOND} messages a second");
            return driver.give(Input::Garbled { worker, session, problem }).await;
        }
        let sequence = message.as_ref().ok().and_then(Option::as_ref).map_or(0, |message| message.sequence);
        let event = match message {
            Ok(Some(message)) => WorkerEvent::try_from(message).map_err(|error| error.to_string()),
            Ok(None) => break,
            Err(status) => {
                tracing::debug!(%worker, "session broke: {}", status.message());
                break;
            }
        };
        let worker = worker.clone();
        match event {
            Ok(WorkerEvent::Joined { .. }) => {
                let problem = "Joined twice in a session".to_owned();
                return driver.give(Input::Garbled { worker, session, problem }).await;
            }
            Ok(event) => {
                let event = storable(verified(event, &artifacts).await);
                driver.give(Input::Said { worker, session, sequence, event }).await;
            }
            Err(problem) => return driver.give(Input::Garbled { worker, session, problem }).await,
        }
    }
    driver.give(Input::SessionEnded { worker, session }).await;
}
