//! A worker that was started wrongly says so and ends, and harms no job.

use std::process::Command;

use rewind_tests::{Fleet, complaint, program};

#[test]
fn a_worker_that_cannot_belong_to_the_fleet_ends_and_says_why() {
    let fleet = Fleet::start(1);
    let address = std::fs::read_to_string(fleet.dir().join("coordinator.addr")).expect("an address");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let elsewhere = elsewhere.path().display().to_string();
    let artifacts = fleet.dir().join("artifacts").display().to_string();
    let ends_with = |arguments: &[&str], problem: &str| {
        let worker = Command::new(program("rewind-worker"))
            .args(["--coordinator", &address, "--name", "worker-9"])
            .args(arguments)
            .output()
            .expect("it runs");
        assert_eq!(worker.status.code(), Some(1));
        assert!(complaint(&worker).contains(problem), "{}", complaint(&worker));
    };
    ends_with(
        &["--artifacts", &elsewhere],
        &format!("--artifacts {elsewhere}: this is not the fleet's artifact store"),
    );
    ends_with(
        &["--artifacts", &artifacts, "--bind", "203.0.113.7"],
        "--bind 203.0.113.7: is no address of this machine",
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let taken = listener.local_addr().expect("an address");
    ends_with(
        &["--artifacts", &artifacts, "--health", &taken.to_string()],
        &format!("--health {taken}: Address already in use"),
    );
    ends_with(
        &["--artifacts", &artifacts, "--data-root", "/nowhere"],
        "--data-root /nowhere: No such file or directory",
    );
}
