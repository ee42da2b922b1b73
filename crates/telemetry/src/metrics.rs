//! Every metric of every program: names, units and meaning. Without [`serve`] they cost nearly nothing.

use std::{net::SocketAddr, time::Duration};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::PrometheusBuilder;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    Gauge,
    /// Seconds, as a summary.
    Histogram,
}

/// A metric's name (Prometheus' rules: unit last, counters end in `_total`), and what it says.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal: $help:literal;)*) => {
        $(#[doc = $help] pub static $constant: Metric = Metric { name: $name, kind: Kind::$kind, help: $help };)*

        /// All of them.
        pub static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    DECISIONS = Counter "rewind_coordinator_decisions_total": "What the coordinator decided, by `decision`: commits, generations, losses by reason, tasks, stale messages.";
    JOBS = Gauge "rewind_coordinator_jobs": "Jobs by `state`.";
    WORKERS = Gauge "rewind_coordinator_workers": "Workers by `duty`: idle, gang, task, leaving.";
    LEADS = Gauge "rewind_coordinator_leads": "1 while this coordinator leads, 0 while it stands by.";
    TERM = Gauge "rewind_coordinator_term": "Term of the leader, while it is this coordinator.";
    STORE_AWAY = Gauge "rewind_coordinator_store_away": "1 while decisions wait for the state store.";
    STORE_WRITE = Histogram "rewind_coordinator_store_write_seconds": "Time of a transaction of the state store.";
    STORE_FAILURES = Counter "rewind_coordinator_store_failures_total": "Transactions of the state store that failed.";
    SESSIONS_REFUSED = Counter "rewind_coordinator_sessions_refused_total": "Sessions of workers that were refused, by `reason`.";
    SESSIONS = Counter "rewind_worker_sessions_total": "Sessions with a coordinator that this worker began.";
    ASSIGNMENTS = Counter "rewind_worker_assignments_total": "Assignments that ended, by `outcome`: finished, left, failed.";
    ROUNDS = Counter "rewind_worker_rounds_total": "Rounds that this rank handed over to be committed.";
    CHECKPOINT = Histogram "rewind_worker_checkpoint_seconds": "Time to hash and store this rank's shard of a round.";
    CHECKPOINT_BYTES = Counter "rewind_worker_checkpoint_bytes_total": "Bytes of shards stored.";
    TASKS = Counter "rewind_worker_tasks_total": "Histories made.";
}

/// Serves all metrics at `http://ADDRESS/metrics`, on the present tokio runtime.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(address: SocketAddr) -> Result<(), String> {
    // Asked first: the exporter binds later, where nobody hears of it.
    std::net::TcpListener::bind(address).map_err(|error| format!("--metrics {address}: {error}"))?;
    PrometheusBuilder::new()
        .with_http_listener(address)
        .install()
        .map_err(|error| format!("--metrics {address}: {error}"))?;
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
    Ok(())
}

/// A label's name and value.
pub type Label = (&'static str, String);

fn labels(label: Option<Label>) -> Vec<(&'static str, String)> {
    label.into_iter().collect()
}

impl Metric {
    pub fn add(&self, count: u64, label: Option<Label>) {
        counter!(self.name, &labels(label)).increment(count);
    }

    pub fn set(&self, value: f64, label: Option<Label>) {
        gauge!(self.name, &labels(label)).set(value);
    }

    pub fn observe(&self, time: Duration) {
        histogram!(self.name).record(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;

    #[test]
    fn names_follow_the_rules_and_are_unique() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(metric.name.starts_with("rewind_"), "{}", metric.name);
            assert!(metric.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert_eq!(metric.name.ends_with("_seconds"), metric.kind == Kind::Histogram, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.help);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_counted_is_served_with_its_help() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
        serve(port).expect("serves");
        DECISIONS.add(3, Some(("decision", "committed".into())));
        JOBS.set(2.0, Some(("state", "running".into())));
        STORE_WRITE.observe(Duration::from_millis(5));
        let text = tokio::task::spawn_blocking(move || {
            let mut stream = (0..100)
                .find_map(|_| {
                    std::thread::sleep(Duration::from_millis(20));
                    TcpStream::connect(port).ok()
                })
                .expect("connects");
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("asks");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("answers");
            text
        })
        .await
        .expect("ends");
        for wanted in [
            "rewind_coordinator_decisions_total{decision=\"committed\"} 3",
            "rewind_coordinator_jobs{state=\"running\"} 2",
            "rewind_coordinator_store_write_seconds_count 1",
            "# HELP rewind_coordinator_jobs Jobs by `state`.",
            "# TYPE rewind_coordinator_decisions_total counter",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(serve(port).expect_err("is taken").contains("--metrics"));
    }
}
