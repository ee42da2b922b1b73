use std::{
    fs,
    future::{Ready, ready},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::Path,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use futures_util::future::Either;
use rewind_security::{Authorize, Caller, Files, client_tls, pki, server_tls, tokens::Tokens};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Status,
    body::Body,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig},
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower_layer::layer_fn;
use tower_service::Service;

pub const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// A folder with an authority and a certificate for every role.
pub fn authority() -> TempDir {
    authority_made(SystemTime::now())
}

/// Its roles' certificates have expired; the authority itself has not.
pub fn authority_of_two_years_ago() -> TempDir {
    authority_made(SystemTime::now() - Duration::from_secs(2 * 365 * 24 * 60 * 60))
}

fn authority_made(when: SystemTime) -> TempDir {
    let folder =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().expect("makes a folder");
    pki::create(folder.path(), &[], when).expect("makes an authority");
    folder
}

pub fn files(folder: &Path, name: &str) -> Files {
    Files {
        ca: folder.join("ca.pem"),
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    }
}

/// A coordinator whose own certificate is `name` in the folder.
pub async fn coordinator(folder: &Path, name: &str, tokens: Option<Tokens>) -> SocketAddr {
    let tls = server_tls(&files(folder, name), tokens.as_ref()).expect("files fit");
    serve(Some(tls), Authorize::new(tokens)).await
}

/// Tells every caller that comes through the layer who it is; health is answered as always.
pub async fn serve(tls: Option<ServerTlsConfig>, authorize: Authorize) -> SocketAddr {
    serve_at(Ipv4Addr::LOCALHOST, tls, authorize).await
}

pub async fn serve_at(ip: Ipv4Addr, tls: Option<ServerTlsConfig>, authorize: Authorize) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).await.expect("listens");
    let address = listener.local_addr().expect("has an address");
    let mut builder = Server::builder();
    if let Some(tls) = tls {
        builder = builder.tls_config(tls).expect("is a configuration");
    }
    let (_, health) = tonic_health::server::health_reporter();
    let server = builder.layer(authorize).layer(layer_fn(Tell)).add_service(health);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// Answers in place of every service that needs to know its caller.
#[derive(Clone)]
struct Tell<S>(S);

impl<S: Service<http::Request<Body>, Response = http::Response<Body>>> Service<http::Request<Body>> for Tell<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.extensions().get::<Caller>() {
            Some(Caller { role, name }) => {
                Either::Right(ready(Ok(Status::already_exists(format!("{role} {name}")).into_http())))
            }
            None => Either::Left(self.0.call(request)),
        }
    }
}

/// A client as this crate makes it.
pub fn client(folder: &Path, name: &str, server: SocketAddr) -> Channel {
    let tls = client_tls(&files(folder, name)).expect("files fit");
    tls.endpoint(&format!("https://{server}")).expect("is a URL").connect_lazy()
}

/// A client that checks none of its own files; without a name it shows no certificate.
pub fn unchecked_client(ca: &Path, own: Option<(&Path, &str)>, server: SocketAddr) -> Channel {
    let ca = fs::read(ca.join("ca.pem")).expect("is there");
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    if let Some((folder, name)) = own {
        tls = tls.identity(identity(&files(folder, name)));
    }
    let endpoint = Endpoint::from_shared(format!("https://{server}")).expect("is a URL");
    endpoint.tls_config(tls).expect("is a configuration").connect_lazy()
}

pub fn identity(files: &Files) -> Identity {
    let read = |path| fs::read(path).expect("is there");
    Identity::from_pem(read(&files.certificate), read(&files.key))
}

/// Calls without a body; the answer is always a status.
pub async fn call(channel: Channel, path: &'static str) -> Status {
    call_with(channel, path, &[]).await
}

pub async fn call_with(channel: Channel, path: &'static str, authorization: &[&str]) -> Status {
    let mut request = Request::new(HealthCheckRequest::default());
    for value in authorization {
        request.metadata_mut().append("authorization", value.parse().expect("is ASCII"));
    }
    let mut client = Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return Status::unavailable(in_full(&error));
    }
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    match client.unary(request, path.parse().expect("is a path"), codec).await {
        Ok(_) => Status::ok(""),
        Err(status) => status,
    }
}

/// The connection itself failed, for this reason: no layer was asked.
pub fn assert_not_connected(status: &Status, reason: &str) {
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown), "{status:?}");
    assert!(in_full(status).contains(reason), "{status:?}");
}

fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
