//! What a coordinator tells those who watch over it: health, metrics, and logs that machines read.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use rewind_proto::v1::{ListRequest, jobs_client::JobsClient};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    program::{Coordinator, eventually},
    worker::{ROUNDS, ScriptedWorker, all_begin, all_commit},
};

fn metrics(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[tokio::test]
async fn health_metrics_and_logs_say_what_is() {
    let mut coordinator = Coordinator::start().await;
    let port = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address").port();
    let address = format!("127.0.0.1:{port}");
    let port = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address").port();
    let apart = format!("127.0.0.1:{port}");
    coordinator.restart_with(&["--metrics", &address, "--health", &apart, "--json-logs"]).await;

    let endpoint = Endpoint::from_shared(coordinator.address.clone()).expect("an address");
    let mut health = HealthClient::new(endpoint.connect().await.expect("connects"));
    for service in ["", "rewind.v1.Fleet", "rewind.v1.Jobs"] {
        eventually("it serves", async || {
            let request = HealthCheckRequest { service: service.into() };
            let answer = health.check(request).await.ok()?.into_inner();
            (answer.status() == ServingStatus::Serving).then_some(())
        })
        .await;
    }

    // For probes, at an address of its own: health and nothing else.
    let endpoint = Endpoint::from_shared(format!("http://{apart}")).expect("an address");
    let channel = endpoint.connect().await.expect("connects");
    for service in ["", "ready"] {
        let answer = HealthClient::new(channel.clone()).check(HealthCheckRequest { service: service.into() }).await;
        assert_eq!(answer.expect("answers").into_inner().status(), ServingStatus::Serving, "{service}");
    }
    let refused = JobsClient::new(channel).list(ListRequest {}).await.expect_err("no job is listed there");
    assert_eq!(refused.code(), Code::Unimplemented);

    let job = coordinator.submit(1).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let mut gang = [&mut one];
    let assignments = all_begin(&mut gang).await;
    all_commit(&mut gang, &assignments, &ROUNDS[..2]).await;
    let text = eventually("the metrics tell it", async || {
        let text = metrics(&address)?;
        let told = ["rewind_coordinator_commits_total 2", "rewind_coordinator_jobs{state=\"running\"} 1"];
        told.iter().all(|line| text.contains(line)).then_some(text)
    })
    .await;
    for line in [
        "rewind_coordinator_workers{duty=\"gang\"} 1",
        "rewind_coordinator_leads 1",
        "# TYPE rewind_coordinator_store_write_seconds",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }

    let log = fs::read_to_string(coordinator.folder.path().join("coordinator.log")).expect("a log");
    let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let runs = lines.iter().find(|line| line["message"].as_str().is_some_and(|text| text.starts_with("runs on")));
    let runs = runs.unwrap_or_else(|| panic!("{log}"));
    assert_eq!((runs["job"].as_str(), runs["generation"].as_u64()), (Some(job.0.as_str()), Some(1)));
}
