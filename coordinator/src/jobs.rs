//! What users ask: submit, list, watch, cancel, report.

use std::{pin::Pin, sync::Arc};

use rewind_artifacts::ArtifactError;
use rewind_control::Event;
use rewind_job::{Action, Digest, HistorySource, JobId, JobStatus, Report, SampleRecord, Specification, shortened};
use rewind_proto::{
    PIECE, not_leader, to_json,
    v1::{
        ArtifactName, JobList, JobName, JobReport, JobUpdate, ListRequest, Piece, SubmitRequest, TaskStatus,
        WorkerList, jobs_server::Jobs,
    },
};
use rewind_state::StoreError;
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status};

use crate::{admission::Admission, certificates::Notary, driver::Driver};

pub struct JobsService {
    pub driver: Driver,
    pub admission: Arc<Admission>,
    pub notary: Notary,
}

/// Packs of histories that one specification names: it is one value of the state store.
const MOST_PACKS: usize = 4000;
/// Bytes of what a client calls its submission.
const LONGEST_SUBMISSION: usize = 64;

type Updates<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Jobs for JobsService {
    type WatchStream = Updates<JobUpdate>;
    type GetArtifactStream = Updates<Piece>;
    type ListTasksStream = Updates<TaskStatus>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<JobName>, Status> {
        let SubmitRequest { specification: text, submission } = request.into_inner();
        if submission.len() > LONGEST_SUBMISSION {
            let problem = format!("the name of a submission has at most {LONGEST_SUBMISSION} bytes");
            return Err(Status::invalid_argument(problem));
        }
        let admission = self.admission.clone();
        let specification = tokio::task::spawn_blocking(move || admission.check(&text))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let specification = self.with_packs(specification).await?;
        let job = self.driver.ask(Event::Submitted { submission, specification: Box::new(specification) }).await;
        Ok(Response::new(JobName { job: job.ok_or_else(|| standing_by(&self.driver))?.0 }))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<JobList>, Status> {
        let jobs = self.driver.look(|control| control.jobs()).await.ok_or_else(|| standing_by(&self.driver))?;
        Ok(Response::new(JobList { status_json: jobs.iter().map(to_json).collect() }))
    }

    async fn watch(&self, request: Request<JobName>) -> Result<Response<Self::WatchStream>, Status> {
        let job = JobId(request.into_inner().job);
        let mut published = self.driver.subscribe();
        let driver = self.driver.clone();
        let mut lead = driver.lead();
        let (updates, stream) = mpsc::channel(16);
        let (mut status, mut update, mut seen) = look(&driver, &job, 0).await?;
        tokio::spawn(async move {
            loop {
                let ended = status.state.is_final();
                if updates.send(Ok(update)).await.is_err() || ended {
                    return;
                }
                loop {
                    tokio::select! {
                        changed = published.recv() => match changed {
                            Ok(changed) if changed != job => {}
                            Ok(_) | Err(RecvError::Lagged(_)) => break,
                            Err(RecvError::Closed) => return,
                        },
                        // Whether it still leads, the next look finds.
                        changed = lead.changed() => match changed {
                            Ok(()) => break,
                            Err(_) => return,
                        },
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
        self.change(Event::CancelWanted(job.clone()), job).await
    }

    async fn pause(&self, request: Request<JobName>) -> Result<Response<JobUpdate>, Status> {
        let job = JobId(request.into_inner().job);
        self.change(Event::PauseWanted(job.clone()), job).await
    }

    async fn resume(&self, request: Request<JobName>) -> Result<Response<JobUpdate>, Status> {
        let job = JobId(request.into_inner().job);
        self.change(Event::ResumeWanted(job.clone()), job).await
    }

    async fn list_tasks(&self, request: Request<JobName>) -> Result<Response<Self::ListTasksStream>, Status> {
        let job = JobId(request.into_inner().job);
        look(&self.driver, &job, 0).await?;
        let tasks = self.driver.look(move |control| control.tasks(&job)).await;
        let tasks = tasks.ok_or_else(|| standing_by(&self.driver))?.into_iter().map(|record| {
            Ok(TaskStatus {
                task: record.task.0,
                worker: record.worker.map(|worker| worker.0).unwrap_or_default(),
                failures: record.failures,
                output: record.output.map(|output| output.0).unwrap_or_default(),
            })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(tasks.collect::<Vec<_>>()))))
    }

    async fn get_report(&self, request: Request<JobName>) -> Result<Response<JobReport>, Status> {
        let job = JobId(request.into_inner().job);
        let (status, _, _) = look(&self.driver, &job, 0).await?;
        let found = self.driver.report(job.clone()).await.ok_or_else(|| standing_by(&self.driver))?;
        let found = found.map_err(|error| match error {
            StoreError::Unavailable(_) => Status::unavailable(error.to_string()),
            _ => Status::internal(error.to_string()),
        })?;
        let Some((digest, weights)) = found else {
            let reason = shortened(status.reason);
            let why = match status.state.is_final() {
                true => format!("{job} has no report: {} ({reason})", status.state.name()),
                false => format!("{job} has no report yet: {} ({reason})", status.state.name()),
            };
            return Err(Status::failed_precondition(why));
        };
        let mut report = self.report(&digest).await?;
        let id = job.clone();
        report.events = self
            .driver
            .look(move |control| control.events_after(&id, 0))
            .await
            .ok_or_else(|| standing_by(&self.driver))?;
        let record = self.record_of(&report).await?;
        let (notary, generation) = (self.notary.clone(), status.generation);
        // Hashing many samples takes a while.
        let given = tokio::task::spawn_blocking(move || notary.give_out(report, &digest, record, generation))
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(JobReport {
            report_json: given.report,
            weights_json: to_json(&weights),
            certificate: given.certificate,
            disclosure: given.disclosure,
            no_certificate: given.no_certificate,
        }))
    }

    async fn get_artifact(&self, request: Request<ArtifactName>) -> Result<Response<Self::GetArtifactStream>, Status> {
        let bytes = self.artifact(Digest(request.into_inner().digest)).await?;
        let pieces: Vec<_> = bytes.chunks(PIECE).map(|piece| Ok(Piece { bytes: piece.to_vec() })).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn list_workers(&self, _: Request<ListRequest>) -> Result<Response<WorkerList>, Status> {
        let workers = self.driver.look(|control| control.workers()).await.ok_or_else(|| standing_by(&self.driver))?;
        Ok(Response::new(WorkerList { workers: workers.into_iter().map(|worker| worker.0).collect() }))
    }
}

impl JobsService {
    async fn artifact(&self, digest: Digest) -> Result<Vec<u8>, Status> {
        let artifacts = self.admission.artifacts.clone();
        tokio::task::spawn_blocking(move || artifacts.get(&digest))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| match error {
                ArtifactError::Missing(_) => Status::not_found(error.to_string()),
                ArtifactError::BadDigest(_) => Status::invalid_argument(error.to_string()),
                error if error.is_retryable() => Status::unavailable(error.to_string()),
                _ => Status::data_loss(error.to_string()),
            })
    }

    /// Jobs that made histories become the packs that they made: what a predictor learns from changes no more.
    async fn with_packs(&self, mut specification: Specification) -> Result<Specification, Status> {
        for step in &mut specification.steps {
            let Action::TrainPredictor(predictor) = &mut step.action else { continue };
            let mut packs = Vec::new();
            for (index, source) in std::mem::take(&mut predictor.histories).into_iter().enumerate() {
                let refuse = |problem: String| {
                    let problem = shortened(problem);
                    Status::invalid_argument(format!("step[0].train-predictor.histories[{index}]: {problem}"))
                };
                let HistorySource::Job(job) = source else {
                    packs.push(source);
                    continue;
                };
                let id = job.clone();
                let found =
                    self.driver.look(move |control| control.status(&id).map(|status| (status, control.tasks(&id))));
                let found = found.await.ok_or_else(|| standing_by(&self.driver))?;
                let (status, tasks) = found.ok_or_else(|| refuse(format!("there is no job {job}")))?;
                let Some(count) = status.tasks else { return Err(refuse(format!("{job} makes no histories"))) };
                if count.done < count.total {
                    let state = status.state.name();
                    return Err(refuse(format!(
                        "{job} has made {} of {} packs and is {state}",
                        count.done, count.total
                    )));
                }
                packs.extend(tasks.into_iter().filter_map(|record| record.output.map(HistorySource::Artifact)));
            }
            if packs.len() > MOST_PACKS {
                let problem = format!("{} packs, and {MOST_PACKS} at most: collect with a larger `pack`", packs.len());
                return Err(Status::invalid_argument(format!("step[0].train-predictor.histories: {problem}")));
            }
            predictor.histories = packs;
        }
        Ok(specification)
    }

    async fn report(&self, digest: &Digest) -> Result<Report, Status> {
        let bytes = self.artifact(digest.clone()).await?;
        serde_json::from_slice(&bytes).map_err(|error| Status::data_loss(format!("{digest} is not a report: {error}")))
    }

    /// What the job read; or why that is not known, and nothing can be certified.
    async fn record_of(&self, report: &Report) -> Result<Result<SampleRecord, String>, Status> {
        let Some(digest) = &report.samples else { return Ok(Err("it took no note of what it read".into())) };
        let bytes = match self.artifact(digest.clone()).await {
            Ok(bytes) => bytes,
            Err(status) if status.code() == Code::Unavailable => return Err(status),
            Err(status) => {
                return Ok(Err(format!("the record of what it read is lost: {}", status.message())));
            }
        };
        let record = serde_json::from_slice(&bytes).map_err(|error| error.to_string());
        let record = record.and_then(|record: SampleRecord| record.check().map(|()| record));
        let refuse = |problem| format!("the record of what it read cannot be certified: {}", shortened(problem));
        Ok(record.map_err(refuse))
    }

    /// Asks for a change, and answers with what became of the job.
    async fn change(&self, event: Event, job: JobId) -> Result<Response<JobUpdate>, Status> {
        look(&self.driver, &job, 0).await?;
        self.driver.ask(event).await.ok_or_else(|| standing_by(&self.driver))?;
        let (_, update, _) = look(&self.driver, &job, 0).await?;
        Ok(Response::new(update))
    }
}

fn standing_by(driver: &Driver) -> Status {
    not_leader(driver.lead().borrow().leader.as_deref())
}

/// The status now, as an update with the events after `seen`, and the last event's sequence number.
async fn look(driver: &Driver, job: &JobId, seen: u64) -> Result<(JobStatus, JobUpdate, u64), Status> {
    let id = job.clone();
    let found = driver
        .look(move |control| control.status(&id).map(|status| (status, control.events_after(&id, seen))))
        .await
        .ok_or_else(|| standing_by(driver))?;
    let Some((status, events)) = found else {
        return Err(Status::not_found(shortened(format!("there is no job {job}"))));
    };
    let last = events.last().map_or(seen, |event| event.sequence);
    let update = JobUpdate { status_json: to_json(&status), event_json: events.iter().map(to_json).collect() };
    Ok((status, update, last))
}
