use std::{fs, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path, time::SystemTime};

use rcgen::{CertificateParams, Issuer, KeyPair};
use rewind_security::{Authorize, Role, client_tls, pki, server_tls};
use tonic::{
    Code,
    transport::{Endpoint, ServerTlsConfig},
};

use crate::support::{
    HEALTH, assert_not_connected, authority, authority_of_two_years_ago, call, client, coordinator, files, identity,
    serve, serve_at, unchecked_client,
};

#[tokio::test]
async fn a_client_without_a_certificate_does_not_connect() {
    let folder = authority();
    let server = coordinator(folder.path(), "coordinator", None).await;
    for path in [HEALTH, "/rewind.v1.Jobs/List"] {
        assert_not_connected(&call(unchecked_client(folder.path(), None, server), path).await, "CertificateRequired");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_does_not_connect() {
    let (ours, theirs) = (authority(), authority());
    let server = coordinator(ours.path(), "coordinator", None).await;
    let stranger = unchecked_client(ours.path(), Some((theirs.path(), "operator")), server);
    assert_not_connected(&call(stranger, "/rewind.v1.Jobs/Submit").await, "UnknownCA");
}

#[tokio::test]
async fn an_expired_certificate_does_not_connect() {
    let folder = authority_of_two_years_ago();
    let now = SystemTime::now();
    pki::issue(folder.path(), Role::Coordinator, "renewed", &[], now).expect("issues");
    pki::issue(folder.path(), Role::Operator, "renewed-operator", &[], now).expect("issues");
    let server = coordinator(folder.path(), "renewed", None).await;
    let expired = unchecked_client(folder.path(), Some((folder.path(), "operator")), server);
    assert_not_connected(&call(expired, "/rewind.v1.Jobs/Submit").await, "CertificateExpired");
    let renewed = call(client(folder.path(), "renewed-operator", server), "/rewind.v1.Jobs/Submit").await;
    assert_eq!(renewed.message(), "operator renewed-operator");
}

#[tokio::test]
async fn a_certificate_without_a_role_is_told_so() {
    let folder = authority();
    issue_without_role(folder.path(), "nobody");
    let server = coordinator(folder.path(), "coordinator", None).await;
    let nobody = unchecked_client(folder.path(), Some((folder.path(), "nobody")), server);
    let status = call(nobody, "/rewind.v1.Jobs/List").await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("names no role: OU=rewind:worker would"), "{status:?}");
    let error = client_tls(&files(folder.path(), "nobody")).expect_err("is refused before it connects");
    assert!(error.to_string().contains("names no role"), "{error}");
}

fn issue_without_role(folder: &Path, name: &str) {
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("is there");
    let authority_key = KeyPair::from_pem(&read("ca.key")).expect("is a key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), authority_key).expect("is an authority");
    let key = KeyPair::generate().expect("makes a key");
    let certificate = CertificateParams::default().signed_by(&key, &issuer).expect("signs");
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("writes");
    let key_file = folder.join(format!("{name}.key"));
    fs::write(&key_file, key.serialize_pem()).expect("writes");
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("sets the mode");
}

#[tokio::test]
async fn a_plaintext_client_does_not_connect() {
    let folder = authority();
    let server = coordinator(folder.path(), "coordinator", None).await;
    let plain = Endpoint::from_shared(format!("http://{server}")).expect("is a URL").connect_lazy();
    assert_not_connected(&call(plain, HEALTH).await, "connection error");
}

#[tokio::test]
async fn a_client_of_tls_does_not_talk_to_a_plaintext_server() {
    let folder = authority();
    let server = serve(None, Authorize::nobody_is_asked()).await;
    assert_not_connected(&call(client(folder.path(), "operator", server), HEALTH).await, "InvalidContentType");
}

#[tokio::test]
async fn a_client_does_not_believe_a_server_that_is_no_coordinator_of_its_authority() {
    let (ours, theirs, old) = (authority(), authority(), authority_of_two_years_ago());
    pki::issue(old.path(), Role::Worker, "renewed", &[], SystemTime::now()).expect("issues");
    let loopback = ["127.0.0.1".to_owned()];
    pki::issue(ours.path(), Role::Worker, "pretender", &loopback, SystemTime::now()).expect("issues");
    for (server, believer, reason) in [
        (files(ours.path(), "pretender"), (ours.path(), "worker"), "server authentication"),
        (files(theirs.path(), "coordinator"), (ours.path(), "worker"), "UnknownIssuer"),
        (files(old.path(), "coordinator"), (old.path(), "renewed"), "expired"),
    ] {
        let address =
            serve(Some(ServerTlsConfig::new().identity(identity(&server))), Authorize::nobody_is_asked()).await;
        let status = call(client(believer.0, believer.1, address), HEALTH).await;
        assert_not_connected(&status, reason);
    }
}

#[tokio::test]
async fn a_server_must_have_the_name_by_which_it_is_called() {
    let folder = authority();
    let own = files(folder.path(), "coordinator");
    let tls = server_tls(&own, None).expect("files fit");
    let server = serve_at(Ipv4Addr::new(127, 0, 0, 2), Some(tls), Authorize::new(None)).await;
    assert_not_connected(&call(client(folder.path(), "viewer", server), HEALTH).await, "not valid for name");
    let server = coordinator(folder.path(), "coordinator", None).await;
    let tls = client_tls(&files(folder.path(), "viewer")).expect("files fit");
    let channel = tls.endpoint(&format!("https://localhost:{}", server.port())).expect("is a URL").connect_lazy();
    assert_eq!(call(channel, HEALTH).await.code(), Code::Ok);
}

#[tokio::test]
async fn a_url_without_encryption_is_refused() {
    let folder = authority();
    let tls = client_tls(&files(folder.path(), "viewer")).expect("files fit");
    for url in ["http://127.0.0.1:7060", "127.0.0.1:7060", "unix:/tmp/socket", ""] {
        let error = tls.endpoint(url).expect_err("is refused");
        assert!(error.to_string().starts_with(&format!("{url}: ")), "{error}");
    }
}
