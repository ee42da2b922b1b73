//! A coordinator that starts before its etcd waits, says so, and can be told to end; one that was told wrongly ends at once.
//! That it leads once etcd is there, `the_image_runs_its_manifests` shows.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
};

use rewind_tests::{complaint, program, rewind};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_coordinator_waits_for_its_etcd_and_ends_when_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    for signal in [Signal::TERM, Signal::INT] {
        let free = TcpListener::bind("127.0.0.1:0").expect("binds");
        let health = free.local_addr().expect("an address").to_string();
        drop(free);
        let mut coordinator = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program("rewind-coordinator"))
            .args(["--listen", "127.0.0.1:0", "--etcd", "http://127.0.0.1:1", "--health", &health, "--dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv comes with util-linux");
        let mut log = BufReader::new(coordinator.stderr.take().expect("is piped")).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("waits for the state store"));
        assert!(line.is_some_and(|line| line.contains("http://127.0.0.1:1")), "it ended, or waits for something else");
        TcpStream::connect(&health).expect("it serves health meanwhile");
        kill_process(Pid::from_child(&coordinator), signal).expect("it runs");
        let rest: Vec<String> = log.collect();
        assert!(coordinator.wait().expect("it is ours").success(), "{signal:?}: {rest:?}");
    }
}

#[test]
fn certificates_for_etcd_that_are_none_end_a_coordinator_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("printable");
    let made = rewind(&["pki", "create", &format!("{folder}/pki")]);
    assert!(made.status.success(), "{}", complaint(&made));
    let (text, garbage) = (format!("{folder}/text.pem"), format!("{folder}/garbage.pem"));
    fs::write(&text, "no certificate").expect("writes");
    fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("writes");
    let files = ["ca.pem", "operator.pem", "viewer.key"].map(|name| format!("{folder}/pki/{name}"));
    let [ca, certificate, key] = files.each_ref().map(String::as_str);
    for (options, problem) in [
        (vec!["--etcd-ca", &text], ["--etcd-ca: ", &text]),
        (vec!["--etcd-ca", &garbage], ["--etcd-ca: ", &garbage]),
        (
            vec!["--etcd-ca", ca, "--etcd-certificate", certificate, "--etcd-key", key],
            ["the certificate and the key for etcd do not fit: ", ""],
        ),
    ] {
        let ran = Command::new("timeout")
            .arg("60")
            .arg(program("rewind-coordinator"))
            .args(["--listen", "127.0.0.1:0", "--etcd", "https://127.0.0.1:1", "--dir", folder])
            .args(options)
            .output()
            .expect("it runs");
        assert_eq!(ran.status.code(), Some(1), "{problem:?}: {}", complaint(&ran));
        assert!(problem.iter().all(|part| complaint(&ran).contains(part)), "{problem:?}: {}", complaint(&ran));
    }
}
