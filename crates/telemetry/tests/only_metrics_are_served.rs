//! The page of metrics takes one small question at a time, and answers no other.

mod page;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use page::{ask, status_of};
use rewind_telemetry::metrics::worker;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn asked(request: impl Into<Vec<u8>>) -> String {
    let address = worker::serve(ANY).expect("serves");
    let request = request.into();
    tokio::task::spawn_blocking(move || ask(address, &request)).await.expect("asks")
}

#[tokio::test]
async fn another_path_is_not_found() {
    for path in ["/", "/metrics/", "/health", "/metricsx", "/../metrics"] {
        let answer = asked(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(status_of(&answer), "404", "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_query_does_not_matter() {
    let answer = asked("GET /metrics?collect=all HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status_of(&answer), "200", "{answer}");
}

#[tokio::test]
async fn nothing_is_taken() {
    let answer = asked("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(status_of(&answer), "405", "{answer}");
    assert!(answer.to_lowercase().contains("allow: get, head"), "{answer}");
}

#[tokio::test]
async fn a_large_request_is_not_served() {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(1 << 20));
    let answer = asked(request).await;
    assert!(["431", ""].contains(&status_of(&answer)), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_not_served() {
    let answer = asked([0x16, 0x03, 0x01, 0x00, 0xff, b'\r', b'\n', b'\r', b'\n']).await;
    assert!(["400", ""].contains(&status_of(&answer)), "{answer}");
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off() {
    let address = worker::serve(ANY).expect("serves");
    let took = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").expect("writes");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("is set");
        let begun = Instant::now();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("is closed");
        assert_ne!(status_of(&answer), "200", "{answer}");
        begun.elapsed()
    });
    assert!(took.await.expect("ends") < Duration::from_secs(30));
}

#[tokio::test]
async fn an_address_in_use_is_an_error_at_once() {
    let taken = TcpListener::bind(ANY).expect("binds");
    let address = taken.local_addr().expect("an address");
    let error = worker::serve(address).expect_err("is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.starts_with(&format!("failed to serve metrics on {address}: ")), "{text}");
}

#[test]
fn outside_a_runtime_nothing_is_served() {
    let error = worker::serve(ANY).expect_err("there is no runtime");
    assert!(error.to_string().contains("runtime"), "{error}");
}
