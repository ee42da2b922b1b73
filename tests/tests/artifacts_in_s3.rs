//! A whole cluster whose artifacts are in S3: a real server of the protocol, which checks signatures.

use std::net::TcpListener;

use rewind_tests::{
    cluster::{Cluster, artifacts_in, bits},
    s3_server::{PLACE, S3Server, SECRET},
    small_job,
};

#[test]
fn a_job_runs_over_s3_and_survives_its_worker() {
    let server = S3Server::start(TcpListener::bind("127.0.0.1:0").expect("binds"));
    let mut cluster = Cluster::start_with(1, 1, 3, Some(PLACE.into()), server.environment());
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));

    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    cluster.kill("worker-1");
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    assert!(report.events.iter().any(|event| event.generation.0 == 2), "{}", cluster.events(&job));

    assert!(artifacts_in(&server.folder().join("models/fleet")).len() > 5, "artifacts are in the bucket");
    assert!(artifacts_in(&cluster.artifacts()).is_empty(), "and nowhere else");
    for name in cluster.names() {
        assert!(!cluster.log(&name).contains(SECRET), "the log of {name} holds the secret");
    }
}
