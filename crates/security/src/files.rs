use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{Caller, Role, SecurityError, role::caller_in, secret::read_private};

/// The three PEM files by which a program knows others and is known.
#[derive(Clone, Debug)]
pub struct Files {
    /// Certificates of the authority whose signatures count.
    pub ca: PathBuf,
    /// Certificate of this program, and those between it and the authority, if any.
    pub certificate: PathBuf,
    /// Private key to the certificate.
    pub key: PathBuf,
}

/// What a certificate must be good for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Client,
    Server,
}

/// The files' content, known to fit together.
pub(crate) struct Loaded {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl Files {
    pub(crate) fn load(&self, usage: Usage, now: SystemTime) -> Result<Loaded, SecurityError> {
        let (ca, authorities) = read_authorities(&self.ca, now)?;
        let certificate = read(&self.certificate)?;
        let chain = certificates(&self.certificate, &certificate)?;
        let path = self.certificate.clone();
        match caller_in(&chain[0]) {
            Ok(Caller { role, .. }) if usage == Usage::Server && role != Role::Coordinator => {
                return Err(SecurityError::NoServer { path, role });
            }
            Ok(_) => {}
            Err(problem) => return Err(SecurityError::Certificate { path, problem }),
        }
        check_signed(Named { path: &path, chain: &chain }, &self.ca, authorities, usage, now)?;
        let key = read_private(&self.key)?;
        self.check_key(&key, chain)?;
        Ok(Loaded { ca, certificate, key })
    }

    fn check_key(&self, key: &[u8], chain: Vec<CertificateDer<'static>>) -> Result<(), SecurityError> {
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| SecurityError::NotPem { path: self.key.clone(), what: "private key" })?;
        match CertifiedKey::from_der(chain, key, &default_provider()) {
            Ok(_) => Ok(()),
            Err(Error::InconsistentKeys(_)) => {
                Err(SecurityError::KeyMismatch { key: self.key.clone(), certificate: self.certificate.clone() })
            }
            Err(error) => Err(SecurityError::Key { path: self.key.clone(), problem: error.to_string() }),
        }
    }
}

/// A chain of certificates, its owner's first, and the file in which it is or will be.
pub(crate) struct Named<'a> {
    pub path: &'a Path,
    pub chain: &'a [CertificateDer<'static>],
}

/// The authority's file, and the certificates in it.
pub(crate) fn read_authorities(
    path: &Path,
    now: SystemTime,
) -> Result<(Vec<u8>, Vec<CertificateDer<'static>>), SecurityError> {
    let text = read(path)?;
    let authorities = certificates(path, &text)?;
    // The handshake does not look at an authority's own dates.
    for authority in &authorities {
        check_dates(path, authority, now)?;
    }
    Ok((text, authorities))
}

/// Whether a handshake would accept the certificate: what decides here is what decides there.
pub(crate) fn check_signed(
    Named { path, chain }: Named<'_>,
    ca: &Path,
    authorities: Vec<CertificateDer<'static>>,
    usage: Usage,
    now: SystemTime,
) -> Result<(), SecurityError> {
    let unusable = |problem: String| SecurityError::Certificate { path: path.to_owned(), problem };
    let (own, between) = chain.split_first().ok_or_else(|| unusable("it is missing".into()))?;
    check_dates(path, own, now)?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        let added = roots.add(authority);
        added.map_err(|error| SecurityError::Certificate { path: ca.to_owned(), problem: error.to_string() })?;
    }
    let unix = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let provider = default_provider();
    let outcome = match usage {
        Usage::Client => WebPkiClientVerifier::builder_with_provider(roots.into(), provider.into())
            .build()
            .map_err(|error| unusable(error.to_string()))?
            .verify_client_cert(own, between, unix)
            .map(drop),
        Usage::Server => ParsedCertificate::try_from(own).and_then(|own| {
            let algorithms = provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&own, &roots, between, unix, algorithms)
        }),
    };
    outcome.map_err(|error| match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            SecurityError::NotSigned { certificate: path.to_owned(), authority: ca.to_owned() }
        }
        error => unusable(error.to_string()),
    })
}

fn check_dates(path: &Path, certificate: &[u8], now: SystemTime) -> Result<(), SecurityError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| SecurityError::Certificate { path: path.to_owned(), problem: error.to_string() })?;
    let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
    let now = time::OffsetDateTime::from(now).unix_timestamp();
    if now > until.timestamp() {
        return Err(SecurityError::Expired { path: path.to_owned(), until: until.to_string() });
    }
    if now < from.timestamp() {
        return Err(SecurityError::NotYetValid { path: path.to_owned(), from: from.to_string() });
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, SecurityError> {
    fs::read(path).map_err(|source| SecurityError::Read { path: path.to_owned(), source })
}

/// At least one.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, SecurityError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(SecurityError::NotPem { path: path.to_owned(), what: "certificate" }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_pem_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..512),
            body in "[A-Za-z0-9+/=\\n -]{0,512}",
        ) {
            let armoured = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
            for text in [&bytes[..], armoured.as_bytes()] {
                for certificate in certificates("a.pem".as_ref(), text).unwrap_or_default() {
                    let _ = caller_in(&certificate);
                    let _ = check_dates("a.pem".as_ref(), &certificate, SystemTime::now());
                }
            }
        }
    }
}
