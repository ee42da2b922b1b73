//! Certificates are issued when a report is fetched: the same bytes each time, with the key of the coordinator's folder.

use std::fs;

use rewind_certificate::{Certificate, Disclosure, PublicKey};
use rewind_job::{Digest, JobId, JobState, Part, Reader, SampleDigest, SampleRecord, StepReads};
use rewind_proto::v1::{JobName, JobReport};

use crate::{
    program::{Coordinator, run},
    worker::{ROUNDS, ScriptedWorker, all_begin, all_commit},
};

async fn files(coordinator: &Coordinator, job: &JobId) -> JobReport {
    let answer = coordinator.jobs().await.get_report(JobName { job: job.0.clone() }).await;
    answer.expect("reports").into_inner()
}

fn record() -> SampleRecord {
    SampleRecord {
        forget: vec![SampleDigest { id: 7, digest: Digest("ef".repeat(32)) }],
        reads: vec![StepReads {
            step: "unlearned".into(),
            part: Part::Forget,
            by: Reader::Method,
            ids: [7].into_iter().collect(),
        }],
    }
}

#[tokio::test]
async fn a_certificate_is_the_same_after_a_restart_and_holds_for_the_key_in_the_folder() {
    let mut coordinator = Coordinator::start().await;
    let job = coordinator.submit(1).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let assignments = all_begin(&mut [&mut one]).await;
    all_commit(&mut [&mut one], &assignments, &ROUNDS).await;
    one.finishes_reading(&assignments[0], &record());
    coordinator.eventually_is(&job, JobState::Finished).await;

    let first = files(&coordinator, &job).await;
    let public = fs::read_to_string(coordinator.dir().join("signing.pub.pem")).expect("is made at the first start");
    let certificate = Certificate::parse(&first.certificate).expect("is canonical");
    certificate.verify(Some(PublicKey::from_pem(&public).expect("is a key"))).expect("is signed");
    let disclosure = Disclosure::parse(&first.disclosure).expect("is one");
    disclosure.check(&certificate.statement).expect("opens it");
    assert_eq!((&disclosure.forget, &disclosure.reads), (&record().forget, &record().reads));
    assert_eq!(certificate.statement.report, rewind_artifacts::digest_of(first.report_json.as_bytes()));

    let log = fs::read_to_string(coordinator.folder.path().join("coordinator.log")).expect("is there");
    let private = fs::read_to_string(coordinator.dir().join("signing.pem")).expect("is made with it");
    let secret = private.lines().nth(1).expect("a line of base64");
    assert!(!log.contains(secret) && !log.contains(&disclosure.salt), "secrets are not logged");

    coordinator.kill_and_restart().await;
    assert_eq!(files(&coordinator, &job).await, first);

    // Another key signs otherwise, and seals with another salt.
    let shared = coordinator.folder.path().join("pki");
    fs::create_dir(&shared).expect("makes");
    rewind_security::signing_key_in(&shared).expect("makes a key");
    let key = shared.join("signing.pem").display().to_string();
    coordinator.restart_with(&["--signing-key", &key]).await;
    let other = files(&coordinator, &job).await;
    let other = Certificate::parse(&other.certificate).expect("is canonical");
    assert_ne!(other.statement.forget.root, certificate.statement.forget.root);
    assert_eq!(other.statement.report, certificate.statement.report);
}

#[tokio::test]
async fn without_a_record_of_samples_there_is_a_report_and_no_certificate() {
    let coordinator = Coordinator::start().await;
    let job = coordinator.submit(1).await;
    let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
    let assignments = all_begin(&mut [&mut one]).await;
    all_commit(&mut [&mut one], &assignments, &ROUNDS).await;
    one.finishes(&assignments[0]);
    coordinator.eventually_is(&job, JobState::Finished).await;
    let files = files(&coordinator, &job).await;
    assert!(!files.report_json.is_empty() && files.certificate.is_empty() && files.disclosure.is_empty());
}

/// Whoever is asked for a report hashes every id of the record: a range of a few letters stands for all that there are.
#[tokio::test]
async fn a_record_of_too_many_samples_or_of_none_in_order_is_not_certified() {
    const REASONS: [([u32; 2], &str); 2] = [
        ([7, 3], "the ids read in `unlearned` are not in order"),
        (
            [0, (1 << 22) + 1],
            "4194305 samples of forget are read by the method of `unlearned`, and 4194304 is the most",
        ),
    ];
    for (ids, reason) in REASONS {
        let coordinator = Coordinator::start().await;
        let job = coordinator.submit(1).await;
        let mut one = ScriptedWorker::join(&coordinator, "worker-1").await;
        let assignments = all_begin(&mut [&mut one]).await;
        all_commit(&mut [&mut one], &assignments, &ROUNDS).await;
        let mut vast = record();
        vast.reads[0].ids.0 = vec![ids];
        one.finishes_reading(&assignments[0], &vast);
        coordinator.eventually_is(&job, JobState::Finished).await;
        let files = files(&coordinator, &job).await;
        assert!(!files.report_json.is_empty());
        assert!(files.certificate.is_empty() && files.disclosure.is_empty(), "{ids:?} is certified");
        assert!(files.no_certificate.ends_with(reason), "{}", files.no_certificate);
    }
}

#[test]
fn a_signing_key_that_was_named_is_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["--listen", "127.0.0.1:0", "--signing-key", "/no/such/key.pem"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && complaint.contains("--signing-key") && complaint.contains("/no/such/key.pem"),
        "{complaint}"
    );
}
