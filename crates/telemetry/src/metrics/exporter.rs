//! The page that Prometheus reads.

use std::{
    convert::Infallible,
    fs, io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, LazyLock},
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpStream, runtime::Handle, sync::Semaphore, time};

/// A connection ends after this time, answered or not.
const LONGEST_CONNECTION: Duration = Duration::from_secs(10);
/// A request is whole within this time.
const LONGEST_REQUEST: Duration = Duration::from_secs(5);
/// Largest request, in bytes; hyper takes no less.
const LARGEST_REQUEST: usize = 8192;
/// Connections at once; more wait.
const CONNECTIONS: usize = 16;
/// Between two sweeps of what histograms have gathered.
const UPKEEP: Duration = Duration::from_secs(5);
/// After a connection that could not be taken: there may be too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Seconds at which histograms are cut: from a small collective to a long round.
const CUTS: [f64; 19] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    1800.0,
];

/// The process's only recorder; an error if something else records already.
static RECORDER: LazyLock<Result<PrometheusHandle, String>> = LazyLock::new(|| {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &CUTS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("failed to record metrics: {error}"))
});

/// Serves what is recorded; calls `start` once it is sure to be served, and `refresh` before each reading.
pub fn serve(address: SocketAddr, start: impl FnOnce(), refresh: fn()) -> io::Result<SocketAddr> {
    let failed =
        |error: io::Error| io::Error::new(error.kind(), format!("failed to serve metrics on {address}: {error}"));
    let runtime = Handle::try_current().map_err(|error| failed(io::Error::other(error)))?;
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let recorder = RECORDER.as_ref().map_err(|error| failed(io::Error::other(error.as_str())))?;
    start();
    runtime.spawn(keep_up(recorder));
    runtime.spawn(listen(listener, recorder, refresh));
    Ok(address)
}

/// Histograms that nobody reads must not grow.
async fn keep_up(recorder: &'static PrometheusHandle) {
    let mut interval = time::interval(UPKEEP);
    loop {
        interval.tick().await;
        recorder.run_upkeep();
    }
}

async fn listen(listener: tokio::net::TcpListener, recorder: &'static PrometheusHandle, refresh: fn()) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((connection, _)) => {
                tokio::spawn(async move {
                    let answered = time::timeout(LONGEST_CONNECTION, answer(connection, recorder, refresh));
                    // Whoever asks too slowly, too much or not in HTTP is not answered.
                    let _ = answered.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("failed to take a connection for metrics: {error}");
                time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(connection: TcpStream, recorder: &'static PrometheusHandle, refresh: fn()) -> Result<(), hyper::Error> {
    let page = service_fn(move |request: Request<Incoming>| async move {
        Ok::<_, Infallible>(match (request.uri().path(), request.method()) {
            ("/metrics", &Method::GET | &Method::HEAD) => {
                refresh();
                let mut page = Response::new(recorder.render());
                let text = "text/plain; version=0.0.4; charset=utf-8".parse().expect("is a header");
                page.headers_mut().insert(CONTENT_TYPE, text);
                page
            }
            ("/metrics", _) => {
                let mut refusal = status(StatusCode::METHOD_NOT_ALLOWED);
                refusal.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("is a header"));
                refusal
            }
            _ => status(StatusCode::NOT_FOUND),
        })
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_REQUEST)
        .max_buf_size(LARGEST_REQUEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(connection), page)
        .await
}

fn status(status: StatusCode) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    response
}

/// Resident memory of this process, where Linux tells it.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
