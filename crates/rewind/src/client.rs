//! The coordinator as the command line sees it.

use std::{io::Write, path::Path, time::Duration};

use rewind_job::{Digest, JobEvent, JobId, JobStatus, Report, Specification, StepWeights};
use rewind_proto::{
    MESSAGE_LIMIT, from_json,
    v1::{ArtifactName, JobName, JobUpdate, ListRequest, SubmitRequest, jobs_client::JobsClient},
};
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::{arguments::Where, error::Error};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Client {
    jobs: JobsClient<Channel>,
    address: String,
}

/// A job's state, and what was decided since the last one.
#[derive(Clone, Debug)]
pub struct Update {
    pub status: JobStatus,
    pub events: Vec<JobEvent>,
}

pub struct Updates {
    stream: Streaming<JobUpdate>,
    address: String,
    job: JobId,
}

/// The address that a local fleet wrote into its folder.
pub fn address_in(dir: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(dir.join("coordinator.addr")).unwrap_or_default();
    match text.trim() {
        "" => Err(Error::NoFleet { dir: dir.to_owned() }),
        address => Ok(with_scheme(address)),
    }
}

fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

impl Client {
    /// Connects to the coordinator that the user named, or to the one of a local fleet.
    pub async fn connect(at: &Where) -> Result<Self, Error> {
        match &at.coordinator {
            Some(address) => Self::connect_to(&with_scheme(address)).await,
            None => match Self::connect_to(&address_in(&at.dir)?).await {
                // The file outlives a fleet that was killed.
                Err(Error::Unreachable { .. }) => Err(Error::NoFleet { dir: at.dir.clone() }),
                other => other,
            },
        }
    }

    pub async fn connect_to(address: &str) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|_| Error::Address { text: address.to_owned() })?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Error::Unreachable { address: address.to_owned(), cause: deepest(&error) })?;
        let jobs =
            JobsClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
        Ok(Self { jobs, address: address.to_owned() })
    }

    pub async fn submit(&mut self, specification: &Specification) -> Result<JobId, Error> {
        let request = SubmitRequest { specification: specification.to_toml() };
        match self.jobs.submit(request).await {
            Ok(name) => Ok(JobId(name.into_inner().job)),
            Err(status) if status.code() == Code::InvalidArgument => {
                Err(Error::Specification(status.message().to_owned()))
            }
            Err(status) => Err(refused(&self.address, None, &status)),
        }
    }

    pub async fn list(&mut self) -> Result<Vec<JobStatus>, Error> {
        let list = self.jobs.list(ListRequest {}).await.map_err(|status| refused(&self.address, None, &status))?;
        list.into_inner().status_json.iter().map(|json| understood(from_json("status", json))).collect()
    }

    /// Names of the workers that have joined.
    pub async fn workers(&mut self) -> Result<Vec<String>, Error> {
        let list = self.jobs.list_workers(ListRequest {}).await;
        Ok(list.map_err(|status| refused(&self.address, None, &status))?.into_inner().workers)
    }

    /// The state now and at every change.
    pub async fn watch(&mut self, job: &JobId) -> Result<Updates, Error> {
        let stream = self.jobs.watch(JobName { job: job.0.clone() }).await;
        let stream = stream.map_err(|status| refused(&self.address, Some(job), &status))?.into_inner();
        Ok(Updates { stream, address: self.address.clone(), job: job.clone() })
    }

    pub async fn cancel(&mut self, job: &JobId) -> Result<Update, Error> {
        let update = self.jobs.cancel(JobName { job: job.0.clone() }).await;
        read(update.map_err(|status| refused(&self.address, Some(job), &status))?.into_inner())
    }

    pub async fn report(&mut self, job: &JobId) -> Result<(Report, Vec<StepWeights>), Error> {
        let answer = self.jobs.get_report(JobName { job: job.0.clone() }).await;
        let answer = answer.map_err(|status| refused(&self.address, Some(job), &status))?.into_inner();
        Ok((
            understood(from_json("report", &answer.report_json))?,
            understood(from_json("weights", &answer.weights_json))?,
        ))
    }

    /// Writes an artifact's bytes to a file, piece by piece.
    pub async fn artifact(&mut self, digest: &Digest, path: &Path) -> Result<(), Error> {
        let stream = self.jobs.get_artifact(ArtifactName { digest: digest.0.clone() }).await;
        let mut stream = stream.map_err(|status| refused(&self.address, None, &status))?.into_inner();
        let mut file = std::fs::File::create(path).map_err(Error::file("create", path))?;
        while let Some(piece) = stream.message().await.map_err(|status| refused(&self.address, None, &status))? {
            file.write_all(&piece.bytes).map_err(Error::file("write", path))?;
        }
        Ok(())
    }
}

impl Updates {
    /// `None` when the coordinator has nothing more to say.
    pub async fn next(&mut self) -> Result<Option<Update>, Error> {
        match self.stream.message().await {
            Ok(update) => update.map(read).transpose(),
            Err(status) => Err(refused(&self.address, Some(&self.job), &status)),
        }
    }
}

fn read(update: JobUpdate) -> Result<Update, Error> {
    let events = update.event_json.iter().map(|json| understood(from_json("event", json))).collect::<Result<_, _>>()?;
    Ok(Update { status: understood(from_json("status", &update.status_json))?, events })
}

fn understood<T>(answer: Result<T, rewind_proto::WireError>) -> Result<T, Error> {
    answer.map_err(|error| Error::Refused(format!("its answer cannot be read, the versions may differ: {error}")))
}

fn refused(address: &str, job: Option<&JobId>, status: &Status) -> Error {
    let message = status.message().to_owned();
    match (status.code(), job) {
        (Code::NotFound, Some(job)) => Error::NoJob { job: job.0.clone() },
        (Code::FailedPrecondition, Some(job)) => Error::NoReport { job: job.0.clone(), reason: message },
        (Code::Unavailable | Code::Unknown | Code::Cancelled, _) => {
            Error::Unreachable { address: address.to_owned(), cause: message }
        }
        _ => Error::Refused(if message.is_empty() { status.code().to_string() } else { message }),
    }
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_holds_no_fleet_and_says_how_to_start_one() {
        let error = address_in(Path::new("nowhere")).unwrap_err();
        assert!(error.to_string().contains("rewind up --dir nowhere"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn addresses_may_lack_their_scheme() {
        assert_eq!(with_scheme("127.0.0.1:1"), "http://127.0.0.1:1");
        assert_eq!(with_scheme("https://c"), "https://c");
    }
}
