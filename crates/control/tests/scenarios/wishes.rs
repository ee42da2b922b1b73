//! What users wish: priorities, pauses, deadlines, fewer workers; and workers that are to end.

use std::time::Duration;

use rewind_control::Event;
use rewind_job::{JobState, Priority, Specification, WorkerCommand, WorkerEvent, WorldSize};

use crate::cluster::{Cluster, specification, worker};

fn submit(cluster: &mut Cluster, world: u32, change: impl FnOnce(&mut Specification)) -> rewind_job::JobId {
    let job = cluster.control.next_job();
    let mut wanted = specification(world);
    change(&mut wanted);
    cluster.handle(Event::Submitted(Box::new(wanted)));
    job
}

#[test]
fn the_highest_priority_goes_first_and_of_equal_ones_the_oldest() {
    let mut cluster = Cluster::of(1);
    let running = submit(&mut cluster, 1, |_| {});
    let low = submit(&mut cluster, 1, |s| s.priority = Priority::Low);
    let normal = submit(&mut cluster, 1, |_| {});
    let high = submit(&mut cluster, 1, |s| s.priority = Priority::High);
    cluster.cancel(&running);
    cluster.all_obey();
    assert_eq!(cluster.state(&high), JobState::Running);
    cluster.cancel(&high);
    cluster.all_obey();
    assert_eq!(cluster.state(&normal), JobState::Running);
    assert_eq!(cluster.state(&low), JobState::Waiting);
}

#[test]
fn a_job_that_waits_rises_by_a_priority_an_hour() {
    let mut cluster = Cluster::of(1);
    let running = submit(&mut cluster, 1, |_| {});
    let low = submit(&mut cluster, 1, |s| s.priority = Priority::Low);
    cluster.all_obey();
    cluster.now.0 += 2 * 3600 * 1000;
    let normal = submit(&mut cluster, 1, |_| {});
    cluster.cancel(&running);
    cluster.all_obey();
    assert_eq!((cluster.state(&low), cluster.state(&normal)), (JobState::Running, JobState::Waiting));
}

#[test]
fn a_pause_waits_for_the_round_under_way() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.handle(Event::PauseWanted(job.clone()));
    assert_eq!(cluster.state(&job), JobState::Running);
    cluster.work_until(&job, 2);
    assert_eq!((cluster.state(&job), cluster.manifests(&job).len()), (JobState::Paused, 2));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Paused);
    cluster.handle(Event::ResumeWanted(job.clone()));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_pause_waits_no_longer_than_a_drain_may_take_and_survives_the_coordinator() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.all_obey();
    cluster.handle(Event::PauseWanted(job.clone()));
    cluster.restart();
    cluster.come_back(1);
    cluster.pass(Duration::from_secs(16), &[1]);
    assert_eq!(cluster.state(&job), JobState::Paused);
}

#[test]
fn a_pause_that_has_not_come_to_pass_can_be_taken_back() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.all_obey();
    cluster.handle(Event::PauseWanted(job.clone()));
    cluster.handle(Event::ResumeWanted(job.clone()));
    cluster.all_work();
    assert_eq!((cluster.state(&job), cluster.status(&job).generation.0), (JobState::Finished, 1));
}

#[test]
fn a_worker_lost_while_its_job_is_to_pause_pauses_it() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.all_obey();
    cluster.handle(Event::PauseWanted(job.clone()));
    cluster.lose(1);
    assert_eq!(cluster.state(&job), JobState::Paused);
}

#[test]
fn a_failed_job_can_be_resumed_after_its_last_commit() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 1);
    cluster.fails(1, "bad input", false);
    assert_eq!(cluster.state(&job), JobState::Failed);
    cluster.all_obey();
    cluster.handle(Event::ResumeWanted(job.clone()));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job)[0], (0, 1, 1), "what was committed stays");
}

#[test]
fn a_deadline_ends_a_job_wherever_it_is() {
    for running in [true, false] {
        let mut cluster = Cluster::of(u32::from(running));
        let job = submit(&mut cluster, 1, |s| s.deadline = Some(Duration::from_secs(10)));
        cluster.all_obey();
        cluster.pass(Duration::from_secs(10), &[1]);
        assert!(!cluster.state(&job).is_final());
        cluster.pass(Duration::from_secs(1), &[1]);
        assert_eq!(
            (cluster.state(&job), cluster.reason(&job)),
            (JobState::Failed, "its deadline of 10s passed".into())
        );
    }
}

#[test]
fn a_gang_takes_fewer_workers_after_its_grace_and_says_so() {
    let mut cluster = Cluster::of(2);
    let fewer = |s: &mut Specification| {
        s.fleet.at_least = Some(WorldSize(2));
        s.fleet.grace = Duration::from_secs(5);
    };
    let job = submit(&mut cluster, 3, fewer);
    assert_eq!(cluster.reason(&job), "waiting for workers: 2 of 3 are idle; takes 2 after 5s");
    cluster.pass(Duration::from_secs(4), &[1, 2]);
    assert_eq!(cluster.state(&job), JobState::Waiting);
    cluster.pass(Duration::from_secs(2), &[1, 2]);
    assert_eq!(cluster.status(&job).world_size, WorldSize(2));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert!(cluster.stored.head(&job).warnings[0].contains("ran on 2 instead of 3 workers"));
}

#[test]
fn a_fleet_that_is_whole_but_busy_is_waited_for() {
    let mut cluster = Cluster::of(2);
    let busy = cluster.submit(1);
    let job = submit(&mut cluster, 2, |s| {
        s.fleet.at_least = Some(WorldSize(1));
        s.fleet.grace = Duration::from_secs(1);
    });
    cluster.all_obey();
    cluster.pass(Duration::from_secs(5), &[1, 2]);
    assert_eq!((cluster.state(&busy), cluster.state(&job)), (JobState::Running, JobState::Waiting));
}

#[test]
fn an_idle_worker_that_is_to_end_ends_at_once() {
    let mut cluster = Cluster::of(1);
    cluster.says(1, WorkerEvent::Draining);
    assert_eq!(cluster.workers[&worker(1)].inbox.back(), Some(&WorkerCommand::Shutdown));
    let job = cluster.submit(1);
    assert_eq!(cluster.state(&job), JobState::Waiting, "it gets no more work");
}

#[test]
fn a_gang_goes_on_without_a_member_that_is_to_end_from_its_next_commit_on() {
    let mut cluster = Cluster::of(3);
    let job = cluster.submit(2);
    cluster.work_until(&job, 1);
    cluster.says(1, WorkerEvent::Draining);
    assert_eq!(cluster.state(&job), JobState::Running);
    cluster.work_until(&job, 2);
    cluster.all_obey();
    assert!(cluster.recorded(&job, "assigned to worker-2, worker-3, goes on after round 2 of pretrained"));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_gang_that_does_not_prepare_in_time_is_made_anew_with_others() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(1);
    // Worker 1 beats, and prepares for ever.
    cluster.pass(Duration::from_secs(602), &[1, 2]);
    assert!(cluster.recorded(&job, "worker-1 did not prepare within 600s"));
    assert!(cluster.recorded(&job, "assigned to worker-2"), "the other one is tried first");
}
