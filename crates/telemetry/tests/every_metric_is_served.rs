//! What Prometheus reads: every metric with its help and type, from the start, and what was counted.

mod page;

use std::{net::SocketAddr, time::Duration};

use rewind_telemetry::metrics::{
    self, Activity, Duty, JobState, Kind, LossReason, Operation, Outcome, RefusalReason, coordinator, worker,
};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn read(address: SocketAddr) -> std::collections::BTreeMap<String, page::Family> {
    tokio::task::spawn_blocking(move || page::read(address)).await.expect("reads")
}

/// One test: what is recorded belongs to the process.
#[tokio::test]
async fn every_metric_is_served_from_the_start_and_what_is_counted_shows() {
    // Nobody serves yet: this is counted nowhere, and does no harm.
    coordinator::COMMITS.add(5);
    coordinator::WORKERS_LOST.add(LossReason::Silent, 5);
    worker::ROUND_SECONDS.observe(Duration::from_secs(1));

    let address = coordinator::serve(ANY).expect("serves");
    assert_ne!(address.port(), 0);
    let families = read(address).await;
    assert!(families.keys().all(|name| name.starts_with("rewind_coordinator_")), "{:?}", families.keys());
    assert_eq!(page::value(&families, "rewind_coordinator_commits_total"), 0.0);
    assert_eq!(page::value(&families, "rewind_coordinator_workers_lost_total{reason=\"silent\"}"), 0.0);
    assert_eq!(page::value(&families, "rewind_coordinator_jobs{state=\"cancelled\"}"), 0.0);
    assert_eq!(page::value(&families, "rewind_coordinator_store_write_seconds_bucket{le=\"+Inf\"}"), 0.0);
    assert!(page::value(&families, "rewind_coordinator_resident_bytes") > 100_000.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(page::value(&families, &format!("rewind_coordinator_build_info{{version=\"{version}\"}}")), 1.0);

    let address = worker::serve(ANY).expect("serves");
    let families = read(address).await;
    assert_eq!(families.len(), metrics::all().len(), "{:?}", families.keys());
    for metric in metrics::all() {
        let family = families.get(metric.name).unwrap_or_else(|| panic!("{} is not served", metric.name));
        assert_eq!((family.help.as_str(), family.kind.as_str()), (metric.help, metric.kind.name()));
        assert!(!family.series.is_empty(), "{}", metric.name);
        let labelled = |series: &str| metric.label.is_none_or(|label| series.contains(&format!("{label}=\"")));
        assert!(family.series.keys().all(|series| labelled(series)), "{family:?}");
        assert_eq!(metric.kind == Kind::Histogram, family.series.keys().any(|series| series.contains("_bucket{")));
    }

    coordinator::COMMITS.add(2);
    coordinator::STORE_WRITE_SECONDS.observe(Duration::from_millis(30));
    coordinator::JOBS.count([JobState::Running, JobState::Waiting, JobState::Running]);
    coordinator::WORKERS.set(Duty::Gang, 3);
    coordinator::WORKERS_LOST.add(LossReason::DidNotLeave, 1);
    coordinator::SESSIONS_REFUSED.add(RefusalReason::StandsBy, 1);
    coordinator::IS_LEADER.set(true);
    coordinator::FENCING_TERM.set(7);
    worker::ACTIVITY.is(Activity::Preparing);
    worker::ACTIVITY.is(Activity::Rounds);
    worker::ASSIGNMENTS_ENDED.add(Outcome::Left, 1);
    worker::CHECKPOINT_BYTES_STORED.add(4096);
    worker::COLLECTIVE_CALLS.add(Operation::AllReduce, 2);
    worker::COLLECTIVE_SECONDS.observe(Operation::AllReduce, Duration::from_micros(700));
    let families = read(address).await;
    for (series, value) in [
        ("rewind_coordinator_commits_total", 2.0),
        ("rewind_coordinator_store_write_seconds_count", 1.0),
        ("rewind_coordinator_store_write_seconds_sum", 0.03),
        ("rewind_coordinator_store_write_seconds_bucket{le=\"0.025\"}", 0.0),
        ("rewind_coordinator_store_write_seconds_bucket{le=\"0.05\"}", 1.0),
        ("rewind_coordinator_jobs{state=\"running\"}", 2.0),
        ("rewind_coordinator_jobs{state=\"waiting\"}", 1.0),
        ("rewind_coordinator_jobs{state=\"failed\"}", 0.0),
        ("rewind_coordinator_workers{duty=\"gang\"}", 3.0),
        ("rewind_coordinator_workers_lost_total{reason=\"did-not-leave\"}", 1.0),
        ("rewind_coordinator_sessions_refused_total{reason=\"stands-by\"}", 1.0),
        ("rewind_coordinator_leads", 1.0),
        ("rewind_coordinator_term", 7.0),
        ("rewind_worker_activity{activity=\"preparing\"}", 0.0),
        ("rewind_worker_activity{activity=\"rounds\"}", 1.0),
        ("rewind_worker_assignments_total{outcome=\"left\"}", 1.0),
        ("rewind_worker_checkpoint_bytes_total", 4096.0),
        ("rewind_worker_collective_calls_total{operation=\"all-reduce\"}", 2.0),
        ("rewind_worker_collective_seconds_count{operation=\"all-reduce\"}", 1.0),
        ("rewind_worker_collective_seconds_count{operation=\"barrier\"}", 0.0),
        ("rewind_worker_round_seconds_count", 0.0),
    ] {
        assert_eq!(page::value(&families, series), value, "{series}");
    }
    coordinator::JOBS.count([]);
    assert_eq!(page::value(&read(address).await, "rewind_coordinator_jobs{state=\"running\"}"), 0.0);
}
