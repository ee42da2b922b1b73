//! From configuration to a running coordinator, and back.

use std::{
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rewind_job::{Digest, Timeouts};
use rewind_proto::{
    MESSAGE_LIMIT,
    v1::{fleet_server::FleetServer, jobs_server::JobsServer, rendezvous_server::RendezvousServer},
};
use rewind_security::{Authorize, tokens::Tokens};
use rewind_state::{EmbeddedStore, EtcdStore, StateStore, StoreError};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::MissedTickBehavior,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Server, ServerTlsConfig},
};
use tonic_health::ServingStatus;

use crate::{
    admission::Admission,
    certificates::Notary,
    config::Config,
    driver::{self, Driver, Lead},
    jobs::JobsService,
    rates::Rates,
    rendezvous::{Meetings, RendezvousService},
    replica::{self, Input, Replica},
    session::FleetService,
};

type Failure = Box<dyn std::error::Error>;

/// Between two questions to a state store that has not answered yet.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it says that it waits.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or Ctrl-C.
pub fn serve(config: &Config) -> Result<(), Failure> {
    let is_open = !config.listen.ip().is_loopback();
    if is_open && !config.insecure && config.ca.is_none() {
        return Err(format!(
            "--listen {}: other machines reach this address and nothing is authenticated; give --ca, --certificate and \
             --key (`rewind pki` makes them), or --insecure to do it anyway",
            config.listen
        )
        .into());
    }
    if is_open && config.data_roots.is_empty() {
        return Err(format!(
            "--listen {}: other machines reach this address, and specifications could name any file; give --data-root",
            config.listen
        )
        .into());
    }
    if !config.etcd.is_empty() && config.listen.ip().is_unspecified() && config.advertise.is_none() {
        return Err(format!(
            "--listen {}: workers and the other coordinators cannot guess which address that is; give --advertise",
            config.listen
        )
        .into());
    }
    if let Some(url) = config.etcd.iter().find(|url| is_plain_and_remote(url)).filter(|_| !config.insecure) {
        return Err(format!(
            "--etcd {url}: whoever reads or alters this traffic controls the fleet; give https and --etcd-ca, or \
             --insecure to do it anyway"
        )
        .into());
    }
    let security = Security::read(config)?;
    let roots = data_roots(config)?;
    let timeouts = config.timeouts()?;
    fs::create_dir_all(&config.dir).map_err(|error| format!("failed to make {}: {error}", config.dir.display()))?;
    let signing_key = match &config.signing_key {
        Some(path) => rewind_security::read_signing_key(path).map_err(|error| format!("--signing-key: {error}"))?,
        None => rewind_security::signing_key_in(&config.dir)?,
    };
    if !config.etcd.is_empty() && config.signing_key.is_none() {
        tracing::warn!(
            "certificates are signed with a key of this coordinator's folder: another coordinator of the fleet would sign \
             the same job otherwise; give all of them one file with --signing-key"
        );
    }
    tracing::info!(fingerprint = %signing_key.public().fingerprint(), "certificates are signed");
    let notary = Notary::new(signing_key);
    let store: Arc<dyn StateStore> = if config.etcd.is_empty() {
        Arc::new(EmbeddedStore::open(&config.dir.join("state.redb"))?)
    } else {
        Arc::new(EtcdStore::new(config.etcd_options()?)?)
    };
    let beside = config.dir.join("artifacts").display().to_string();
    let artifacts = rewind_artifacts::open(config.artifacts.as_deref().unwrap_or(&beside))?;
    let shared = format!("All workers of the fleet whose state is in {} can read this.", place(config));
    let shared = artifacts.put(shared.as_bytes())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let admission = Admission { artifacts, roots };
    runtime.block_on(run(config, timeouts, store, (admission, shared, notary), security))
}

/// Whether etcd is on another machine, and spoken to without encryption.
fn is_plain_and_remote(url: &str) -> bool {
    let address = url.strip_prefix("http://").unwrap_or(url);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !url.starts_with("https://") && !is_local
}

/// Who may call, and how they prove it.
struct Security {
    tls: Option<ServerTlsConfig>,
    authorize: Authorize,
}

impl Security {
    fn read(config: &Config) -> Result<Self, Failure> {
        let Some(files) = config.identity() else {
            return Ok(Self { tls: None, authorize: Authorize::nobody_is_asked() });
        };
        let tokens = config.tokens.as_deref().map(Tokens::read).transpose()?;
        let tls = Some(rewind_security::server_tls(&files, tokens.as_ref())?);
        Ok(Self { tls, authorize: Authorize::new(tokens) })
    }
}

fn data_roots(config: &Config) -> Result<Vec<PathBuf>, Failure> {
    let resolved = config
        .data_roots
        .iter()
        .map(|root| fs::canonicalize(root).map_err(|error| format!("--data-root {}: {error}", root.display()).into()));
    resolved.collect()
}

async fn run(
    config: &Config,
    timeouts: Timeouts,
    store: Arc<dyn StateStore>,
    (admission, shared, notary): (Admission, Digest, Notary),
    security: Security,
) -> Result<(), Failure> {
    // From now on it ends in order.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    if let Some(address) = config.metrics {
        rewind_telemetry::metrics::coordinator::serve(address)
            .map_err(|error| format!("--metrics {address}: {error}"))?;
    }
    let (ready, is_ready) = watch::channel(false);
    if let Some(address) = config.health {
        rewind_proto::health::serve(address, is_ready).await.map_err(|error| format!("--health {address}: {error}"))?;
    }
    tokio::select! {
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
        answered = answered(config, store.clone()) => answered?,
    }
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("failed to listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    let url = config.advertise.clone().unwrap_or_else(|| {
        let scheme = if security.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", reachable(address))
    });
    let meetings = Arc::new(Meetings::default());
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let name = replica::unique_address(&url, std::process::id(), started);
    let replica = Replica::new(store.clone(), name, timeouts);
    let (driver, mut ended) = driver::start(replica, meetings.clone(), admission.artifacts.clone())?;
    let ticks = tokio::spawn(tick(driver.clone(), timeouts));
    watch_leader(store, driver.clone(), tokio::runtime::Handle::current())?;
    if config.etcd.is_empty() {
        // Nobody else can lead: whoever reads the address finds a leader. A store that fails ends this wait too.
        let mut lead = driver.lead();
        let leads = lead.wait_for(|lead| lead.term.is_some());
        let _ = tokio::time::timeout(timeouts.detection, leads).await;
    }
    let address_file = config.dir.join("coordinator.addr");
    write_address(&address_file, &url)?;
    tracing::info!(%address, "listening");

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let fleet = FleetServer::new(FleetService::new(driver.clone(), admission.artifacts.clone(), &shared)?);
    let jobs = JobsServer::new(JobsService { driver: driver.clone(), admission: Arc::new(admission), notary });
    let jobs = jobs.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
    let rendezvous = RendezvousServer::new(RendezvousService(meetings));
    let mut server = Server::builder();
    if let Some(tls) = security.tls {
        server = server.tls_config(tls)?;
    }
    let (health, health_service) = tonic_health::server::health_reporter();
    tokio::spawn(report_health(health, driver.lead()));
    let server = server
        .layer(security.authorize)
        .http2_keepalive_interval(Some(timeouts.detection))
        .http2_keepalive_timeout(Some(timeouts.detection))
        .add_service(health_service)
        .add_service(InterceptedService::new(jobs, Rates::new()))
        .add_service(fleet.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT))
        .add_service(rendezvous)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            let _ = stopped.await;
        });
    let server = tokio::spawn(server);
    ready.send_replace(true);

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
            driver.stop().await;
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

/// What TLS says of a certificate that is not the right one, here or at the other end: waiting does not mend it.
const WRONG_CERTIFICATE: [&str; 2] = ["received fatal alert", "invalid peer certificate"];

/// Waits for the state store: it may start after its coordinators.
async fn answered(config: &Config, store: Arc<dyn StateStore>) -> Result<(), Failure> {
    let mut said: Option<Instant> = None;
    loop {
        let asked = store.clone();
        match tokio::task::spawn_blocking(move || asked.leader()).await? {
            Err(StoreError::Unavailable(problem)) if WRONG_CERTIFICATE.iter().any(|words| problem.contains(words)) => {
                return Err(format!("--etcd {}: {problem}", config.etcd.join(",")).into());
            }
            Err(error @ StoreError::Unavailable(_)) => {
                if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                    tracing::warn!(etcd = config.etcd.join(","), "waits for the state store: {error}");
                    said = Some(Instant::now());
                }
            }
            answer => return Ok(answer.map(drop)?),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// For probes: the program serves always, each service while this coordinator leads.
async fn report_health(health: tonic_health::server::HealthReporter, mut lead: watch::Receiver<Lead>) {
    health.set_service_status("", ServingStatus::Serving).await;
    loop {
        let leads = lead.borrow_and_update().term.is_some();
        let status = if leads { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["rewind.v1.Fleet", "rewind.v1.Jobs"] {
            health.set_service_status(service, status).await;
        }
        if lead.changed().await.is_err() {
            return;
        }
    }
}

/// Lets time pass for the driver.
async fn tick(driver: Driver, timeouts: Timeouts) {
    let mut interval = tokio::time::interval(timeouts.heartbeat.min(timeouts.lease / 6));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        driver.give(Input::Tick).await;
    }
}

/// A coordinator that stands by looks again as soon as the leader changes.
fn watch_leader(store: Arc<dyn StateStore>, driver: Driver, runtime: tokio::runtime::Handle) -> std::io::Result<()> {
    let watch = move || {
        loop {
            if let Ok(changes) = store.watch_leader() {
                while changes.recv().is_ok() {
                    if driver.lead().borrow().term.is_none() {
                        runtime.block_on(driver.give(Input::Tick));
                    }
                }
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    std::thread::Builder::new().name("watch-leader".into()).spawn(watch).map(drop)
}

/// Where programs of this machine reach it: an address for all interfaces is no destination.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    }
}

/// Where the state is: what tells this fleet from others.
fn place(config: &Config) -> String {
    match config.etcd.is_empty() {
        true => config.dir.display().to_string(),
        false => format!("{} under {}", config.etcd.join(","), config.etcd_prefix),
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
