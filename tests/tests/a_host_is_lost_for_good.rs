//! A host with the leading coordinator, a member of etcd and a worker at work is lost with its disk.

use std::{cell::RefCell, process::Stdio, time::Instant};

use rewind_job::JobState;
use rewind_tests::{
    cluster::{Cluster, bits},
    complaint,
    hosts::{Hosts, can_be_had},
    small_job,
};

#[test]
fn a_host_that_is_lost_with_its_files_costs_nothing_that_was_committed() {
    if !can_be_had() {
        return;
    }
    let mut hosts = Hosts::start(4);
    let mut cluster = Cluster::start_on(&hosts);
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));

    let job = cluster.submit(&small_job(2));
    let watches = cluster.command(&["watch", &job]).stderr(Stdio::piped()).spawn().expect("rewind runs");
    let (leader, term) = cluster.leader();
    assert_eq!(leader, "coordinator-1");
    cluster.wait_for_round(&job, 0, 2);
    let committed = cluster.status(&job).expect("is listed").committed;
    let begun = Instant::now();
    cluster.lose(&mut hosts, 1);
    cluster.eventually("another coordinator leads", |cluster| (cluster.leader().1 > term).then_some(()));
    println!("a leader whose host was lost was replaced after {:?} (lease 3 s)", begun.elapsed());
    let status = cluster.eventually("a gang trains again", |cluster| {
        cluster.status(&job).filter(|status| status.generation.0 == 2 && status.state == JobState::Running)
    });
    println!("a gang trained again after {:?} (lease 3 s, detection 5 s)", begun.elapsed());
    assert!(begun.elapsed().as_secs() < 30);
    assert!(cluster.events(&job).contains("assigned to worker-1, worker-2"), "{}", cluster.events(&job));
    assert!(status.committed >= committed, "{committed:?} was committed, and {:?} is", status.committed);
    let resumed: u32 = cluster.eventually("it says where it goes on", |cluster| {
        let logs: String = hosts.numbers().iter().map(|number| cluster.log(&format!("worker-{number}"))).collect();
        let second = format!("{{job={job} generation=2 ");
        let line = logs.lines().find(|line| line.contains(&second) && line.contains("goes on after round "))?;
        line.split("goes on after round ").nth(1)?.split(' ').next()?.parse().ok()
    });
    let (_, round) = committed.expect("two rounds are");
    assert!(resumed >= round.0, "round {} was committed, and the work went on after round {resumed}", round.0);

    // The work goes on where it was last committed, on the hosts that are left.
    assert_eq!(bits(&cluster.report(&job)), expected);
    let watches = RefCell::new(watches);
    cluster.eventually("who watches hears of the end", |_| watches.borrow_mut().try_wait().expect("is ours"));
    let watched = watches.into_inner().wait_with_output().expect("it has ended");
    assert!(watched.status.success(), "who watches follows to the new leader: {}", complaint(&watched));
    assert_eq!(bits(&cluster.report(&undisturbed)), expected, "what was finished before is not lost either");
    let job = cluster.submit(&small_job(2));
    assert_eq!(bits(&cluster.report(&job)), expected);
}
