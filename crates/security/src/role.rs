use std::{fmt, str::FromStr};

use x509_parser::{certificate::X509Certificate, prelude::FromDer, x509::X509Name};

use crate::SecurityError;

/// What a program or person is here for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Coordinator,
    Worker,
    /// May change what the fleet does.
    Operator,
    /// May only look.
    Viewer,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Coordinator, Self::Worker, Self::Operator, Self::Viewer];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }

    /// The organizational unit that stands for it in a certificate's subject.
    pub(crate) fn unit(self) -> String {
        format!("{PREFIX}{self}")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<Self, SecurityError> {
        let role = Self::ALL.into_iter().find(|role| role.name() == text);
        role.ok_or_else(|| SecurityError::UnknownRole(text.to_owned()))
    }
}

/// Who made a request; the [`Authorize`](crate::Authorize) layer puts it into the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub role: Role,
    /// The common name of the certificate, or the comment beside the token.
    pub name: String,
}

const PREFIX: &str = "rewind:";

/// Whose certificate it is.
///
/// # Errors
/// Says why it names no role, or more than one.
pub(crate) fn caller_in(der: &[u8]) -> Result<Caller, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| format!("it is not X.509: {error}"))?;
    let subject = certificate.subject();
    let mut units = subject.iter_organizational_unit().filter_map(|unit| unit.as_str().ok()?.strip_prefix(PREFIX));
    match (units.next(), units.next()) {
        (Some(unit), None) => {
            let role = unit.parse().map_err(|error: SecurityError| error.to_string())?;
            Ok(Caller { role, name: common_name(subject) })
        }
        (Some(_), Some(_)) => Err(format!("its subject ({subject}) names more than one role")),
        (None, _) => Err(format!("its subject ({subject}) names no role: OU={PREFIX}worker would")),
    }
}

fn common_name(subject: &X509Name<'_>) -> String {
    let name = subject.iter_common_name().find_map(|name| name.as_str().ok());
    name.unwrap_or("without a common name").to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(units: &[&str]) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        for unit in units {
            parameters.distinguished_name.push(DnType::OrganizationalUnitName, *unit);
        }
        parameters.distinguished_name.push(DnType::CommonName, "worker-3");
        let key = KeyPair::generate().expect("makes a key");
        parameters.self_signed(&key).expect("signs").der().to_vec()
    }

    #[test]
    fn every_role_is_read_from_its_unit() {
        for role in Role::ALL {
            let caller = caller_in(&certificate(&[&role.unit()]));
            assert_eq!(caller, Ok(Caller { role, name: "worker-3".into() }));
            assert_eq!(role.to_string().parse::<Role>().expect("is a role"), role);
        }
    }

    #[test]
    fn no_role_and_unknown_roles_are_refused() {
        for (units, problem) in [
            (&[][..], "names no role"),
            (&["worker"], "names no role"),
            (&["rewind:Worker"], "`Worker` is no role"),
            (&["rewind:"], "`` is no role"),
        ] {
            let error = caller_in(&certificate(units)).expect_err("is refused");
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn more_than_one_role_is_refused() {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::OrganizationalUnitName, "rewind:viewer");
        parameters.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 11]), "rewind:operator");
        let key = KeyPair::generate().expect("makes a key");
        let error = caller_in(parameters.self_signed(&key).expect("signs").der()).expect_err("is refused");
        assert!(error.contains("more than one role"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = caller_in(&bytes);
        }

        #[test]
        fn a_damaged_certificate_never_panics(
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..16),
            length in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = certificate(&["rewind:worker"]);
            for (place, byte) in damage {
                *place.get_mut(&mut bytes) = byte;
            }
            bytes.truncate(length.index(bytes.len() + 1).max(1));
            let _ = caller_in(&bytes);
        }
    }
}
