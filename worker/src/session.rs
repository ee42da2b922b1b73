//! The session with the coordinator: heartbeats and events go up, commands come down. Work outlives sessions.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, mpsc},
    time::Duration,
};

use rewind_artifacts::{ArtifactError, ArtifactStore};
use rewind_client::{AddressError, Coordinators};
use rewind_collective::RendezvousStore;
use rewind_job::{
    Assignment, DeviceKind, Digest, Generation, JobId, Term, Timeouts, WorkerCommand, WorkerEvent, WorkerId, Working,
};
use rewind_proto::{MESSAGE_LIMIT, SHARED_ARTIFACT, v1::fleet_client::FleetClient};
use rewind_telemetry::metrics::worker as metrics;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc as async_mpsc, watch},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, metadata::MetadataMap};

use crate::{
    compute::{self, Todo},
    config::Config,
    device::WorkerDevice,
    link::{EndedBy, Link},
    outbox::Outbox,
    rendezvous::CoordinatorStore,
    run::Bench,
};

/// Between two attempts to reach a coordinator.
const RETRY: Duration = Duration::from_millis(200);

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("{0}")]
    Address(#[from] AddressError),
    #[error("{0}")]
    Security(#[from] rewind_security::SecurityError),
    #[error("{0}")]
    Timeouts(String),
    #[error("{0}")]
    DataRoot(String),
    #[error("{0}")]
    Metrics(String),
    #[error("--health {address}: {source}")]
    Health { address: std::net::SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Artifacts(#[from] rewind_artifacts::ArtifactError),
    /// What this worker stores nobody would find, and the other way round.
    #[error("--artifacts {0}: this is not the fleet's artifact store: what the coordinator put there is missing")]
    OtherArtifacts(String),
    #[error("--bind {address}: is no address of this machine: {source}")]
    Bind { address: String, source: std::io::Error },
    #[error("failed to start: {0}")]
    Io(#[from] std::io::Error),
}

/// Serves the coordinators until one says `Shutdown`, or until Ctrl-C. On SIGTERM the worker asks to be let go, which
/// is after the round under way, and ends after `drain` at the latest.
pub async fn serve(config: Config, device: WorkerDevice) -> Result<(), WorkerError> {
    tracing::info!("computes on {device}");
    if let Some(address) = config.metrics {
        metrics::serve(address).map_err(|error| WorkerError::Metrics(format!("--metrics {address}: {error}")))?;
    }
    let timeouts = config.timeouts().map_err(WorkerError::Timeouts)?;
    let coordinators = Coordinators::new(config.coordinators.clone(), config.tls()?, timeouts)?;
    let artifacts = rewind_artifacts::open(&config.artifacts)?;
    // Found now, and not when a gang forms.
    std::net::TcpListener::bind((config.bind.as_str(), 0))
        .map_err(|source| WorkerError::Bind { address: config.bind.clone(), source })?;
    let (in_session, is_in_session) = watch::channel(false);
    if let Some(address) = config.health {
        rewind_proto::health::serve(address, is_in_session)
            .await
            .map_err(|source| WorkerError::Health { address, source })?;
    }
    let (todo, assignments) = mpsc::channel();
    let bench = Bench {
        artifacts: artifacts.clone(),
        rendezvous: Box::new({
            let (coordinators, runtime) = (coordinators.clone(), tokio::runtime::Handle::current());
            move |assignment: &Assignment| -> Arc<dyn RendezvousStore> {
                Arc::new(CoordinatorStore::new(coordinators.present().1, runtime.clone(), assignment))
            }
        }),
        bind_address: config.bind.clone(),
        device: device.clone(),
        flight_records: config.flight_records.clone(),
        timeouts,
        data_roots: config.resolved_data_roots().map_err(WorkerError::DataRoot)?,
    };
    compute::start(assignments, bench)?;

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (drain, draining) = watch::channel(false);
    let outbox = Outbox::default();
    let mut worker = Worker {
        config,
        device: device.kind(),
        timeouts,
        todo,
        outbox: outbox.clone(),
        artifacts,
        process: RandomState::new().hash_one(()) as u32,
        draining,
        in_session,
        present: None,
        term: Term(0),
        had_session: false,
    };
    let drained = async {
        terminate.recv().await;
        tracing::info!("SIGTERM: leaves after the round under way, within {:?}", timeouts.drain);
        let _ = drain.send(true);
        outbox.mention(WorkerEvent::Draining);
        tokio::time::sleep(timeouts.drain).await;
    };
    tokio::select! {
        ended = worker.sessions(coordinators) => {
            tracing::info!("ends");
            return ended;
        }
        () = drained => tracing::warn!("was not let go within {:?}", timeouts.drain),
        _ = interrupt.recv() => tracing::info!("interrupted"),
    }
    Ok(())
}

/// What a call failed with, down to its cause: why a certificate was refused stands at the bottom.
fn whole(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

enum End {
    Shutdown,
    Lost,
    OtherArtifacts,
}

struct Worker {
    config: Config,
    device: DeviceKind,
    artifacts: Arc<dyn ArtifactStore>,
    /// Tells this process from others of its name.
    process: u32,
    timeouts: Timeouts,
    todo: mpsc::Sender<Todo>,
    outbox: Outbox,
    draining: watch::Receiver<bool>,
    /// Whether a leader has this worker: what its readiness says.
    in_session: watch::Sender<bool>,
    /// The work that was given last, until the coordinator knows that it is left.
    present: Option<(JobId, Generation, Link)>,
    /// The youngest leader's; older ones are not obeyed.
    term: Term,
    had_session: bool,
}

impl Worker {
    /// One session after the other, until the worker is to end. The work goes on between them.
    async fn sessions(&mut self, coordinators: Coordinators) -> Result<(), WorkerError> {
        let mut reached = true;
        loop {
            let answer = match self.session(&coordinators).await {
                Ok(End::Shutdown) => return Ok(()),
                Ok(End::OtherArtifacts) => {
                    return Err(WorkerError::OtherArtifacts(self.config.artifacts.clone()));
                }
                Ok(End::Lost) => {
                    tracing::warn!("the session with the coordinator ended; beginning a new one");
                    reached = true;
                    None
                }
                Err(status) => {
                    // Once is enough: the coordinator may be away for long.
                    if reached {
                        let (url, _) = coordinators.present();
                        tracing::warn!("failed to reach the coordinator at {url}: {}; trying on", whole(&status));
                    }
                    reached = false;
                    Some(status)
                }
            };
            self.in_session.send_replace(false);
            self.outbox.disconnect();
            if *self.draining.borrow() && self.present.is_none() {
                return Ok(());
            }
            coordinators.turn_to_another(answer.as_ref());
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn session(&mut self, coordinators: &Coordinators) -> Result<End, Status> {
        let (url, channel) = coordinators.present();
        let working = self.present.as_ref().map(|(job, generation, link)| Working {
            job: job.clone(),
            generation: *generation,
            committed: link.manifests().last().map(|manifest| (manifest.step, manifest.round)),
        });
        let joined = WorkerEvent::Joined {
            worker: WorkerId(self.config.name.clone()),
            process: self.process,
            version: rewind_version::VERSION.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            device: self.device,
            working,
        };
        let mut first = vec![joined];
        if *self.draining.borrow() {
            first.push(WorkerEvent::Draining);
        }
        let (session, to_send) = async_mpsc::unbounded_channel();
        self.outbox.connect(session, first);
        let mut client =
            FleetClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        // A coordinator that stands still accepts connections all the same.
        let answer = tokio::time::timeout(self.timeouts.lease, client.session(UnboundedReceiverStream::new(to_send)));
        let answer = answer.await.map_err(|_| Status::deadline_exceeded(format!("{url} does not answer")))?;
        let answer = answer?;
        if !self.shares_artifacts(answer.metadata()).await {
            return Ok(End::OtherArtifacts);
        }
        let mut commands = answer.into_inner();
        tracing::info!(coordinator = %url, "session began");
        self.in_session.send_replace(true);
        metrics::SESSIONS_BEGUN.add(1);
        if std::mem::replace(&mut self.had_session, true) {
            metrics::RECONNECTS.add(1);
        }
        let mut heartbeat = tokio::time::interval(self.timeouts.heartbeat);
        loop {
            tokio::select! {
                _ = heartbeat.tick() => self.outbox.mention(WorkerEvent::Heartbeat),
                message = commands.message() => {
                    let Ok(Some(message)) = message else { return Ok(End::Lost) };
                    if Term(message.term) < self.term {
                        tracing::warn!("{url} led in term {}, and term {} has begun: not obeyed", message.term, self.term);
                        return Ok(End::Lost);
                    }
                    self.term = Term(message.term);
                    let command = WorkerCommand::try_from(message)?;
                    if matches!(command, WorkerCommand::Shutdown) {
                        self.leave("the coordinator ended this worker");
                        return Ok(End::Shutdown);
                    }
                    self.obey(command);
                }
            }
        }
    }

    /// Whether what the coordinator put into its artifact store is in this worker's too. A store that is away says
    /// nothing.
    async fn shares_artifacts(&self, header: &MetadataMap) -> bool {
        let Some(shared) = header.get(SHARED_ARTIFACT).and_then(|digest| digest.to_str().ok()) else { return true };
        let (artifacts, digest) = (self.artifacts.clone(), Digest(shared.to_owned()));
        let read = tokio::task::spawn_blocking(move || artifacts.get(&digest));
        let read = tokio::time::timeout(self.timeouts.lease, read).await;
        !matches!(read, Ok(Ok(Err(ArtifactError::Missing(_)))))
    }

    fn obey(&mut self, command: WorkerCommand) {
        match command {
            WorkerCommand::Assign(assignment) => {
                let (job, generation) = (assignment.job.clone(), assignment.generation);
                if let Some(link) = self.take_up(&job, generation) {
                    link.know(&assignment.committed);
                    // The compute thread ends with this process.
                    let _ = self.todo.send(Todo::Gang(assignment, link));
                }
            }
            WorkerCommand::RunTask(task) => {
                if let Some(link) = self.take_up(&task.job.clone(), task.generation) {
                    let _ = self.todo.send(Todo::Task(task, link));
                }
            }
            WorkerCommand::Begin { job, generation, plan } => {
                if let Some(link) = self.link(&job, generation) {
                    link.begin(plan);
                    self.outbox.begun(&job, generation);
                }
            }
            WorkerCommand::Committed { job, generation, manifest } => {
                self.outbox.committed(&job, generation, manifest.step, manifest.round);
                if let Some(link) = self.link(&job, generation) {
                    link.committed(*manifest);
                }
            }
            WorkerCommand::Abort { job, generation, reason } => match self.link(&job, generation) {
                Some(link) if !link.has_left() => link.end(EndedBy::Coordinator, &reason),
                // Nothing to leave: it has left already.
                _ => self.outbox.tell(WorkerEvent::Left { job, generation, last: None }),
            },
            WorkerCommand::Acknowledged { sequence } => {
                if let Some(WorkerEvent::Left { job, generation, .. }) = self.outbox.acknowledged(sequence) {
                    self.outbox.is_over(&job, generation);
                    if self.link(&job, generation).is_some() {
                        self.present = None;
                    }
                }
            }
            WorkerCommand::Shutdown => {}
        }
    }

    /// A line to the compute thread for new work; none if it has this work already, or was given younger work.
    fn take_up(&mut self, job: &JobId, generation: Generation) -> Option<Link> {
        if self.present.as_ref().is_some_and(|(known, present, _)| known == job && *present >= generation) {
            return None;
        }
        self.leave("a newer assignment came");
        let link = Link::new(self.outbox.clone());
        self.present = Some((job.clone(), generation, link.clone()));
        Some(link)
    }

    /// The line to the compute thread, if this is the present generation.
    fn link(&self, job: &JobId, generation: Generation) -> Option<&Link> {
        let (present_job, present, link) = self.present.as_ref()?;
        (present_job == job && *present == generation).then_some(link)
    }

    fn leave(&mut self, reason: &str) {
        if let Some((_, _, link)) = self.present.take() {
            link.end(EndedBy::Coordinator, reason);
        }
    }
}
