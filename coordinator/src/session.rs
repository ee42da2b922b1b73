//! A worker's session: its events go to the driver, the driver's commands come back.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
};

use rewind_job::WorkerEvent;
use rewind_proto::v1::{CoordinatorMessage, WorkerMessage, fleet_server::Fleet};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::driver::{Driver, Input};

pub struct FleetService {
    driver: Driver,
    sessions: AtomicU64,
}

impl FleetService {
    pub fn new(driver: Driver) -> Self {
        Self { driver, sessions: AtomicU64::new(0) }
    }
}

#[tonic::async_trait]
impl Fleet for FleetService {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<CoordinatorMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut messages = request.into_inner();
        let first =
            messages.message().await?.ok_or_else(|| Status::invalid_argument("a session begins with Joined"))?;
        let joined = WorkerEvent::try_from(first)?;
        let WorkerEvent::Joined { worker, .. } = &joined else {
            return Err(Status::invalid_argument("a session begins with Joined"));
        };
        let worker = worker.clone();
        let session = self.sessions.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%worker, session, "session began");
        let (commands, to_send) = mpsc::unbounded_channel();
        self.driver.give(Input::SessionBegan { worker: worker.clone(), session, commands });
        self.driver.give(Input::Said { worker: worker.clone(), session, event: joined });
        let driver = self.driver.clone();
        tokio::spawn(async move {
            loop {
                let event = match messages.message().await {
                    Ok(Some(message)) => WorkerEvent::try_from(message),
                    Ok(None) => break,
                    Err(status) => {
                        tracing::debug!(%worker, "session broke: {}", status.message());
                        break;
                    }
                };
                match event {
                    Ok(event) => driver.give(Input::Said { worker: worker.clone(), session, event }),
                    Err(error) => {
                        tracing::warn!(%worker, "ended the session: {error}");
                        break;
                    }
                }
            }
            driver.give(Input::SessionEnded { worker, session });
        });
        let commands = UnboundedReceiverStream::new(to_send).map(|command| Ok(command.into()));
        Ok(Response::new(Box::pin(commands)))
    }
}
