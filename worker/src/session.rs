//! The session with the coordinator: heartbeats and events go up, commands come down.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use rewind_artifacts::{ArtifactStore, SharedDirectory};
use rewind_collective::RendezvousStore;
use rewind_job::{Assignment, Generation, JobId, Timeouts, WorkerCommand, WorkerEvent, WorkerId};
use rewind_proto::{
    MESSAGE_LIMIT,
    v1::{WorkerMessage, fleet_client::FleetClient},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc as async_mpsc,
};
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::transport::{Channel, Endpoint};

use crate::{
    compute,
    config::Config,
    link::{EndedBy, Link},
    rendezvous::CoordinatorStore,
    run::Bench,
};

/// Between two attempts to reach the coordinator.
const RETRY: Duration = Duration::from_millis(500);
/// Longest wait for one attempt.
const CONNECT: Duration = Duration::from_secs(5);

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("--coordinator {url}: {source}")]
    Address { url: String, source: tonic::transport::Error },
    #[error("{0}")]
    Artifacts(#[from] rewind_artifacts::ArtifactError),
    #[error("failed to start: {0}")]
    Io(#[from] std::io::Error),
}

/// Serves the coordinator until it says `Shutdown`, or until SIGTERM or Ctrl-C.
pub async fn serve(config: Config) -> Result<(), WorkerError> {
    let timeouts = Timeouts::default();
    let address_error = |source| WorkerError::Address { url: config.coordinator.clone(), source };
    let channel = Endpoint::from_shared(config.coordinator.clone())
        .map_err(address_error)?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(timeouts.detection)
        .keep_alive_timeout(timeouts.detection)
        .connect_lazy();
    let artifacts: Arc<dyn ArtifactStore> = Arc::new(SharedDirectory::open(&config.artifacts)?);
    let (assignments, todo) = mpsc::channel();
    let bench = Bench {
        artifacts,
        rendezvous: Box::new({
            let (channel, runtime) = (channel.clone(), tokio::runtime::Handle::current());
            move |assignment: &Assignment| -> Arc<dyn RendezvousStore> {
                Arc::new(CoordinatorStore::new(channel.clone(), runtime.clone(), assignment))
            }
        }),
        bind_address: config.bind.clone(),
        timeouts,
    };
    compute::start(todo, bench)?;

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut worker = Worker { config, timeouts, assignments, present: None };
    let sessions = async {
        let mut reached = true;
        loop {
            match worker.session(channel.clone()).await {
                Ok(End::Shutdown) => return,
                Ok(End::Lost) => {
                    tracing::warn!("the session with the coordinator ended; beginning a new one");
                    reached = true;
                }
                Err(status) => {
                    // Once is enough: the coordinator may be away for long.
                    if reached {
                        tracing::warn!("failed to reach the coordinator: {}; trying on", status.message());
                    }
                    reached = false;
                }
            }
            worker.leave("the session with the coordinator was lost");
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = sessions => tracing::info!("told to end"),
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("interrupted"),
    }
    Ok(())
}

enum End {
    Shutdown,
    Lost,
}

struct Worker {
    config: Config,
    timeouts: Timeouts,
    assignments: mpsc::Sender<(Assignment, Link)>,
    present: Option<(JobId, Generation, Link)>,
}

impl Worker {
    async fn session(&mut self, channel: Channel) -> Result<End, tonic::Status> {
        let (events, to_send) = async_mpsc::unbounded_channel();
        let joined = WorkerEvent::Joined {
            worker: WorkerId(self.config.name.clone()),
            process: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        };
        // The receiver lives in this function.
        let _ = events.send(joined);
        let messages = UnboundedReceiverStream::new(to_send).map(WorkerMessage::from);
        let mut client =
            FleetClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        let mut commands = client.session(messages).await?.into_inner();
        tracing::info!(coordinator = %self.config.coordinator, "session began");
        let mut heartbeat = tokio::time::interval(self.timeouts.heartbeat);
        loop {
            tokio::select! {
                _ = heartbeat.tick() => {
                    if events.send(WorkerEvent::Heartbeat).is_err() {
                        return Ok(End::Lost);
                    }
                }
                message = commands.message() => match message {
                    Ok(Some(message)) => {
                        let command = WorkerCommand::try_from(message)?;
                        if matches!(command, WorkerCommand::Shutdown) {
                            self.leave("the coordinator ended this worker");
                            return Ok(End::Shutdown);
                        }
                        self.obey(command, &events);
                    }
                    Ok(None) | Err(_) => return Ok(End::Lost),
                },
            }
        }
    }

    fn obey(&mut self, command: WorkerCommand, events: &async_mpsc::UnboundedSender<WorkerEvent>) {
        match command {
            WorkerCommand::Assign(assignment) => {
                if self.link(&assignment.job, assignment.generation).is_some() {
                    return;
                }
                self.leave("a newer assignment came");
                let link = Link::new(&assignment, events.clone());
                self.present = Some((assignment.job.clone(), assignment.generation, link.clone()));
                // The compute thread ends with this process.
                let _ = self.assignments.send((*assignment, link));
            }
            WorkerCommand::Begin { job, generation, plan } => {
                if let Some(link) = self.link(&job, generation) {
                    link.begin(plan);
                }
            }
            WorkerCommand::Committed { job, generation, manifest } => {
                if let Some(link) = self.link(&job, generation) {
                    link.committed(*manifest);
                }
            }
            WorkerCommand::Abort { job, generation, reason } => match self.link(&job, generation) {
                Some(link) => link.end(EndedBy::Coordinator, &reason),
                // Nothing to leave: it has left already.
                None => drop(events.send(WorkerEvent::Left { job, generation })),
            },
            WorkerCommand::Shutdown => {}
        }
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
