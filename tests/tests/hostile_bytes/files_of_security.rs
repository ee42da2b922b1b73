use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::SystemTime};

use rewind_hostile_bytes::{Answer, Parser};
use rewind_security::{
    Files, Role, client_tls, client_tls_for_token, pki, read_signing_key, server_tls,
    tokens::{Tokens, generate},
};

use crate::naming;

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("writes");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("is ours");
}

fn load(files: &Files) -> Answer {
    let either = |error: rewind_security::SecurityError| {
        let error = error.to_string();
        let named = [&files.ca, &files.certificate, &files.key].map(|path| path.display().to_string());
        assert!(named.iter().any(|path| error.contains(path)), "names no file: {error}");
        error
    };
    let server = server_tls(files, None).map_err(either);
    client_tls(files).map_err(either)?;
    client_tls_for_token(&files.ca).map_err(either)?;
    server.map(drop)
}

#[test]
fn certificates_and_keys_in_pem_are_refused_by_name_or_used() {
    let private = fs::Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().permissions(private).tempdir().expect("a folder");
    pki::create(folder.path(), &["rewind.example".into()], SystemTime::now()).expect("makes an authority");
    let at = |name: &str| folder.path().join(name);
    let files = Files { ca: at("ca.pem"), certificate: at("coordinator.pem"), key: at("coordinator.key") };
    for spoilt in [&files.ca, &files.certificate, &files.key] {
        let good = fs::read(spoilt).expect("reads");
        Parser::of("PEM files").cases(1200).run(std::slice::from_ref(&good), |bytes| {
            write(spoilt, bytes);
            load(&files)
        });
        // The certificate itself, in an armour that is whole.
        let parsed = pem(&good);
        Parser::of("certificates and keys in DER").cases(1200).run(&[parsed.1], |bytes| {
            write(spoilt, armoured(&parsed.0, bytes).as_bytes());
            load(&files)
        });
        write(spoilt, &good);
    }
}

/// The first block: its tag and its content.
fn pem(text: &[u8]) -> (String, Vec<u8>) {
    let text = std::str::from_utf8(text).expect("is text");
    let tag = text.split("-----BEGIN ").nth(1).and_then(|rest| rest.split("-----").next()).expect("has a tag");
    let body: String = text.lines().skip(1).take_while(|line| !line.starts_with("-----")).collect();
    (tag.to_owned(), decoded(&body))
}

fn armoured(tag: &str, bytes: &[u8]) -> String {
    let body = encoded(bytes);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n", lines.join("\n"))
}

fn encoded(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn decoded(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).expect("is base64")
}

#[test]
fn tokens_files_are_refused_by_name_or_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens");
    let lines: Vec<String> =
        [Role::Operator, Role::Viewer, Role::Worker].map(|role| generate(role, "Ada's laptop").line).into();
    Parser::of("tokens").run(&[format!("# people\n\n{}\r\n", lines.join("\n")).into_bytes()], |bytes| {
        write(&path, bytes);
        Tokens::read(&path).map(drop).map_err(|error| naming(&path, error))
    });
}

#[test]
fn signing_keys_are_refused_by_name_or_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("signing.pem");
    let key = rewind_certificate::SigningKey::generate().expect("makes a key");
    Parser::of("files of signing keys").cases(1000).run(&[key.into_bytes()], |bytes| {
        write(&path, bytes);
        read_signing_key(&path).map(drop).map_err(|error| naming(&path, error))
    });
}
