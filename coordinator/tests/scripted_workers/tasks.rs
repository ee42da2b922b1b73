//! History tasks, and workers that are to end, over real sessions.

use rewind_job::{Digest, JobState, TaskAssignment, TaskIndex, WorkerCommand, WorkerEvent, Working};
use rewind_proto::v1::WorkerMessage;

use crate::{program::Coordinator, worker::ScriptedWorker};

async fn gets_a_task(worker: &mut ScriptedWorker) -> TaskAssignment {
    match worker.hears().await {
        Some(WorkerCommand::RunTask(task)) => *task,
        other => panic!("wanted a task, heard {other:?}"),
    }
}

fn done(task: &TaskAssignment) -> WorkerEvent {
    let TaskAssignment { job, generation, task, .. } = task.clone();
    WorkerEvent::TaskDone { job, generation, task, output: Digest(format!("{:064x}", task.0)) }
}

fn left(task: &TaskAssignment) -> WorkerEvent {
    WorkerEvent::Left { job: task.job.clone(), generation: task.generation, last: None }
}

fn histories(coordinator: &Coordinator, tasks: u32) -> String {
    let gang = coordinator.specification(1);
    let head = gang.split("[[step]]").next().expect("has a head");
    format!(
        r#"{head}
        [[step]]
        name = "histories"
        [step.collect]
        networks = {tasks}
        optimisers = [{{ sgd = {{ learning-rate = 0.1 }} }}]
        epochs = [1]
        "#
    )
}

#[tokio::test]
async fn a_task_that_was_done_while_its_coordinator_was_killed_is_committed_once() {
    let mut coordinator = Coordinator::start().await;
    let job = coordinator.try_submit(histories(&coordinator, 3)).await.expect("is accepted");
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let first = gets_a_task(&mut one).await;
    one.sends(WorkerMessage { sequence: 1, ..done(&first).into() });
    assert_eq!(one.hears_anything().await, Some(WorkerCommand::Acknowledged { sequence: 1 }));
    one.says(left(&first));
    let second = gets_a_task(&mut one).await;
    assert_eq!((first.task, second.task), (TaskIndex(0), TaskIndex(1)));
    coordinator.kill_and_restart().await;

    // What the worker did meanwhile it says to the new one, and says it twice.
    let working = Working { job: job.clone(), generation: second.generation, committed: None };
    let mut one = ScriptedWorker::comes_back(&coordinator, "worker-1", working).await;
    for _ in 0..2 {
        one.sends(WorkerMessage { sequence: 2, ..done(&second).into() });
        assert_eq!(one.hears_anything().await, Some(WorkerCommand::Acknowledged { sequence: 2 }));
    }
    let count = coordinator.status(&job).await.tasks.expect("has tasks");
    assert_eq!((count.total, count.done, count.running), (3, 2, 0));
    one.says(left(&second));
    let third = gets_a_task(&mut one).await;
    one.says(done(&third));
    one.says(left(&third));
    let status = coordinator.eventually_is(&job, JobState::Finished).await;
    assert_eq!(status.generation.0, 3, "no task was given twice");
}

#[tokio::test]
async fn a_worker_that_is_to_end_gives_up_its_task_and_is_let_go() {
    let coordinator = Coordinator::start().await;
    coordinator.try_submit(histories(&coordinator, 1)).await.expect("is accepted");
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let task = gets_a_task(&mut one).await;
    one.says(WorkerEvent::Draining);
    assert_eq!(one.leaves_when_told().await, "worker-1 is to end");
    assert_eq!(one.hears().await, Some(WorkerCommand::Shutdown));
    let mut two = ScriptedWorker::join(&coordinator, "worker-2").await;
    assert_eq!(gets_a_task(&mut two).await.task, task.task);
}
