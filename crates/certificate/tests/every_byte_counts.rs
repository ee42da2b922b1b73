//! A whole certificate: what it says, that no byte of it can be another, and what its seals open to.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

use std::path::Path;

use rewind_certificate::{Certificate, CertificateError, Disclosure, Facts, Proof, PublicKey, SigningKey, issue};
use rewind_job::*;

fn measured(name: &str, method: &str, group: &str, weights: &str) -> Measured {
    Measured {
        name: name.into(),
        method: method.into(),
        group: group.into(),
        ua: Some(97.5),
        ta: Some(93.2 + 0.1),
        mia: Some(1.0 / 3.0),
        mia_attack_accuracy: Some(51.0),
        weights: Digest(weights.repeat(64)),
        selected: Round(2),
        rounds: vec![RoundRecord::default(); 3],
        ..Measured::default()
    }
}

fn report() -> Report {
    let text = include_str!("../../../examples/quick.toml");
    let report = serde_json::json!({
        "version": "0.1.0",
        "job": "job-7",
        "world_size": 1,
        "specification": Specification::parse(text, Path::new("/examples")).unwrap(),
        "data": { "forget": 3, "remaining": 9, "files": [["/data/images", "ab".repeat(32)]] },
        "machine": { "threads": 1, "libtorch": "2.13.0", "cpu_capability": "AVX2", "device": "cpu" },
        "pretrained": measured("pretrained", "pretrain", "retain-using", "1"),
        "methods": [measured("task-vector", "task-vector", "forget-only", "2")],
        "stop": [{
            "name": "task-vector",
            "rule": "rounds",
            "text": "all „3“ rounds\u{2028}are done",
            "selected": 2,
            "rounds": 3,
        }],
        "recovered": [],
        "warnings": ["one seed"],
    });
    serde_json::from_value(report).unwrap()
}

fn record() -> SampleRecord {
    let sample = |id: u32| SampleDigest { id, digest: Digest(format!("{id:064x}")) };
    let reads = |step: &str, by, part, ids: &[u32]| StepReads {
        step: step.into(),
        by,
        part,
        ids: ids.iter().copied().collect(),
    };
    SampleRecord {
        forget: [40, 2, 17].map(sample).to_vec(),
        reads: vec![
            reads("pretrained", Reader::Method, Part::Train, &[2, 3, 17, 40, 41]),
            reads("task-vector", Reader::Method, Part::Forget, &[2, 17, 40]),
            reads("task-vector", Reader::Rules, Part::Validation, &[90, 91]),
        ],
    }
}

fn issued(key: &SigningKey) -> (Certificate, Disclosure) {
    issued_of(&report(), key)
}

fn issued_of(report: &Report, key: &SigningKey) -> (Certificate, Disclosure) {
    let facts = Facts {
        report,
        report_bytes: b"the report's bytes",
        stored: &Digest("cd".repeat(32)),
        record: record(),
        generation: Generation(2),
        issued_at: 1_795_415_545_456,
    };
    issue(facts, key)
}

fn key() -> SigningKey {
    SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap()
}

fn outcome(bytes: &[u8], key: PublicKey) -> Result<(), CertificateError> {
    Certificate::parse(bytes)?.verify(Some(key)).map(drop)
}

#[test]
fn a_certificate_says_what_was_done_and_names_no_sample() {
    let (certificate, disclosure) = issued(&key());
    let statement = &certificate.statement;
    assert_eq!((statement.job.as_str(), statement.generations, statement.world_size), ("job-7", 2, WorldSize(1)));
    assert_eq!(statement.issued_at, "2026-11-23T06:32:25Z");
    assert_eq!(Specification::parse(&statement.specification, Path::new("/")).unwrap(), report().specification);
    assert_eq!((statement.forget.samples, statement.data.samples["remaining"]), (3, 9));
    let [pretrained, unlearned] = &statement.steps[..] else { panic!("two steps have results") };
    assert_eq!(pretrained.weights_before, None);
    assert_eq!(unlearned.weights_before.as_ref(), Some(&pretrained.weights_after));
    assert_eq!((unlearned.rounds, unlearned.selected), (3, 2));
    assert_eq!(unlearned.stop.as_ref().unwrap().rule, "rounds");
    let read = |reads: &rewind_certificate::SealedReads| (reads.by, reads.part, reads.samples);
    let expected = [(Reader::Method, Part::Forget, 3), (Reader::Rules, Part::Validation, 2)];
    assert_eq!(unlearned.reads.iter().map(read).collect::<Vec<_>>(), expected);
    // The forget data's own root is not that of the ids read: other leaves, other salts.
    assert_ne!(unlearned.reads[0].root, statement.forget.root);
    let text = String::from_utf8(certificate.to_bytes()).unwrap();
    assert!(!text.contains(&disclosure.salt) && !text.contains(&record().forget[0].digest.0));
    for words in ["stronger attack", "older weights", "workers told the truth", "begun 2 times", "task-vector (51.0 %)"]
    {
        assert!(statement.not_proven.iter().any(|sentence| sentence.contains(words)), "{words}");
    }
}

#[test]
fn what_was_found_on_unseen_samples_is_certified_where_it_was_asked() {
    let key = key();
    let plain = String::from_utf8(issued(&key).0.to_bytes()).unwrap();
    assert!(!plain.contains("backdoor") && !plain.contains("class apart"), "{plain}");
    let mut report = report();
    report.data.class_apart = Some(ClassApart { label: 4, test: 20, validation: 10, attack: 30 });
    report.data.triggered = Some(180);
    report.methods[0].forgotten_class_accuracy = Some(2.5);
    report.methods[0].backdoor = Some(BackdoorSuccess { forget: 18.0, held_out: Some(19.5) });
    report.methods[0].loss_attack = Some(LossAttack { accuracy: Some(52.0), samples: 30, reason: None });
    let (certificate, _) = issued_of(&report, &key);
    assert_eq!(outcome(&certificate.to_bytes(), key.public()), Ok(()));
    let counts = [("test, class apart", 20), ("validation, class apart", 10), ("attack, class apart", 30)];
    for (part, count) in counts.into_iter().chain([("test, with the trigger", 180), ("forget", 3)]) {
        assert_eq!(certificate.statement.data.samples[part], count, "{part}");
    }
    let metrics = &certificate.statement.steps[1].metrics;
    let found = (metrics.forgotten_class_accuracy, metrics.backdoor_forget, metrics.backdoor_held_out);
    assert_eq!((found, metrics.loss_attack_accuracy), ((Some(2.5), Some(18.0), Some(19.5)), Some(52.0)));
}

#[test]
fn the_same_facts_and_key_give_the_same_bytes_and_another_key_other_roots() {
    let (own, other) = (key(), key());
    assert_eq!(issued(&own).0.to_bytes(), issued(&own).0.to_bytes());
    assert_eq!(issued(&own).1, issued(&own).1);
    let (a, b) = (issued(&own).0.statement, issued(&other).0.statement);
    assert_ne!(a.forget.root, b.forget.root, "the salt comes from the key");
}

#[test]
fn every_altered_inserted_or_removed_byte_is_found() {
    let key = key();
    let bytes = issued(&key).0.to_bytes();
    assert_eq!(outcome(&bytes, key.public()), Ok(()));
    let refused = |altered: &[u8], what: &str, at: usize| {
        assert!(outcome(altered, key.public()).is_err(), "byte {at} {what}, and nobody noticed");
    };
    for at in 0..bytes.len() {
        for flip in [0x01, 0x04, 0x20, 0x80] {
            let mut altered = bytes.clone();
            altered[at] ^= flip;
            refused(&altered, "altered", at);
        }
        for white in [b' ', b'\n', b'0'] {
            let mut altered = bytes.clone();
            altered.insert(at, white);
            refused(&altered, "inserted", at);
        }
        let mut altered = bytes.clone();
        altered.remove(at);
        refused(&altered, "removed", at);
    }
    refused(&[&bytes[..], b"\n"].concat(), "appended", bytes.len());
}

#[test]
fn other_spellings_of_the_same_content_are_refused() {
    let key = key();
    let (certificate, _) = issued(&key);
    let compact = serde_json::to_vec(&certificate).unwrap();
    assert!(matches!(outcome(&compact, key.public()), Err(CertificateError::NotCanonical { byte: 1 })));
    let text = String::from_utf8(certificate.to_bytes()).unwrap();
    let twice = text.replacen("\"job\": \"job-7\",", "\"job\": \"job-7\",\n    \"job\": \"job-7\",", 1);
    let spelled = text.replacen("job-7", "job\\u002d7", 1);
    let more = text.replacen("\"job\": \"job-7\",", "\"job\": \"job-7\",\n    \"boss\": \"me\",", 1);
    for other in [twice, spelled, more] {
        assert_ne!(other, text);
        assert!(outcome(other.as_bytes(), key.public()).is_err());
    }
}

#[test]
fn a_certificate_of_another_key_is_refused_though_its_signature_holds() {
    let (ours, theirs) = (key(), key());
    let (forged, _) = issued(&theirs);
    assert_eq!(forged.verify(None), Ok(theirs.public()));
    let refusal = forged.verify(Some(ours.public())).unwrap_err();
    assert_eq!(
        refusal,
        CertificateError::OtherKey { found: theirs.public().fingerprint(), wanted: ours.public().fingerprint() }
    );
    // Nor does it help to name our key.
    let named = String::from_utf8(forged.to_bytes()).unwrap();
    let (our_certificate, _) = issued(&ours);
    let named = named.replace(&forged.statement.signed_with, &our_certificate.statement.signed_with);
    assert_eq!(outcome(named.as_bytes(), ours.public()), Err(CertificateError::BadSignature));
}

#[test]
fn a_disclosure_opens_its_certificate_and_no_altered_one_does() {
    let (certificate, disclosure) = issued(&key());
    let statement = &certificate.statement;
    assert_eq!(Disclosure::parse(&disclosure.to_bytes()).unwrap().check(statement), Ok(()));
    let mut altered: Vec<Disclosure> = vec![disclosure.clone(); 7];
    altered[0].forget.pop();
    altered[1].forget[1].id += 1;
    altered[2].forget[0].digest = Digest("0".repeat(64));
    altered[3].reads[0].ids = [2, 3, 17, 40, 42].into_iter().collect();
    altered[4].reads.pop();
    // Of so many ids, not one is hashed.
    altered[6].reads[0].ids = Ranges(vec![[0, u32::MAX]]);
    altered[5].salt = "00".repeat(32);
    for (index, disclosure) in altered.iter().enumerate() {
        assert!(disclosure.check(statement).is_err(), "alteration {index}");
    }
    // Bits of another job's samples do not fit either.
    let (other, _) = issued(&key());
    assert!(disclosure.check(&other.statement).is_err());
}

#[test]
fn the_place_in_a_proof_is_not_the_rank_of_the_id() {
    let places = |key: &SigningKey| {
        let disclosure = issued(key).1;
        [2, 17, 40].map(|id| disclosure.proof_of(id).unwrap().index)
    };
    // Each key salts otherwise: by chance one in six orders is that of the ids.
    let orders: Vec<[u64; 3]> = (0..40).map(|_| places(&key())).collect();
    assert!(orders.iter().any(|order| *order != [0, 1, 2]));
    for rank in 0..3 {
        assert!(orders.iter().any(|order| order[rank] != orders[0][rank]), "an id of rank {rank} has always one place");
    }
}

#[test]
fn one_sample_is_shown_without_the_others() {
    let (certificate, disclosure) = issued(&key());
    for id in [2, 17, 40] {
        let proof = disclosure.proof_of(id).unwrap();
        let text = String::from_utf8(proof.to_bytes()).unwrap();
        assert_eq!(Proof::parse(text.as_bytes()).unwrap().check(&certificate.statement), Ok(()));
        assert!(!text.contains(&disclosure.salt), "the salt would open every leaf");
        let other = Proof { sample: SampleDigest { id: id + 1, ..proof.sample.clone() }, ..proof.clone() };
        assert!(other.check(&certificate.statement).is_err(), "another id");
        let other = Proof { index: (proof.index + 1) % 3, ..proof };
        assert!(other.check(&certificate.statement).is_err(), "another place");
    }
    assert_eq!(disclosure.proof_of(3), None);
}
