//! Files are made safely, and whatever is wrong with them is said, by name, before anything starts.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use rewind_security::{
    Bearer, Files, Role, SecurityError, client_tls, client_tls_for_token, pki, server_tls,
    tokens::{Tokens, generate},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tempfile::TempDir;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const ROLES: [&str; 4] = ["coordinator", "worker", "operator", "viewer"];

fn private_folder() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().expect("makes a folder")
}

fn authority_made(when: SystemTime) -> TempDir {
    let folder = private_folder();
    pki::create(folder.path(), &["rewind.example".into(), "10.0.0.7".into()], when).expect("makes an authority");
    folder
}

fn authority() -> TempDir {
    authority_made(SystemTime::now())
}

fn files(folder: &Path, name: &str) -> Files {
    Files {
        ca: folder.join("ca.pem"),
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("sets the mode");
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("is a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("is listed").file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

/// How the files are refused, with the name of the file to blame in the text.
fn refused(files: &Files, blamed: &Path) -> SecurityError {
    let error = client_tls(files).expect_err("is refused");
    assert!(error.to_string().contains(&blamed.display().to_string()), "{error}");
    error
}

#[test]
fn an_authority_is_private_and_complete() {
    let parent = private_folder();
    let folder = parent.path().join("new/pki");
    let written = pki::create(&folder, &[], SystemTime::now()).expect("makes an authority");
    assert_eq!(written.len(), 12);
    assert_eq!(names_in(&folder).len(), 12);
    assert_eq!(mode(&folder), 0o700);
    for path in written {
        let private = path.extension().is_some_and(|extension| extension == "key") || path.ends_with("signing.pem");
        assert_eq!(mode(&path), if private { 0o600 } else { 0o644 }, "{}", path.display());
    }
    for role in ROLES {
        client_tls(&files(&folder, role)).expect("files fit");
    }
    server_tls(&files(&folder, "coordinator"), None).expect("files fit");
}

#[test]
fn nothing_is_ever_overwritten() {
    let folder = authority();
    let before = fs::read(folder.path().join("worker.key")).expect("is there");
    let error = pki::create(folder.path(), &[], SystemTime::now()).expect_err("is refused");
    assert!(matches!(&error, SecurityError::Exists(path) if path.ends_with("ca.pem")), "{error}");
    for name in ["worker", "ca"] {
        let error = pki::issue(folder.path(), Role::Worker, name, &[], SystemTime::now()).expect_err("is refused");
        assert!(matches!(&error, SecurityError::Exists(path) if path.ends_with(format!("{name}.pem"))), "{error}");
    }
    assert_eq!(fs::read(folder.path().join("worker.key")).expect("is there"), before);
}

#[test]
fn all_files_are_written_or_none() {
    let folder = private_folder();
    let last = folder.path().join("viewer.key");
    std::os::unix::fs::symlink("/nowhere", &last).expect("links");
    let error = pki::create(folder.path(), &[], SystemTime::now()).expect_err("is refused");
    assert!(matches!(&error, SecurityError::Exists(path) if *path == last), "{error}");
    assert_eq!(names_in(folder.path()), ["viewer.key"]);
}

#[test]
fn a_folder_that_others_see_gets_no_keys() {
    let folder = private_folder();
    set_mode(folder.path(), 0o755);
    let error = pki::create(folder.path(), &[], SystemTime::now()).expect_err("is refused");
    assert!(error.to_string().contains("(mode 755): `chmod 700 "), "{error}");
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn bad_hosts_and_names_are_refused_by_name() {
    let folder = authority();
    for host in ["https://a.example", "a.example:7060", "", "a b"] {
        let other = folder.path().join("other");
        let error = pki::create(&other, &[host.into()], SystemTime::now()).expect_err("is refused");
        assert!(error.to_string().contains(&format!("`{host}`")), "{error}");
        assert!(!other.exists());
    }
    for name in ["", "../worker-2", "a/b", ".hidden", "a\nb", &"x".repeat(65)] {
        let error = pki::issue(folder.path(), Role::Worker, name, &[], SystemTime::now()).expect_err("is refused");
        assert!(matches!(&error, SecurityError::Name(found) if found == name), "{error}");
    }
}

#[test]
fn one_more_certificate_comes_from_the_same_authority() {
    let folder = authority();
    let hosts = ["*.rewind.example".to_owned()];
    pki::issue(folder.path(), Role::Worker, "worker-2", &hosts, SystemTime::now()).expect("issues");
    client_tls(&files(folder.path(), "worker-2")).expect("files fit");
}

#[test]
fn another_authoritys_key_issues_nothing() {
    let (folder, other) = (authority(), authority());
    fs::copy(other.path().join("ca.key"), folder.path().join("ca.key")).expect("copies");
    let error = pki::issue(folder.path(), Role::Worker, "w", &[], SystemTime::now()).expect_err("is refused");
    assert!(matches!(error, SecurityError::KeyMismatch { .. }), "{error}");
    assert!(!folder.path().join("w.pem").exists());
}

#[test]
fn a_certificate_does_not_outlive_its_authority() {
    let now = SystemTime::now();
    let folder = authority_made(now - 9 * YEAR - YEAR / 2);
    pki::issue(folder.path(), Role::Worker, "late", &[], now).expect("issues");
    client_tls(&files(folder.path(), "late")).expect("files fit");
    let error = pki::issue(folder.path(), Role::Worker, "later", &[], now + YEAR).expect_err("is refused");
    assert!(matches!(&error, SecurityError::Expired { path, .. } if path.ends_with("ca.pem")), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let folder = authority();
    for name in ["ca.pem", "worker.pem", "worker.key"] {
        let path = folder.path().join(name);
        let content = fs::read(&path).expect("is there");
        fs::remove_file(&path).expect("removes");
        assert!(matches!(refused(&files(folder.path(), "worker"), &path), SecurityError::Read { .. }));
        fs::write(&path, content).expect("writes");
        set_mode(&path, 0o600);
    }
    client_tls(&files(folder.path(), "worker")).expect("files fit again");
}

#[test]
fn a_file_that_is_not_pem_is_named() {
    let folder = authority();
    let swapped = Files {
        certificate: folder.path().join("worker.key"),
        key: folder.path().join("worker.pem"),
        ..files(folder.path(), "worker")
    };
    assert!(matches!(refused(&swapped, &swapped.certificate), SecurityError::NotPem { what: "certificate", .. }));
    for name in ["worker.key", "worker.pem", "ca.pem"] {
        let path = folder.path().join(name);
        for content in
            [&b""[..], b"hello", b"\xff\xfe\0", b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----"]
        {
            fs::write(&path, content).expect("writes");
            assert!(matches!(refused(&files(folder.path(), "worker"), &path), SecurityError::NotPem { .. }));
        }
    }
    let error = client_tls_for_token(&folder.path().join("ca.pem")).expect_err("is refused");
    assert!(matches!(error, SecurityError::NotPem { .. }), "{error}");
}

#[test]
fn a_tampered_certificate_is_refused_wherever_it_was_changed() {
    let folder = authority();
    let files = files(folder.path(), "worker");
    let good = fs::read_to_string(&files.certificate).expect("is there");
    let meant = CertificateDer::from_pem_slice(good.as_bytes()).expect("is a certificate");
    let body = good.find('\n').expect("has lines") + 1..good.rfind("\n-----END").expect("has an end");
    for place in body.filter(|&place| good.as_bytes()[place].is_ascii_alphanumeric()) {
        let mut bad = good.clone().into_bytes();
        bad[place] = if bad[place] == b'A' { b'B' } else { b'A' };
        // The last digit of Base64 may carry bits that mean nothing.
        if CertificateDer::from_pem_slice(&bad).ok().as_ref() == Some(&meant) {
            continue;
        }
        fs::write(&files.certificate, &bad).expect("writes");
        refused(&files, &files.certificate);
    }
    fs::write(&files.certificate, good).expect("writes");
    client_tls(&files).expect("files fit again");
}

#[test]
fn a_key_of_another_certificate_is_named() {
    let folder = authority();
    let mixed = Files { key: folder.path().join("viewer.key"), ..files(folder.path(), "operator") };
    assert!(matches!(refused(&mixed, &mixed.key), SecurityError::KeyMismatch { .. }));
    refused(&mixed, &mixed.certificate);
}

#[test]
fn a_certificate_of_another_authority_is_named() {
    let (ours, theirs) = (authority(), authority());
    let mixed = Files { ca: ours.path().join("ca.pem"), ..files(theirs.path(), "worker") };
    assert!(matches!(refused(&mixed, &mixed.ca), SecurityError::NotSigned { .. }));
    refused(&mixed, &mixed.certificate);
}

#[test]
fn dates_that_are_over_or_to_come_are_named() {
    let now = SystemTime::now();
    let (old, ancient, early) =
        (authority_made(now - 2 * YEAR), authority_made(now - 11 * YEAR), authority_made(now + YEAR));
    let worker = |folder: &TempDir| files(folder.path(), "worker");
    assert!(matches!(refused(&worker(&old), &worker(&old).certificate), SecurityError::Expired { .. }));
    assert!(matches!(refused(&worker(&ancient), &worker(&ancient).ca), SecurityError::Expired { .. }));
    assert!(matches!(refused(&worker(&early), &worker(&early).ca), SecurityError::NotYetValid { .. }));
}

#[test]
fn a_server_needs_a_coordinators_certificate() {
    let folder = authority();
    for role in ["worker", "operator", "viewer"] {
        let files = files(folder.path(), role);
        let error = server_tls(&files, None).expect_err("is refused").to_string();
        let said = format!("{} is for the role {role}: a server needs", files.certificate.display());
        assert!(error.contains(&said), "{error}");
    }
}

#[test]
fn secrets_that_others_read_are_refused() {
    let folder = authority();
    let files = files(folder.path(), "worker");
    set_mode(&files.key, 0o644);
    assert!(matches!(refused(&files, &files.key), SecurityError::OpenToOthers { mode: 0o644, .. }));
    // A mounted secret belongs to a group.
    set_mode(&files.key, 0o640);
    client_tls(&files).expect("files fit");

    let token = folder.path().join("token");
    fs::write(&token, "abc").expect("writes");
    set_mode(&token, 0o604);
    let error = Bearer::read(&token).expect_err("is refused");
    assert!(matches!(error, SecurityError::OpenToOthers { .. }), "{error}");
    set_mode(&token, 0o600);
    Bearer::read(&token).expect("is a token");
    for nothing in ["", " \n", "two words", "bell\u{7}", "naïve"] {
        fs::write(&token, nothing).expect("writes");
        assert!(matches!(Bearer::read(&token), Err(SecurityError::NoToken(_))), "{nothing:?}");
    }
}

#[test]
fn a_list_of_tokens_is_refused_by_file_and_line() {
    let folder = private_folder();
    let path = folder.path().join("tokens");
    let made = generate(Role::Viewer, "Bob");
    fs::write(&path, format!("{}\noperator {}\n", made.line, "not-hashed")).expect("writes");
    set_mode(&path, 0o644);
    let error = Tokens::read(&path).expect_err("is refused").to_string();
    assert!(error.starts_with(&format!("{} line 2: ", path.display())) && !error.contains("not-hashed"), "{error}");
    set_mode(&path, 0o666);
    let error = Tokens::read(&path).expect_err("others may write it");
    assert!(matches!(error, SecurityError::OpenToOthers { .. }), "{error}");
}

#[test]
fn nothing_secret_is_printed() {
    let folder = authority();
    let made = generate(Role::Operator, "Ada");
    let (path, token) = (folder.path().join("token"), folder.path().join("tokens"));
    fs::write(&path, made.token.expose()).expect("writes");
    set_mode(&path, 0o600);
    fs::write(&token, &made.line).expect("writes");
    set_mode(&token, 0o600);
    let tokens = Tokens::read(&token).expect("is valid");
    let files = files(folder.path(), "coordinator");
    let tls = client_tls(&files).expect("files fit");
    let endpoint = tls.endpoint("https://localhost:1").expect("is a URL");
    let printed = [
        format!("{:?} {} {made:?}", made.token, made.token),
        format!("{:?} {:?}", Bearer::read(&path).expect("is a token"), Bearer::none()),
        format!("{tokens:?} {:?}", rewind_security::Authorize::new(Some(tokens.clone()))),
        format!("{:?} {tls:?} {endpoint:?}", server_tls(&files, Some(&tokens)).expect("files fit")),
    ]
    .join("\n");
    assert!(printed.contains("*** ***"), "{printed}");
    let key = fs::read_to_string(&files.key).expect("is there");
    for secret in [made.token.expose(), key.lines().nth(1).expect("has a body"), "PRIVATE KEY"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    // Bytes as derived `Debug` prints them.
    let bytes = format!("{:?}", &key.as_bytes()[..16]);
    assert!(!printed.contains(bytes.trim_matches(['[', ']'])), "{printed}");
}
