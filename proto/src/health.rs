//! grpc.health.v1 on an address of its own, without TLS, for probes that cannot show a certificate (ADR 14).

use std::{io, net::SocketAddr};

use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_health::ServingStatus;

/// The service whose health says whether the program is ready; that of the nameless one says that it lives.
pub const READY: &str = "ready";

/// Serves health, and nothing else, as long as the runtime lives; returns the address it listens on.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, mut ready: watch::Receiver<bool>) -> io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (reporter, service) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    tokio::spawn(async move {
        loop {
            let is_ready = *ready.borrow_and_update();
            let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            reporter.set_service_status(READY, status).await;
            if ready.changed().await.is_err() {
                return;
            }
        }
    });
    Ok(address)
}
