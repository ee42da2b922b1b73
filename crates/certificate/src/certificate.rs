//! The file: one form for one content, so that no byte of it can be another.

use rewind_job::{check_format, shortened};
use serde::{Deserialize, Serialize};

use crate::{CertificateError, PublicKey, SigningKey, Statement};

/// The form of certificates that this program writes.
pub(crate) const FORMAT: u32 = 3;

/// A statement and the signature of the coordinator that makes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub statement: Statement,
    /// Ed25519, in hexadecimal; over the statement as JSON without white space.
    signature: String,
}

impl Certificate {
    pub(crate) fn sign(statement: Statement, key: &SigningKey) -> Self {
        let signature = hex::encode(key.sign(&message(&statement)));
        Self { statement, signature }
    }

    /// The bytes of `certificate.json`: the only ones that [`Self::parse`] takes for this certificate.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a certificate is made of structures and numbers");
        bytes.push(b'\n');
        bytes
    }

    /// # Errors
    /// Not a certificate, or not byte for byte as it was written.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertificateError> {
        let refuse = |error: serde_json::Error| CertificateError::NotACertificate(shortened(error.to_string()));
        // First its form: a later one may have fields that are unknown here, and that would be the wrong complaint.
        let AnyForm { statement: AnyFormOfStatement { format } } = serde_json::from_slice(bytes).map_err(refuse)?;
        check_format(format, FORMAT).map_err(|_| CertificateError::Format { found: format, known: FORMAT })?;
        let certificate: Self = serde_json::from_slice(bytes).map_err(refuse)?;
        let canonical = certificate.to_bytes();
        if canonical != bytes {
            let same = canonical.iter().zip(bytes).take_while(|(ours, theirs)| ours == theirs).count();
            return Err(CertificateError::NotCanonical { byte: same });
        }
        Ok(certificate)
    }

    /// The key that the certificate says it was signed with. Whose key that is, it cannot say.
    ///
    /// # Errors
    /// It names none.
    pub fn key(&self) -> Result<PublicKey, CertificateError> {
        PublicKey::from_hex(&self.statement.signed_with).ok_or(CertificateError::BadSignature)
    }

    /// Whether the signature holds; with `wanted`, whether it was made with that key.
    ///
    /// # Errors
    /// Something was altered, or it is another key.
    pub fn verify(&self, wanted: Option<PublicKey>) -> Result<PublicKey, CertificateError> {
        let key = self.key()?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != key) {
            return Err(CertificateError::OtherKey { found: key.fingerprint(), wanted: wanted.fingerprint() });
        }
        // Digits have one spelling, too.
        let signature = hex::decode(&self.signature).ok().filter(|bytes| hex::encode(bytes) == self.signature);
        let signature = signature.ok_or(CertificateError::BadSignature)?;
        key.verify(&message(&self.statement), &signature)?;
        Ok(key)
    }
}

fn message(statement: &Statement) -> Vec<u8> {
    let statement_format = statement.format;
    let statement = serde_json::to_vec(statement).expect("a statement is made of structures and numbers");
    [domain(statement_format).as_bytes(), &statement].concat()
}

/// What is signed begins with this: a signature of something else, or of another form, says nothing here.
fn domain(format: u32) -> String {
    format!("rewind certificate {format}\n")
}

#[derive(Deserialize)]
struct AnyForm {
    statement: AnyFormOfStatement,
}

#[derive(Deserialize)]
struct AnyFormOfStatement {
    format: u32,
}
