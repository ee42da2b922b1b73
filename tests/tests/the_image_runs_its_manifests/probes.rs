//! What a kubelet asks a container, as its manifest says.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::pods::{Pods, container};

/// Whether a probe of a pod's container (`readinessProbe`) succeeds now.
pub fn succeeds(pods: &Pods, name: &str, kind: &str) -> bool {
    let pod = pods.pod(name);
    let container = container(&pod.specification);
    let probe = &container[kind];
    if let Some(port) = probe["grpc"]["port"].as_u64() {
        return serves(
            &format!("http://{}:{port}", pod.address),
            probe["grpc"]["service"].as_str().unwrap_or_default(),
        );
    }
    if let Some(path) = probe["httpGet"]["path"].as_str() {
        let ports = container["ports"].as_array().expect("ports");
        let port = ports.iter().find(|port| port["name"] == probe["httpGet"]["port"]).expect("a port");
        return answers(&format!("{}:{}", pod.address, port["containerPort"]), path);
    }
    let words: Vec<&str> =
        probe["exec"]["command"].as_array().expect("a command").iter().flat_map(Value::as_str).collect();
    pods.exec(name, &words, None).status.success()
}

/// By gRPC, without a certificate.
fn serves(url: &str, service: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer = async {
        let endpoint = Endpoint::from_shared(url.to_owned()).ok()?.timeout(Duration::from_secs(5));
        let channel = endpoint.connect_timeout(Duration::from_secs(1)).connect().await.ok()?;
        let request = HealthCheckRequest { service: service.to_owned() };
        Some(HealthClient::new(channel).check(request).await.ok()?.into_inner().status())
    };
    runtime.block_on(answer) == Some(ServingStatus::Serving)
}

/// By HTTP, with a status below 400.
fn answers(address: &str, path: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1).is_some_and(|status| status < "400"))
}
