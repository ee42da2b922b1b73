//! The certificate of a finished job: what was done, with which data, signed; and how it is checked.
//!
//! Nothing here does input or output, reads a clock, or knows libtorch.

mod certificate;
mod disclosure;
mod keys;
mod merkle;
mod not_proven;
mod statement;

pub use certificate::Certificate;
pub use disclosure::{Disclosure, Proof};
pub use keys::{PublicKey, SigningKey};
pub use merkle::{audit_path, leaf_hash, node_hash, root, root_by_path};
pub use not_proven::not_proven;
pub use statement::{
    DamageStatement, Facts, GoalStatement, JudgementStatement, Metrics, Sealed, SealedReads, Statement, StepStatement,
    issue,
};

/// Why a certificate, a key or a disclosure is not believed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CertificateError {
    #[error("no certificate: {0}")]
    NotACertificate(String),
    #[error("not in its canonical form: byte {byte} is not the one that was written")]
    NotCanonical { byte: usize },
    #[error("format {found}, and this program reads format {known}")]
    Format { found: u32, known: u32 },
    #[error("the signature does not hold: something was altered, or it was made with another key")]
    BadSignature,
    #[error("signed with the key {found}, not with {wanted}")]
    OtherKey { found: String, wanted: String },
    #[error("no Ed25519 {what} in PEM form (PKCS#8): {problem}")]
    BadKey { what: &'static str, problem: String },
    #[error("failed to make a key: the system gives no random numbers")]
    NoRandomness,
    #[error("no disclosure: {0}")]
    NotADisclosure(String),
    #[error("the {what} {found}, but the certificate's {certified}")]
    Differs { what: String, found: String, certified: String },
}
