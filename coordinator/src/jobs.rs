//! What users ask: submit, list, watch, cancel, report.

use std::{pin::Pin, sync::Arc};

use rewind_artifacts::{ArtifactError, ArtifactStore};
use rewind_control::Event;
use rewind_job::{Digest, JobId, JobStatus};
use rewind_proto::{
    PIECE, to_json,
    v1::{
        ArtifactName, JobList, JobName, JobReport, JobUpdate, ListRequest, Piece, SubmitRequest, WorkerList,
        jobs_server::Jobs,
    },
};
use tokio::sync::{broadcast::error::RecvError, mpsc, oneshot};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use crate::{
    admission,
    driver::{Driver, Input},
};

pub struct JobsService {
    pub driver: Driver,
    pub artifacts: Arc<dyn ArtifactStore>,
}

type Updates<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Jobs for JobsService {
    type WatchStream = Updates<JobUpdate>;
    type GetArtifactStream = Updates<Piece>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<JobName>, Status> {
        let text = request.into_inner().specification;
        let artifacts = self.artifacts.clone();
        let specification = tokio::task::spawn_blocking(move || admission::check(&text, &*artifacts))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (answer, answered) = oneshot::channel();
        self.driver.give(Input::Submit(Box::new(specification), answer)).await;
        let job = answered.await.map_err(|_| stopping())?;
        Ok(Response::new(JobName { job: job.0 }))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<JobList>, Status> {
        let jobs = self.driver.look(|control| control.jobs()).await.ok_or_else(stopping)?;
        Ok(Response::new(JobList { status_json: jobs.iter().map(to_json).collect() }))
    }

    async fn watch(&self, request: Request<JobName>) -> Result<Response<Self::WatchStream>, Status> {
        let job = JobId(request.into_inner().job);
        let mut published = self.driver.subscribe();
        let driver = self.driver.clone();
        let (updates, stream) = mpsc::channel(16);
        let (mut status, mut update, mut seen) = look(&driver, &job, 0).await?;
        tokio::spawn(async move {
            loop {
                let ended = status.state.is_final();
                if updates.send(Ok(update)).await.is_err() || ended {
                    return;
                }
                loop {
                    match published.recv().await {
                        Ok(changed) if changed != job => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return,
                    }
                }
                match look(&driver, &job, seen).await {
                    Ok(next) => (status, update, seen) = next,
                    Err(error) => {
                        let _ = updates.send(Err(error)).await;
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn cancel(&self, request: Request<JobName>) -> Result<Response<JobUpdate>, Status> {
        let job = JobId(request.into_inner().job);
        self.driver.give(Input::Event(Event::CancelWanted(job.clone()))).await;
        let (_, update, _) = look(&self.driver, &job, 0).await?;
        Ok(Response::new(update))
    }

    async fn get_report(&self, request: Request<JobName>) -> Result<Response<JobReport>, Status> {
        let job = JobId(request.into_inner().job);
        let (status, _, _) = look(&self.driver, &job, 0).await?;
        let (answer, answered) = oneshot::channel();
        self.driver.give(Input::Report(job.clone(), answer)).await;
        let found = answered.await.map_err(|_| stopping())?.map_err(|error| Status::internal(error.to_string()))?;
        let Some((mut report, weights)) = found else {
            let why = format!("{job} has no report: it is {:?} ({})", status.state, status.reason);
            return Err(Status::failed_precondition(why));
        };
        let id = job.clone();
        report.events = self.driver.look(move |control| control.events_after(&id, 0)).await.ok_or_else(stopping)?;
        Ok(Response::new(JobReport { report_json: to_json(&report), weights_json: to_json(&weights) }))
    }

    async fn get_artifact(&self, request: Request<ArtifactName>) -> Result<Response<Self::GetArtifactStream>, Status> {
        let digest = Digest(request.into_inner().digest);
        let artifacts = self.artifacts.clone();
        let bytes = tokio::task::spawn_blocking(move || artifacts.get(&digest))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| match error {
                ArtifactError::Missing(_) => Status::not_found(error.to_string()),
                ArtifactError::BadDigest(_) => Status::invalid_argument(error.to_string()),
                _ => Status::data_loss(error.to_string()),
            })?;
        let pieces: Vec<_> = bytes.chunks(PIECE).map(|piece| Ok(Piece { bytes: piece.to_vec() })).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn list_workers(&self, _: Request<ListRequest>) -> Result<Response<WorkerList>, Status> {
        let workers = self.driver.look(|control| control.workers()).await.ok_or_else(stopping)?;
        Ok(Response::new(WorkerList { workers: workers.into_iter().map(|worker| worker.0).collect() }))
    }
}

fn stopping() -> Status {
    Status::unavailable("the coordinator is stopping")
}

/// The status now, as an update with the events after `seen`, and the last event's sequence number.
async fn look(driver: &Driver, job: &JobId, seen: u64) -> Result<(JobStatus, JobUpdate, u64), Status> {
    let id = job.clone();
    let found = driver
        .look(move |control| control.status(&id).map(|status| (status, control.events_after(&id, seen))))
        .await
        .ok_or_else(stopping)?;
    let Some((status, events)) = found else {
        return Err(Status::not_found(format!("there is no job {job}")));
    };
    let last = events.last().map_or(seen, |event| event.sequence);
    let update = JobUpdate { status_json: to_json(&status), event_json: events.iter().map(to_json).collect() };
    Ok((status, update, last))
}
