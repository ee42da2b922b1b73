use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tracing::{field::Empty, info, info_span, warn};
use tracing_subscriber::{Registry, layer::SubscriberExt};

use super::*;

/// Where the lines go.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log_of(format: Format, colours: bool, say: impl FnOnce()) -> String {
    let paper = Paper::default();
    let writer = paper.clone();
    let lines = LogLines { format, writer: move || writer.clone(), colours };
    tracing::subscriber::with_default(Registry::default().with(lines), say);
    let bytes = paper.0.lock().expect("nobody panicked").clone();
    String::from_utf8(bytes).expect("text")
}

fn parsed(say: impl FnOnce()) -> Vec<Value> {
    let log = log_of(Format::Json, false, say);
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Without its time.
fn text_of(say: impl FnOnce()) -> String {
    let log = log_of(Format::Text, false, say);
    let lines = log.lines().map(|line| line.split_once(' ').expect("a time").1.to_owned() + "\n");
    lines.collect()
}

#[test]
fn every_line_of_json_has_a_time_a_level_a_target_and_a_message() {
    let lines = parsed(|| {
        info!("began");
        warn!(count = 3, "{} are late", 3);
        info!(answer = 42);
    });
    assert_eq!(lines.len(), 3);
    for line in &lines {
        let time = line["timestamp"].as_str().expect("a time");
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
        assert_eq!(line["target"], "rewind_telemetry::log_lines::tests");
    }
    assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&json!("INFO"), &json!("began")));
    assert_eq!((&lines[1]["level"], &lines[1]["message"]), (&json!("WARN"), &json!("3 are late")));
    assert_eq!((&lines[2]["message"], &lines[2]["answer"]), (&json!(""), &json!(42)));
}

#[test]
fn the_fields_of_a_span_are_fields_of_its_lines() {
    let lines = parsed(|| {
        let span = info_span!("assignment", job = %"job-1", generation = 3, rank = 0, round = Empty);
        let _inside = span.enter();
        info!("began");
        span.record("round", 2);
        span.record("round", 3);
        info!(bytes = 7, "a shard is durable");
    });
    assert_eq!((&lines[0]["job"], &lines[0]["generation"]), (&json!("job-1"), &json!(3)));
    assert_eq!((&lines[0]["rank"], lines[0].get("round")), (&json!(0), None));
    assert_eq!((&lines[1]["round"], &lines[1]["bytes"], &lines[1]["job"]), (&json!(3), &json!(7), &json!("job-1")));
    assert_eq!(lines[1]["span"], "assignment");
}

#[test]
fn a_field_has_one_value_the_innermost() {
    let log = log_of(Format::Json, false, || {
        let _outer = info_span!("outer", job = "job-1", round = 1, rank = 0).entered();
        let _inner = info_span!("inner", round = 2, rank = 1).entered();
        info!(rank = 2, "said");
    });
    let line: Value = serde_json::from_str(&log).expect("parses");
    assert_eq!((&line["job"], &line["round"], &line["rank"]), (&json!("job-1"), &json!(2), &json!(2)));
    assert_eq!(line["span"], "outer:inner");
    assert_eq!(log.matches("\"rank\"").count(), 1, "{log}");
}

#[test]
fn a_field_cannot_pass_for_what_every_line_has() {
    let lines = parsed(|| {
        let _span = info_span!("outer", message = "of the span", level = "ERROR", timestamp = 0).entered();
        info!(target = "elsewhere", span = "none", "said");
    });
    let line = &lines[0];
    assert_eq!((&line["level"], &line["message"], &line["span"]), (&json!("INFO"), &json!("said"), &json!("outer")));
    assert_eq!(line["target"], "rewind_telemetry::log_lines::tests");
    assert_eq!((&line["field.level"], &line["field.target"]), (&json!("ERROR"), &json!("elsewhere")));
}

#[test]
fn what_json_has_no_word_for_is_a_string() {
    let error = io::Error::other("the disk is full");
    let lines = parsed(|| {
        info!(loss = f64::NAN, gain = 0.5, ok = true, none = i64::MIN, why = &error as &dyn std::error::Error, "said");
    });
    let line = &lines[0];
    assert_eq!((&line["loss"], &line["gain"], &line["ok"]), (&json!("NaN"), &json!(0.5), &json!(true)));
    assert_eq!((&line["none"], &line["why"]), (&json!(i64::MIN), &json!("the disk is full")));
}

/// What somebody might say to be taken for the log itself.
const FORGERY: &str = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2K\u{85}\u{2028}\u{9b}y\0";

fn say_forgeries() {
    let _span = info_span!("assignment", job = %FORGERY, quoted = FORGERY).entered();
    info!(worker = %FORGERY, text = ?FORGERY, quoted = FORGERY, "{FORGERY}");
}

#[test]
fn nothing_said_in_json_makes_a_second_line() {
    let log = log_of(Format::Json, false, say_forgeries);
    assert!(log.ends_with('\n') && !log.trim_end_matches('\n').contains(fields::is_unsafe), "{log:?}");
    let line: Value = serde_json::from_str(&log).expect("parses");
    for name in ["message", "job", "worker", "quoted"] {
        assert_eq!(line[name], FORGERY, "{name}");
    }
}

#[test]
fn nothing_said_in_text_makes_a_second_line() {
    let log = log_of(Format::Text, false, say_forgeries);
    assert!(log.ends_with('\n') && !log.trim_end_matches('\n').contains(fields::is_unsafe), "{log:?}");
    assert!(log.contains(r"x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2K"), "{log}");
    let coloured = log_of(Format::Text, true, say_forgeries);
    assert_eq!(coloured.lines().count(), 1);
    assert!(!coloured.contains("\u{1b}[2K"), "{coloured:?}");
}

#[test]
fn text_shows_spans_then_the_message_then_its_fields() {
    let log = text_of(|| {
        info!("listening");
        let span = info_span!("assignment", job = %"job-1", generation = 3, round = Empty);
        let _inside = span.enter();
        for round in 1..=3 {
            span.record("round", round);
        }
        let _task = info_span!("task").entered();
        warn!(worker = "worker-1", bytes = 7, path = ?Some(1), "said");
    });
    let here = "rewind_telemetry::log_lines::tests";
    let wanted = format!(
        " INFO {here}: listening\n \
         WARN assignment{{job=job-1 generation=3 round=3}}:task: {here}: said worker=\"worker-1\" bytes=7 path=Some(1)\n"
    );
    assert_eq!(log, wanted);
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let say = || {
        let _span = info_span!("assignment", job = "job-1").entered();
        info!(bytes = 7, "said");
    };
    let (plain, coloured) = (log_of(Format::Text, false, say), log_of(Format::Text, true, say));
    let without = coloured.split('\u{1b}').map(|part| part.split_once('m').filter(|_| part.starts_with('[')));
    let without: String = without.map(|part| part.map_or("", |(_, text)| text)).collect();
    let after_time = |line: &str| line.split_once(' ').expect("a time").1.to_owned();
    assert_eq!(after_time(&without), after_time(&plain));
}
