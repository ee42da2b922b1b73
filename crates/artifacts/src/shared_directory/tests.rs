use std::{process::Command, sync::mpsc, thread, time::Duration};

use super::*;
use crate::{Mishaps, conformance};

fn store() -> (tempfile::TempDir, SharedDirectory) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SharedDirectory::open(folder.path().join("artifacts")).expect("opens");
    (folder, store)
}

#[test]
fn a_directory_is_an_artifact_store() {
    let (_folder, store) = store();
    let path_of = |digest: &Digest| store.paths_of(digest).expect("a digest").1;
    let mishaps = Mishaps {
        alter: &|digest, bytes| fs::write(path_of(digest), bytes).expect("alters"),
        tear: &|bytes| {
            let path = path_of(&digest_of(bytes));
            fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
            fs::write(path.with_file_name(".tmpabc"), &bytes[..bytes.len() / 2]).expect("tears");
        },
    };
    conformance(&store, Duration::ZERO, &mishaps);
}

#[test]
fn a_deletion_waits_for_the_put_that_is_about_to_date_the_artifact() {
    let (_folder, store) = store();
    let digest = store.put(b"weights").expect("stores");
    let (folder, path) = store.paths_of(&digest).expect("a digest");
    let writing = lock(&folder, Hold::Writing).expect("locks");
    let decided = SystemTime::now();
    let (begun, begin) = mpsc::channel();
    thread::scope(|scope| {
        let deletion = scope.spawn(|| {
            begun.send(()).expect("listens");
            store.delete_if_older(&digest, decided).expect("answers")
        });
        begin.recv().expect("begins");
        File::open(&path).and_then(|file| file.set_modified(SystemTime::now())).expect("dates");
        drop(writing);
        assert!(!deletion.join().expect("ends"));
    });
    assert_eq!(store.get(&digest).expect("reads"), b"weights");
}

#[test]
fn an_artifact_that_was_replaced_since_it_was_opened_is_another() {
    let (_folder, store) = store();
    let digest = store.put(b"weights").expect("stores");
    let (_, path) = store.paths_of(&digest).expect("a digest");
    let opened = File::open(&path).expect("opens");
    assert!(is_at(&opened, &path));
    store.delete_if_older(&digest, SystemTime::now() + Duration::from_secs(1)).expect("deletes");
    assert!(!is_at(&opened, &path));
    store.put(b"weights").expect("stores");
    assert!(!is_at(&opened, &path));
}

#[test]
fn what_is_no_artifact_is_not_listed() {
    let (_folder, store) = store();
    fs::create_dir_all(store.root.join("ab")).expect("makes");
    for name in ["README", "ab/.tmpabc", "ab/notes", &format!("ab/{}", "cd".repeat(32))] {
        fs::write(store.root.join(name), b"text").expect("writes");
    }
    assert_eq!(store.list().expect("lists"), []);
}

/// A file system of one mebibyte, unmounted when the test ends, however it ends.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    /// Nobody but root may mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
        let mounted = mounted.expect("mount is installed");
        let why = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
        if mounted.status.success() {
            return Some(Self(folder));
        }
        assert!(!rustix::process::geteuid().is_root(), "this test needs root that may mount a tmpfs: {why}");
        eprintln!("skipped, for only root may mount a tmpfs: {why}");
        None
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("failed to unmount {}", self.0.path().display());
        }
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_so_and_harms_nothing() {
    let Some(disk) = TinyDisk::mount() else { return };
    let store = SharedDirectory::open(disk.0.path().join("artifacts")).expect("opens");
    let (earlier, later) = (vec![1; 300_000], vec![2; 900_000]);
    let kept = store.put(&earlier).expect("fits");
    let before = store.list().expect("lists");

    let refusal = store.put(&later).expect_err("does not fit").to_string();
    let digest = digest_of(&later);
    let path = store.paths_of(&digest).expect("a digest").1;
    assert!(refusal.contains(&path.display().to_string()), "{refusal}");
    assert!(refusal.to_lowercase().contains("no space"), "{refusal}");

    assert!(matches!(store.get(&digest), Err(ArtifactError::Missing(_))));
    assert_eq!(store.list().expect("lists"), before, "nothing half-written");
    assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("reads").count(), 0, "nothing left behind");
    assert_eq!(store.get(&kept).expect("reads"), earlier);
    store.put(&earlier).expect("what is there can be dated on a full disk");

    store.delete_if_older(&kept, SystemTime::now() + Duration::from_secs(1)).expect("frees");
    store.put(&later).expect("fits now");
    assert_eq!(store.get(&digest).expect("reads"), later);
}
