//! A development authority in a folder: `ca.pem`, `ca.key`, a certificate with its key for every role, and the key
//! that signs certificates of finished jobs.

use std::{
    fs::{self, DirBuilder, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::NamedTempFile;
use time::{Duration, OffsetDateTime};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    Role, Secret, SecurityError,
    files::{Named, Usage, check_signed, read_authorities},
    secret::read_private,
    signing,
};

const AUTHORITY_DAYS: i64 = 3650;
const CERTIFICATE_DAYS: i64 = 365;
/// Clocks of a fleet differ.
const CLOCKS_DIFFER: Duration = Duration::HOUR;
const OWN_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Makes an authority and a certificate for every role; the coordinator's names `hosts` and this machine itself.
///
/// Returns the files that it wrote.
///
/// # Errors
/// Names the file that is there already (then nothing is written), the host that is none, or what cannot be written.
pub fn create(folder: &Path, hosts: &[String], now: SystemTime) -> Result<Vec<PathBuf>, SecurityError> {
    let parameters = authority(now);
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?.pem();
    let mut files = Vec::from(pair("ca", certificate, &key));
    let issuer = Issuer::new(parameters, key);
    for role in Role::ALL {
        let hosts = if role == Role::Coordinator { hosts } else { &[] };
        let leaf = leaf(role, role.name(), hosts, now)?;
        let key = KeyPair::generate()?;
        files.extend(pair(role.name(), leaf.signed_by(&key, &issuer)?.pem(), &key));
    }
    files.extend(signing::new_pair()?);
    write_all(folder, &files)
}

/// Makes one more certificate, `name.pem` and `name.key`, from the authority in a folder.
///
/// Returns the files that it wrote.
///
/// # Errors
/// Names the file that is there already, missing or not valid, the name or host that is none, or what cannot be written.
pub fn issue(
    folder: &Path,
    role: Role,
    name: &str,
    hosts: &[String],
    now: SystemTime,
) -> Result<Vec<PathBuf>, SecurityError> {
    check_name(name)?;
    let (ca, ca_key) = (folder.join("ca.pem"), folder.join("ca.key"));
    let (_, authorities) = read_authorities(&ca, now)?;
    let unusable = |problem: String| SecurityError::Key { path: ca_key.clone(), problem };
    let text = String::from_utf8(read_private(&ca_key)?)
        .map_err(|_| SecurityError::NotPem { path: ca_key.clone(), what: "private key" })?;
    let issuing_key = KeyPair::from_pem(&text).map_err(|error| unusable(error.to_string()))?;
    let issuer = Issuer::from_ca_cert_der(&authorities[0], issuing_key)?;

    let mut parameters = leaf(role, name, hosts, now)?;
    parameters.not_after = parameters.not_after.min(end_of(&ca, &authorities[0])?);
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &issuer)?;
    let made = Named { path: &folder.join(format!("{name}.pem")), chain: &[certificate.der().clone()] };
    check_signed(made, &ca, authorities, Usage::Client, now).map_err(|error| match error {
        SecurityError::NotSigned { .. } => SecurityError::KeyMismatch { key: ca_key.clone(), certificate: ca.clone() },
        error => error,
    })?;
    write_all(folder, &pair(name, certificate.pem(), &key))
}

fn authority(now: SystemTime) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    // No two authorities have the same name: then a stranger's is unknown, not one that signs badly.
    let name = format!("Rewind development authority {:08x}", rand::random::<u32>());
    parameters.distinguished_name = subject(&name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(parameters, AUTHORITY_DAYS, now)
}

/// Only a coordinator's certificate serves: no worker can pretend to be one.
fn leaf(role: Role, name: &str, hosts: &[String], now: SystemTime) -> Result<CertificateParams, SecurityError> {
    let mut names = Vec::new();
    if role == Role::Coordinator {
        names.extend(OWN_HOSTS.map(str::to_owned));
    }
    for host in hosts {
        let plain = host.strip_prefix("*.").unwrap_or(host);
        ServerName::try_from(plain).map_err(|_| SecurityError::Host(host.clone()))?;
        if !names.contains(host) {
            names.push(host.clone());
        }
    }
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = subject(name);
    parameters.distinguished_name.push(DnType::OrganizationalUnitName, role.unit());
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if role == Role::Coordinator {
        parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    parameters.use_authority_key_identifier_extension = true;
    Ok(valid_for(parameters, CERTIFICATE_DAYS, now))
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Rewind");
    subject.push(DnType::CommonName, name);
    subject
}

fn valid_for(mut parameters: CertificateParams, days: i64, now: SystemTime) -> CertificateParams {
    let now = OffsetDateTime::from(now);
    parameters.not_before = now - CLOCKS_DIFFER;
    parameters.not_after = now + Duration::days(days);
    parameters
}

fn end_of(path: &Path, certificate: &CertificateDer<'_>) -> Result<OffsetDateTime, SecurityError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| SecurityError::Certificate { path: path.to_owned(), problem: error.to_string() })?;
    Ok(parsed.validity().not_after.to_datetime())
}

/// A name becomes a file's: it must not lead out of the folder.
fn check_name(name: &str) -> Result<(), SecurityError> {
    let usable = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || name.ends_with('.') || !name.chars().all(usable) {
        return Err(SecurityError::Name(name.to_owned()));
    }
    Ok(())
}

pub(crate) struct NewFile {
    pub name: String,
    pub content: Secret,
    pub mode: u32,
}

fn pair(name: &str, certificate: String, key: &KeyPair) -> [NewFile; 2] {
    [
        NewFile { name: format!("{name}.pem"), content: Secret::new(certificate), mode: 0o644 },
        NewFile { name: format!("{name}.key"), content: Secret::new(key.serialize_pem()), mode: 0o600 },
    ]
}

/// All or none, as long as the machine does not stop in between.
fn write_all(folder: &Path, files: &[NewFile]) -> Result<Vec<PathBuf>, SecurityError> {
    if let Some(path) = files.iter().map(|file| folder.join(&file.name)).find(|path| path.symlink_metadata().is_ok()) {
        return Err(SecurityError::Exists(path));
    }
    make_private(folder)?;
    let mut staged = Vec::new();
    for file in files {
        let path = folder.join(&file.name);
        let stage = stage(folder, file).map_err(|source| SecurityError::Write { path: path.clone(), source })?;
        staged.push((stage, path));
    }
    let mut written = Vec::new();
    for (stage, path) in staged {
        if let Err(error) = stage.persist_noclobber(&path) {
            for path in written {
                let _ = fs::remove_file(path);
            }
            return Err(match error.error.kind() {
                io::ErrorKind::AlreadyExists => SecurityError::Exists(path),
                _ => SecurityError::Write { path, source: error.error },
            });
        }
        written.push(path);
    }
    Ok(written)
}

/// Writes a file; one that is there already stays as it is.
pub(crate) fn write_missing(folder: &Path, file: NewFile) -> Result<(), SecurityError> {
    let path = folder.join(&file.name);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let stage = stage(folder, &file).map_err(|source| SecurityError::Write { path: path.clone(), source })?;
    match stage.persist_noclobber(&path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => {
            Err(SecurityError::Write { path, source: error.error })
        }
        // Whoever was faster has made one.
        _ => Ok(()),
    }
}

fn stage(folder: &Path, file: &NewFile) -> io::Result<NamedTempFile> {
    let mut stage = NamedTempFile::new_in(folder)?;
    stage.write_all(file.content.expose().as_bytes())?;
    stage.as_file().set_permissions(Permissions::from_mode(file.mode))?;
    stage.as_file().sync_all()?;
    Ok(stage)
}

fn make_private(folder: &Path) -> Result<(), SecurityError> {
    let failed = |source: io::Error| SecurityError::Write { path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mode = fs::metadata(folder).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecurityError::OpenToOthers { path: folder.to_owned(), mode, wanted: "700" });
    }
    Ok(())
}
