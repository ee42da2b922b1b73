//! A whole cluster whose artifacts are in S3: a real server of the protocol, which checks signatures.

use std::{fs, net::Ipv4Addr};

use hyper_util::rt::TokioIo;
use rewind_tests::{
    cluster::{Cluster, artifacts_in, bits},
    small_job,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tokio::{net::TcpListener, runtime::Runtime};

const KEY: &str = "AKIATESTTESTTEST";
const SECRET: &str = "hush/hush+hush0123456789";

/// Serves the folders of a folder as buckets; returns the port.
fn serve(runtime: &Runtime, folder: &std::path::Path) -> u16 {
    let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).expect("opens the folder"));
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let service = service.build();
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("binds");
    let port = listener.local_addr().expect("is bound").port();
    runtime.spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(socket), service.clone()));
        }
    });
    port
}

#[test]
fn a_job_runs_over_s3_and_survives_its_worker() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("models")).expect("makes the bucket");
    let runtime = Runtime::new().expect("starts");
    let port = serve(&runtime, folder.path());
    let variables = [
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ACCESS_KEY_ID", KEY.into()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
        ("AWS_REGION", "us-east-1".into()),
    ];
    let environment = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let mut cluster = Cluster::start_with(1, 1, 3, Some("s3://models/fleet".into()), environment);
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));

    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    cluster.kill("worker-1");
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    assert!(report.events.iter().any(|event| event.generation.0 == 2), "{}", cluster.events(&job));

    assert!(artifacts_in(&folder.path().join("models/fleet")).len() > 5, "artifacts are in the bucket");
    assert!(artifacts_in(&cluster.artifacts()).is_empty(), "and nowhere else");
    for name in cluster.names() {
        assert!(!cluster.log(&name).contains(SECRET), "the log of {name} holds the secret");
    }
}
