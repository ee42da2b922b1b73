//! Objects under the SHA-256 of their bytes, in a bucket of any server that speaks S3.

mod deletion;
mod failure;
mod settings;

use std::{
    fmt,
    panic::resume_unwind,
    thread,
    time::{Duration, SystemTime},
};

use futures_util::{TryStreamExt, future::try_join_all};
use object_store::{
    Error, GetResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, aws::AmazonS3, path::Path,
};
use rewind_job::{Digest, shortened};
use tokio::{runtime::Runtime, time::timeout};

use self::{deletion::Times, failure::Failure, settings::Settings};
use crate::{
    ArtifactError, ArtifactStore, Stored, digest_of,
    store::{place_of, verified},
};

/// A bucket, or a folder of one, as artifact store.
///
/// | key                     | what it is                                                              |
/// |-------------------------|-------------------------------------------------------------------------|
/// | `ab/abcdef…`            | the bytes                                                               |
/// | `written/abcdef…`       | empty; its time is when they were last written (see [`Times`])          |
/// | `deleting/abcdef…/name` | empty; a deletion under way, that writers wait for                      |
///
/// The server must show what was written to whoever asks next, as S3 itself does. A server that is dead or silent is an
/// error within half a minute, a call's bytes have a second more for each mebibyte, and a put waits a minute for a
/// deletion that died. The credentials must allow to get, put, delete and list, and to abort uploads in parts.
pub struct S3 {
    remote: AmazonS3,
    /// Of the store's folder in the bucket.
    prefix: Path,
    /// As errors name it: `s3://bucket/prefix`.
    location: String,
    endpoint: String,
    secrets: Vec<String>,
    patience: Patience,
    /// On a thread of its own. None only while it is dropped.
    runtime: Option<Runtime>,
}

/// How long a server is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub connect: Duration,
    /// For the next bytes of an answer, from the time the request is made.
    pub silence: Duration,
    /// After this long a request that failed is not tried again.
    pub retries: Duration,
    /// For a whole call, without the time that its bytes take.
    pub call: Duration,
    /// For another's deletion. A deletion gives up in half the time.
    pub deletion: Duration,
}

impl Patience {
    pub(crate) const USUAL: Self = Self {
        connect: Duration::from_secs(5),
        silence: Duration::from_secs(12),
        retries: Duration::from_secs(20),
        call: Duration::from_secs(30),
        deletion: Duration::from_secs(60),
    };

    /// For a call that moves so many bytes: a connection that carries less than a mebibyte a second is as good as none.
    fn with_bytes(&self, bytes: usize) -> Duration {
        self.call + Duration::from_secs(bytes as u64 >> 20)
    }
}

/// Bytes of one request: larger artifacts go up in parts, so that no request takes long.
const PART: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 2;

impl S3 {
    /// A store at `s3://bucket/prefix`. Nothing is asked of the server yet.
    ///
    /// `variables` are the environment's: `AWS_ENDPOINT_URL` (none: Amazon's own for the region), `AWS_REGION`,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, or those of a web identity or of container
    /// credentials. Plain `http://` is for endpoints on this machine, and for others with `AWS_ALLOW_HTTP=true`.
    /// `SSL_CERT_FILE` names a private authority's certificates.
    ///
    /// # Errors
    /// Names the location and the variable that is wrong or missing.
    pub fn open(location: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ArtifactError> {
        Self::open_with(location, variables, Patience::USUAL)
    }

    fn open_with(
        location: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        patience: Patience,
    ) -> Result<Self, ArtifactError> {
        let refuse = |problem: String| ArtifactError::Location { location: location.to_owned(), problem };
        let settings = Settings::read(location, variables).map_err(refuse)?;
        let remote = settings.connect(patience).map_err(refuse)?;
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("s3").enable_all().build();
        let runtime = runtime.map_err(|error| refuse(format!("failed to start a thread: {error}")))?;
        let Settings { prefix, endpoint, secrets, .. } = settings;
        let location = location.trim_end_matches('/').to_owned();
        Ok(Self { remote, prefix, location, endpoint, secrets, patience, runtime: Some(runtime) })
    }

    /// Runs a call to its end. On a thread of its own, because the caller's may belong to another runtime.
    fn wait<T: Send>(&self, call: impl Future<Output = T> + Send) -> T {
        let runtime = self.runtime.as_ref().expect("is there until the store is dropped");
        let ended = thread::scope(|scope| scope.spawn(|| runtime.block_on(call)).join());
        ended.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn object_of(&self, digest: &Digest) -> Result<Path, ArtifactError> {
        let (folder, name) = place_of(digest)?;
        Ok(self.prefix.clone().join(folder).join(name))
    }

    /// Waits for an answer, and names what it is about when there is none.
    async fn within<T>(
        &self,
        limit: Duration,
        action: &'static str,
        object: &Path,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, ArtifactError> {
        let answer = timeout(limit, call).await;
        let failure = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Failure::of(&error),
            Err(_) => Failure::late(limit),
        };
        Err(self.error(action, object, failure))
    }

    fn error(&self, action: &'static str, object: &Path, failure: Failure) -> ArtifactError {
        let Failure { mut problem, retryable, .. } = failure;
        for secret in &self.secrets {
            problem = problem.replace(secret.as_str(), "(hidden)");
        }
        let (object, endpoint, problem) = (self.name_of(object), self.endpoint.clone(), shortened(problem));
        ArtifactError::Remote { action, object, endpoint, problem, retryable }
    }

    /// As errors name it: `s3://bucket/prefix/ab/abcdef…`.
    fn name_of(&self, object: &Path) -> String {
        let within = object.as_ref().strip_prefix(self.prefix.as_ref()).unwrap_or(object.as_ref());
        let name = format!("{}/{}", self.location, within.trim_start_matches('/'));
        name.trim_end_matches('/').to_owned()
    }

    async fn upload(&self, object: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
        let limit = self.patience.with_bytes(bytes.len());
        if bytes.len() <= PART {
            let whole = self.remote.put(object, payload(bytes));
            return self.within(limit, "write", object, whole).await.map(drop);
        }
        let begun = self.remote.put_multipart(object);
        let mut upload = self.within(self.patience.call, "write", object, begun).await?;
        let sent = self.within(limit, "write", object, send_parts(&mut *upload, bytes)).await;
        if sent.is_err() {
            // The parts that arrived are nobody's; where this fails the bucket's lifecycle rules are left.
            let _ = timeout(self.patience.connect, upload.abort()).await;
        }
        sent
    }

    async fn download(&self, digest: &Digest, object: &Path) -> Result<Vec<u8>, ArtifactError> {
        let found: Result<GetResult, Failure> = match timeout(self.patience.call, self.remote.get(object)).await {
            Ok(answer) => answer.map_err(|error| Failure::of(&error)),
            Err(_) => Err(Failure::late(self.patience.call)),
        };
        match found {
            Ok(found) => {
                let limit = self.patience.with_bytes(found.meta.size as usize);
                self.within(limit, "read", object, gather(found)).await
            }
            Err(failure) if failure.is_missing_object => Err(ArtifactError::Missing(digest.clone())),
            Err(failure) => Err(self.error("read", object, failure)),
        }
    }

    /// What is under a key, and when it was written.
    async fn below(&self, folder: &Path) -> Result<Vec<ObjectMeta>, ArtifactError> {
        let all = self.remote.list(Some(folder)).try_collect();
        // A page of a thousand takes well under a second.
        self.within(self.patience.call * 10, "list", folder, all).await
    }
}

impl ArtifactStore for S3 {
    fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = digest_of(bytes);
        let object = self.object_of(&digest)?;
        self.wait(async {
            loop {
                self.upload(&object, bytes).await?;
                self.date(&digest).await?;
                // A deletion that began and ended meanwhile left no mark, but the artifact is gone.
                if !self.waited_for_deletion(&digest).await? && self.time_of(&object).await?.is_some() {
                    return Ok(digest);
                }
            }
        })
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError> {
        let object = self.object_of(digest)?;
        let bytes = self.wait(self.download(digest, &object))?;
        verified(digest, bytes, || format!("{} at {}", self.name_of(&object), self.endpoint))
    }

    fn delete_if_older(&self, digest: &Digest, before: SystemTime) -> Result<bool, ArtifactError> {
        let object = self.object_of(digest)?;
        self.wait(self.delete_marked(digest, &object, before))
    }

    fn list(&self) -> Result<Vec<Stored>, ArtifactError> {
        let all = self.wait(self.below(&self.prefix))?;
        Ok(Times::of(&self.prefix, &all).stored())
    }
}

/// The bytes as they come: what a server says of their number makes no room for them before they are there.
async fn gather(found: GetResult) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut pieces = found.into_stream();
    while let Some(piece) = pieces.try_next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

async fn send_parts(upload: &mut dyn MultipartUpload, bytes: &[u8]) -> Result<(), Error> {
    for group in bytes.chunks(PART * PARTS_AT_ONCE) {
        let parts: Vec<_> = group.chunks(PART).map(|part| upload.put_part(payload(part))).collect();
        try_join_all(parts).await?;
    }
    upload.complete().await.map(drop)
}

fn payload(bytes: &[u8]) -> PutPayload {
    PutPayload::from(bytes.to_vec())
}

/// Without credentials.
impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("location", &self.location).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Where another runtime's tasks run, nothing may wait for a runtime's end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
