//! What every store must do.

use std::{
    thread,
    time::{Duration, SystemTime},
};

use rewind_job::Digest;

use crate::{ArtifactError, ArtifactStore, Stored, digest_of};

/// What happens to a store's bytes behind its back.
pub struct Mishaps<'a> {
    /// Replaces the stored bytes of an artifact.
    pub alter: &'a dyn Fn(&Digest, &[u8]),
    /// Leaves what a writer of these bytes leaves that dies half-way.
    pub tear: &'a dyn Fn(&[u8]),
}

/// Panics where `store`, new and empty, does not behave as an artifact store must. `resolution` is how exactly it knows
/// when an artifact was written.
pub fn conformance(store: &dyn ArtifactStore, resolution: Duration, mishaps: &Mishaps) {
    assert_eq!(store.list().expect("lists"), [], "the store is new");
    what_was_put_is_got_by_its_digest(store);
    what_was_never_put_is_missing(store);
    a_digest_cannot_leave_the_store(store);
    altered_bytes_are_found_and_healed_by_a_put(store, mishaps);
    a_torn_write_is_invisible(store, mishaps);
    artifacts_may_be_empty_or_large(store, mishaps);
    many_writers_of_the_same_bytes_do_not_disturb_each_other(store);
    what_was_put_since_is_spared(store);
    what_is_older_is_deleted(store);
    a_put_beside_a_deletion_lasts(store, resolution);
    lists_tell_what_there_is(store);
}

fn what_was_put_is_got_by_its_digest(store: &dyn ArtifactStore) {
    let digest = store.put(b"weights").expect("stores");
    assert_eq!(digest, digest_of(b"weights"));
    assert_eq!(store.put(b"weights").expect("stores again"), digest);
    assert_eq!(store.get(&digest).expect("reads"), b"weights");
}

fn what_was_never_put_is_missing(store: &dyn ArtifactStore) {
    let never = digest_of(b"never put");
    assert!(matches!(store.get(&never), Err(ArtifactError::Missing(digest)) if digest == never));
    assert!(!store.delete_if_older(&never, far_ahead()).expect("nothing to delete is no error"));
}

fn a_digest_cannot_leave_the_store(store: &dyn ArtifactStore) {
    for bad in ["../../../etc/passwd", "", "ABC", "..", &"g".repeat(64), &"A".repeat(64), &format!("../{:0>61}", 1)] {
        let digest = Digest(bad.to_owned());
        assert!(matches!(store.get(&digest), Err(ArtifactError::BadDigest(named)) if named == bad));
        assert!(matches!(store.delete_if_older(&digest, far_ahead()), Err(ArtifactError::BadDigest(_))));
    }
}

fn altered_bytes_are_found_and_healed_by_a_put(store: &dyn ArtifactStore, mishaps: &Mishaps) {
    let digest = store.put(b"weights").expect("stores");
    for altered in [&b"Weights"[..], b"weight", b""] {
        (mishaps.alter)(&digest, altered);
        let error = store.get(&digest).expect_err("altered");
        assert!(matches!(&error, ArtifactError::Altered { found, .. } if *found == digest_of(altered)), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{}/{digest}", &digest.0[..2])), "names the place: {text}");
        store.put(b"weights").expect("stores again");
        assert_eq!(store.get(&digest).expect("reads"), b"weights");
    }
}

fn a_torn_write_is_invisible(store: &dyn ArtifactStore, mishaps: &Mishaps) {
    let bytes = noise(1_000);
    let digest = digest_of(&bytes);
    let before = store.list().expect("lists");
    (mishaps.tear)(&bytes);
    assert!(matches!(store.get(&digest), Err(ArtifactError::Missing(_))));
    assert_eq!(store.list().expect("lists"), before);
    store.put(&bytes).expect("stores");
    assert_eq!(store.get(&digest).expect("reads"), bytes);
}

fn artifacts_may_be_empty_or_large(store: &dyn ArtifactStore, mishaps: &Mishaps) {
    let empty = store.put(b"").expect("stores");
    assert_eq!(store.get(&empty).expect("reads"), b"");
    let bytes = noise(20_000_000);
    let large = store.put(&bytes).expect("stores");
    assert!(store.get(&large).expect("reads") == bytes, "20 MB come back");
    let mut altered = bytes.clone();
    altered[19_999_999] ^= 1;
    (mishaps.alter)(&large, &altered);
    assert!(matches!(store.get(&large), Err(ArtifactError::Altered { .. })), "the last of 160 million bits counts");
    store.put(&bytes).expect("stores again");
    assert!(store.get(&large).expect("reads") == bytes, "20 MB come back");
}

fn many_writers_of_the_same_bytes_do_not_disturb_each_other(store: &dyn ArtifactStore) {
    let bytes = noise(300_000);
    let digest = digest_of(&bytes);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert_eq!(store.put(&bytes).expect("stores"), digest);
                assert!(store.get(&digest).expect("reads") == bytes);
            });
            scope.spawn(|| match store.get(&digest) {
                Ok(read) => assert!(read == bytes),
                Err(error) => assert!(matches!(error, ArtifactError::Missing(_)), "whole or not there: {error}"),
            });
        }
    });
    assert_eq!(store.list().expect("lists").iter().filter(|stored| stored.digest == digest).count(), 1);
}

fn what_was_put_since_is_spared(store: &dyn ArtifactStore) {
    let digest = store.put(b"needed again").expect("stores");
    let decided = SystemTime::now();
    store.put(b"needed again").expect("stores again");
    assert!(!store.delete_if_older(&digest, decided).expect("looks"), "it was put since");
    assert!(!store.delete_if_older(&digest, stored(store, &digest).last_written).expect("looks"), "not older");
    assert_eq!(store.get(&digest).expect("reads"), b"needed again");
}

fn what_is_older_is_deleted(store: &dyn ArtifactStore) {
    let digest = store.put(b"needed no more").expect("stores");
    assert!(store.delete_if_older(&digest, far_ahead()).expect("deletes"));
    assert!(matches!(store.get(&digest), Err(ArtifactError::Missing(_))));
    assert!(!store.delete_if_older(&digest, far_ahead()).expect("looks"), "it is gone");
    store.put(b"needed no more").expect("stores again");
    assert_eq!(store.get(&digest).expect("reads"), b"needed no more");
}

/// However the two interleave: what is put after the decision is there when both are over.
fn a_put_beside_a_deletion_lasts(store: &dyn ArtifactStore, resolution: Duration) {
    let bytes = noise(10_000);
    let digest = store.put(&bytes).expect("stores");
    for _ in 0..if resolution.is_zero() { 300 } else { 5 } {
        let decided = ripe(store, &digest, resolution);
        thread::scope(|scope| {
            scope.spawn(|| store.delete_if_older(&digest, decided).expect("answers"));
            scope.spawn(|| store.put(&bytes).expect("stores"));
        });
        assert!(store.get(&digest).expect("what was put last is there") == bytes);
    }
}

/// Waits until an artifact counts as older than now, and answers with now.
fn ripe(store: &dyn ArtifactStore, digest: &Digest, resolution: Duration) -> SystemTime {
    let last_written = stored(store, digest).last_written;
    loop {
        let now = SystemTime::now();
        if now > last_written + resolution {
            return now;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn lists_tell_what_there_is(store: &dyn ArtifactStore) {
    let before = SystemTime::now() - Duration::from_secs(2);
    let digest = store.put(b"listed").expect("stores");
    let listed = stored(store, &digest);
    assert_eq!(listed.bytes, 6);
    assert!(before < listed.last_written && listed.last_written < far_ahead());
    let all = store.list().expect("lists");
    assert!(all.is_sorted_by(|a, b| a.digest < b.digest), "in the order of digests, each once");
    assert!(all.iter().any(|stored| stored.bytes == 20_000_000));
    for stored in &all {
        assert_eq!(store.get(&stored.digest).expect("reads").len() as u64, stored.bytes);
        assert!(store.delete_if_older(&stored.digest, far_ahead()).expect("deletes"));
    }
    assert_eq!(store.list().expect("lists"), []);
}

fn stored(store: &dyn ArtifactStore, digest: &Digest) -> Stored {
    store.list().expect("lists").into_iter().find(|stored| stored.digest == *digest).expect("is listed")
}

fn far_ahead() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60)
}

/// Bytes that no part of a store can take for one another; the same at every call.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
