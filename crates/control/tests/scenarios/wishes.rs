//! What users wish: priorities, pauses, deadlines, fewer workers; and gangs that are slow to prepare.

use std::time::Duration;

use rewind_control::Event;
use rewind_job::{JobState, Priority, Specification, WorldSize};

use crate::cluster::{Cluster, specification};

fn submit(cluster: &mut Cluster, world: u32, change: impl FnOnce(&mut Specification)) -> rewind_job::JobId {
    let job = cluster.control.job_of("");
    let mut wanted = specification(world);
    change(&mut wanted);
    cluster.handle(Event::submitted(wanted));
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
    assert_eq!(cluster.reason(&job), "needs 3 workers, 2 idle; takes 2 after 5s");
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
fn a_gang_that_does_not_prepare_in_time_is_made_anew_with_others() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(1);
    // Worker 1 beats, and prepares for ever.
    cluster.pass(Duration::from_secs(602), &[1, 2]);
    assert!(cluster.recorded(&job, "worker-1 did not prepare within 600s"));
    assert!(cluster.recorded(&job, "assigned to worker-2"), "the other one is tried first");
}

#[test]
fn an_hour_is_needed_to_rise_and_a_job_that_ran_begins_at_its_own_priority() {
    for (waited, first_is_low) in [(3599, false), (3600, true)] {
        let mut cluster = Cluster::of(1);
        let running = submit(&mut cluster, 1, |_| {});
        let low = submit(&mut cluster, 1, |s| s.priority = Priority::Low);
        cluster.all_obey();
        cluster.now.0 += waited * 1000;
        let normal = submit(&mut cluster, 1, |_| {});
        cluster.cancel(&running);
        cluster.all_obey();
        let states = (cluster.state(&low), cluster.state(&normal));
        let (low, normal) = if first_is_low {
            // Of equal ones the oldest.
            (JobState::Running, JobState::Waiting)
        } else {
            (JobState::Waiting, JobState::Running)
        };
        assert_eq!(states, (low, normal), "after {waited} s");
    }
}

#[test]
fn a_high_priority_takes_nothing_from_a_gang_that_runs() {
    let mut cluster = Cluster::of(1);
    let low = submit(&mut cluster, 1, |s| s.priority = Priority::Low);
    cluster.all_obey();
    let high = submit(&mut cluster, 1, |s| s.priority = Priority::High);
    assert_eq!((cluster.state(&low), cluster.state(&high)), (JobState::Running, JobState::Waiting));
    assert_eq!(cluster.reason(&high), "needs 1 worker, 0 idle");
}

#[test]
fn what_does_not_run_is_paused_at_once() {
    let mut cluster = Cluster::of(1);
    let preparing = cluster.submit(1);
    let waiting = cluster.submit(1);
    cluster.pause(&preparing);
    cluster.pause(&waiting);
    assert_eq!((cluster.state(&preparing), cluster.state(&waiting)), (JobState::Paused, JobState::Paused));
    assert_eq!(cluster.reason(&waiting), "paused by the user");
    cluster.all_work();
    cluster.resume(&waiting);
    cluster.all_work();
    assert_eq!((cluster.state(&preparing), cluster.state(&waiting)), (JobState::Paused, JobState::Finished));
}

#[test]
fn what_cannot_be_paused_or_resumed_stays_as_it_is() {
    let mut cluster = Cluster::of(1);
    let finished = cluster.submit(1);
    cluster.all_work();
    let running = cluster.submit(1);
    cluster.all_obey();
    for event in [
        Event::PauseWanted(finished.clone()),
        Event::ResumeWanted(finished),
        Event::ResumeWanted(running),
        Event::PauseWanted("job-99".into()),
        Event::ResumeWanted("".into()),
    ] {
        cluster.handle(event);
        assert!(cluster.commands.is_empty());
    }
}

#[test]
fn a_paused_job_outlives_its_coordinator() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 1);
    cluster.pause(&job);
    cluster.all_work();
    cluster.restart();
    cluster.come_back(1);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Paused);
    cluster.resume(&job);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.manifests(&job), [(0, 1, 1), (0, 2, 1), (2, 1, 2), (2, 2, 2)]);
}

#[test]
fn a_pause_that_meets_the_last_round_lets_the_job_measure_until_its_time_is_over() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    cluster.work_until(&job, 4);
    cluster.pause(&job);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_resumed_job_counts_its_failures_anew() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    for _ in 0..2 {
        for _ in 0..5 {
            assert!(!cluster.state(&job).is_final(), "{}", cluster.reason(&job));
            cluster.all_obey();
            cluster.fails(1, "the disk is full", true);
            cluster.all_obey();
            cluster.pass(Duration::from_secs(9), &[1]);
        }
        assert_eq!(cluster.state(&job), JobState::Failed);
        cluster.resume(&job);
    }
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_failed_job_that_its_deadline_ended_cannot_go_on() {
    let mut cluster = Cluster::of(1);
    let job = submit(&mut cluster, 1, |s| s.deadline = Some(Duration::from_secs(10)));
    cluster.pause(&job);
    cluster.pass(Duration::from_secs(11), &[1]);
    assert_eq!(cluster.state(&job), JobState::Failed, "a pause stops no clock");
    cluster.resume(&job);
    cluster.pass(Duration::from_secs(1), &[1]);
    assert_eq!(cluster.reason(&job), "its deadline of 10s passed");
}

#[test]
fn a_deadline_counts_from_the_submission_whatever_coordinator_leads() {
    let mut cluster = Cluster::of(1);
    let job = submit(&mut cluster, 1, |s| s.deadline = Some(Duration::from_secs(10)));
    cluster.all_obey();
    cluster.pass(Duration::from_secs(8), &[1]);
    cluster.restart();
    cluster.come_back(1);
    cluster.pass(Duration::from_secs(3), &[1]);
    assert_eq!(cluster.state(&job), JobState::Failed);
    assert_eq!(cluster.workers[&crate::cluster::worker(1)].inbox.len(), 2, "begin, caught up; and leave");
}

#[test]
fn a_job_never_runs_on_fewer_workers_than_it_allows() {
    let mut cluster = Cluster::of(1);
    let job = submit(&mut cluster, 3, |s| {
        s.fleet.at_least = Some(WorldSize(2));
        s.fleet.grace = Duration::from_secs(5);
    });
    cluster.pass(Duration::from_secs(60), &[1]);
    assert_eq!(cluster.state(&job), JobState::Waiting);
    cluster.join(2);
    assert_eq!((cluster.state(&job), cluster.status(&job).world_size), (JobState::Preparing, WorldSize(2)));
}

#[test]
fn a_job_that_lost_a_worker_waits_for_another_before_it_goes_on_with_fewer() {
    let mut cluster = Cluster::of(3);
    let fewer = |s: &mut Specification| {
        s.fleet.at_least = Some(WorldSize(1));
        s.fleet.grace = Duration::from_secs(5);
    };
    let job = submit(&mut cluster, 3, fewer);
    cluster.work_until(&job, 1);
    cluster.pass(Duration::from_secs(60), &[1, 2, 3]);
    cluster.lose(3);
    cluster.all_obey();
    cluster.pass(Duration::from_secs(4), &[1, 2]);
    assert_eq!(cluster.state(&job), JobState::Waiting, "the grace begins when it begins to wait");
    cluster.pass(Duration::from_secs(2), &[1, 2]);
    assert_eq!(cluster.status(&job).world_size, WorldSize(2));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
    assert_eq!(cluster.stored.head(&job).warnings, ["generation 2 ran on 2 instead of 3 workers."]);
}

#[test]
fn tasks_give_way_to_a_gang_that_takes_fewer_workers() {
    let mut cluster = Cluster::of(2);
    let tasks = cluster.submit_histories(8);
    cluster.all_obey();
    let gang = submit(&mut cluster, 3, |s| {
        s.fleet.at_least = Some(WorldSize(2));
        s.fleet.grace = Duration::from_secs(5);
    });
    assert_eq!(cluster.on_tasks(&tasks).len(), 2);
    cluster.pass(Duration::from_secs(6), &[1, 2]);
    cluster.all_obey();
    assert_eq!((cluster.state(&gang), cluster.status(&gang).world_size), (JobState::Running, WorldSize(2)));
}

#[test]
fn a_worker_that_was_slow_to_prepare_is_taken_last() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(1);
    cluster.pass(Duration::from_secs(602), &[1, 2]);
    cluster.cancel(&job);
    cluster.all_obey();
    let next = cluster.submit(1);
    assert!(cluster.recorded(&next, "generation 1: assigned to worker-2"));
}

#[test]
fn a_gang_that_prepares_in_time_is_left_alone() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit(2);
    cluster.pass(Duration::from_secs(600), &[1, 2]);
    cluster.all_obey();
    assert_eq!((cluster.state(&job), cluster.status(&job).generation.0), (JobState::Running, 1));
    cluster.pass(Duration::from_secs(1200), &[1, 2]);
    assert_eq!(cluster.status(&job).generation.0, 1, "what runs has no such limit");
}

#[test]
fn the_first_failure_is_tried_again_at_once_and_the_next_ones_ever_later() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit(1);
    for wait in [0, 2, 4, 8] {
        cluster.all_obey();
        let generation = cluster.status(&job).generation;
        cluster.fails(1, "the disk is full", true);
        cluster.all_obey();
        if wait > 0 {
            assert_eq!(cluster.state(&job), JobState::Waiting);
            assert_eq!(cluster.reason(&job), format!("tries again in {} s: worker-1: the disk is full", wait + 1));
            cluster.pass(Duration::from_millis(wait * 1000 - 500), &[1]);
            assert_eq!(cluster.state(&job), JobState::Waiting, "after less than {wait} s");
            cluster.pass(Duration::from_millis(500), &[1]);
        }
        assert_eq!(cluster.status(&job).generation.0, generation.0 + 1, "after {wait} s");
    }
}

#[test]
fn a_job_that_tries_again_later_leaves_its_workers_to_others() {
    let mut cluster = Cluster::of(1);
    let failing = cluster.submit(1);
    for _ in 0..2 {
        cluster.all_obey();
        cluster.fails(1, "the disk is full", true);
    }
    cluster.all_obey();
    let other = cluster.submit(1);
    assert_eq!((cluster.state(&failing), cluster.state(&other)), (JobState::Waiting, JobState::Preparing));
}
