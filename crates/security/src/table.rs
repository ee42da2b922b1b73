//! Which roles may make which calls; what does not stand here, nobody may call.

use crate::Role::{self, Coordinator, Operator, Viewer, Worker};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Anybody,
    Only(&'static [Role]),
}

const FLEET: Who = Who::Only(&[Worker, Coordinator]);
const CHANGES: Who = Who::Only(&[Operator]);
const READS: Who = Who::Only(&[Operator, Viewer]);
const ARTIFACTS: Who = Who::Only(&[Operator, Viewer, Worker]);

/// A path that ends with `/` stands for all calls of that service.
const TABLE: [(&str, Who); 14] = [
    ("/grpc.health.v1.Health/", Who::Anybody),
    ("/rewind.v1.Fleet/", FLEET),
    ("/rewind.v1.Rendezvous/", FLEET),
    ("/rewind.v1.Jobs/Submit", CHANGES),
    ("/rewind.v1.Jobs/Cancel", CHANGES),
    ("/rewind.v1.Jobs/Pause", CHANGES),
    ("/rewind.v1.Jobs/Resume", CHANGES),
    ("/rewind.v1.Jobs/Drain", CHANGES),
    ("/rewind.v1.Jobs/List", READS),
    ("/rewind.v1.Jobs/ListTasks", READS),
    ("/rewind.v1.Jobs/ListWorkers", READS),
    ("/rewind.v1.Jobs/Watch", READS),
    ("/rewind.v1.Jobs/GetReport", READS),
    ("/rewind.v1.Jobs/GetArtifact", ARTIFACTS),
];

/// `None` for a path that is no call of this program.
pub(crate) fn who_may_call(path: &str) -> Option<Who> {
    let row = TABLE.iter().find(|(row, _)| if row.ends_with('/') { path.starts_with(row) } else { path == *row });
    row.map(|&(_, who)| who)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Paths of all calls in the wire's `.proto` files.
    fn calls_of_the_wire() -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/proto/rewind/v1");
        let mut calls = Vec::new();
        for file in fs::read_dir(folder).expect("is a folder") {
            let text = fs::read_to_string(file.expect("is listed").path()).expect("is text");
            let mut service = "";
            for line in text.lines().map(str::trim) {
                if let Some(rest) = line.strip_prefix("service ") {
                    service = rest.trim_end_matches('{').trim();
                }
                if let Some((call, _)) = line.strip_prefix("rpc ").and_then(|rest| rest.split_once('(')) {
                    calls.push(format!("/rewind.v1.{service}/{call}"));
                }
            }
        }
        calls
    }

    #[test]
    fn every_call_of_the_wire_stands_in_the_table() {
        let calls = calls_of_the_wire();
        assert!(calls.contains(&"/rewind.v1.Jobs/Submit".to_owned()), "{calls:?}");
        for call in calls {
            assert!(matches!(who_may_call(&call), Some(Who::Only(_))), "{call} has no row");
        }
    }

    #[test]
    fn a_path_that_only_resembles_a_row_is_refused() {
        for path in [
            "",
            "/",
            "/rewind.v1.Jobs/",
            "/rewind.v1.Jobs/list",
            "/rewind.v1.Jobs/Submit/",
            "/rewind.v1.Jobs//List",
            "/rewind.v1.Fleet",
            "/rewind.v1.FleetX/Session",
            "//rewind.v1.Fleet/Session",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ] {
            assert_eq!(who_may_call(path), None, "{path}");
        }
    }
}
