//! The key that signs certificates of finished jobs, as a file that only its owner reads.

use std::{fs, path::Path};

use rewind_certificate::{PublicKey, SigningKey};

use crate::{
    SecurityError,
    pki::{NewFile, write_missing},
    secret::{Secret, read_private},
};

/// The private key's file in a coordinator's folder, and the public one's beside it.
pub const SIGNING_KEY: &str = "signing.pem";
pub const PUBLIC_SIGNING_KEY: &str = "signing.pub.pem";

/// Reads the key in a file.
///
/// # Errors
/// Names the file: it is missing, open to others, or holds no Ed25519 key.
pub fn read_signing_key(path: &Path) -> Result<SigningKey, SecurityError> {
    let unusable = |problem: String| SecurityError::Key { path: path.to_owned(), problem };
    let text = String::from_utf8(read_private(path)?)
        .map_err(|_| SecurityError::NotPem { path: path.to_owned(), what: "private key" })?;
    SigningKey::from_pem(&text).map_err(|error| unusable(error.to_string()))
}

/// Reads the key in a folder; makes one where there is none. Writes the public half beside it where that is missing.
///
/// # Errors
/// Names the file that cannot be read or written, that holds no Ed25519 key, or whose key is not the other file's.
pub fn signing_key_in(folder: &Path) -> Result<SigningKey, SecurityError> {
    let path = folder.join(SIGNING_KEY);
    if path.symlink_metadata().is_err() {
        write_missing(folder, private_file()?)?;
    }
    let key = read_signing_key(&path)?;
    write_missing(folder, public_file(&key))?;
    require_public(&folder.join(PUBLIC_SIGNING_KEY), &key)?;
    Ok(key)
}

/// Whoever is handed another key's public half believes no certificate.
fn require_public(path: &Path, key: &SigningKey) -> Result<(), SecurityError> {
    let text = fs::read_to_string(path).map_err(|source| SecurityError::Read { path: path.to_owned(), source })?;
    let problem = match PublicKey::from_pem(&text) {
        Ok(public) if public == key.public() => return Ok(()),
        Ok(_) => format!("it does not belong to {SIGNING_KEY} beside it; without it, it is written anew"),
        Err(error) => error.to_string(),
    };
    Err(SecurityError::Key { path: path.to_owned(), problem })
}

/// A new key's two files.
pub(crate) fn new_pair() -> Result<[NewFile; 2], SecurityError> {
    let private = private_file()?;
    let key = SigningKey::from_pem(private.content.expose()).map_err(SecurityError::Signing)?;
    let public = public_file(&key);
    Ok([private, public])
}

fn private_file() -> Result<NewFile, SecurityError> {
    let text = SigningKey::generate().map_err(SecurityError::Signing)?;
    Ok(NewFile { name: SIGNING_KEY.to_owned(), content: Secret::new(text), mode: 0o600 })
}

fn public_file(key: &SigningKey) -> NewFile {
    NewFile { name: PUBLIC_SIGNING_KEY.to_owned(), content: Secret::new(key.public().to_pem()), mode: 0o644 }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_gets_one_key_for_ever_that_others_do_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = signing_key_in(folder.path()).expect("makes one").public();
        let again = signing_key_in(folder.path()).expect("reads it").public();
        assert_eq!(first, again);
        let path = folder.path().join(SIGNING_KEY);
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o600);
        let public = fs::read_to_string(folder.path().join(PUBLIC_SIGNING_KEY)).expect("is there");
        assert_eq!(rewind_certificate::PublicKey::from_pem(&public), Ok(first));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("is ours");
        let refusal = signing_key_in(folder.path()).expect_err("others could read it").to_string();
        assert!(refusal.contains("open to others"), "{refusal}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("is ours");
        fs::write(&path, "no key").expect("writes");
        let refusal = signing_key_in(folder.path()).expect_err("no key is no key").to_string();
        assert!(refusal.contains("signing.pem") && !refusal.contains("no key"), "{refusal}");
    }

    #[test]
    fn a_public_key_of_another_pair_is_refused() {
        let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let first = signing_key_in(folder.path()).expect("makes one").public();
        signing_key_in(other.path()).expect("makes another");
        let public = folder.path().join(PUBLIC_SIGNING_KEY);
        fs::copy(other.path().join(PUBLIC_SIGNING_KEY), &public).expect("copies");
        let refusal = signing_key_in(folder.path()).expect_err("it is another's").to_string();
        assert!(refusal.contains("signing.pub.pem") && refusal.contains("does not belong"), "{refusal}");
        fs::remove_file(&public).expect("is there");
        assert_eq!(signing_key_in(folder.path()).expect("writes it anew").public(), first);
    }

    #[test]
    fn a_named_key_that_is_missing_is_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shared.pem");
        assert!(matches!(read_signing_key(&path), Err(SecurityError::Read { .. })));
        assert!(!path.exists());
    }
}
