use std::{io, path::PathBuf};

use crate::Role;

/// Why a program must not start, or a file was not written; retrying helps with none of them.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    #[error("failed to read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Nothing was written.
    #[error("{} is there already, and is not overwritten", .0.display())]
    Exists(PathBuf),
    #[error("{} is open to others (mode {mode:03o}): `chmod {wanted} {}`", path.display(), path.display())]
    OpenToOthers { path: PathBuf, mode: u32, wanted: &'static str },
    #[error("{} holds no {what} in PEM form", path.display())]
    NotPem { path: PathBuf, what: &'static str },
    #[error("the certificate {} is not usable: {problem}", path.display())]
    Certificate { path: PathBuf, problem: String },
    #[error("the certificate {} has expired: it was valid until {until}", path.display())]
    Expired { path: PathBuf, until: String },
    #[error("the certificate {} is not valid yet: it is from {from}", path.display())]
    NotYetValid { path: PathBuf, from: String },
    #[error("the certificate {} is not signed by the authority {}", certificate.display(), authority.display())]
    NotSigned { certificate: PathBuf, authority: PathBuf },
    #[error("the key {} is not usable: {problem}", path.display())]
    Key { path: PathBuf, problem: String },
    #[error("the key {} does not belong to the certificate {}", key.display(), certificate.display())]
    KeyMismatch { key: PathBuf, certificate: PathBuf },
    #[error("the certificate {} is for the role {role}: a server needs one for the role {}", path.display(), Role::Coordinator)]
    NoServer { path: PathBuf, role: Role },
    #[error("{} line {line}: {problem}", path.display())]
    TokenLine { path: PathBuf, line: usize, problem: String },
    #[error("{} holds no token: it must be one word of visible ASCII", .0.display())]
    NoToken(PathBuf),
    #[error("`{0}` is no role: roles are coordinator, worker, operator and viewer")]
    UnknownRole(String),
    #[error("the name `{0}` is not usable: letters, digits, `-`, `_` and inner dots name a certificate")]
    Name(String),
    #[error("the host `{0}` is neither an IP address nor a DNS name")]
    Host(String),
    #[error("failed to make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("failed to make a signing key: {0}")]
    Signing(rewind_certificate::CertificateError),
    #[error("{url}: {problem}")]
    Url { url: String, problem: String },
}
