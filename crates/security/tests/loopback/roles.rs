use rewind_security::Authorize;
use tonic::Code;

use crate::support::{HEALTH, authority, call, client, coordinator, serve};

/// Coordinator, worker, operator, viewer: who may make the call.
const CALLS: [(&str, [bool; 4]); 18] = [
    ("/rewind.v1.Fleet/Session", [true, true, false, false]),
    ("/rewind.v1.Rendezvous/Set", [true, true, false, false]),
    ("/rewind.v1.Rendezvous/Get", [true, true, false, false]),
    ("/rewind.v1.Jobs/Submit", [false, false, true, false]),
    ("/rewind.v1.Jobs/Cancel", [false, false, true, false]),
    ("/rewind.v1.Jobs/Pause", [false, false, true, false]),
    ("/rewind.v1.Jobs/Resume", [false, false, true, false]),
    ("/rewind.v1.Jobs/Drain", [false, false, true, false]),
    ("/rewind.v1.Jobs/List", [false, false, true, true]),
    ("/rewind.v1.Jobs/ListTasks", [false, false, true, true]),
    ("/rewind.v1.Jobs/ListWorkers", [false, false, true, true]),
    ("/rewind.v1.Jobs/Watch", [false, false, true, true]),
    ("/rewind.v1.Jobs/GetReport", [false, false, true, true]),
    ("/rewind.v1.Jobs/GetArtifact", [false, true, true, true]),
    ("/rewind.v1.Jobs/Unheard", [false, false, false, false]),
    ("/rewind.v1.Jobs/list", [false, false, false, false]),
    ("/rewind.v2.Fleet/Session", [false, false, false, false]),
    ("/grpc.reflection.v1.ServerReflection/Info", [false, false, false, false]),
];

#[tokio::test]
async fn every_role_may_make_its_calls_and_no_others() {
    let folder = authority();
    let server = coordinator(folder.path(), "coordinator", None).await;
    for (index, role) in ["coordinator", "worker", "operator", "viewer"].into_iter().enumerate() {
        let channel = client(folder.path(), role, server);
        assert_eq!(call(channel.clone(), HEALTH).await.code(), Code::Ok, "{role} asks for health");
        for (path, allowed) in CALLS {
            let status = call(channel.clone(), path).await;
            if allowed[index] {
                assert_eq!(status.code(), Code::AlreadyExists, "{role} calls {path}: {status:?}");
                assert_eq!(status.message(), format!("{role} {role}"));
            } else {
                assert_eq!(status.code(), Code::PermissionDenied, "{role} calls {path}: {status:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_role_that_one_has_and_the_one_it_takes() {
    let folder = authority();
    let server = coordinator(folder.path(), "coordinator", None).await;
    let status = call(client(folder.path(), "viewer", server), "/rewind.v1.Jobs/Submit").await;
    assert_eq!(status.message(), "viewer has the role viewer, but /rewind.v1.Jobs/Submit needs the role operator");
    let status = call(client(folder.path(), "worker", server), "/rewind.v1.Jobs/List").await;
    assert!(status.message().ends_with("needs the role operator or viewer"), "{status:?}");
}

#[tokio::test]
async fn nobody_is_asked_without_security() {
    let server = serve(None, Authorize::nobody_is_asked()).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{server}")).expect("is a URL").connect_lazy();
    assert_eq!(call(channel.clone(), HEALTH).await.code(), Code::Ok);
    // It came through: only the service is missing.
    assert_eq!(call(channel, "/rewind.v1.Jobs/Submit").await.code(), Code::Unimplemented);
}

#[tokio::test]
async fn nobody_is_believed_without_encryption() {
    let server = serve(None, Authorize::new(None)).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{server}")).expect("is a URL").connect_lazy();
    let status = call(channel, "/rewind.v1.Jobs/List").await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("not encrypted"), "{status:?}");
}
