//! The state store on an etcd that asks who calls: certificates, users and their passwords.

use std::{
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rewind_state::{
    EtcdStore, EtcdTls, StateStore, StoreError, Write, conformance,
    etcd_process::{Etcd, ServerCertificate},
};

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, purposes: &[ExtendedKeyUsagePurpose]) -> (String, String) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        params.extended_key_usages = purposes.to_vec();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn server(&self) -> ServerCertificate {
        // etcd calls itself, too.
        let (certificate, key) =
            self.issue(&[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]);
        ServerCertificate { ca: self.certificate.clone(), certificate, key }
    }

    fn client(&self) -> EtcdTls {
        EtcdTls { ca: self.certificate.clone(), client: Some(self.issue(&[ExtendedKeyUsagePurpose::ClientAuth])) }
    }
}

#[test]
fn over_tls_it_is_a_state_store_and_strangers_get_no_answer() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let etcd = Etcd::start_with_tls(1, ours.server());
    let connect = |tls: EtcdTls| {
        let mut options = etcd.options("a/");
        options.tls = Some(tls);
        EtcdStore::connect(options)
    };
    conformance(&connect(ours.client()).expect("connects"), Duration::from_secs(2), &thread::sleep);

    let refused = |tls: EtcdTls| {
        let begun = Instant::now();
        let error = connect(tls).err().expect("refused").to_string();
        assert!(begun.elapsed() < Duration::from_millis(1500));
        println!("{error}");
        assert!(error.contains(&etcd.endpoints()[0]), "{error}");
        error
    };
    // etcd is not who we take it for; it does not know us; we show nothing.
    let impostor = refused(EtcdTls { ca: theirs.certificate.clone(), ..ours.client() });
    assert!(impostor.contains("certificate"), "{impostor}");
    refused(EtcdTls { client: theirs.client().client, ..ours.client() });
    refused(EtcdTls { client: None, ..ours.client() });
}

#[test]
fn a_user_is_let_in_by_the_password_and_again_when_its_token_is_worth_nothing_any_more() {
    let mut etcd = Etcd::start(1);
    etcd.command("/v3/auth/role/add", r#"{"name":"rewind"}"#, None);
    // All keys from "a/" to before "a0".
    let permission = r#"{"name":"rewind","perm":{"permType":"READWRITE","key":"YS8=","range_end":"YTA="}}"#;
    etcd.command("/v3/auth/role/grant", permission, None);
    for (user, role) in [("root", "root"), ("rewind", "rewind")] {
        etcd.command("/v3/auth/user/add", &format!(r#"{{"name":"{user}","password":"open-sesame"}}"#), None);
        etcd.command("/v3/auth/user/grant", &format!(r#"{{"user":"{user}","role":"{role}"}}"#), None);
    }
    etcd.command("/v3/auth/enable", "{}", None);

    let connect = |etcd: &Etcd, prefix: &str, user: Option<(&str, &str)>| {
        let mut options = etcd.options(prefix);
        options.user = user.map(|(name, password)| (name.to_owned(), password.to_owned()));
        EtcdStore::connect(options)
    };
    let refused = |prefix: &str, user| {
        let error = connect(&etcd, prefix, user).err().expect("refused");
        println!("{error}");
        assert!(matches!(&error, StoreError::Failed(text) if !text.contains("sesame")), "{error}");
    };
    refused("a/", None);
    refused("a/", Some(("rewind", "close-sesame")));
    refused("b/", Some(("rewind", "open-sesame")));

    let store = connect(&etcd, "a/", Some(("rewind", "open-sesame"))).expect("connects");
    let term = store.campaign("one", Duration::from_secs(60)).expect("campaigns").term;
    let put = |key: &str| Write { key: key.into(), value: Some(b"1".into()), expected: None };
    store.write(term, &[put("before")]).expect("writes");
    // A change of the password ends all that was given for it.
    let root = etcd.command("/v3/auth/authenticate", r#"{"name":"root","password":"open-sesame"}"#, None);
    let root: serde_json::Value = serde_json::from_str(&root).expect("an answer");
    let changed = etcd.command(
        "/v3/auth/user/changepw",
        r#"{"name":"rewind","password":"open-sesame"}"#,
        Some(root["token"].as_str().expect("a token")),
    );
    assert!(changed.contains("header") && !changed.contains("error"), "{changed}");
    store.write(term, &[put("after")]).expect("comes in again");
    etcd.kill_all();
    etcd.start_all();
    let begun = Instant::now();
    while let Err(error) = store.write(term, &[put("later")]) {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
    }
    store.renew(term).expect("renews");
    store.watch_leader().expect("watches");
    assert_eq!(store.list("").expect("lists").len(), 3);
}
