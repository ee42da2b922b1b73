//! Several coordinators on etcd, everything over TLS: one leads, and its death or standstill costs no round.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rewind_tests::{
    cluster::{Cluster, bits},
    complaint, small_job,
};

#[test]
fn another_coordinator_takes_over_and_the_gang_goes_on() {
    let mut cluster = Cluster::start(1, 2, 2);
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));

    // Killed.
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    let (leader, term) = cluster.leader();
    let watches = cluster.command(&["watch", &job]).stderr(Stdio::piped()).spawn().expect("rewind runs");
    cluster.eventually("it watches", |cluster| cluster.status(&job).map(drop));
    cluster.kill(&leader);
    let begun = Instant::now();
    cluster.eventually("another coordinator leads", |cluster| (cluster.leader().1 > term).then_some(()));
    println!("a killed leader was replaced after {:?} (lease 3 s)", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20));
    cluster.restart(&leader);
    let report = cluster.report(&job);
    let watched = watches.wait_with_output().expect("it ends");
    assert!(watched.status.success(), "who watches follows to the new leader: {}", complaint(&watched));
    assert_eq!(bits(&report), expected);
    let generations: Vec<u64> = report.events.iter().map(|event| event.generation.0).collect();
    assert!(generations.iter().all(|generation| *generation <= 1), "{}", cluster.events(&job));

    // Frozen: it does not know that it leads no more, and nothing it does then counts.
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    let (leader, term) = cluster.leader();
    cluster.freeze(&leader);
    cluster.eventually("another coordinator leads", |cluster| (cluster.leader().1 > term).then_some(()));
    cluster.wait_for_round(&job, 0, 3);
    cluster.thaw(&leader);
    cluster.eventually("the old leader stands by", |cluster| {
        cluster
            .log(&leader)
            .lines()
            .rev()
            .find(|line| line.contains("stands by: ") || line.contains("leads term="))
            .filter(|line| line.contains("stands by: "))
            .map(drop)
    });
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);

    // Told to end: it resigns, and nobody waits for its lease.
    let (leader, term) = cluster.leader();
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 1);
    let begun = Instant::now();
    cluster.terminate(&leader);
    cluster.eventually("another coordinator leads", |cluster| (cluster.leader().1 > term).then_some(()));
    println!("a leader that was told to end was replaced after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(bits(&cluster.report(&job)), expected);

    // Roles, by certificate and by token.
    cluster.restart(&leader);
    let job = cluster.submit(&small_job(2));
    let viewed = cluster.rewind_as(Some("viewer"), &["jobs"]);
    assert!(viewed.status.success(), "{}", complaint(&viewed));
    let refused = cluster.rewind_as(Some("viewer"), &["cancel", &job]);
    assert!(!refused.status.success() && complaint(&refused).contains("viewer"), "{}", complaint(&refused));
    let refused = cluster.rewind_as(Some("worker"), &["jobs"]);
    assert!(!refused.status.success(), "a worker does not list jobs");
    let refused = cluster.rewind_as(None, &["jobs"]);
    assert!(!refused.status.success(), "nobody is not answered");
    let viewed = cluster.rewind_with_token(&cluster.token_file("viewer"), &["jobs"]);
    assert!(viewed.status.success(), "{}", complaint(&viewed));
    let refused = cluster.rewind_with_token(&cluster.token_file("viewer"), &["cancel", &job]);
    assert!(!refused.status.success() && complaint(&refused).contains("viewer"), "{}", complaint(&refused));
    let refused = cluster.rewind_with_token(&cluster.token_file("worker"), &["jobs"]);
    assert!(!refused.status.success(), "a worker does not list jobs");
    let forged = cluster.folder.path().join("forged.token");
    fs::write(&forged, "a".repeat(43)).expect("writes");
    fs::set_permissions(&forged, fs::Permissions::from_mode(0o600)).expect("is ours");
    let refused = cluster.rewind_with_token(&forged, &["jobs"]);
    assert!(!refused.status.success(), "a token that nobody gave is worth nothing");
    let cancelled = cluster.rewind_with_token(&cluster.token_file("operator"), &["cancel", &job]);
    assert!(cancelled.status.success(), "{}", complaint(&cancelled));
    for role in ["operator", "viewer", "worker"] {
        let token = fs::read_to_string(cluster.token_file(role)).expect("reads");
        for name in cluster.names() {
            assert!(!cluster.log(&name).contains(token.trim()), "the log of {name} holds a token");
        }
    }
}

#[test]
fn an_outage_of_etcd_stops_commits_and_nothing_else() {
    let mut cluster = Cluster::start(1, 2, 2);
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    cluster.etcd.kill_member(0);
    let (leader, _) = cluster.leader();
    cluster.eventually("the leader notices", |cluster| {
        cluster.log(&leader).contains("the state store is away").then_some(())
    });
    // Longer than two leases of 3 s. The gang goes one round ahead, and waits.
    let committed = cluster.log(&leader).matches("the state store is back").count();
    thread::sleep(Duration::from_secs(7));
    assert_eq!(cluster.log(&leader).matches("the state store is back").count(), committed);
    for name in ["worker-1", "worker-2"] {
        let log = cluster.log(name);
        assert!(!log.contains("failed:") && !log.contains("left:"), "{name} goes on computing, and waits:\n{log}");
    }
    cluster.etcd.start_member(0);
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    let generations: Vec<u64> = report.events.iter().map(|event| event.generation.0).collect();
    assert!(generations.iter().all(|generation| *generation <= 1), "{}", cluster.events(&job));
}
