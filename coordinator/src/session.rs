//! A worker's session: its events go to the driver, the driver's commands come back.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rewind_job::{Failure, Rank, WorkerEvent, WorkerId};
use rewind_proto::{
    not_leader,
    v1::{CoordinatorMessage, WorkerMessage, fleet_server::Fleet},
};
use rewind_telemetry::metrics::{RefusalReason, coordinator::SESSIONS_REFUSED};
use tokio::{sync::oneshot, time::Instant};
use tokio_stream::{Stream, StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::{driver::Driver, replica::Input};

pub struct FleetService {
    driver: Driver,
    sessions: AtomicU64,
}

impl FleetService {
    pub fn new(driver: Driver) -> Self {
        Self { driver, sessions: AtomicU64::new(0) }
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
        let (worker, joined) = join(&mut messages).await?;
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%worker, session, "session began");
        let (to_send, over) = self.driver.begin_session(&worker, session, joined).await;
        tokio::spawn(listen(self.driver.clone(), messages, worker, session, over));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(to_send).map(Ok))))
    }
}

/// The first message says who the worker is.
async fn join(messages: &mut Streaming<WorkerMessage>) -> Result<(WorkerId, WorkerEvent), Status> {
    let refuse = || {
        SESSIONS_REFUSED.add(RefusalReason::NoJoined, 1);
        Status::invalid_argument("a session begins with Joined")
    };
    let first = tokio::time::timeout(FIRST_MESSAGE, messages.message());
    let first = first.await.map_err(|_| refuse())??.ok_or_else(refuse)?;
    let joined = WorkerEvent::try_from(first)?;
    let WorkerEvent::Joined { worker, version, .. } = &joined else {
        return Err(refuse());
    };
    if worker.0.is_empty() || worker.0.len() > LONGEST_NAME || worker.0.chars().any(char::is_control) {
        SESSIONS_REFUSED.add(RefusalReason::BadName, 1);
        let problem = format!("the name of a worker has 1 to {LONGEST_NAME} bytes and no control characters");
        return Err(Status::invalid_argument(problem));
    }
    if version != env!("CARGO_PKG_VERSION") {
        tracing::warn!(%worker, "is of version {version}, this coordinator of {}", env!("CARGO_PKG_VERSION"));
    }
    Ok((worker.clone(), joined))
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

/// Passes a worker's events on until the session breaks, or the driver ends it.
async fn listen(
    driver: Driver,
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
                let event = storable(event);
                driver.give(Input::Said { worker, session, sequence, event }).await;
            }
            Err(problem) => return driver.give(Input::Garbled { worker, session, problem }).await,
        }
    }
    driver.give(Input::SessionEnded { worker, session }).await;
}
