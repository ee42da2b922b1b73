//! The tasks of jobs that make histories: each on one worker, committed exactly once, giving way to gangs.

use rewind_job::{Collect, Digest, Failure, Generation, JobState, TaskAssignment, TaskIndex, WorkerCommand, WorkerId};

use crate::{
    Change, Command, Count, Now,
    fleet::{Duty, Fleet},
    job::{Job, TaskRecord},
    store_in_pieces,
};

/// A task that fails so often fails its job.
const FAILURES: u32 = 3;
/// A task that loses so many workers fails its job: it may be what ends them.
const LOSSES: u32 = 8;

/// Gives the job's next open task to an idle worker, if there is one.
pub fn assign(job: &mut Job, fleet: &mut Fleet, worker: &WorkerId, now: Now) -> Option<Vec<Command>> {
    let task = next_open(job)?;
    job.head.generation.0 += 1;
    let generation = job.head.generation;
    let (failures, losses) = job.tasks.get(&task).map_or((0, 0), |record| (record.failures, record.losses));
    let record = TaskRecord { task, generation, worker: Some(worker.clone()), failures, losses, output: None };
    job.tasks.insert(task, record.clone());
    job.pace.begins(task, now);
    fleet.set(worker, Duty::Task(job.id.clone(), generation, task));
    let mut changes = vec![Change::Task(job.id.clone(), record)];
    if job.head.state == JobState::Waiting {
        changes.extend(job.decide(JobState::Running, "tasks run on idle workers".into(), now));
    } else {
        changes.push(job.head_change());
    }
    let specification = job.specification.clone();
    let assignment = TaskAssignment { job: job.id.clone(), generation, task, specification };
    Some(vec![
        Command::Store(changes),
        Command::Count(Count::TaskStarted),
        Command::Send(worker.clone(), WorkerCommand::RunTask(Box::new(assignment))),
        Command::Publish(job.id.clone()),
    ])
}

fn next_open(job: &Job) -> Option<TaskIndex> {
    let total = job.specification.collect()?.tasks();
    let is_open = |record: Option<&TaskRecord>| record.is_none_or(|r| r.worker.is_none() && r.output.is_none());
    (0..total).map(TaskIndex).find(|task| is_open(job.tasks.get(task)))
}

/// The task's output is durable: it is committed, once.
pub fn done(
    job: &mut Job,
    fleet: &mut Fleet,
    worker: &WorkerId,
    (task, generation): (TaskIndex, Generation),
    output: Digest,
    now: Now,
) -> Vec<Command> {
    let Some(record) = job.tasks.get_mut(&task) else { return Vec::new() };
    record.worker = None;
    record.output = Some(output);
    job.pace.done(task, now);
    let mut changes = vec![Change::Task(job.id.clone(), record.clone())];
    fleet.set(worker, Duty::Leaving(job.id.clone(), generation, now));
    let total = job.specification.collect().map_or(0, Collect::tasks);
    if job.tasks.values().filter(|record| record.output.is_some()).count() as u32 == total {
        changes.extend(job.decide(JobState::Finished, format!("all {total} histories are made"), now));
    }
    vec![Command::Store(changes), Command::Count(Count::TaskDone), Command::Publish(job.id.clone())]
}

/// A worker could not do its task: another try, or the end of the job.
pub fn failed(
    job: &mut Job,
    fleet: &mut Fleet,
    worker: &WorkerId,
    (task, generation): (TaskIndex, Generation),
    failure: Failure,
    now: Now,
) -> Vec<Command> {
    fleet.set(worker, Duty::Leaving(job.id.clone(), generation, now));
    let Some(record) = job.tasks.get_mut(&task) else { return Vec::new() };
    record.failures += 1;
    let text = format!("task {task} failed on {worker}: {}", failure.reason);
    if !failure.retryable || record.failures >= FAILURES {
        let mut commands = release(job, task);
        commands.extend(end(job, fleet, JobState::Failed, text, now));
        return commands;
    }
    let mut commands = release(job, task);
    commands.push(Command::Store(vec![job.note(text, now)]));
    commands.extend(settle(job, now));
    commands
}

/// The task's worker is gone: another try, or the end of the job.
pub fn lost(job: &mut Job, fleet: &mut Fleet, task: TaskIndex, why: &str, now: Now) -> Vec<Command> {
    let Some(record) = job.tasks.get_mut(&task) else { return Vec::new() };
    record.losses += 1;
    if record.losses < LOSSES {
        return reopen(job, task, why, now);
    }
    let mut commands = release(job, task);
    let reason = format!("task {task} lost {LOSSES} workers; the last one: {why}");
    commands.extend(end(job, fleet, JobState::Failed, reason, now));
    commands
}

/// The task's worker is taken away: the task is open again.
pub fn reopen(job: &mut Job, task: TaskIndex, why: &str, now: Now) -> Vec<Command> {
    let mut commands = release(job, task);
    let text = format!("task {task} is open again: {why}");
    commands.push(Command::Store(vec![job.note(text, now)]));
    commands.extend(settle(job, now));
    commands
}

fn release(job: &mut Job, task: TaskIndex) -> Vec<Command> {
    let Some(record) = job.tasks.get_mut(&task) else { return Vec::new() };
    record.worker = None;
    vec![Command::Store(vec![Change::Task(job.id.clone(), record.clone())]), Command::Publish(job.id.clone())]
}

/// A job none of whose tasks runs waits.
fn settle(job: &mut Job, now: Now) -> Vec<Command> {
    if job.head.state == JobState::Running && job.tasks.values().all(|record| record.worker.is_none()) {
        return vec![Command::Store(job.wait("no worker is idle".into(), now)), Command::Publish(job.id.clone())];
    }
    Vec::new()
}

/// A worker is to give up its task.
pub fn preempt(job: &mut Job, fleet: &mut Fleet, worker: &WorkerId, reason: &str, now: Now) -> Vec<Command> {
    let Some(Duty::Task(_, generation, task)) = fleet.duty(worker).cloned() else { return Vec::new() };
    let mut commands = reopen(job, task, reason, now);
    commands.extend(call_off(job, fleet, worker, generation, reason, now));
    commands.push(Command::Count(Count::TaskPreempted));
    commands
}

fn call_off(
    job: &Job,
    fleet: &mut Fleet,
    worker: &WorkerId,
    generation: Generation,
    reason: &str,
    now: Now,
) -> Vec<Command> {
    fleet.set(worker, Duty::Leaving(job.id.clone(), generation, now));
    let abort = WorkerCommand::Abort { job: job.id.clone(), generation, reason: reason.to_owned() };
    vec![Command::Send(worker.clone(), abort)]
}

/// The job is over or paused: its tasks are called off.
pub fn end(job: &mut Job, fleet: &mut Fleet, state: JobState, reason: String, now: Now) -> Vec<Command> {
    let (mut commands, mut changes) = (Vec::new(), Vec::new());
    let running: Vec<TaskIndex> =
        job.tasks.values().filter(|record| record.worker.is_some()).map(|record| record.task).collect();
    for task in running {
        let Some(record) = job.tasks.get_mut(&task) else { continue };
        let generation = record.generation;
        let Some(worker) = record.worker.take() else { continue };
        changes.push(Change::Task(job.id.clone(), record.clone()));
        commands.extend(call_off(job, fleet, &worker, generation, &reason, now));
    }
    let mut stores = store_in_pieces(changes);
    stores.push(Command::Store(job.decide(state, reason, now)));
    stores.append(&mut commands);
    stores.push(Command::Publish(job.id.clone()));
    stores
}
