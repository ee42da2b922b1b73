//! What is slow, or loses its leader for a moment, costs nothing.

use std::{thread, time::Duration};

use rewind_job::JobState;
use rewind_tests::{
    cluster::{Cluster, bits},
    small_job,
};

#[test]
fn a_slow_worker_and_a_new_leader_of_etcd_cost_no_generation() {
    let mut cluster = Cluster::start(3, 2, 2);
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));
    let assert_undisturbed = |cluster: &mut Cluster, job: &str| {
        let report = cluster.report(job);
        assert_eq!(bits(&report), expected);
        let generations: Vec<u64> = report.events.iter().map(|event| event.generation.0).collect();
        assert!(generations.iter().all(|generation| *generation <= 1), "{}", cluster.events(job));
    };

    // A worker that stands still for most of the time, never long enough to be taken for lost.
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 1);
    for _ in 0..12 {
        cluster.freeze("worker-1");
        thread::sleep(Duration::from_millis(900));
        cluster.thaw("worker-1");
        thread::sleep(Duration::from_millis(300));
        if cluster.status(&job).is_some_and(|status| status.state == JobState::Finished) {
            break;
        }
    }
    assert_undisturbed(&mut cluster, &job);

    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    let leader = cluster.etcd.leader();
    cluster.etcd.kill_member(leader);
    cluster.wait_for_round(&job, 0, 4);
    cluster.etcd.start_member(leader);
    assert_undisturbed(&mut cluster, &job);
}
