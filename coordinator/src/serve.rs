//! From configuration to a running coordinator, and back.

use std::{
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rewind_artifacts::{ArtifactStore, SharedDirectory};
use rewind_control::{Control, Event, Now};
use rewind_job::Timeouts;
use rewind_proto::{
    MESSAGE_LIMIT,
    v1::{fleet_server::FleetServer, jobs_server::JobsServer, rendezvous_server::RendezvousServer},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::MissedTickBehavior,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::{
    config::Config,
    driver::{self, Input},
    embedded::EmbeddedStore,
    jobs::JobsService,
    records::Records,
    rendezvous::{Meetings, RendezvousService},
    session::FleetService,
};

type Failure = Box<dyn std::error::Error>;

/// Runs until SIGTERM or Ctrl-C.
pub fn serve(config: &Config) -> Result<(), Failure> {
    if !config.listen.ip().is_loopback() && !config.insecure {
        return Err(format!(
            "--listen {}: other machines reach this address and nothing is authenticated; add --insecure to do it anyway",
            config.listen
        )
        .into());
    }
    let timeouts = Timeouts::default();
    timeouts.check()?;
    fs::create_dir_all(&config.dir).map_err(|error| format!("failed to make {}: {error}", config.dir.display()))?;
    let store = EmbeddedStore::open(&config.dir.join("state.redb"))?;
    let artifacts = SharedDirectory::open(config.artifacts.clone().unwrap_or_else(|| config.dir.join("artifacts")))?;
    let (records, stored) = Records::open(Box::new(store))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let (control, restored) = Control::restore(timeouts, stored, Now(now.as_millis() as u64));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(
        config,
        timeouts,
        control,
        restored,
        records,
        Arc::new(artifacts),
    ))
}

async fn run(
    config: &Config,
    timeouts: Timeouts,
    control: Control,
    restored: Vec<rewind_control::Command>,
    records: Records,
    artifacts: Arc<dyn ArtifactStore>,
) -> Result<(), Failure> {
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("failed to listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    let meetings = Arc::new(Meetings::default());
    let (driver, mut ended) = driver::start(control, restored, records, meetings.clone())?;
    let ticks = tokio::spawn({
        let driver = driver.clone();
        async move {
            let mut interval = tokio::time::interval(timeouts.heartbeat);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                driver.give(Input::Event(Event::Tick)).await;
            }
        }
    });
    let address_file = config.dir.join("coordinator.addr");
    write_address(&address_file, &format!("http://{}", reachable(address)))?;
    tracing::info!(%address, "listening");

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let jobs = JobsServer::new(JobsService { driver: driver.clone(), artifacts });
    let fleet = FleetServer::new(FleetService::new(driver.clone()));
    let rendezvous = RendezvousServer::new(RendezvousService(meetings));
    let server = Server::builder()
        .http2_keepalive_interval(Some(timeouts.detection))
        .http2_keepalive_timeout(Some(timeouts.detection))
        .add_service(jobs.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT))
        .add_service(fleet.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT))
        .add_service(rendezvous)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            let _ = stopped.await;
        });
    let server = tokio::spawn(server);

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let outcome = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        outcome = &mut ended => Some(outcome),
    };
    tracing::info!("stopping");
    ticks.abort();
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            driver.give(Input::Stop).await;
            ended.await
        }
    };
    let _ = stop.send(());
    // Watchers and sessions may stay open as long as their clients do.
    let _ = tokio::time::timeout(Duration::from_secs(1), server).await;
    let _ = fs::remove_file(&address_file);
    outcome.map_err(|_| "the driver thread ended too early")??;
    Ok(())
}

/// Where programs of this machine reach it: an address for all interfaces is no destination.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

/// Appears whole: written beside its place, then renamed.
fn write_address(path: &Path, address: &str) -> Result<(), Failure> {
    let folder = path.parent().ok_or("the address file has no folder")?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(address.as_bytes())?;
    file.persist(path)?;
    Ok(())
}
