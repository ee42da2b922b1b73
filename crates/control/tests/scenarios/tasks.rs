//! Histories: many small tasks, each on one worker, committed exactly once, giving way to gangs.

use std::time::Duration;

use rewind_control::{Command, Count, TaskRecord};
use rewind_job::{Generation, JobId, JobState, TaskIndex, WorkerEvent};

use crate::cluster::{Cluster, history, worker};

fn done(cluster: &Cluster, job: &JobId) -> Vec<u32> {
    let done = |record: &TaskRecord| record.output == Some(history(record.task));
    cluster.stored.jobs[job].tasks.values().filter(|record| done(record)).map(|record| record.task.0).collect()
}

#[test]
fn every_task_is_done_exactly_once_by_whoever_is_idle() {
    let mut cluster = Cluster::of(3);
    let job = cluster.submit_histories(7);
    assert_eq!(cluster.on_tasks(&job), [(0, worker(1)), (1, worker(2)), (2, worker(3))]);
    assert_eq!(cluster.status(&job).tasks.map(|count| (count.total, count.running, count.done)), Some((7, 3, 0)));
    cluster.all_work();
    assert_eq!((cluster.state(&job), cluster.reason(&job)), (JobState::Finished, "all 7 histories are made".into()));
    assert_eq!(done(&cluster, &job), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(cluster.status(&job).generation, Generation(7), "no task was tried twice");
}

#[test]
fn the_time_left_is_estimated_from_the_tasks_that_are_done() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit_histories(6);
    let left = |cluster: &Cluster| cluster.status(&job).tasks.and_then(|count| count.left);
    assert_eq!(left(&cluster), None);
    cluster.pass(Duration::from_secs(10), &[1, 2]);
    for number in [1, 2] {
        cluster.obey(number);
        cluster.work(number);
        cluster.all_obey();
    }
    // Two of six took 10 s each; four are left, on two workers.
    assert_eq!(left(&cluster), Some(20));
    let progress = cluster.status(&job).progress.expect("it is known");
    assert_eq!(progress.text, "histories: 2 of 6 made, 2 under way, about 20s left");
    assert!((progress.fraction - 1.0 / 3.0).abs() < 1e-9);
}

#[test]
fn a_task_that_is_said_to_be_done_twice_is_committed_once() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit_histories(2);
    let done = |task, generation| WorkerEvent::TaskDone {
        job: job.clone(),
        generation: Generation(generation),
        task: TaskIndex(task),
        output: history(TaskIndex(task)),
    };
    // One that it was not given, and one of another attempt.
    cluster.says(1, done(1, 1));
    assert!(cluster.changed_nothing());
    cluster.says(1, done(0, 7));
    assert!(cluster.changed_nothing());
    cluster.says(1, done(0, 1));
    assert!(cluster.commands.contains(&Command::Count(Count::TaskDone)));
    cluster.says(1, done(0, 1));
    assert!(cluster.changed_nothing());
}

#[test]
fn a_task_whose_worker_is_lost_is_open_again() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit_histories(3);
    cluster.all_obey();
    cluster.lose(1);
    assert!(cluster.recorded(&job, "task 0 is open again: worker-1 was lost"));
    assert_eq!(cluster.on_tasks(&job), [(1, worker(2))]);
    cluster.all_work();
    assert_eq!((cluster.state(&job), done(&cluster, &job).len()), (JobState::Finished, 3));
}

#[test]
fn a_task_that_its_worker_left_is_open_again() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit_histories(1);
    cluster.says(1, WorkerEvent::Left { job: job.clone(), generation: Generation(1), last: None });
    assert!(cluster.recorded(&job, "task 0 is open again: worker-1 left it"));
    assert_eq!(cluster.status(&job).generation, Generation(2), "it is tried again at once");
}

#[test]
fn a_job_waits_when_nobody_is_left_for_its_tasks() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit_histories(2);
    cluster.lose(1);
    assert_eq!(cluster.state(&job), JobState::Waiting);
    cluster.join(2);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn the_youngest_tasks_give_way_to_a_gang_and_no_more_than_it_needs() {
    let mut cluster = Cluster::of(4);
    let job = cluster.submit_histories(9);
    cluster.all_obey();
    let gang = cluster.submit(2);
    let aborted: Vec<_> = cluster.aborted().into_iter().map(|(worker, _)| worker).collect();
    assert_eq!(aborted, [worker(4), worker(3)]);
    assert!(cluster.recorded(&job, "task 3 is open again: worker-4 is wanted by job-2"));
    assert_eq!(cluster.on_tasks(&job), [(0, worker(1)), (1, worker(2))]);
    cluster.all_obey();
    assert_eq!(cluster.state(&gang), JobState::Running);
    cluster.all_work();
    assert_eq!((cluster.state(&gang), cluster.state(&job)), (JobState::Finished, JobState::Finished));
    assert_eq!(done(&cluster, &job).len(), 9);
}

#[test]
fn the_youngest_is_the_one_that_was_begun_last_of_the_youngest_job() {
    let mut cluster = Cluster::new();
    for _ in 0..8 {
        let job = cluster.submit_histories(1);
        cluster.cancel(&job);
    }
    cluster.join(1);
    cluster.join(2);
    let (ninth, tenth) = (cluster.submit_histories(1), cluster.submit_histories(1));
    assert_eq!((ninth.0.as_str(), tenth.0.as_str()), ("job-9", "job-10"));
    cluster.all_obey();
    cluster.submit(1);
    assert_eq!((cluster.state(&ninth), cluster.state(&tenth)), (JobState::Running, JobState::Waiting));

    // Task 0 is begun again, after task 1.
    let mut cluster = Cluster::of(2);
    let job = cluster.submit_histories(2);
    cluster.lose(1);
    cluster.join(3);
    assert_eq!(cluster.on_tasks(&job), [(0, worker(3)), (1, worker(2))]);
    cluster.all_obey();
    cluster.submit(1);
    assert_eq!(cluster.aborted()[0].0, worker(3));
}

#[test]
fn tasks_do_not_start_while_a_gang_could_have_their_workers() {
    let mut cluster = Cluster::of(2);
    let busy = cluster.submit(1);
    cluster.all_obey();
    let gang = cluster.submit(2);
    let tasks = cluster.submit_histories(2);
    cluster.all_obey();
    assert!(cluster.on_tasks(&tasks).is_empty(), "worker 2 is kept for the gang");
    assert_eq!(cluster.reason(&tasks), format!("waiting behind {gang}"));
    cluster.cancel(&busy);
    cluster.all_obey();
    assert_eq!(cluster.state(&gang), JobState::Running);
}

#[test]
fn tasks_fill_the_time_of_a_gang_that_is_too_large_for_the_fleet() {
    let mut cluster = Cluster::of(2);
    let gang = cluster.submit(3);
    let tasks = cluster.submit_histories(4);
    assert_eq!(cluster.on_tasks(&tasks).len(), 2);
    cluster.all_obey();
    cluster.join(3);
    cluster.all_obey();
    assert_eq!(cluster.state(&gang), JobState::Running, "all give way to it");
    cluster.all_work();
    assert_eq!(cluster.state(&tasks), JobState::Finished);
}

#[test]
fn a_task_that_fails_three_times_fails_its_job_and_calls_off_the_others() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit_histories(2);
    for _ in 0..2 {
        cluster.all_obey();
        cluster.fails(1, "no memory", true);
        assert_eq!(cluster.state(&job), JobState::Running);
    }
    cluster.all_obey();
    cluster.fails(1, "no memory", true);
    assert_eq!(cluster.state(&job), JobState::Failed);
    assert_eq!(cluster.reason(&job), "task 0 failed on worker-1: no memory");
    cluster.all_obey();
    assert!(cluster.on_tasks(&job).is_empty());
}

#[test]
fn a_task_that_would_fail_again_fails_its_job_at_once_and_both_can_be_resumed() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit_histories(2);
    cluster.all_obey();
    cluster.work(1);
    cluster.all_obey();
    cluster.fails(1, "bad input", false);
    assert_eq!(cluster.state(&job), JobState::Failed);
    cluster.resume(&job);
    cluster.all_work();
    assert_eq!((cluster.state(&job), done(&cluster, &job)), (JobState::Finished, vec![0, 1]));
}

#[test]
fn a_resumed_job_counts_failures_anew_even_if_the_coordinator_is_killed_before_it_goes_on() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit_histories(1);
    for _ in 0..3 {
        cluster.all_obey();
        cluster.fails(1, "no memory", true);
    }
    assert_eq!(cluster.state(&job), JobState::Failed);
    cluster.lose(1);
    cluster.resume(&job);
    cluster.restart();
    cluster.join(1);
    cluster.all_obey();
    cluster.fails(1, "no memory", true);
    assert!(!cluster.state(&job).is_final(), "{}", cluster.reason(&job));
}

#[test]
fn a_task_that_is_done_is_not_forgiven_its_failures() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit_histories(2);
    cluster.all_obey();
    cluster.fails(1, "no memory", true);
    cluster.all_obey();
    cluster.work(1);
    cluster.all_obey();
    cluster.fails(1, "bad input", false);
    assert_eq!((cluster.state(&job), done(&cluster, &job)), (JobState::Failed, vec![0]));
    cluster.resume(&job);
    assert_eq!(cluster.stored.jobs[&job].tasks[&TaskIndex(0)].failures, 1);
}

#[test]
fn a_paused_job_calls_off_its_tasks_and_keeps_what_is_done() {
    let mut cluster = Cluster::of(2);
    let job = cluster.submit_histories(5);
    cluster.all_obey();
    cluster.work(1);
    cluster.pause(&job);
    assert_eq!(cluster.state(&job), JobState::Paused);
    cluster.all_work();
    assert_eq!((cluster.state(&job), done(&cluster, &job)), (JobState::Paused, vec![0]));
    cluster.restart();
    assert_eq!(cluster.state(&job), JobState::Paused);
    cluster.resume(&job);
    cluster.join(1);
    cluster.all_work();
    assert_eq!((cluster.state(&job), done(&cluster, &job).len()), (JobState::Finished, 5));
}

#[test]
fn tasks_go_on_when_the_coordinator_changes() {
    let mut cluster = Cluster::of(3);
    let job = cluster.submit_histories(4);
    cluster.all_obey();
    cluster.restart();
    assert_eq!(cluster.state(&job), JobState::Running);
    cluster.come_back(1);
    assert_eq!(cluster.commands, [Command::Count(Count::Reattached)]);
    // Worker 2 has begun anew, and worker 3 does not come back.
    cluster.join(2);
    assert!(cluster.recorded(&job, "task 1 is open again: worker-2 began a new session"));
    cluster.pass(Duration::from_secs(6), &[1, 2]);
    assert!(cluster.recorded(&job, "task 2 is open again: worker-3 was silent"));
    cluster.all_work();
    assert_eq!((cluster.state(&job), done(&cluster, &job).len()), (JobState::Finished, 4));
    assert_eq!(cluster.stored.jobs[&job].tasks[&TaskIndex(0)].generation, Generation(1), "the first went on");
}

#[test]
fn a_worker_that_comes_back_with_a_task_that_was_taken_away_is_told_to_leave_it() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit_histories(1);
    cluster.all_obey();
    cluster.pause(&job);
    cluster.restart();
    cluster.come_back(1);
    assert_eq!(cluster.aborted(), [(worker(1), "generation 1 of job-1 is over".into())]);
    cluster.all_obey();
    cluster.resume(&job);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn many_tasks_are_called_off_some_at_a_time() {
    let mut cluster = Cluster::of(100);
    let job = cluster.submit_histories(100);
    assert_eq!(cluster.on_tasks(&job).len(), 100);
    cluster.cancel(&job);
    assert_eq!((cluster.state(&job), cluster.aborted().len()), (JobState::Cancelled, 100));
    assert!(cluster.on_tasks(&job).is_empty());
}

#[test]
fn a_task_that_ends_its_workers_fails_its_job_and_may_be_resumed() {
    let mut cluster = Cluster::new();
    let job = cluster.submit_histories(1);
    for number in 1..=8 {
        assert_eq!(cluster.state(&job), JobState::Waiting, "before worker {number}");
        cluster.join(number);
        cluster.lose(number);
    }
    assert_eq!(cluster.reason(&job), "task 0 lost 8 workers; the last one: worker-8 was lost");
    assert_eq!(cluster.state(&job), JobState::Failed);
    cluster.resume(&job);
    cluster.join(1);
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_task_that_gives_way_often_is_no_danger() {
    let mut cluster = Cluster::of(1);
    let job = cluster.submit_histories(1);
    for _ in 0..12 {
        let gang = cluster.submit(1);
        cluster.all_obey();
        cluster.cancel(&gang);
        cluster.all_obey();
    }
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}
