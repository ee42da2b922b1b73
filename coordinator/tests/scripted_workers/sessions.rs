//! Sessions of scripted workers: who may speak, for what, and how long.

use rewind_job::{JobState, WorkerEvent};
use rewind_proto::v1::{self, rendezvous_client::RendezvousClient, worker_message::Event};
use tonic::Code;

use crate::{
    program::{Coordinator, eventually},
    worker::{ScriptedWorker, all_begin, joined, round_done},
};

#[tokio::test]
async fn a_session_begins_with_joined() {
    let coordinator = Coordinator::start().await;
    let refused = ScriptedWorker::begin(&coordinator, WorkerEvent::Heartbeat).await.err().expect("refused");
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "a session begins with Joined"));
    for name in ["", "two\nlines", &"long".repeat(100)] {
        let refused = ScriptedWorker::try_join(&coordinator, name).await.err().expect("refused");
        assert!(refused.message().starts_with("the name of a worker has 1 to 128 bytes"), "{refused}");
    }
}

#[tokio::test]
async fn a_new_session_of_the_same_name_ends_the_old_one() {
    let coordinator = Coordinator::start().await;
    let mut old = ScriptedWorker::join(&coordinator, "worker-1").await;
    let mut new = ScriptedWorker::join(&coordinator, "worker-1").await;
    assert_eq!(old.hears().await, None);
    let job = coordinator.submit(1).await;
    assert_eq!(new.is_assigned().await.job, job);
}

#[tokio::test]
async fn a_name_belongs_to_one_process_at_a_time() {
    let coordinator = Coordinator::start().await;
    let first = ScriptedWorker::join(&coordinator, "worker-1").await;
    let WorkerEvent::Joined { worker, version, cores, device, working, .. } = joined("worker-1", None) else {
        panic!()
    };
    let other = WorkerEvent::Joined { worker, process: 2, version, cores, device, working };
    let refused = ScriptedWorker::begin(&coordinator, other.clone()).await.err().expect("refused");
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().starts_with("another worker is called worker-1"), "{refused}");
    drop(first);
    eventually("the name is free", async || ScriptedWorker::begin(&coordinator, other.clone()).await.ok()).await;
}

#[tokio::test]
async fn a_worker_of_another_protocol_is_refused_before_it_says_anything() {
    let coordinator = Coordinator::start().await;
    let mut first: v1::WorkerMessage = joined("worker-1", None).into();
    let Some(Event::Joined(message)) = &mut first.event else { panic!("it joins") };
    message.protocol += 1;
    let refused = ScriptedWorker::begin_with(&coordinator, first).await.err().expect("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("different versions"), "{refused}");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_fails_the_job_with_its_field() {
    let coordinator = Coordinator::start().await;
    let mut worker = ScriptedWorker::join(&coordinator, "worker-1").await;
    let job = coordinator.submit(1).await;
    let assignments = all_begin(&mut [&mut worker]).await;
    let mut garbled: v1::WorkerMessage = WorkerEvent::ShardDurable {
        job: job.clone(),
        generation: assignments[0].generation,
        rank: assignments[0].rank,
        round: Box::new(round_done(0, 1, assignments[0].rank)),
    }
    .into();
    let Some(Event::ShardDurable(message)) = &mut garbled.event else { panic!("a shard") };
    message.record_json = message.record_json.replace("\"loss\":0.5", "\"loss\":null");
    worker.sends(garbled);
    assert_eq!(worker.hears().await, None, "its session ends");
    let status = coordinator.eventually_is(&job, JobState::Failed).await;
    let reason = "worker-1 sent a message that cannot be read: `record_json` is not valid: invalid type: null";
    assert!(status.reason.starts_with(reason), "{}", status.reason);
}

#[tokio::test]
async fn a_message_without_an_event_ends_the_session_alone() {
    let coordinator = Coordinator::start().await;
    let mut worker = ScriptedWorker::join(&coordinator, "worker-1").await;
    worker.sends(v1::WorkerMessage { event: None, sequence: 0 });
    assert_eq!(worker.hears().await, None);
    let mut worker = ScriptedWorker::join(&coordinator, "worker-1").await;
    let job = coordinator.submit(1).await;
    assert_eq!(worker.is_assigned().await.job, job);
}

#[tokio::test]
async fn only_the_present_generation_meets() {
    let coordinator = Coordinator::start().await;
    let mut worker = ScriptedWorker::join(&coordinator, "worker-1").await;
    let job = coordinator.submit(1).await;
    worker.is_assigned().await;
    let mut rendezvous = RendezvousClient::connect(coordinator.address.clone()).await.expect("connects");
    let set = |generation| {
        let work = Some(v1::Work { job: job.0.clone(), generation });
        v1::SetRequest { work, key: "rank-0".into(), value: b"127.0.0.1:1".to_vec() }
    };
    rendezvous.set(set(1)).await.expect("meets");
    assert_eq!(rendezvous.set(set(2)).await.expect_err("refused").code(), Code::FailedPrecondition);
    coordinator.cancel(&job).await.expect("cancels");
    let refused = eventually("the generation meets no more", async || rendezvous.set(set(1)).await.err()).await;
    assert_eq!(refused.message(), "generation 1 of job-1 does not meet any more");
}
