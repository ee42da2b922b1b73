//! A log goes on where an earlier process of the same program ended.

use rewind_telemetry::{Format, start};

#[test]
fn a_log_file_grows_line_by_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    std::fs::write(&path, "earlier\n").expect("writes");
    assert!(start(Format::Json, Some(&folder.path().join("nowhere/log"))).is_err());
    start(Format::Json, Some(&path)).expect("opens");
    tracing::info!(worker = "worker-1", "session began");
    tracing::debug!("not shown unless asked for");
    let log = std::fs::read_to_string(&path).expect("reads");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "earlier"));
    assert!(lines[1].contains(r#""worker":"worker-1""#) && lines[1].contains("session began"), "{}", lines[1]);
}
