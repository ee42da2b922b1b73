//! Files under the SHA-256 of their bytes, in a directory that all programs share.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rewind_job::Digest;
use sha2::{Digest as _, Sha256};

use crate::ArtifactError;

/// Bytes by their digest. Storing the same bytes twice is no error.
pub trait ArtifactStore: Send + Sync {
    /// Makes `bytes` durable. On return another process can read them, and a crash does not lose them.
    fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError>;

    /// # Errors
    /// [`ArtifactError::Missing`], or [`ArtifactError::Altered`] when the bytes no longer fit their digest.
    fn get(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError>;

    fn contains(&self, digest: &Digest) -> Result<bool, ArtifactError>;

    /// Deleting what is not there is no error.
    fn delete(&self, digest: &Digest) -> Result<(), ArtifactError>;
}

/// SHA-256 in hexadecimal.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest(hex::encode(Sha256::digest(bytes)))
}

/// A directory as artifact store: `ab/abcdef…`, written beside its place and renamed.
#[derive(Clone, Debug)]
pub struct SharedDirectory {
    root: PathBuf,
}

impl SharedDirectory {
    /// Opens a store, and makes its directory when there is none.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(io_error("make", &root))?;
        Ok(Self { root })
    }

    fn path_of(&self, digest: &Digest) -> Result<PathBuf, ArtifactError> {
        let text = &digest.0;
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(ArtifactError::BadDigest(text.clone()));
        }
        Ok(self.root.join(&text[..2]).join(text))
    }
}

impl ArtifactStore for SharedDirectory {
    fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = digest_of(bytes);
        let path = self.path_of(&digest)?;
        let folder = path.parent().expect("path_of puts every artifact into a folder");
        // An altered file at this place is replaced.
        if self.get(&digest).is_err() {
            fs::create_dir_all(folder).map_err(io_error("make", folder))?;
            // Workers of other users share the directory: the umask alone decides who may read.
            let mut file = tempfile::Builder::new()
                .permissions(fs::Permissions::from_mode(0o666))
                .tempfile_in(folder)
                .map_err(io_error("write", folder))?;
            file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(io_error("write", &path))?;
            file.persist(&path).map_err(|error| io_error("write", &path)(error.error))?;
        }
        // Also for a file that was found: its writer may not have come this far yet.
        for folder in [folder, &self.root] {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))?;
        }
        Ok(digest)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError> {
        let path = self.path_of(digest)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ArtifactError::Missing(digest.clone()));
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let found = digest_of(&bytes);
        if &found == digest { Ok(bytes) } else { Err(ArtifactError::Altered { digest: digest.clone(), found, path }) }
    }

    fn contains(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        let path = self.path_of(digest)?;
        path.try_exists().map_err(io_error("read", &path))
    }

    fn delete(&self, digest: &Digest) -> Result<(), ArtifactError> {
        let path = self.path_of(digest)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("delete", &path)(error)),
            _ => Ok(()),
        }
    }
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ArtifactError + 'a {
    move |source| ArtifactError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, SharedDirectory) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SharedDirectory::open(folder.path().join("artifacts")).expect("opens");
        (folder, store)
    }

    #[test]
    fn what_was_put_is_got_by_its_digest() {
        let (_folder, store) = store();
        let digest = store.put(b"weights").expect("stores");
        assert_eq!(digest, digest_of(b"weights"));
        assert_eq!(store.put(b"weights").expect("stores again"), digest);
        assert_eq!(store.get(&digest).expect("reads"), b"weights");
        store.delete(&digest).expect("deletes");
        store.delete(&digest).expect("deletes again");
        assert!(!store.contains(&digest).expect("looks"));
        assert!(matches!(store.get(&digest), Err(ArtifactError::Missing(_))));
    }

    #[test]
    fn an_altered_byte_is_found_and_can_be_healed() {
        let (_folder, store) = store();
        let digest = store.put(b"weights").expect("stores");
        fs::write(store.path_of(&digest).unwrap(), b"Weights").expect("alters");
        let error = store.get(&digest).expect_err("altered");
        assert!(matches!(error, ArtifactError::Altered { .. }));
        let text = error.to_string();
        assert!(text.contains(&digest.0) && text.contains("artifacts/"), "{text}");
        store.put(b"weights").expect("stores again");
        assert_eq!(store.get(&digest).expect("reads"), b"weights");
    }

    #[test]
    fn a_torn_write_is_invisible() {
        let (_folder, store) = store();
        let digest = digest_of(b"weights");
        let path = store.path_of(&digest).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path.with_file_name(".tmpabc"), b"weig").unwrap();
        assert!(!store.contains(&digest).expect("looks"));
        store.put(b"weights").expect("stores");
        assert_eq!(store.get(&digest).expect("reads"), b"weights");
    }

    #[test]
    fn many_writers_of_the_same_bytes_do_not_disturb_each_other() {
        let (_folder, store) = store();
        let digest = digest_of(b"weights");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert_eq!(store.put(b"weights").expect("stores"), digest);
                    assert_eq!(store.get(&digest).expect("reads"), b"weights");
                });
            }
        });
        let folder = store.path_of(&digest).unwrap();
        assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_digest_cannot_leave_the_store() {
        let (_folder, store) = store();
        for bad in ["../../../etc/passwd", "", "ABC", &"g".repeat(64)] {
            assert!(matches!(store.get(&Digest(bad.to_owned())), Err(ArtifactError::BadDigest(_))));
        }
    }
}
