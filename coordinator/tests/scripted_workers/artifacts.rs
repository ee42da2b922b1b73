//! Artifacts through the coordinator, in pieces.

use rewind_artifacts::{ArtifactStore, SharedDirectory};
use rewind_proto::{PIECE, v1::ArtifactName};
use tonic::{Code, Status};

use crate::program::Coordinator;

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
async fn what_is_no_artifact_is_refused() {
    let coordinator = Coordinator::start().await;
    let missing = fetch(&coordinator, &"ab".repeat(32)).await.expect_err("refused");
    assert_eq!(missing.code(), Code::NotFound);
    let bad = fetch(&coordinator, "../../state.redb").await.expect_err("refused");
    assert_eq!(bad.code(), Code::InvalidArgument);
}
