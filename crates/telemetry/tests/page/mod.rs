//! Reads the page of metrics as Prometheus does.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

/// Sends `request` as it is and returns the answer; what was cut off is an empty answer.
pub fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    // A server that has seen enough closes before all is sent.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("text")
}

pub fn status_of(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// A family of series on the page.
#[derive(Debug, Default)]
pub struct Family {
    pub help: String,
    pub kind: String,
    /// Each series' name with its labels, and its value.
    pub series: BTreeMap<String, f64>,
}

/// The page, by name; panics on a line that is neither HELP, TYPE nor a value of what was named before.
pub fn read(address: SocketAddr) -> BTreeMap<String, Family> {
    let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert_eq!(status_of(head), "200", "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut present = String::new();
    for line in body.lines().filter(|line| !line.is_empty()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a name and its help");
            assert!(families.get(name).is_none_or(|family| family.help.is_empty()), "HELP twice: {line}");
            families.entry(name.into()).or_default().help = help.into();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and its type");
            let family = families.entry(name.into()).or_default();
            assert!(family.kind.is_empty(), "TYPE twice: {line}");
            family.kind = kind.into();
            present = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            let value: f64 = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
            let (name, labels) = series.split_once('{').map_or((series, None), |(name, rest)| (name, Some(rest)));
            let family = families.get_mut(&present).unwrap_or_else(|| panic!("of no type: {line}"));
            let parts: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(parts.iter().any(|part| name == format!("{present}{part}")), "of another name: {line}");
            if let Some(labels) = labels {
                let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end of labels: {line}"));
                let well = |label: &str| {
                    let (name, value) = label.split_once('=').unwrap_or_default();
                    name.bytes().all(|byte| byte.is_ascii_lowercase())
                        && value.len() >= 2
                        && value.starts_with('"')
                        && value.ends_with('"')
                };
                assert!(labels.split(',').all(well), "{line}");
            }
            assert!(family.series.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    families
}

/// The value of a series, with its labels as on the page.
pub fn value(families: &BTreeMap<String, Family>, series: &str) -> f64 {
    let found = families.values().find_map(|family| family.series.get(series));
    *found.unwrap_or_else(|| panic!("no {series} in {families:#?}"))
}
