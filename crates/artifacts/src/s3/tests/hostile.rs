//! A server that answers anything.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rewind_hostile_bytes::Parser;

use super::server::{BUCKET, SECRET, store_at};
use crate::{ArtifactStore, digest_of, s3::Patience};

/// No request is repeated.
const ONCE: Patience = Patience {
    connect: Duration::from_secs(5),
    silence: Duration::from_secs(5),
    retries: Duration::ZERO,
    call: Duration::from_secs(5),
    deletion: Duration::from_secs(3),
};

/// Answers every request with these pieces, one after another, and hangs up.
struct Liar {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Liar {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let address = listener.local_addr().expect("is bound");
        let answer = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
        let pieces = answer.clone();
        // Ends with the process.
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.expect("accepts");
                connection.set_nodelay(true).expect("is a socket");
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") && connection.read_exact(&mut byte).is_ok() {
                    request.push(byte[0]);
                }
                let pieces = pieces.lock().expect("nobody panics").clone();
                for piece in pieces {
                    let _ = connection.write_all(&piece).and_then(|()| connection.flush());
                    // Each piece comes by itself.
                    thread::sleep(Duration::from_millis(2));
                }
            }
        });
        Self { address, answer }
    }

    fn answers(&self, pieces: &[&[u8]]) {
        *self.answer.lock().expect("nobody panics") = pieces.iter().map(|piece| piece.to_vec()).collect();
    }
}

const HEAD: &str = "Last-Modified: Sat, 01 Nov 2025 10:00:00 GMT\r\nETag: \"a\"\r\nConnection: close\r\n";

#[test]
fn a_length_that_a_server_makes_up_takes_no_memory() {
    let liar = Liar::start();
    let store = store_at(liar.address, "", SECRET, ONCE);
    for length in ["1000000000000", "9223372036854775807", "18446744073709551614"] {
        let head = format!("HTTP/1.1 200 OK\r\n{HEAD}Content-Length: {length}\r\n\r\n");
        liar.answers(&[head.as_bytes(), b"some", b"bytes"]);
        let error = store.get(&digest_of(b"somebytes")).expect_err("the rest never comes").to_string();
        assert!(error.contains("failed to read s3://rewind/"), "{error}");
    }
}

#[test]
fn whatever_a_server_answers_is_the_artifact_or_an_error_that_names_it() {
    let liar = Liar::start();
    let store = store_at(liar.address, "", SECRET, ONCE);
    let (bytes, digest) = (b"weights", digest_of(b"weights"));
    let head = format!("HTTP/1.1 200 OK\r\n{HEAD}Content-Length: {}\r\n\r\n", bytes.len());
    Parser::of("S3 answers").cases(150).run(&[[head.as_bytes(), bytes].concat()], |answer| {
        liar.answers(&[answer]);
        match store.get(&digest) {
            Ok(found) => {
                assert_eq!(found, bytes);
                Ok(())
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(&digest.0) && !error.contains(SECRET), "{error}");
                Err(error)
            }
        }
    });
}

#[test]
fn whatever_a_server_lists_is_a_list_or_an_error_that_names_the_bucket() {
    let liar = Liar::start();
    let store = store_at(liar.address, "", SECRET, ONCE);
    let digest = digest_of(b"weights");
    let object = |key: String| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2025-11-01T10:00:00.000Z</LastModified><ETag>&quot;a&quot;</ETag>\
             <Size>7</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    };
    let list = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Name>{BUCKET}</Name><Prefix></Prefix>\
         <KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{}{}</ListBucketResult>",
        object(format!("{}/{digest}", &digest.0[..2])),
        object(format!("written/{digest}")),
    );
    Parser::of("S3 listings").cases(150).run(&[list.into_bytes()], |body| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        liar.answers(&[head.as_bytes(), body]);
        let listed = store.list().map_err(|error| {
            let error = error.to_string();
            assert!(error.contains("failed to list s3://rewind"), "{error}");
            error
        })?;
        assert!(listed.iter().all(|stored| stored.digest.0.len() == 64));
        Ok(())
    });
}

#[test]
fn an_answer_that_is_no_list_is_not_repeated_whole() {
    let liar = Liar::start();
    let store = store_at(liar.address, "", SECRET, ONCE);
    let body = format!("{}<ListBucketResult></ListBucketResult>", "x".repeat(100_000));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    liar.answers(&[head.as_bytes(), body.as_bytes()]);
    let error = store.list().expect_err("is no list").to_string();
    assert!(error.contains("failed to list s3://rewind") && error.len() < 3000, "{} bytes", error.len());
}
