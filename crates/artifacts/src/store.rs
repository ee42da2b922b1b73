//! Bytes by the SHA-256 of them, wherever they are.

use std::{sync::Arc, time::SystemTime};

use rewind_job::{Digest, shortened};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{ArtifactError, S3, SharedDirectory};

/// Bytes by their digest. Calls block for a bounded time, and every thread may make them.
///
/// An artifact that is needed no more is doomed first and deleted later, with [`ArtifactStore::delete_if_older`] than
/// the time of the decision: whoever puts the same bytes meanwhile keeps them. Times are those of the writers' clocks in
/// a directory and of the server's in S3: clocks that differ from the one that decides ask for an earlier `before`.
pub trait ArtifactStore: Send + Sync {
    /// Makes `bytes` durable. On return another process can read them, a crash does not lose them, and they are last
    /// written now, even if they were there before.
    fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError>;

    /// # Errors
    /// [`ArtifactError::Missing`], or [`ArtifactError::Altered`] when the bytes no longer fit their digest.
    fn get(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError>;

    /// Deletes an artifact that was last written before `before`; false when it is not there, or was put since.
    fn delete_if_older(&self, digest: &Digest, before: SystemTime) -> Result<bool, ArtifactError>;

    /// All artifacts that are whole, in the order of their digests.
    fn list(&self) -> Result<Vec<Stored>, ArtifactError>;
}

/// An artifact at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub digest: Digest,
    pub last_written: SystemTime,
    pub bytes: u64,
}

/// Opens the store at a folder's path, `file:///folder` or `s3://bucket/prefix`; see [`S3::open`] for its variables.
///
/// # Errors
/// Names the location and what is wrong with it. Nothing is asked of an S3 server yet.
pub fn open(location: &str) -> Result<Arc<dyn ArtifactStore>, ArtifactError> {
    let refuse = |problem: String| ArtifactError::Location { location: location.to_owned(), problem };
    match location.split_once("://") {
        None if location.is_empty() => Err(refuse("it is empty".into())),
        None => Ok(Arc::new(SharedDirectory::open(location)?)),
        Some(("s3", _)) => Ok(Arc::new(S3::open(location, environment())?)),
        Some(("file", _)) => {
            let url = Url::parse(location).map_err(|error| refuse(error.to_string()))?;
            let path = url.to_file_path().map_err(|()| refuse("a file:// location is file:///folder".into()))?;
            Ok(Arc::new(SharedDirectory::open(path)?))
        }
        Some((scheme, _)) => Err(refuse(format!("{scheme}:// is neither file:// nor s3://"))),
    }
}

fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// SHA-256 in hexadecimal.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(hex::encode(Sha256::digest(bytes)))
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// An artifact's folder and name in it, both relative to the store. No digest leaves the store.
pub(crate) fn place_of(digest: &Digest) -> Result<(&str, &str), ArtifactError> {
    let name = &digest.0;
    if is_digest(name) { Ok((&name[..2], name)) } else { Err(ArtifactError::BadDigest(shortened(name.clone()))) }
}

/// The bytes, if they fit their digest.
pub(crate) fn verified(
    digest: &Digest,
    bytes: Vec<u8>,
    place: impl FnOnce() -> String,
) -> Result<Vec<u8>, ArtifactError> {
    let found = digest_of(&bytes);
    if &found == digest {
        Ok(bytes)
    } else {
        Err(ArtifactError::Altered { digest: digest.clone(), found, place: place() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_opened_by_its_path_and_by_its_url() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("with space");
        let by_path = open(path.to_str().expect("UTF-8")).expect("opens");
        let digest = by_path.put(b"weights").expect("stores");
        let url = Url::from_file_path(&path).expect("absolute").to_string();
        assert!(url.contains("%20"), "{url}");
        assert_eq!(open(&url).expect("opens").get(&digest).expect("reads"), b"weights");
    }

    #[test]
    fn other_locations_are_refused_by_name() {
        for (location, problem) in [
            ("", "it is empty"),
            ("gs://bucket", "gs:// is neither file:// nor s3://"),
            ("file://host/folder", "a file:// location is file:///folder"),
        ] {
            let refusal = open(location).err().expect("refused").to_string();
            assert_eq!(refusal, format!("`{location}` cannot hold artifacts: {problem}"));
        }
    }
}
