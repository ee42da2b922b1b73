//! What checks found, one line each.

use serde::Serialize;

use crate::{error::Error, output};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Holds,
    Fails,
    /// Not checked, or not to be decided.
    Open,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    outcome: Outcome,
    text: String,
}

/// Printed as they come, or as JSON at the end.
pub struct Findings {
    json: bool,
    /// Why what differs from here on is no failure.
    not_comparable: Option<String>,
    found: Vec<Finding>,
}

impl Findings {
    pub fn new(json: bool) -> Self {
        Self { json, not_comparable: None, found: Vec::new() }
    }

    pub fn holds(&mut self, check: &str, text: impl ToString) {
        self.add(check, Outcome::Holds, text.to_string());
    }

    pub fn fails(&mut self, check: &str, text: impl ToString) {
        match &self.not_comparable {
            None => self.add(check, Outcome::Fails, text.to_string()),
            Some(why) => self.add(check, Outcome::Open, format!("not comparable: {why}; {}", text.to_string())),
        }
    }

    /// From here on what differs is told, and is no failure.
    pub fn stop_judging(&mut self, why: String) {
        self.not_comparable = Some(why);
    }

    pub fn open(&mut self, check: &str, text: impl ToString) {
        self.add(check, Outcome::Open, text.to_string());
    }

    fn add(&mut self, check: &str, outcome: Outcome, text: String) {
        if !self.json {
            let mark = match outcome {
                Outcome::Holds => '✓',
                Outcome::Fails => '✗',
                Outcome::Open => '–',
            };
            output::line(format!("{mark} {check}: {text}"));
        }
        self.found.push(Finding { check: check.to_owned(), outcome, text });
    }

    pub fn all_hold(&self) -> bool {
        self.failed() == 0
    }

    fn failed(&self) -> usize {
        self.found.iter().filter(|finding| finding.outcome == Outcome::Fails).count()
    }

    /// Prints what was found so far, even if checking broke off.
    ///
    /// # Errors
    /// Checking broke off, or a check failed.
    pub fn end(self, outcome: Result<(), Error>) -> Result<(), Error> {
        if self.json && (outcome.is_ok() || !self.found.is_empty()) {
            output::json(&self.found);
        }
        outcome?;
        match self.failed() {
            0 => Ok(()),
            failed => {
                let checks = self.found.iter().filter(|finding| finding.outcome != Outcome::Open).count();
                Err(Error::Unfit { missing: failed, checks })
            }
        }
    }
}
