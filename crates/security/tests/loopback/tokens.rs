use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rewind_proto::v1::{ListRequest, jobs_client::JobsClient};
use rewind_security::{
    Bearer, Role, client_tls_for_token,
    tokens::{NewToken, Tokens, generate},
};
use tonic::Code;

use crate::support::{HEALTH, assert_not_connected, authority, call, call_with, client, coordinator, unchecked_client};

const LIST: &str = "/rewind.v1.Jobs/List";
const SUBMIT: &str = "/rewind.v1.Jobs/Submit";

fn known(folder: &Path, made: &[&NewToken]) -> Tokens {
    let path = folder.join("tokens");
    let lines: Vec<_> = made.iter().map(|made| made.line.as_str()).collect();
    fs::write(&path, lines.join("\n")).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("sets the mode");
    Tokens::read(&path).expect("is valid")
}

#[tokio::test]
async fn a_token_gives_its_role_and_no_more() {
    let folder = authority();
    let (ada, bob) = (generate(Role::Operator, "Ada"), generate(Role::Viewer, "Bob"));
    let server = coordinator(folder.path(), "coordinator", Some(known(folder.path(), &[&ada, &bob]))).await;
    let channel = unchecked_client(folder.path(), None, server);
    let (ada, bob) = (format!("Bearer {}", ada.token.expose()), format!("bearer {}", bob.token.expose()));
    assert_eq!(call_with(channel.clone(), SUBMIT, &[&ada]).await.message(), "operator Ada");
    assert_eq!(call_with(channel.clone(), LIST, &[&bob]).await.message(), "viewer Bob");
    let refused = call_with(channel.clone(), SUBMIT, &[&bob]).await;
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().starts_with("Bob has the role viewer"), "{refused:?}");
    assert_eq!(call(channel, HEALTH).await.code(), Code::Ok);
}

#[tokio::test]
async fn without_token_and_certificate_one_is_told_what_to_give() {
    let folder = authority();
    let tokens = known(folder.path(), &[&generate(Role::Viewer, "")]);
    let server = coordinator(folder.path(), "coordinator", Some(tokens)).await;
    let status = call(unchecked_client(folder.path(), None, server), LIST).await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("neither a client certificate nor a token"), "{status:?}");
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_never_repeated() {
    let folder = authority();
    let viewer = generate(Role::Viewer, "");
    let token = viewer.token.expose();
    let server = coordinator(folder.path(), "coordinator", Some(known(folder.path(), &[&viewer]))).await;
    let channel = unchecked_client(folder.path(), None, server);
    let right = format!("Bearer {token}");
    for wrong in [
        &[&*format!("Bearer {}", generate(Role::Viewer, "").token.expose())][..],
        &[&right[..right.len() - 1]],
        &[&right.to_uppercase()],
        &[viewer.line.split(' ').nth(1).map(|digest| format!("Bearer {digest}")).expect("has a digest").as_str()],
        &["Bearer "],
        &["Bearer"],
        &[""],
        &[token],
        &[&format!("Basic {token}")],
        &[&format!("Bearer{token}")],
        &[&right, &right],
    ] {
        let status = call_with(channel.clone(), LIST, wrong).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{wrong:?}: {status:?}");
        assert!(!status.message().contains(token), "{status:?}");
    }
}

#[tokio::test]
async fn certificates_still_count_where_tokens_do() {
    let folder = authority();
    let viewer = generate(Role::Viewer, "Bob");
    let server = coordinator(folder.path(), "coordinator", Some(known(folder.path(), &[&viewer]))).await;
    let operator = client(folder.path(), "operator", server);
    assert_eq!(call(operator.clone(), SUBMIT).await.message(), "operator operator");
    // A token that is sent decides, for better or worse.
    let bearer = format!("Bearer {}", viewer.token.expose());
    assert_eq!(call_with(operator.clone(), SUBMIT, &[&bearer]).await.code(), Code::PermissionDenied);
    assert_eq!(call_with(operator, LIST, &["Bearer wrong"]).await.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_foreign_certificate_does_not_connect_even_where_tokens_count() {
    let (ours, theirs) = (authority(), authority());
    let viewer = generate(Role::Viewer, "");
    let server = coordinator(ours.path(), "coordinator", Some(known(ours.path(), &[&viewer]))).await;
    let stranger = unchecked_client(ours.path(), Some((theirs.path(), "operator")), server);
    let bearer = format!("Bearer {}", viewer.token.expose());
    assert_not_connected(&call_with(stranger, LIST, &[&bearer]).await, "UnknownCA");
}

#[tokio::test]
async fn a_coordinator_without_tokens_takes_none() {
    let folder = authority();
    let server = coordinator(folder.path(), "coordinator", None).await;
    let status = call_with(client(folder.path(), "operator", server), LIST, &["Bearer x"]).await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("takes no tokens"), "{status:?}");
}

#[tokio::test]
async fn a_generated_client_sends_the_token_of_a_file() {
    let folder = authority();
    let ada = generate(Role::Operator, "Ada");
    let server = coordinator(folder.path(), "coordinator", Some(known(folder.path(), &[&ada]))).await;
    let path = folder.path().join("token");
    fs::write(&path, format!("{}\n", ada.token.expose())).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("sets the mode");

    let bearer = Bearer::read(&path).expect("is a token");
    assert!(!format!("{bearer:?}").contains(ada.token.expose()), "{bearer:?}");
    let tls = client_tls_for_token(&folder.path().join("ca.pem")).expect("is an authority");
    let channel = tls.endpoint(&format!("https://{server}")).expect("is a URL").connect_lazy();
    let answer = JobsClient::with_interceptor(channel.clone(), bearer).list(ListRequest {}).await;
    assert_eq!(answer.expect_err("tells who called").message(), "operator Ada");
    let answer = JobsClient::with_interceptor(channel, Bearer::none()).list(ListRequest {}).await;
    assert_eq!(answer.expect_err("is refused").code(), Code::Unauthenticated);
}
