//! Files that belong to a certificate, or do not.

use std::path::{Path, PathBuf};

use rewind_artifacts::digest_of;
use rewind_certificate::{Disclosure, Proof, Statement};
use rewind_job::{Part, Reader};

use super::{Findings, read};
use crate::error::Error;

pub fn report(statement: &Statement, file: Option<&Path>, findings: &mut Findings) -> Result<(), Error> {
    let Some(file) = file else {
        findings.open("report", "not given");
        return Ok(());
    };
    let found = digest_of(&read(file)?);
    if found == statement.report {
        findings.holds("report", format!("{} is the one that was certified", file.display()));
    } else {
        let wanted = &statement.report;
        findings.fails("report", format!("{} has the SHA-256 {found}, and {wanted} was certified", file.display()));
    }
    Ok(())
}

pub fn weights(statement: &Statement, weights: &[(String, PathBuf)], findings: &mut Findings) -> Result<(), Error> {
    if weights.is_empty() {
        findings.open("weights", "not given");
    }
    for (name, file) in weights {
        let step = statement.steps.iter().find(|step| step.name == *name).expect("steps were looked up before");
        let check = format!("weights of {name}");
        let found = digest_of(&read(file)?);
        if found == step.weights_after {
            findings.holds(&check, format!("{} holds what the step left", file.display()));
        } else {
            let wanted = &step.weights_after;
            findings.fails(&check, format!("{} has the SHA-256 {found}, and the step left {wanted}", file.display()));
        }
    }
    Ok(())
}

/// None: not given, or not to be believed.
pub fn disclosure(
    statement: &Statement,
    file: Option<&Path>,
    findings: &mut Findings,
) -> Result<Option<Disclosure>, Error> {
    let Some(file) = file else {
        findings.open("disclosure", "not given: the seals are not opened");
        return Ok(None);
    };
    let disclosure = Disclosure::parse(&read(file)?).and_then(|disclosure| {
        disclosure.check(statement)?;
        Ok(disclosure)
    });
    let disclosure = match disclosure {
        Ok(disclosure) => disclosure,
        Err(error) => {
            findings.fails("disclosure", error);
            return Ok(None);
        }
    };
    let count = disclosure.forget.len();
    findings.holds("disclosure", format!("opens every seal: {count} samples to forget, and what each step read"));
    let is_forgotten = |id: u32| disclosure.forget.binary_search_by_key(&id, |sample| sample.id).is_ok();
    for step in statement.steps.iter().filter(|step| step.group == "forget-only") {
        let mut own = disclosure.reads.iter().filter(|reads| reads.step == step.name && reads.by == Reader::Method);
        let stranger = own.find_map(|reads| reads.ids.iter().find(|&id| !is_forgotten(id)));
        let check = format!("ids read by {}", step.name);
        match stranger {
            None => findings.holds(&check, "each is a sample to forget"),
            Some(id) => findings.fails(&check, format!("sample {id} is none of the samples to forget")),
        }
    }
    Ok(Some(disclosure))
}

pub fn sample(disclosure: &Disclosure, id: u32, proof: Option<&Path>, findings: &mut Findings) -> Result<(), Error> {
    let check = format!("sample {id}");
    let Some(found) = disclosure.proof_of(id) else {
        findings.fails(&check, "is none of the samples to forget");
        return Ok(());
    };
    let readers: Vec<&str> = disclosure
        .reads
        .iter()
        .filter(|reads| reads.by == Reader::Method && reads.ids.contains(id))
        .filter(|reads| matches!(reads.part, Part::Forget | Part::Train | Part::Remaining))
        .map(|reads| reads.step.as_str())
        .collect();
    let digest = &found.sample.digest;
    let readers = if readers.is_empty() { "no step's method".to_owned() } else { readers.join(", ") };
    findings.holds(&check, format!("is one of the samples to forget (SHA-256 {digest}); read by {readers}"));
    if let Some(file) = proof {
        std::fs::write(file, found.to_bytes()).map_err(Error::file("write", file))?;
    }
    Ok(())
}

pub fn proof(statement: &Statement, file: &Path, findings: &mut Findings) -> Result<(), Error> {
    let proof = Proof::parse(&read(file)?).and_then(|proof| {
        proof.check(statement)?;
        Ok(proof)
    });
    match proof {
        Ok(proof) => {
            let (id, digest) = (proof.sample.id, &proof.sample.digest);
            findings.holds("proof", format!("sample {id} (SHA-256 {digest}) is one of the samples to forget"));
        }
        Err(error) => findings.fails("proof", error),
    }
    Ok(())
}
