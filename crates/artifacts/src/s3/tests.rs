mod hostile;
mod server;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use self::server::{BUCKET, Fault, KEY, Line, SECRET, Server, store_at, variables};
use super::*;
use crate::{Mishaps, conformance};

/// As usual, only sooner.
const SHORT: Patience = Patience {
    connect: Duration::from_secs(1),
    silence: Duration::from_secs(1),
    retries: Duration::from_secs(2),
    call: Duration::from_secs(5),
    deletion: Duration::from_secs(3),
};

/// What a call failed with, and that it took no longer than `limit`.
fn failure<T: fmt::Debug>(limit: Duration, call: impl FnOnce() -> Result<T, ArtifactError>) -> (String, bool) {
    let begun = Instant::now();
    let error = call().expect_err("fails");
    assert!(begun.elapsed() < limit, "took {:?}: {error}", begun.elapsed());
    assert!(!format!("{error} {error:?}").contains(SECRET), "tells no secret: {error}");
    (error.to_string(), error.is_retryable())
}

fn conforms(prefix: &str) {
    let server = Server::start();
    let store = server.store(prefix);
    let mishaps = Mishaps {
        alter: &|digest, bytes| fs::write(server.path_of(prefix, digest), bytes).expect("alters"),
        tear: &|bytes| {
            let object = store.object_of(&digest_of(bytes)).expect("a digest");
            store.wait(async {
                let mut upload = store.remote.put_multipart(&object).await.expect("begins");
                upload.put_part(payload(&bytes[..bytes.len() / 2])).await.expect("sends a part");
            });
        },
    };
    conformance(&store, deletion::RESOLUTION, &mishaps);
    let left: Vec<_> = server.keys().into_iter().filter(|key| !key.contains(".upload")).collect();
    assert_eq!(left, [""; 0], "what is deleted leaves nothing");
}

#[test]
fn a_bucket_is_an_artifact_store() {
    conforms("");
}

#[test]
fn a_folder_of_a_bucket_is_an_artifact_store() {
    conforms("fleet/artifacts");
}

#[test]
fn two_folders_of_a_bucket_are_two_stores() {
    let server = Server::start();
    let (one, other) = (server.store("one"), server.store("one-more"));
    let digest = one.put(b"weights").expect("stores");
    assert!(matches!(other.get(&digest), Err(ArtifactError::Missing(_))));
    assert_eq!(other.list().expect("lists"), []);
}

#[test]
fn any_thread_of_any_runtime_may_call_and_drop_a_store() {
    let server = Server::start();
    let store: Arc<dyn ArtifactStore> = Arc::new(server.store(""));
    for mut builder in [tokio::runtime::Builder::new_multi_thread(), tokio::runtime::Builder::new_current_thread()] {
        let store = store.clone();
        builder.enable_all().build().expect("starts").block_on(async move {
            let digest = store.put(b"on a runtime's own thread").expect("stores");
            let other = store.clone();
            let read = tokio::task::spawn_blocking(move || other.get(&digest)).await.expect("ends");
            assert_eq!(read.expect("reads"), b"on a runtime's own thread");
        });
    }
    let last = server.store("");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
    runtime.block_on(async move { drop(last) });
}

#[test]
fn wrong_credentials_are_refused_and_not_repeated() {
    let server = Server::start();
    let store = store_at(server.address, "", "wrong-secret-wrong-secret", Patience::USUAL);
    let (text, retryable) = failure(Duration::from_secs(5), || store.put(b"weights"));
    let object = format!("s3://{BUCKET}/{}", store.object_of(&digest_of(b"weights")).expect("a digest"));
    assert!(text.starts_with(&format!("failed to write {object} at http://{}: Sig", server.address)), "{text}");
    assert!(text.ends_with("(status 403) (a retry does not help)") && !retryable, "{text}");
    for text in [text, format!("{store:?}"), format!("{:?}", store.list()), format!("{:?}", store.get(&digest_of(b"")))]
    {
        assert!(!text.contains("wrong-secret") && !text.contains(KEY), "{text}");
    }
    assert!(server.store("").list().expect("lists").is_empty());
}

#[test]
fn a_bucket_that_does_not_exist_is_named() {
    let server = Server::start();
    let store = S3::open("s3://elsewhere/x", variables(server.address, SECRET)).expect("opens");
    let digest = digest_of(b"weights");
    let calls: [&dyn Fn() -> Result<(), ArtifactError>; 4] =
        [&|| store.put(b"weights").map(drop), &|| store.get(&digest).map(drop), &|| store.list().map(drop), &|| {
            store.delete_if_older(&digest, SystemTime::now()).map(drop)
        }];
    for call in calls {
        let (text, retryable) = failure(Duration::from_secs(5), call);
        assert!(text.contains("s3://elsewhere/x") && text.contains("NoSuchBucket"), "{text}");
        assert!(!retryable, "{text}");
    }
}

#[test]
fn a_server_that_stops_is_an_error_until_it_is_back() {
    let mut server = Server::start();
    let store = store_at(server.address, "", SECRET, SHORT);
    let digest = store.put(b"weights").expect("stores");
    server.stop();
    for _ in 0..2 {
        let (text, retryable) = failure(Duration::from_secs(8), || store.get(&digest));
        assert!(text.contains(&digest.0) && text.contains(&server.address.to_string()), "{text}");
        assert!(text.ends_with("(worth a retry)") && retryable, "{text}");
    }
    server.start_again();
    assert_eq!(store.get(&digest).expect("reads"), b"weights");
    store.put(b"more weights").expect("stores");
}

#[test]
fn a_put_outlasts_a_short_stop_of_the_server() {
    let mut server = Server::start();
    let store = server.store("");
    let digest = store.put(b"before").expect("stores");
    server.stop();
    thread::scope(|scope| {
        let put = scope.spawn(|| store.put(b"meanwhile"));
        server.start_again();
        put.join().expect("ends").expect("stores");
    });
    assert_eq!(store.get(&digest).expect("reads"), b"before");
}

#[test]
fn a_dead_endpoint_is_an_error_within_half_a_minute() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let address = listener.local_addr().expect("is bound");
    drop(listener);
    let store = store_at(address, "", SECRET, Patience::USUAL);
    let (text, retryable) = failure(Duration::from_secs(32), || store.put(b"weights"));
    assert!(text.contains(&format!("at http://{address}: failed to connect: ")) && retryable, "{text}");
}

#[test]
fn a_silent_server_is_an_error_within_half_a_minute() {
    let server = Server::start();
    let line = Line::to(server.address, Fault::Silent, usize::MAX);
    let store = store_at(line.address, "", SECRET, Patience::USUAL);
    let digest = digest_of(b"weights");
    let calls: [&(dyn Fn() -> Result<(), ArtifactError> + Sync); 2] =
        [&|| store.put(b"weights").map(drop), &|| store.get(&digest).map(drop)];
    thread::scope(|scope| {
        for call in calls {
            scope.spawn(move || {
                let (text, retryable) = failure(Duration::from_secs(32), call);
                assert!(text.contains("no answer in time") && retryable, "{text}");
            });
        }
    });
}

#[test]
fn a_request_that_is_never_answered_is_made_again() {
    let server = Server::start();
    let line = Line::to(server.address, Fault::Silent, 1);
    let store = store_at(line.address, "", SECRET, SHORT);
    let digest = store.put(b"weights").expect("stores");
    assert_eq!(store.get(&digest).expect("reads"), b"weights");
    assert!(line.connections.load(Ordering::SeqCst) > 1);
}

#[test]
fn a_connection_that_is_cut_in_the_middle_is_made_again() {
    let server = Server::start();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let digest = server.store("").put(&bytes).expect("stores");
    let line = Line::to(server.address, Fault::CutAfter(1_000_000), 2);
    let store = store_at(line.address, "", SECRET, Patience::USUAL);
    assert!(store.get(&digest).expect("reads") == bytes);
    assert!(line.connections.load(Ordering::SeqCst) > 2);
}

#[test]
fn a_connection_that_is_always_cut_is_an_error() {
    let server = Server::start();
    let digest = server.store("").put(&vec![7; 3_000_000]).expect("stores");
    let line = Line::to(server.address, Fault::CutAfter(50), usize::MAX);
    let store = store_at(line.address, "", SECRET, SHORT);
    let calls: [&dyn Fn() -> Result<(), ArtifactError>; 2] =
        [&|| store.get(&digest).map(drop), &|| store.put(&[7; 100]).map(drop)];
    for call in calls {
        let (text, retryable) = failure(Duration::from_secs(8), call);
        assert!(text.contains(&line.address.to_string()) && retryable, "{text}");
    }
}

#[test]
fn an_upload_that_began_before_the_decision_and_ended_after_it_is_spared() {
    let server = Server::start();
    let store = server.store("");
    let digest = store.put(b"weights").expect("stores");
    // As servers do that date an object by the beginning of its upload.
    let object = fs::File::open(server.path_of("", &digest)).expect("opens");
    object.set_modified(SystemTime::now() - Duration::from_secs(600)).expect("dates");
    let decided = SystemTime::now() - Duration::from_secs(60);
    assert!(!store.delete_if_older(&digest, decided).expect("looks"));
    assert!(store.list().expect("lists")[0].last_written > decided);
    assert_eq!(store.get(&digest).expect("reads"), b"weights");
}

#[test]
fn a_put_waits_for_a_deletion_under_way_and_puts_again() {
    let server = Server::start();
    let store = server.store("");
    let digest = store.put(b"weights").expect("stores");
    // A deletion that has looked at the time already, and is about to delete.
    let mark = store.marks_of(&digest).join("other");
    store.wait(store.remote.put(&mark, payload(b""))).expect("marks");
    thread::scope(|scope| {
        let put = scope.spawn(|| store.put(b"weights"));
        thread::sleep(Duration::from_millis(500));
        assert!(!put.is_finished(), "the put waits");
        fs::remove_file(server.path_of("", &digest)).expect("deletes");
        store.wait(store.remote.delete(&mark)).expect("ends the deletion");
        put.join().expect("ends").expect("stores");
    });
    assert_eq!(store.get(&digest).expect("reads"), b"weights");
}

#[test]
fn a_deletion_that_died_holds_up_one_put_only() {
    let server = Server::start();
    let store = store_at(server.address, "", SECRET, SHORT);
    let digest = store.put(b"weights").expect("stores");
    let mark = store.marks_of(&digest).join("dead");
    store.wait(store.remote.put(&mark, payload(b""))).expect("marks");
    let begun = Instant::now();
    store.put(b"weights").expect("stores");
    assert!(begun.elapsed() > SHORT.deletion);
    assert!(!server.keys().iter().any(|key| key.contains("deleting")), "{:?}", server.keys());
    assert_eq!(store.get(&digest).expect("reads"), b"weights");
}
