//! A gang's workers all compute on the same kind of device.

use rewind_control::Event;
use rewind_job::{DeviceKind, JobId, JobState};

use crate::cluster::{Cluster, specification};

fn submit_on(cluster: &mut Cluster, world: u32, device: Option<DeviceKind>) -> JobId {
    let job = cluster.control.job_of("");
    let mut wanted = specification(world);
    wanted.fleet.device = device;
    cluster.handle(Event::submitted(wanted));
    job
}

/// Workers 1 and 3 have GPUs, 2 and 4 have none.
fn mixed() -> Cluster {
    let mut cluster = Cluster::new();
    for number in 1..=4 {
        cluster.join_with(number, if number % 2 == 1 { DeviceKind::Cuda } else { DeviceKind::Cpu });
    }
    cluster
}

#[test]
fn a_gang_is_of_the_kind_that_its_job_asks_for() {
    let mut cluster = mixed();
    let on_cpus = submit_on(&mut cluster, 2, Some(DeviceKind::Cpu));
    assert!(cluster.recorded(&on_cpus, "assigned to worker-2, worker-4"));
    let too_large = submit_on(&mut cluster, 3, Some(DeviceKind::Cuda));
    assert_eq!(cluster.reason(&too_large), "needs 3 workers on cuda, 2 idle");
    cluster.all_work();
    assert_eq!((cluster.state(&on_cpus), cluster.state(&too_large)), (JobState::Finished, JobState::Waiting));
    cluster.join_with(5, DeviceKind::Cuda);
    cluster.all_work();
    assert_eq!(cluster.state(&too_large), JobState::Finished);
}

#[test]
fn a_job_that_asks_for_nothing_takes_the_kind_of_most_workers_and_of_as_many_the_gpus() {
    let mut cluster = mixed();
    let first = submit_on(&mut cluster, 2, None);
    assert!(cluster.recorded(&first, "assigned to worker-1, worker-3"));
    cluster.all_work();
    cluster.join_with(6, DeviceKind::Cpu);
    let second = submit_on(&mut cluster, 2, None);
    assert!(cluster.recorded(&second, "assigned to worker-2, worker-4"));
}

#[test]
fn a_job_that_waits_for_one_kind_does_not_hold_up_the_other() {
    let mut cluster = mixed();
    let running = submit_on(&mut cluster, 1, Some(DeviceKind::Cuda));
    let waiting = submit_on(&mut cluster, 2, Some(DeviceKind::Cuda));
    assert_eq!(cluster.state(&waiting), JobState::Waiting);
    let other = submit_on(&mut cluster, 2, Some(DeviceKind::Cpu));
    assert_eq!(cluster.state(&other), JobState::Preparing);
    let behind = submit_on(&mut cluster, 1, Some(DeviceKind::Cuda));
    assert_eq!(cluster.reason(&behind), "waiting behind job-2");
    cluster.all_work();
    for job in [&running, &waiting, &other, &behind] {
        assert_eq!(cluster.state(job), JobState::Finished);
    }
}

#[test]
fn a_lost_worker_is_replaced_by_one_of_its_kind() {
    let mut cluster = mixed();
    let job = submit_on(&mut cluster, 1, Some(DeviceKind::Cuda));
    cluster.work_until(&job, 1);
    cluster.lose(1);
    assert!(cluster.recorded(&job, "generation 2: assigned to worker-3"));
    cluster.lose(3);
    assert_eq!(cluster.state(&job), JobState::Waiting);
    assert_eq!(cluster.reason(&job).split(':').next(), Some("needs 1 worker on cuda, 0 idle"));
}

#[test]
fn workers_of_every_kind_make_histories_until_a_gang_wants_them() {
    let mut cluster = mixed();
    let histories = cluster.submit_histories(9);
    assert_eq!(cluster.on_tasks(&histories).len(), 4);
    cluster.all_obey();
    let gang = submit_on(&mut cluster, 2, Some(DeviceKind::Cpu));
    cluster.all_obey();
    assert_eq!(cluster.state(&gang), JobState::Running);
    assert_eq!(cluster.on_tasks(&histories).len(), 2, "those with GPUs go on");
}

#[test]
fn a_job_goes_on_with_the_kind_that_it_began_with_whatever_the_fleet_is_by_then() {
    let mut cluster = mixed();
    let job = submit_on(&mut cluster, 2, None);
    cluster.work_until(&job, 1);
    // Now most workers have no GPU.
    cluster.lose(3);
    assert_eq!(cluster.state(&job), JobState::Waiting);
    cluster.all_obey();
    assert!(cluster.reason(&job).starts_with("needs 2 workers on cuda, 1 idle"), "{}", cluster.reason(&job));
    cluster.restart();
    for number in [2, 4, 1] {
        cluster.come_back(number);
    }
    assert_eq!(cluster.state(&job), JobState::Waiting, "a new leader keeps to it");
    cluster.join_with(7, DeviceKind::Cuda);
    assert!(cluster.recorded(&job, "assigned to worker-1, worker-7"));
    cluster.all_work();
    assert_eq!(cluster.state(&job), JobState::Finished);
}

#[test]
fn a_job_without_a_committed_round_begins_anew_on_what_there_is() {
    let mut cluster = mixed();
    let job = submit_on(&mut cluster, 2, None);
    cluster.lose(3);
    assert!(cluster.recorded(&job, "generation 2: assigned to worker-2, worker-4"));
}
