//! When an artifact was last written, and deletion that no concurrent put can lose to.
//!
//! S3 cannot delete on condition of an age. So a deletion leaves a mark before it looks at the age, and takes it away at
//! its end; a put looks for marks after it is done, and then for its artifact. Either the deletion sees the put's time
//! and spares the artifact; or the put sees the mark, waits until it is gone and puts again; or the deletion was over by
//! then, and the put sees that the artifact is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use object_store::{Error, ObjectMeta, ObjectStoreExt, path::Path};
use rewind_job::Digest;
use tokio::time::sleep;

use super::{S3, failure::Failure, payload};
use crate::{ArtifactError, Stored, store::is_digest};

const WRITTEN: &str = "written";
const DELETING: &str = "deleting";

/// Servers tell times in whole seconds, rounded down.
pub const RESOLUTION: Duration = Duration::from_secs(1);

/// When artifacts were written, by the server's clock.
///
/// The time of an object itself may be that of the request's beginning (for an upload in parts it is), so a put that
/// ends after a decision could look older than it. The empty object `written/…`, written last, tells the end.
pub struct Times {
    artifacts: BTreeMap<String, (SystemTime, u64)>,
    written: BTreeMap<String, SystemTime>,
}

impl Times {
    pub fn of(prefix: &Path, all: &[ObjectMeta]) -> Self {
        let mut times = Self { artifacts: BTreeMap::new(), written: BTreeMap::new() };
        for object in all {
            let Some(parts) = object.location.prefix_match(prefix) else { continue };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            match &parts[..] {
                [folder, name] if is_digest(name) && folder == WRITTEN => {
                    times.written.insert(name.clone(), object.last_modified.into());
                }
                [folder, name] if is_digest(name) && *folder == name[..2] => {
                    times.artifacts.insert(name.clone(), (object.last_modified.into(), object.size));
                }
                _ => {}
            }
        }
        times
    }

    pub fn stored(self) -> Vec<Stored> {
        let Self { artifacts, written } = self;
        let stored = |(name, (own, bytes)): (String, (SystemTime, u64))| {
            let last_written = written.get(&name).map_or(own, |&end| own.max(end));
            Stored { digest: Digest(name), last_written, bytes }
        };
        artifacts.into_iter().map(stored).collect()
    }
}

impl S3 {
    fn written_of(&self, digest: &Digest) -> Path {
        self.prefix.clone().join(WRITTEN).join(digest.0.as_str())
    }

    pub(super) fn marks_of(&self, digest: &Digest) -> Path {
        self.prefix.clone().join(DELETING).join(digest.0.as_str())
    }

    /// Notes that an artifact is written as of now.
    pub(super) async fn date(&self, digest: &Digest) -> Result<(), ArtifactError> {
        self.touch(&self.written_of(digest)).await
    }

    async fn touch(&self, object: &Path) -> Result<(), ArtifactError> {
        let written = self.remote.put(object, payload(b""));
        self.within(self.patience.call, "write", object, written).await.map(drop)
    }

    async fn remove(&self, object: &Path) -> Result<(), ArtifactError> {
        self.within(self.patience.call, "delete", object, self.remote.delete(object)).await
    }

    /// Waits for the end of deletions that may not have seen a put; true if there was one: the put may be undone.
    pub(super) async fn waited_for_deletion(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        let begun = Instant::now();
        let marks = async || -> Result<BTreeSet<Path>, ArtifactError> {
            Ok(self.below(&self.marks_of(digest)).await?.into_iter().map(|mark| mark.location).collect())
        };
        let first = marks().await?;
        let mut left = first.clone();
        while !left.is_empty() {
            if begun.elapsed() > self.patience.deletion {
                // Whoever left it died: a deletion gives up sooner.
                for mark in &left {
                    self.remove(mark).await?;
                }
                break;
            }
            sleep(self.patience.deletion / 300).await;
            left = &marks().await? & &first;
        }
        Ok(!first.is_empty())
    }

    pub(super) async fn delete_marked(
        &self,
        digest: &Digest,
        object: &Path,
        before: SystemTime,
    ) -> Result<bool, ArtifactError> {
        let begun = Instant::now();
        let mark = self.marks_of(digest).join(unique());
        self.touch(&mark).await?;
        let last_written = self.last_written(digest, object).await?;
        let is_older = last_written.is_some_and(|last_written| last_written + RESOLUTION <= before);
        if is_older {
            let limit = self.patience.deletion / 4;
            if begun.elapsed() > limit {
                return Err(self.error("delete", object, Failure::late(limit)));
            }
            // Where its outcome is not known the mark stays, and tells the next writer.
            self.within(limit, "delete", object, self.remote.delete(object)).await?;
            self.remove(&self.written_of(digest)).await?;
        }
        self.remove(&mark).await?;
        Ok(is_older)
    }

    async fn last_written(&self, digest: &Digest, object: &Path) -> Result<Option<SystemTime>, ArtifactError> {
        let Some(own) = self.time_of(object).await? else { return Ok(None) };
        let end = self.time_of(&self.written_of(digest)).await?;
        Ok(Some(end.map_or(own, |end| own.max(end))))
    }

    pub(super) async fn time_of(&self, object: &Path) -> Result<Option<SystemTime>, ArtifactError> {
        let time = async {
            match self.remote.head(object).await {
                Ok(found) => Ok(Some(found.last_modified.into())),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.within(self.patience.call, "read", object, time).await
    }
}

/// A name that no other deletion has.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{}", now.as_nanos(), process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_time_counts_and_what_is_no_artifact_does_not() {
        let (first, second) = ("aa".repeat(32), "bb".repeat(32));
        let object = |key: String, seconds: u64, size| ObjectMeta {
            location: Path::from(key),
            last_modified: (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into(),
            size,
            e_tag: None,
            version: None,
        };
        let all = [
            object(format!("x/aa/{first}"), 5, 7),
            object(format!("x/bb/{second}"), 5, 8),
            object(format!("x/written/{first}"), 9, 0),
            object(format!("x/written/{}", "cc".repeat(32)), 9, 0),
            object(format!("x/deleting/{first}/mark"), 10, 0),
            object(format!("x/bb/{first}"), 5, 7),
            object(format!("y/bb/{second}"), 5, 7),
            object("x/README".into(), 5, 7),
        ];
        let stored = |name: String, seconds, bytes| Stored {
            digest: Digest(name),
            last_written: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            bytes,
        };
        let listed = Times::of(&Path::from("x"), &all).stored();
        assert_eq!(listed, [stored(first, 9, 7), stored(second, 5, 8)]);
    }
}
