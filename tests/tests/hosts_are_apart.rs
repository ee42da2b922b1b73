//! What the hosts of these tests share, and what not.

use std::{
    fs,
    process::Output,
    time::{Duration, Instant},
};

use rewind_tests::{
    complaint,
    hosts::{DISK, Host, Hosts, can_be_had},
    network::Quality,
    repository,
};

fn run(host: &Host, script: &str) -> Output {
    host.command("sh").args(["-c", script]).output().expect("a shell runs")
}

fn is_reached(from: &Host, to: &Host) -> bool {
    // The backlog of the listener takes the connection.
    let script = format!("exec timeout 5 bash -c ': < /dev/tcp/{}/7'", to.address);
    run(from, &script).status.success()
}

#[test]
fn hosts_share_a_network_and_no_file_and_a_lost_one_leaves_nothing() {
    if !can_be_had() {
        return;
    }
    let mut hosts = Hosts::start(2);
    let (one, two) = (hosts.host(1), hosts.host(2));
    fs::write(one.disk().join("mine"), "1").expect("writes");
    assert_eq!(run(one, &format!("cat {DISK}/mine")).stdout, b"1");
    assert!(!run(two, &format!("cat {DISK}/mine")).status.success(), "another host's disk is its own");
    for place in [repository().display().to_string(), "/tmp".into(), "/dev/shm".into(), "/run".into()] {
        let _ = run(one, &format!("echo 1 > {place}/hosts-share-this"));
        let seen = run(two, &format!("cat {place}/hosts-share-this"));
        assert!(!seen.status.success(), "{place} is shared by hosts");
        assert!(!std::path::Path::new(&place).join("hosts-share-this").exists(), "{place} is this machine's");
    }
    let processes = String::from_utf8(run(one, "echo /proc/[0-9]*").stdout).expect("text");
    assert!(processes.split_whitespace().count() < 5, "a host sees its own processes alone: {processes}");

    let listens = || {
        let script =
            "import socket, time; s = socket.create_server(('', 7)); print('listens', flush=True); time.sleep(60)";
        let mut python = two.command("python3");
        python.args(["-c", script]).stdout(std::process::Stdio::piped()).spawn().expect("python runs")
    };
    let mut server = listens();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(server.stdout.take().expect("is piped")),
        &mut String::new(),
    )
    .expect("it listens");
    assert!(is_reached(one, two), "{}", complaint(&run(one, "ip address; ip route")));
    hosts.network.set_quality(Quality { latency: Duration::from_millis(100), ..Quality::default() });
    let begun = Instant::now();
    assert!(is_reached(one, two));
    assert!(begun.elapsed() >= Duration::from_millis(200), "there and back: {:?}", begun.elapsed());
    hosts.network.set_quality(Quality::default());
    hosts.network.cut(two.address, one.address);
    assert!(!is_reached(one, two), "no answer comes back");
    hosts.network.heal();
    assert!(is_reached(one, two));
    one.lose_link();
    assert!(!is_reached(one, two));
    one.regain_link();
    assert!(is_reached(one, two));

    let namespaces = two.namespaces();
    assert!(namespaces.inhabitants().len() > 2, "two that hold it, and its server: {:?}", namespaces.inhabitants());
    hosts.lose(2);
    assert_eq!(namespaces.inhabitants(), Vec::<String>::new(), "with the last of them its disk is gone");
    assert!(!server.wait().expect("it has ended").success(), "its programs end with it");
    assert_eq!(hosts.numbers(), [1]);
}
