//! `rewind doctor`: what is here, what is missing, and what to do about it.

use std::{path::Path, process::Command};

use rewind_job::Timeouts;
use serde::Serialize;

use crate::{arguments::Doctor, devices::Inspection, error::Error, output, processes::find};

#[derive(Serialize)]
struct Finding {
    what: String,
    found: bool,
    detail: String,
}

pub fn run(doctor: &Doctor) -> Result<(), Error> {
    let mut findings = vec![Finding::new("rewind", true, rewind_version::VERSION_AND_COMMIT)];
    findings.extend(["rewind-coordinator", "rewind-worker"].map(program));
    for file in ["images-idx3-ubyte", "labels-idx1-ubyte"] {
        findings.push(present(
            "digits",
            &doctor.data.join(file),
            "`scripts/setup --for demo` in the checkout fetches them, or name their folder with --data",
        ));
    }
    let predictor = doctor.predictors.join("equivariant.safetensors");
    findings.push(present("predictor", &predictor, "run it from the checkout, or name the folder with --predictors"));
    findings.extend(devices());
    findings.push(timeouts(&Timeouts::default()));

    if doctor.json {
        output::json(&findings);
    } else {
        for finding in &findings {
            let mark = if finding.found { "✓" } else { "✗" };
            output::line(format!("{mark} {:<19} {}", finding.what, finding.detail));
        }
    }
    match findings.iter().filter(|finding| !finding.found).count() {
        0 => Ok(()),
        missing => Err(Error::Unfit { missing, checks: findings.len() }),
    }
}

impl Finding {
    fn new(what: &str, found: bool, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), found, detail: detail.into() }
    }
}

fn program(name: &str) -> Finding {
    let path = match find(name) {
        Ok(path) => path,
        Err(error) => return Finding::new(name, false, error.to_string()),
    };
    match Command::new(&path).arg("--version").output() {
        Ok(out) if out.status.success() => {
            let version = String::from_utf8_lossy(&out.stdout);
            // `rewind-worker 0.3.0 (45e3382deab2)`
            let version = version.trim().split_once(' ').map_or("", |(_, version)| version).to_owned();
            let is_same = version.split(' ').next() == Some(rewind_version::VERSION);
            let remark = if is_same { "" } else { ", not the version of this program" };
            Finding::new(name, is_same, format!("{version}{remark} ({})", path.display()))
        }
        Ok(out) => {
            let error = String::from_utf8_lossy(&out.stderr);
            Finding::new(name, false, format!("{} does not run: {}", path.display(), error.trim()))
        }
        Err(error) => Finding::new(name, false, format!("{} does not run: {error}", path.display())),
    }
}

/// What a worker sees and would use, by the same variables that it reads.
fn devices() -> Vec<Finding> {
    let Ok(worker) = find("rewind-worker") else { return Vec::new() };
    match Inspection::of(&worker) {
        Ok(seen) => {
            let verdict = match seen.verdict() {
                Ok(device) => Finding::new("a worker would use", true, device),
                Err(reason) => Finding::new("a worker would use", false, reason),
            };
            // No GPU is no fault.
            let sights = seen.sights().into_iter().map(|line| Finding::new("GPUs", true, line));
            sights.chain([verdict]).collect()
        }
        Err(reason) => vec![Finding::new("GPUs", false, reason)],
    }
}

fn present(what: &str, path: &Path, remedy: &str) -> Finding {
    match std::fs::metadata(path) {
        Ok(file) => Finding::new(what, true, format!("{} ({} bytes)", path.display(), file.len())),
        Err(_) => Finding::new(what, false, format!("{} is missing; {remedy}", path.display())),
    }
}

fn timeouts(timeouts: &Timeouts) -> Finding {
    let order = timeouts.in_order().map(|(name, time)| format!("{name} {time:?}")).join(" < ");
    let order = format!("{order}; retention {:?}", timeouts.retention);
    match timeouts.check() {
        Ok(()) => Finding::new("timeouts", true, order),
        Err(error) => Finding::new("timeouts", false, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_timeouts_are_in_order() {
        assert!(timeouts(&Timeouts::default()).found);
    }

    #[test]
    fn what_is_missing_comes_with_a_remedy() {
        let finding = present("digits", Path::new("nowhere/images"), "fetch them");
        assert!(!finding.found && finding.detail.contains("fetch them"));
    }
}
