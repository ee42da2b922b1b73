//! The state in a real etcd that asks who calls.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rewind_job::JobState;
use rewind_state::etcd_process::{Etcd, ServerCertificate};

use crate::program::{Coordinator, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_its_coordinator_in_an_etcd_with_certificates() {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&key).expect("a certificate").pem();
    let issuer = Issuer::new(authority, key);
    let issue = || {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &issuer).expect("a certificate").pem(), key.serialize_pem())
    };
    let (certificate, key) = issue();
    let server = ServerCertificate { ca: ca.clone(), certificate, key };
    let etcd = tokio::task::spawn_blocking(|| Etcd::start_with_tls(1, server)).await.expect("starts");

    let mut coordinator = Coordinator::start().await;
    let (certificate, key) = issue();
    let file = |name: &str, pem: &str| {
        let path = coordinator.folder.path().join(name);
        fs::write(&path, pem).expect("writes");
        path.display().to_string()
    };
    let (ca, certificate, key) = (file("ca.pem", &ca), file("own.pem", &certificate), file("own.key", &key));
    let endpoint = etcd.endpoints().remove(0);
    let stranger = ["--listen", "127.0.0.1:0", "--etcd", &endpoint, "--etcd-ca", &ca];
    let known = [&stranger[2..], &["--etcd-certificate", &certificate, "--etcd-key", &key]].concat();

    coordinator.restart_with(&known).await;
    let job = coordinator.submit(1).await;
    coordinator.restart_with(&known).await;
    coordinator.eventually_is(&job, JobState::Waiting).await;

    let other = tempfile::tempdir().expect("a folder");
    let complaint = |arguments: &[&str]| {
        let output = run(other.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let refused = complaint(&stranger);
    assert!(refused.contains(&endpoint), "{refused}");
    let missing = complaint(&[&stranger[..5], &["/no/ca.pem"]].concat());
    assert!(missing.contains("--etcd-ca: failed to read /no/ca.pem"), "{missing}");
}
