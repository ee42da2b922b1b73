//! Packets between hosts are late and lost, and then those of the leader's host do not arrive any more.

use std::time::{Duration, Instant};

use rewind_job::JobState;
use rewind_tests::{
    cluster::{Cluster, bits},
    hosts::{Hosts, can_be_had},
    network::Quality,
    small_job,
};

#[test]
fn late_and_lost_packets_and_a_network_of_one_way_change_no_bit() {
    if !can_be_had() {
        return;
    }
    let hosts = Hosts::start(3);
    let mut cluster = Cluster::start_on(&hosts);
    let begun = Instant::now();
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));
    println!("over a good network: {:?}", begun.elapsed());

    let begun = Instant::now();
    let milliseconds = Duration::from_millis;
    let (carried, lost) = hosts.network.counts();
    hosts.network.set_quality(Quality { latency: milliseconds(1), jitter: milliseconds(2), loss: 0.002 });
    let job = cluster.submit(&small_job(2));
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    let (carried, lost) = (hosts.network.counts().0 - carried, hosts.network.counts().1 - lost);
    println!("over a bad one: {:?}, {carried} packets carried, {lost} lost", begun.elapsed());
    println!("generations: {:?}", report.events.iter().map(|event| event.generation.0).max());
    assert!(lost > 20 && carried > 100 * lost, "{carried} packets carried, {lost} lost");
    hosts.network.set_quality(Quality::default());

    // The leader hears everybody, and nobody hears it.
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    let (leader, term) = cluster.leader();
    let number = leader.trim_start_matches("coordinator-").parse().expect("a number");
    let begun = Instant::now();
    hosts.silence(number);
    cluster.eventually("another coordinator leads", |cluster| (cluster.leader().1 > term).then_some(()));
    println!("a leader that nobody hears was replaced after {:?} (lease 3 s)", begun.elapsed());
    cluster.eventually("a gang trains again", |cluster| {
        let status = cluster.status(&job)?;
        (status.generation.0 >= 2 && status.state == JobState::Running).then_some(())
    });
    println!("a gang trained again after {:?} (lease 3 s, detection 5 s)", begun.elapsed());
    assert!(begun.elapsed().as_secs() < 120);
    hosts.network.heal();
    assert_eq!(bits(&cluster.report(&job)), expected);
}
