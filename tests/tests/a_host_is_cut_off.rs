//! A host with the leading coordinator, a member of etcd and a worker at work is cut off, and comes back.

use std::time::Instant;

use rewind_job::JobState;
use rewind_tests::{
    cluster::{Cluster, bits},
    hosts::{Hosts, can_be_had},
    small_job,
};

#[test]
fn a_host_that_is_cut_off_is_replaced_and_comes_back() {
    if !can_be_had() {
        return;
    }
    let hosts = Hosts::start(4);
    let mut cluster = Cluster::start_on(&hosts);
    let undisturbed = cluster.submit(&small_job(3));
    let expected = bits(&cluster.report(&undisturbed));

    let job = cluster.submit(&small_job(3));
    cluster.wait_for_round(&job, 0, 2);
    let (leader, term) = cluster.leader();
    let number: usize = leader.trim_start_matches("coordinator-").parse().expect("a number");
    let worker = format!("worker-{number}");
    let has_worked = |events: &str| events.lines().any(|line| line.contains("assigned to") && line.contains(&worker));
    assert!(has_worked(&cluster.events(&job)), "{}", cluster.events(&job));

    // No connection is closed: nobody is told anything.
    let begun = Instant::now();
    hosts.host(number).lose_link();
    let logged = cluster.log(&leader).len();
    cluster.eventually("another coordinator leads", |cluster| (cluster.leader().1 > term).then_some(()));
    println!("a leader without a link was replaced after {:?} (lease 3 s)", begun.elapsed());
    cluster.eventually("a gang trains again without its worker", |cluster| {
        let status = cluster.status(&job)?;
        (status.generation.0 >= 2 && status.state == JobState::Running).then_some(())
    });
    println!("a gang trained again without it after {:?} (lease 3 s, detection 5 s)", begun.elapsed());
    assert!(begun.elapsed().as_secs() < 120);
    for peer in (1..=3).filter(|peer| *peer != number) {
        let log = cluster.log(&format!("worker-{peer}"));
        println!("a peer: {}", log.lines().rev().find(|line| line.contains("left:")).unwrap_or_default());
        assert!(log.contains("left:"), "it is told to leave, and waits for no deadline of a collective:\n{log}");
    }
    let meanwhile = cluster.eventually("it notices", |cluster| {
        Some(cluster.log(&leader).split_off(logged)).filter(|log| log.contains("the state store is away"))
    });
    assert!(!meanwhile.contains("generation="), "what it decides while it is cut off is not stored:\n{meanwhile}");

    hosts.host(number).regain_link();
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    cluster.eventually("its coordinator stands by", |cluster| {
        let log = cluster.log(&leader);
        let last = log.lines().rev().find(|line| line.contains("stands by: ") || line.contains("leads term="));
        last.filter(|line| line.contains("stands by: ")).map(drop)
    });
    assert!(cluster.leader().0 != leader);

    // Its worker has left what is over, and works again.
    cluster.eventually("its worker has joined the new leader", |cluster| {
        let log = cluster.log(&worker);
        let last = log.lines().rev().find(|line| line.contains("session began"))?;
        (!last.contains(cluster.coordinator_url(number - 1))).then_some(())
    });
    let job = cluster.submit(&small_job(3));
    assert_eq!(bits(&cluster.report(&job)), expected);
    assert!(has_worked(&cluster.events(&job)), "{}", cluster.events(&job));
}
