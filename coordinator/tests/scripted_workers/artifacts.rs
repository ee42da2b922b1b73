//! Artifacts through the coordinator, in pieces.

use rewind_artifacts::{ArtifactStore, SharedDirectory};
use rewind_job::{Assignment, Failure, Generation, JobState, Round, StepIndex, WorkerEvent};
use rewind_proto::{PIECE, v1::ArtifactName};
use tonic::{Code, Status};

use crate::{
    program::{Coordinator, eventually},
    worker::{ScriptedWorker, all_begin, round_done},
};

async fn fetch(coordinator: &Coordinator, digest: &str) -> Result<Vec<Vec<u8>>, Status> {
    let name = ArtifactName { digest: digest.into() };
    let mut stream = coordinator.jobs().await.get_artifact(name).await?.into_inner();
    let mut pieces = Vec::new();
    while let Some(piece) = stream.message().await? {
        pieces.push(piece.bytes);
    }
    Ok(pieces)
}

#[tokio::test]
async fn an_artifact_comes_whole_in_pieces() {
    let coordinator = Coordinator::start().await;
    let store = SharedDirectory::open(coordinator.dir().join("artifacts")).expect("opens");
    let bytes: Vec<u8> = (0..PIECE + 5).map(|i| i as u8).collect();
    let digest = store.put(&bytes).expect("stores");
    let pieces = fetch(&coordinator, &digest.0).await.expect("comes");
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [PIECE, 5]);
    assert_eq!(pieces.concat(), bytes);
}

#[tokio::test]
async fn a_worker_that_does_not_see_a_checkpoint_costs_no_committed_round() {
    let coordinator = Coordinator::start().await;
    let store = SharedDirectory::open(coordinator.dir().join("artifacts")).expect("opens");
    let job = coordinator.submit(1).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let assignments = all_begin(&mut [&mut one]).await;
    let to = &assignments[0];
    let mut done = round_done(0, 1, to.rank);
    done.shard = store.put(b"a shard").expect("stores");
    one.says(WorkerEvent::ShardDurable {
        job: job.clone(),
        generation: to.generation,
        rank: to.rank,
        round: Box::new(done.clone()),
    });
    let committed = async || coordinator.status(&job).await.committed;
    eventually("it is committed", async || committed().await).await;
    let fails = |to: &Assignment| {
        let bad_checkpoints = vec![done.shard.clone()];
        let failure = Failure { reason: "artifact is missing".into(), retryable: true, bad_checkpoints };
        one.says(WorkerEvent::Failed { job: to.job.clone(), generation: to.generation, rank: to.rank, failure });
        one.says(WorkerEvent::Left { job: to.job.clone(), generation: to.generation, last: None });
    };
    fails(to);
    let status = coordinator.eventually_is(&job, JobState::Preparing).await;
    assert_eq!((status.generation, status.committed), (Generation(2), Some((StepIndex(0), Round(1)))));
    let events = coordinator.events(&job).await;
    let why = "the coordinator has it: does the worker see the same artifacts?";
    assert!(events.iter().any(|event| event.text.contains(why)), "{events:?}");
}

#[tokio::test]
async fn what_is_no_artifact_is_refused() {
    let coordinator = Coordinator::start().await;
    let missing = fetch(&coordinator, &"ab".repeat(32)).await.expect_err("refused");
    assert_eq!(missing.code(), Code::NotFound);
    let bad = fetch(&coordinator, "../../state.redb").await.expect_err("refused");
    assert_eq!(bad.code(), Code::InvalidArgument);
}
