use rewind_certificate::{Certificate, Disclosure, Facts, Proof, PublicKey, SigningKey, issue};
use rewind_hostile_bytes::Parser;
use rewind_job::{Digest, Generation, MOST_IDS, MOST_IDS_OF_A_TREE, Ranges, Report, SampleRecord};

use crate::{json, reports, text, words};

fn key() -> SigningKey {
    SigningKey::from_pem(&SigningKey::generate().expect("makes a key")).expect("is a key")
}

fn issued(key: &SigningKey) -> (Certificate, Disclosure) {
    let (report, record) = (reports::report(), reports::record());
    issue(facts(&report, record, &Digest("cd".repeat(32))), key)
}

fn facts<'a>(report: &'a Report, record: SampleRecord, stored: &'a Digest) -> Facts<'a> {
    let (report_bytes, generation) = (b"the report's bytes".as_slice(), Generation(2));
    Facts { report, report_bytes, stored, record, generation, issued_at: 1_795_415_545_456 }
}

#[test]
fn a_spoilt_certificate_never_verifies() {
    let key = key();
    let good = issued(&key).0.to_bytes();
    Parser::of("certificates").cases(4000).run(std::slice::from_ref(&good), |bytes| {
        let certificate = Certificate::parse(bytes).map_err(words)?;
        assert_eq!(certificate.to_bytes(), bytes, "a certificate has one form");
        let verified = certificate.verify(Some(key.public()));
        assert!(verified.is_err() || bytes == good, "another certificate verifies");
        verified.map(drop).map_err(words)
    });
}

#[test]
fn a_spoilt_disclosure_or_proof_opens_nothing() {
    let (certificate, disclosure) = issued(&key());
    let statement = certificate.statement;
    Parser::of("disclosures").cases(4000).run(&[disclosure.to_bytes()], |bytes| {
        let read = Disclosure::parse(bytes).map_err(words)?;
        let checked = read.check(&statement);
        assert!(checked.is_err() || read == disclosure, "another disclosure opens the seals");
        checked.map_err(words)?;
        read.proof_of(17).ok_or("sample 17 is there")?.check(&statement).map_err(words)
    });
    let proof = disclosure.proof_of(17).expect("is there");
    Parser::of("proofs of membership").cases(4000).run(&[proof.to_bytes()], |bytes| {
        let read = Proof::parse(bytes).map_err(words)?;
        let checked = read.check(&statement);
        assert!(checked.is_err() || read.sample == proof.sample, "another sample is shown to be forgotten");
        checked.map_err(words)
    });
}

/// A statement that its own author spoilt, and signed: whoever reads it does not know the key.
#[test]
fn statements_that_lie_open_nothing_and_break_nothing() {
    let (certificate, disclosure) = issued(&key());
    let proof = disclosure.proof_of(17).expect("is there");
    let seed = serde_json::to_vec(&certificate.statement).expect("writes");
    Parser::of("statements").cases(3000).run(&[seed], |bytes| {
        let statement = json(bytes)?;
        let (opens, shows) = (disclosure.check(&statement), proof.check(&statement));
        opens.and(shows).map_err(words)
    });
}

#[test]
fn what_workers_report_is_certified_or_refused() {
    let (key, stored) = (key(), Digest("cd".repeat(32)));
    let seed = serde_json::to_vec(&reports::report()).expect("writes");
    Parser::of("reports to certify").cases(2000).memory(8 << 20).run(&[seed], |bytes| {
        let report: Report = json(bytes)?;
        let (certificate, disclosure) = issue(facts(&report, reports::record(), &stored), &key);
        let read = Certificate::parse(&certificate.to_bytes()).expect("what is issued is canonical");
        read.verify(Some(key.public())).expect("and signed");
        disclosure.check(&read.statement).map_err(words)
    });
    let seed = serde_json::to_vec(&reports::record()).expect("writes");
    let report = reports::report();
    Parser::of("records of samples").cases(3000).memory(8 << 20).run(&[seed], |bytes| {
        let record: SampleRecord = json(bytes)?;
        record.check()?;
        // Every id is hashed, and takes 32 bytes: a few letters may stand for millions.
        if record.reads.iter().map(|reads| reads.ids.len()).sum::<u64>() > 100_000 {
            return Ok(());
        }
        let (certificate, disclosure) = issue(facts(&report, record, &stored), &key);
        let read = Certificate::parse(&certificate.to_bytes()).expect("what is issued is canonical");
        disclosure.check(&read.statement).map_err(words)
    });
}

#[test]
fn a_few_letters_that_stand_for_all_ids_are_refused_before_they_are_hashed() {
    let mut record = reports::record();
    record.reads[0].ids.0 = vec![[0, u32::MAX]];
    let refusal = record.check().expect_err("no job reads so many");
    assert!(refusal.contains("4294967295"), "{refusal}");
    record.reads[0].ids.0 = vec![[7, 3]];
    let refusal = record.check().expect_err("no range ends before it begins");
    assert!(refusal.contains("not in order"), "{refusal}");
}

/// One tree at a time: what is as large as it may be takes the memory of one.
#[test]
fn a_record_of_the_largest_trees_is_certified_with_the_memory_of_one() {
    let (key, report, stored, mut record) = (key(), reports::report(), Digest("cd".repeat(32)), reports::record());
    let largest = Ranges(vec![[7, 7 + MOST_IDS_OF_A_TREE as u32]]);
    record.reads.iter_mut().for_each(|reads| reads.ids = largest.clone());
    assert_eq!((record.check(), record.reads.len()), (Ok(()), 2));
    let memory = allocation_counter::measure(|| {
        let (certificate, _) = issue(facts(&report, record.clone(), &stored), &key);
        let reads = certificate.statement.steps.iter().flat_map(|step| &step.reads);
        assert_eq!(reads.map(|reads| reads.samples).collect::<Vec<_>>(), [MOST_IDS_OF_A_TREE; 2]);
    });
    assert!(memory.bytes_max < 32 * MOST_IDS_OF_A_TREE + (1 << 20), "took {} bytes", memory.bytes_max);

    record.reads[1].ids.0[0][1] += 1;
    let refusal = record.check().expect_err("one more than the largest");
    assert!(refusal.contains("4194305 samples of forget are read by the method of `task-vector`"), "{refusal}");
}

#[test]
fn a_record_of_too_many_trees_is_refused_before_they_are_hashed() {
    let mut record = reports::record();
    record.reads[0].ids = Ranges(vec![[0, MOST_IDS_OF_A_TREE as u32]]);
    record.reads = vec![record.reads[0].clone(); (MOST_IDS / MOST_IDS_OF_A_TREE) as usize];
    assert_eq!(record.check(), Ok(()));
    record.reads.push(reports::record().reads[1].clone());
    let refusal = record.check().expect_err("three more than all");
    assert!(refusal.contains("268435459 samples are read up to `task-vector`"), "{refusal}");
}

#[test]
fn a_disclosure_that_its_author_certified_to_be_vast_is_refused_before_it_is_hashed() {
    const VAST: u32 = MOST_IDS_OF_A_TREE as u32 + 1;
    let (mut certificate, mut disclosure) = issued(&key());
    disclosure.reads[0].ids.0 = vec![[0, VAST]];
    certificate.statement.steps[0].reads[0].samples = u64::from(VAST);
    let refusal = disclosure.check(&certificate.statement).expect_err("no job reads so many").to_string();
    assert!(refusal.contains("is the most"), "{refusal}");
}

#[test]
fn keys_are_refused_or_the_same_key_again() {
    let pem = SigningKey::generate().expect("makes a key");
    let public = SigningKey::from_pem(&pem).expect("is a key").public();
    Parser::of("signing keys")
        .cases(1500)
        .run(&[pem.into_bytes()], |bytes| SigningKey::from_pem(text(bytes)?).map(drop).map_err(words));
    Parser::of("public keys").cases(1500).run(&[public.to_pem().into_bytes()], |bytes| {
        let read = PublicKey::from_pem(text(bytes)?).map_err(words)?;
        assert_eq!(PublicKey::from_pem(&read.to_pem()), Ok(read));
        Ok(())
    });
}
