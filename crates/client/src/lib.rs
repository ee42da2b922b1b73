//! The coordinators of a fleet, as whoever asks them sees them: finds the leader, fails over, waits with patience, and
//! proves who asks.

mod coordinators;
mod error;

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rewind_job::{Digest, JobEvent, JobId, JobState, JobStatus, Report, Specification, StepWeights};
use rewind_proto::{
    MESSAGE_LIMIT, from_json, is_not_leader, leader_in,
    v1::{
        ArtifactName, JobName, JobReport, JobUpdate, ListRequest, SubmitRequest, TaskStatus, jobs_client::JobsClient,
    },
};
use rewind_security::{Bearer, ClientTls, Files, SecurityError};
use tokio::task::JoinSet;
use tonic::{
    Code, Status, Streaming,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

pub use coordinators::{AddressError, Coordinators};
pub use error::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Each of several coordinators has so much time to answer before the next one is asked as well.
const HEAD_START: Duration = Duration::from_millis(250);
/// Coordinators that have no leader after so long will not have one soon.
const ELECTION: Duration = Duration::from_secs(15);
/// So often a coordinator that owes an answer is probed, and that long it has to answer: one whose machine is lost says
/// nothing, and its connection stays open.
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE_ANSWER: Duration = Duration::from_secs(4);
const AGAIN: Duration = Duration::from_millis(200);
/// Who waits for an answer longer than this is told so.
const SILENCE: Duration = Duration::from_secs(3);

type Jobs = JobsClient<InterceptedService<Channel, Bearer>>;

/// Where a fleet is, and how one proves who asks.
#[derive(Clone, Debug, Default)]
pub struct FleetAddress {
    /// URLs of its coordinators; none are those of the local fleet in `dir`.
    pub coordinators: Vec<String>,
    /// Certificate of the fleet's authority.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    /// Folder of a local fleet.
    pub dir: PathBuf,
}

/// How this program proves who asks.
#[derive(Clone)]
struct Access {
    tls: Option<ClientTls>,
    bearer: Bearer,
}

impl Access {
    fn read(at: &FleetAddress) -> Result<Self, Error> {
        let usage = |error: SecurityError| Error::Access(error.to_string());
        let tls = match (&at.ca, &at.certificate, &at.key) {
            (Some(ca), Some(certificate), Some(key)) => {
                let files = Files { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() };
                Some(rewind_security::client_tls(&files).map_err(usage)?)
            }
            (Some(ca), ..) => Some(rewind_security::client_tls_for_token(ca).map_err(usage)?),
            _ => None,
        };
        let bearer = at.token_file.as_deref().map(Bearer::read).transpose().map_err(usage)?;
        Ok(Self { tls, bearer: bearer.unwrap_or_else(Bearer::none) })
    }

    /// As on a machine of one's own.
    fn none() -> Self {
        Self { tls: None, bearer: Bearer::none() }
    }
}

pub struct Client {
    jobs: Jobs,
    access: Access,
    /// Of the coordinator that is asked.
    address: String,
    addresses: Vec<String>,
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
        address => Ok(with_scheme(address, "http")),
    }
}

fn with_scheme(address: &str, scheme: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("{scheme}://{address}") }
}

impl Client {
    /// Connects to the coordinators that the user named, or to the one of a local fleet.
    pub async fn connect(at: &FleetAddress) -> Result<Self, Error> {
        let access = Access::read(at)?;
        if at.coordinators.is_empty() {
            return match Self::connect_to_one(vec![address_in(&at.dir)?], access).await {
                // The file outlives a fleet that was killed.
                Err(Error::Unreachable { .. }) => Err(Error::NoFleet { dir: at.dir.clone() }),
                other => other,
            };
        }
        let scheme = if access.tls.is_some() { "https" } else { "http" };
        let addresses = at.coordinators.iter().map(|address| with_scheme(address, scheme));
        Self::connect_to_one(addresses.collect(), access).await
    }

    /// Connects to a coordinator on a machine of one's own.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn connect_to(address: &str) -> Result<Self, Error> {
        Self::connect_to_one(vec![address.to_owned()], Access::none()).await
    }

    /// Connects to the first of them that answers. The next one is tried as soon as one has failed, and a moment later if
    /// none has: a machine that is lost does not even refuse.
    async fn connect_to_one(addresses: Vec<String>, access: Access) -> Result<Self, Error> {
        let endpoints = addresses.iter().map(|address| Ok((address.clone(), endpoint_at(address, &access)?)));
        // An address that is none is found here, whether the others answer or not.
        let mut later = endpoints.collect::<Result<Vec<_>, Error>>()?.into_iter();
        let mut attempts = JoinSet::new();
        let mut problem = Error::Address { text: String::new() };
        loop {
            if let Some((address, endpoint)) = later.next() {
                let bearer = access.bearer.clone();
                attempts.spawn(async move { (jobs_through(endpoint, &address, bearer).await, address) });
            }
            let attempt = tokio::select! {
                attempt = attempts.join_next() => attempt,
                () = tokio::time::sleep(HEAD_START), if later.len() > 0 => continue,
            };
            match attempt {
                Some(Ok((Ok(jobs), address))) => return Ok(Self { jobs, access, address, addresses }),
                Some(Ok((Err(error), _))) => problem = error,
                Some(Err(_)) => {}
                None => return Err(problem),
            }
        }
    }

    /// Makes a call; of several coordinators, to the one that leads.
    async fn call<T, F>(&mut self, job: Option<&JobId>, call: impl Fn(Jobs) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let begun = Instant::now();
        let mut next = self.addresses.iter().position(|address| address == &self.address).map_or(0, |at| at + 1);
        let mut is_redirected = false;
        loop {
            let status = match self.patiently(call(self.jobs.clone())).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            let stands_by = is_not_leader(&status);
            let is_busy = status.code() == Code::ResourceExhausted;
            let is_away = status.code() == Code::Unavailable && self.addresses.len() > 1;
            if !(stands_by || is_busy || is_away) || begun.elapsed() > ELECTION {
                return Err(refused(&self.address, job, &status));
            }
            // The first word of who leads is followed at once; it may be out of date.
            if !stands_by || std::mem::replace(&mut is_redirected, true) {
                tokio::time::sleep(AGAIN).await;
            }
            if is_busy {
                continue;
            }
            let address = leader_in(&status).unwrap_or_else(|| {
                next += 1;
                self.addresses[(next - 1) % self.addresses.len()].clone()
            });
            if let Ok(jobs) = jobs_at(&address, &self.access).await {
                (self.jobs, self.address) = (jobs, address);
            }
        }
    }

    /// Waits for an answer; when that takes long, says so.
    async fn patiently<T>(&self, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => return answer,
            () = tokio::time::sleep(SILENCE) => {}
        }
        eprintln!("waiting for the coordinator at {}; its state store may be away", self.address);
        answer.await
    }

    pub async fn submit(&mut self, specification: &Specification) -> Result<JobId, Error> {
        // The same in every attempt: an answer may have been lost.
        self.submit_as(specification, format!("{:032x}", rand::random::<u128>())).await
    }

    /// Submits under a name of the submission: what was submitted under it before is the same job.
    pub async fn submit_as(&mut self, specification: &Specification, submission: String) -> Result<JobId, Error> {
        let request = SubmitRequest { specification: specification.to_toml(), submission };
        let name = self
            .call(None, |mut jobs| {
                let request = request.clone();
                async move { jobs.submit(request).await }
            })
            .await?;
        Ok(JobId(name.job))
    }

    /// How a job stands.
    pub async fn status(&mut self, job: &JobId) -> Result<JobStatus, Error> {
        let first = self.watch(job).await?.next().await?;
        first.map(|update| update.status).ok_or_else(|| Error::NoJob { job: job.0.clone() })
    }

    pub async fn list(&mut self) -> Result<Vec<JobStatus>, Error> {
        let list = self.call(None, |mut jobs| async move { jobs.list(ListRequest {}).await }).await?;
        list.status_json.iter().map(|json| understood(from_json("status", json))).collect()
    }

    /// Names of the workers that have joined.
    pub async fn workers(&mut self) -> Result<Vec<String>, Error> {
        Ok(self.call(None, |mut jobs| async move { jobs.list_workers(ListRequest {}).await }).await?.workers)
    }

    /// The state now and at every change.
    pub async fn watch(&mut self, job: &JobId) -> Result<Updates, Error> {
        let name = name_of(job);
        let stream = self
            .call(Some(job), |mut jobs| {
                let name = name.clone();
                async move { jobs.watch(name).await }
            })
            .await?;
        Ok(Updates { stream, address: self.address.clone(), job: job.clone() })
    }

    /// Cancels, pauses or resumes a job.
    pub async fn change(&mut self, job: &JobId, change: Wish) -> Result<Update, Error> {
        let name = name_of(job);
        let update = self
            .call(Some(job), |mut jobs| {
                let name = name.clone();
                async move {
                    match change {
                        Wish::Cancel => jobs.cancel(name).await,
                        Wish::Pause => jobs.pause(name).await,
                        Wish::Resume => jobs.resume(name).await,
                    }
                }
            })
            .await?;
        read(update)
    }

    /// The tasks of a job that makes histories, as far as they were ever begun.
    pub async fn tasks(&mut self, job: &JobId) -> Result<Vec<TaskStatus>, Error> {
        let name = name_of(job);
        let mut stream = self
            .call(Some(job), |mut jobs| {
                let name = name.clone();
                async move { jobs.list_tasks(name).await }
            })
            .await?;
        let mut tasks = Vec::new();
        while let Some(task) = stream.message().await.map_err(|status| refused(&self.address, Some(job), &status))? {
            tasks.push(task);
        }
        Ok(tasks)
    }

    pub async fn report(&mut self, job: &JobId) -> Result<(Report, Vec<StepWeights>), Error> {
        read_report(&self.report_files(job).await?)
    }

    /// The report and its certificate as they are written to files.
    pub async fn report_files(&mut self, job: &JobId) -> Result<JobReport, Error> {
        let name = name_of(job);
        self.call(Some(job), |mut jobs| {
            let name = name.clone();
            async move { jobs.get_report(name).await }
        })
        .await
    }

    /// Writes an artifact's bytes to a file, piece by piece.
    pub async fn artifact(&mut self, digest: &Digest, path: &Path) -> Result<(), Error> {
        let mut file = std::fs::File::create(path).map_err(Error::file("create", path))?;
        self.artifact_to(digest, &mut file, path).await
    }

    /// An artifact's bytes.
    pub async fn artifact_bytes(&mut self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.artifact_to(digest, &mut bytes, Path::new("memory")).await?;
        Ok(bytes)
    }

    async fn artifact_to(&mut self, digest: &Digest, to: &mut impl Write, place: &Path) -> Result<(), Error> {
        let name = ArtifactName { digest: digest.0.clone() };
        let mut stream = self
            .call(None, |mut jobs| {
                let name = name.clone();
                async move { jobs.get_artifact(name).await }
            })
            .await?;
        while let Some(piece) = stream.message().await.map_err(|status| refused(&self.address, None, &status))? {
            to.write_all(&piece.bytes).map_err(Error::file("write", place))?;
        }
        Ok(())
    }
}

/// What a user wants of a job.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    Cancel,
    Pause,
    Resume,
}

impl Wish {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// Whether a job in this state can be changed so. Resuming a running job takes a pause back.
    pub fn is_possible(self, state: JobState) -> bool {
        match self {
            Self::Cancel => !matches!(state, JobState::Finished | JobState::Cancelled),
            Self::Pause => !state.is_final(),
            Self::Resume => !matches!(state, JobState::Finished | JobState::Cancelled),
        }
    }
}

async fn jobs_at(address: &str, access: &Access) -> Result<Jobs, Error> {
    jobs_through(endpoint_at(address, access)?, address, access.bearer.clone()).await
}

fn endpoint_at(address: &str, access: &Access) -> Result<Endpoint, Error> {
    if access.tls.is_none() && address.starts_with("https:") {
        let usage = format!("{address} needs --ca, and --certificate with --key or --token-file");
        return Err(Error::Access(usage));
    }
    let endpoint = match &access.tls {
        Some(tls) => tls.endpoint(address).map_err(|error| Error::Access(error.to_string()))?,
        None => Endpoint::from_shared(address.to_owned()).map_err(|_| Error::Address { text: address.to_owned() })?,
    };
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
    Ok(endpoint.http2_keep_alive_interval(PROBE_EVERY).keep_alive_timeout(PROBE_ANSWER))
}

async fn jobs_through(endpoint: Endpoint, address: &str, bearer: Bearer) -> Result<Jobs, Error> {
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| Error::Unreachable { address: address.to_owned(), cause: plain(deepest(&error)) })?;
    let jobs = JobsClient::with_interceptor(channel, bearer);
    Ok(jobs.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT))
}

fn name_of(job: &JobId) -> JobName {
    JobName { job: job.0.clone() }
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

/// What a coordinator gave for a report.
pub fn read_report(files: &JobReport) -> Result<(Report, Vec<StepWeights>), Error> {
    Ok((understood(from_json("report", &files.report_json))?, understood(from_json("weights", &files.weights_json))?))
}

/// What a coordinator says of a job.
pub fn read(update: JobUpdate) -> Result<Update, Error> {
    let events = update.event_json.iter().map(|json| understood(from_json("event", json))).collect::<Result<_, _>>()?;
    Ok(Update { status: understood(from_json("status", &update.status_json))?, events })
}

fn understood<T>(answer: Result<T, rewind_proto::WireError>) -> Result<T, Error> {
    answer.map_err(|error| Error::Refused(format!("its answer cannot be read, the versions may differ: {error}")))
}

fn refused(address: &str, job: Option<&JobId>, status: &Status) -> Error {
    let mut message = status.message().to_owned();
    if let Some(source) = std::error::Error::source(status) {
        // Why a certificate was refused stands at the bottom.
        message = format!("{message}: {}", deepest(source));
    }
    match (status.code(), job) {
        (Code::InvalidArgument, None) => Error::Specification(message),
        (Code::NotFound, Some(job)) => Error::NoJob { job: job.0.clone() },
        (Code::FailedPrecondition, Some(_)) => Error::Refused(message),
        (Code::Unavailable | Code::Unknown | Code::Cancelled, _) => {
            Error::Unreachable { address: address.to_owned(), cause: plain(message) }
        }
        _ => Error::Refused(if message.is_empty() { status.code().to_string() } else { message }),
    }
}

/// What is probably the matter, instead of what a library says of it.
fn plain(cause: String) -> String {
    let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if says(&["Connection refused"]) {
        "nothing listens there; does the fleet still run?".into()
    } else if says(&["UnknownIssuer"]) {
        "its certificate is not signed by the authority of --ca".into()
    } else if says(&["InvalidContentType", "tls handshake eof"]) {
        "something answers there, but no coordinator with TLS: is it the right port?".into()
    } else if says(&["frame with invalid size"]) {
        "what answers there is no coordinator without TLS: try https:// and --ca".into()
    } else if says(&["close_notify", "error reading a body", "broken pipe", "Connection reset"]) {
        "the connection broke".into()
    } else {
        cause
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
    }

    #[test]
    fn addresses_may_lack_their_scheme() {
        assert_eq!(with_scheme("127.0.0.1:1", "http"), "http://127.0.0.1:1");
        assert_eq!(with_scheme("https://c", "http"), "https://c");
    }
}
