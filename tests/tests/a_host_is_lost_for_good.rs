//! A host with the leading coordinator, a member of etcd and a worker at work is lost with its disk.

use std::{
    cell::RefCell,
    fs::{self, File},
    process::Child,
    time::Instant,
};

use rewind_job::JobState;
use rewind_tests::{
    cluster::{Cluster, bits},
    hosts::{Hosts, can_be_had},
    small_job,
};

/// Who watches a job; ends with the test.
struct Watches(Child);

impl Drop for Watches {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_host_that_is_lost_with_its_files_costs_nothing_that_was_committed() {
    if !can_be_had() {
        return;
    }
    let mut hosts = Hosts::start(4);
    let mut cluster = Cluster::start_on(&hosts);
    let undisturbed = cluster.submit(&small_job(3));
    let expected = bits(&cluster.report(&undisturbed));

    let job = cluster.submit(&small_job(3));
    let watched = cluster.folder.path().join("watched.log");
    let stderr = File::create(&watched).expect("a log");
    let watches = cluster.command(&["watch", &job]).stderr(stderr).spawn().expect("rewind runs");
    let watches = RefCell::new(Watches(watches));
    cluster.wait_for_round(&job, 0, 2);
    let (leader, term) = cluster.leader();
    let number: usize = leader.trim_start_matches("coordinator-").parse().expect("a number");
    let committed = cluster.status(&job).expect("is listed").committed;
    let begun = Instant::now();
    cluster.lose(&mut hosts, number);
    cluster.eventually("another coordinator leads", |cluster| (cluster.leader().1 > term).then_some(()));
    println!("a leader whose host was lost was replaced after {:?} (lease 3 s)", begun.elapsed());
    let status = cluster.eventually("a gang trains again", |cluster| {
        cluster.status(&job).filter(|status| status.generation.0 >= 2 && status.state == JobState::Running)
    });
    println!("a gang trained again after {:?} (lease 3 s, detection 5 s)", begun.elapsed());
    assert!(begun.elapsed().as_secs() < 120);
    let events = cluster.events(&job);
    let worker = format!("worker-{number}");
    assert!(events.lines().any(|line| line.contains("assigned to") && line.contains(&worker)), "{events}");
    let asks = |_| {
        let begun = Instant::now();
        cluster.status(&job).expect("is listed");
        begun.elapsed()
    };
    let fastest = (0..3).map(asks).min().expect("three");
    println!("`rewind jobs` answered within {fastest:?}; it tries to connect to the lost one for 5 s");
    assert!(fastest.as_secs() < 4, "a coordinator that says nothing is not waited for: {fastest:?}");
    assert!(status.committed >= committed, "{committed:?} was committed, and {:?} is", status.committed);
    let resumed: u32 = cluster.eventually("it says where it goes on", |cluster| {
        let logs: String = hosts.numbers().iter().map(|number| cluster.log(&format!("worker-{number}"))).collect();
        let is_first = |line: &str| line.contains(&format!("{{job={job} generation=1 "));
        let mut later = logs.lines().filter(|line| line.contains(&format!("{{job={job} ")) && !is_first(line));
        later.find_map(|line| line.split("goes on after round ").nth(1)?.split(' ').next()?.parse().ok())
    });
    let (_, round) = committed.expect("two rounds are");
    assert!(resumed >= round.0, "round {} was committed, and the work went on after round {resumed}", round.0);

    // The work goes on where it was last committed, on the hosts that are left.
    assert_eq!(bits(&cluster.report(&job)), expected);
    let ended =
        cluster.eventually("who watches hears of the end", |_| watches.borrow_mut().0.try_wait().expect("is ours"));
    let watched = fs::read_to_string(watched).expect("a log");
    assert!(ended.success(), "who watches follows to the new leader: {watched}");
    assert_eq!(bits(&cluster.report(&undisturbed)), expected, "what was finished before is not lost either");
    let job = cluster.submit(&small_job(3));
    assert_eq!(bits(&cluster.report(&job)), expected);
}
