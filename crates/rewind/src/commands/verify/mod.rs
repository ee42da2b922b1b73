//! `rewind verify`: is this certificate whole, whose is it, and do these files belong to it?

mod files;
mod findings;
mod replay;
mod statements;

use std::path::{Path, PathBuf};

use rewind_certificate::{Certificate, PublicKey, Statement};
use rewind_job::{Part, Reader};

use crate::{arguments::Verify, error::Error};

use replay::Certified;

pub use findings::Findings;

/// What is checked: the files that were named, and those of the folder.
struct Subject {
    certificate: PathBuf,
    report: Option<PathBuf>,
    disclosure: Option<PathBuf>,
    /// Holds weights by the steps' names.
    folder: Option<PathBuf>,
}

impl Subject {
    fn of(arguments: &Verify) -> Result<Self, Error> {
        let (report, disclosure) = (arguments.report.clone(), arguments.disclosure.clone());
        if !arguments.subject.is_dir() {
            return Ok(Self { certificate: arguments.subject.clone(), report, disclosure, folder: None });
        }
        let folder = arguments.subject.clone();
        let certificate = folder.join("certificate.json");
        if !certificate.is_file() {
            return Err(Error::Usage(format!("there is no certificate.json in {}", folder.display())));
        }
        let inside = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        Ok(Self {
            certificate,
            report: report.or_else(|| inside("report.json")),
            disclosure: disclosure.or_else(|| inside("disclosure.json")),
            folder: Some(folder),
        })
    }

    /// The weights to check, by step.
    fn weights(&self, statement: &Statement, named: &[(String, PathBuf)]) -> Result<Vec<(String, PathBuf)>, Error> {
        if let Some((step, _)) = named.iter().find(|(name, _)| statement.steps.iter().all(|step| step.name != *name)) {
            let names: Vec<&str> = statement.steps.iter().map(|step| step.name.as_str()).collect();
            let known = names.join(", ");
            return Err(Error::Usage(format!("--weights {step}: the certificate knows the steps {known}")));
        }
        let mut weights = named.to_vec();
        for step in &statement.steps {
            let Some(folder) = &self.folder else { break };
            let file = folder.join("weights").join(format!("{}.safetensors", rewind_job::file_name(&step.name)));
            if file.is_file() && named.iter().all(|(name, _)| *name != step.name) {
                weights.push((step.name.clone(), file));
            }
        }
        Ok(weights)
    }
}

pub async fn run(arguments: Verify) -> Result<(), Error> {
    let subject = Subject::of(&arguments)?;
    if arguments.sample.is_some() && subject.disclosure.is_none() {
        return Err(Error::Usage("--sample needs the job's disclosure.json: give --disclosure".to_owned()));
    }
    let wanted = arguments.signed_by.as_deref().map(public_key).transpose()?;
    let bytes = read(&subject.certificate)?;
    let mut findings = Findings::new(arguments.json);
    let outcome = check(&arguments, &subject, (&bytes, wanted), &mut findings).await;
    findings.end(outcome)
}

async fn check(
    arguments: &Verify,
    subject: &Subject,
    (bytes, wanted): (&[u8], Option<PublicKey>),
    findings: &mut Findings,
) -> Result<(), Error> {
    let Some(certificate) = signed(bytes, wanted, findings) else { return Ok(()) };
    let statement = &certificate.statement;
    let weights = subject.weights(statement, &arguments.weights)?;
    files::report(statement, subject.report.as_deref(), findings)?;
    files::weights(statement, &weights, findings)?;
    let disclosure = files::disclosure(statement, subject.disclosure.as_deref(), findings)?;
    if let (Some(id), Some(disclosure)) = (arguments.sample, &disclosure) {
        files::sample(disclosure, id, arguments.write_proof.as_deref(), findings)?;
    }
    if let Some(file) = &arguments.proof {
        files::proof(statement, file, findings)?;
    }
    kept_to_their_group(statement, findings);
    if arguments.replay && findings.all_hold() {
        let certified = Certified { statement, weights: &weights, disclosure: disclosure.as_ref() };
        replay::run(&certified, &arguments.at, findings).await?;
    } else {
        let why = if arguments.replay { "not tried: a check failed before" } else { "not tried: give --replay" };
        findings.open("replay", why);
    }
    let count = statement.not_proven.len();
    findings.open("limits", format!("{count} things that are not proven stand in the certificate, under `not_proven`"));
    Ok(())
}

/// None: there is nothing in it to go on with.
fn signed(bytes: &[u8], wanted: Option<PublicKey>, findings: &mut Findings) -> Option<Certificate> {
    let certificate = match Certificate::parse(bytes) {
        Ok(certificate) => certificate,
        Err(error) => {
            findings.fails("form", error);
            return None;
        }
    };
    let Statement { job, issued_at, version, commit, .. } = &certificate.statement;
    let commit = commit.as_ref().map_or(String::new(), |commit| format!(" ({commit})"));
    let text = format!("{job}, issued {issued_at} by version {version}{commit}; byte for byte as it was written");
    findings.holds("form", text);
    match certificate.verify(wanted) {
        Ok(key) => {
            findings.holds("signature", format!("holds for the key with the fingerprint {}", key.fingerprint()));
            match wanted {
                Some(_) => findings.holds("key", "is the one that you trust"),
                None => findings.open("key", "whose key that is was not checked: give --signed-by PUBLIC.pem"),
            }
            Some(certificate)
        }
        Err(error) => {
            findings.fails("signature", error);
            None
        }
    }
}

/// By its own account: a forget-only method is handed `D_f` and nothing else.
fn kept_to_their_group(statement: &Statement, findings: &mut Findings) {
    for step in statement.steps.iter().filter(|step| step.group == "forget-only") {
        let check = format!("reads of {}", step.name);
        let own = step.reads.iter().filter(|reads| reads.by == Reader::Method);
        let (forget, others): (Vec<_>, Vec<_>) = own.partition(|reads| reads.part == Part::Forget);
        let count = forget.iter().fold(0_u64, |count, reads| count.saturating_add(reads.samples));
        let whole = statement.forget.samples;
        if others.is_empty() && count <= whole {
            findings.holds(&check, format!("its method read {count} of the {whole} samples to forget, and no others"));
        } else {
            let others: Vec<String> =
                others.iter().map(|reads| format!("{} of {}", reads.samples, reads.part.name())).collect();
            findings
                .fails(&check, format!("forget-only, and its method read {count} to forget and {}", others.join(", ")));
        }
    }
}

fn public_key(path: &Path) -> Result<PublicKey, Error> {
    let refuse = |problem: String| Error::Usage(format!("--signed-by {}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    PublicKey::from_pem(&text).map_err(|error| refuse(error.to_string()))
}

/// What was named must be there.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Usage(format!("failed to read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use rewind_certificate::{Facts, SealedReads, SigningKey, issue};
    use rewind_job::{Digest, Generation, SampleRecord};

    use super::*;

    /// Whoever signs a certificate may write any numbers into it.
    #[test]
    fn numbers_whose_sum_is_beyond_all_numbers_fail_their_check() {
        let (report, stored) = (rewind_page::samples::sample_report(), Digest("cd".repeat(32)));
        let (record, generation) = (SampleRecord::default(), Generation(1));
        let facts = Facts { report: &report, report_bytes: b"", stored: &stored, record, generation, issued_at: 0 };
        let key = SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap();
        let mut statement = issue(facts, &key).0.statement;
        let vast = || SealedReads {
            by: Reader::Method,
            part: Part::Forget,
            samples: u64::MAX,
            root: statement.forget.root.clone(),
        };
        let reads = vec![vast(), vast()];
        let step = statement.steps.iter_mut().find(|step| step.group == "forget-only").unwrap();
        step.reads = reads;
        let mut findings = Findings::new(true);
        kept_to_their_group(&statement, &mut findings);
        assert!(!findings.all_hold());
    }
}
