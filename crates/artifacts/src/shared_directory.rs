//! Files under the SHA-256 of their bytes, in a directory that all programs share.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rewind_job::Digest;

use crate::{
    ArtifactError, ArtifactStore, Stored, digest_of,
    store::{is_digest, place_of, verified},
};

/// A directory as artifact store: `ab/abcdef…`, written beside its place and renamed.
///
/// A put and a deletion meet at the lock of the artifact's folder (`ab/.lock`, held for as long as a rename takes), so
/// that a deletion sees either the time before the put, and the put writes anew, or the time after it, and it spares
/// the artifact. Where the file system knows no locks, nothing is deleted. Where its locks do not reach other machines
/// (NFS mounted with `nolock`), a put from another machine between a deletion's look at the time and its removal, next
/// to each other, is lost.
#[derive(Clone, Debug)]
pub struct SharedDirectory {
    root: PathBuf,
}

/// How a folder's lock is held: by any number of writers, or by one deletion.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Writing,
    Deleting,
}

const LOCK: &str = ".lock";

impl SharedDirectory {
    /// Opens a store, and makes its directory when there is none.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(io_error("make", &root))?;
        Ok(Self { root })
    }

    /// An artifact's folder and its path.
    fn paths_of(&self, digest: &Digest) -> Result<(PathBuf, PathBuf), ArtifactError> {
        let (folder, name) = place_of(digest)?;
        let folder = self.root.join(folder);
        let path = folder.join(name);
        Ok((folder, path))
    }

    /// Dates what is there; false when it is not there, altered, or another user's.
    fn refresh(&self, digest: &Digest) -> Result<bool, ArtifactError> {
        let (folder, path) = self.paths_of(digest)?;
        let Ok(mut file) = File::open(&path) else { return Ok(false) };
        let mut bytes = Vec::new();
        if file.read_to_end(&mut bytes).is_err() || digest_of(&bytes) != *digest {
            return Ok(false);
        }
        let _lock = lock(&folder, Hold::Writing)?;
        // Deleted or replaced since it was opened: what is dated must be what is there.
        Ok(is_at(&file, &path) && file.set_modified(SystemTime::now()).and_then(|()| file.sync_all()).is_ok())
    }

    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ArtifactError> {
        let (folder, path) = self.paths_of(digest)?;
        fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        // Workers of other users share the directory: the umask alone decides who may read.
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(&folder)
            .map_err(io_error("write", &path))?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(io_error("write", &path))?;
        let _lock = lock(&folder, Hold::Writing)?;
        // The file system's own stamp may be older than this call.
        let dated = file.as_file().set_modified(SystemTime::now()).and_then(|()| file.as_file().sync_all());
        dated.map_err(io_error("write", &path))?;
        file.persist(&path).map_err(|error| io_error("write", &path)(error.error))?;
        Ok(())
    }
}

impl ArtifactStore for SharedDirectory {
    fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = digest_of(bytes);
        // An altered file at this place is replaced.
        if !self.refresh(&digest)? {
            self.write(&digest, bytes)?;
        }
        // Also for a file that was found: its writer may not have come this far yet.
        for folder in [&self.paths_of(&digest)?.0, &self.root] {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))?;
        }
        Ok(digest)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError> {
        let (_, path) = self.paths_of(digest)?;
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(ArtifactError::Missing(digest.clone())),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        verified(digest, bytes, || path.display().to_string())
    }

    fn delete_if_older(&self, digest: &Digest, before: SystemTime) -> Result<bool, ArtifactError> {
        let (folder, path) = self.paths_of(digest)?;
        if !path.try_exists().map_err(io_error("read", &path))? {
            return Ok(false);
        }
        let _lock = lock(&folder, Hold::Deleting)?;
        match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(last_written) if last_written >= before => Ok(false),
            Ok(_) => fs::remove_file(&path).map(|()| true).map_err(io_error("delete", &path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    fn list(&self) -> Result<Vec<Stored>, ArtifactError> {
        let mut all = Vec::new();
        for folder in names_in(&self.root)?.into_iter().filter(|name| name.len() == 2) {
            let path = self.root.join(&folder);
            if !path.is_dir() {
                continue;
            }
            for name in names_in(&path)?.into_iter().filter(|name| is_digest(name) && name.starts_with(&folder)) {
                let path = path.join(&name);
                match fs::metadata(&path).and_then(|metadata| Ok((metadata.modified()?, metadata.len()))) {
                    Ok((last_written, bytes)) => all.push(Stored { digest: Digest(name), last_written, bytes }),
                    // Deleted meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(io_error("read", &path)(error)),
                }
            }
        }
        all.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(all)
    }
}

fn names_in(folder: &Path) -> Result<Vec<String>, ArtifactError> {
    let entries = fs::read_dir(folder).map_err(io_error("read", folder))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    let names: io::Result<Vec<Option<String>>> = names.collect();
    Ok(names.map_err(io_error("read", folder))?.into_iter().flatten().collect())
}

/// Whether the open file is the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((&file.metadata(), &fs::metadata(path)), (Ok(open), Ok(there)) if identity(open) == identity(there))
}

/// Locks a folder until the answer is dropped. Writers go on where there are no locks: nothing is deleted there.
fn lock(folder: &Path, hold: Hold) -> Result<Option<File>, ArtifactError> {
    let path = folder.join(LOCK);
    let create = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o666).open(&path);
    let file = match create {
        // Another user's; to read is enough for a lock, except for a deletion's over NFS.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => File::open(&path),
        other => other,
    }
    .map_err(io_error("lock", &path))?;
    loop {
        let locked = if hold == Hold::Writing { file.lock_shared() } else { file.lock() };
        match locked {
            Ok(()) => return Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if hold == Hold::Writing && error.kind() == ErrorKind::Unsupported => return Ok(None),
            Err(error) => return Err(io_error("lock", &path)(error)),
        }
    }
}

fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ArtifactError + 'a {
    move |source| ArtifactError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
