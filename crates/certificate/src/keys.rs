//! Ed25519 keys (RFC 8032) in PEM form: the private one as PKCS#8, the public one as SubjectPublicKeyInfo.

use std::fmt;

use pem::{EncodeConfig, LineEnding, Pem};
use rewind_job::shortened;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};

use crate::{CertificateError, merkle::sha256};

/// What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410, section 4).
const PUBLIC_KEY_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Signed once to get a secret that only this key's holder has; never shown to anybody.
const SECRET_OF_SALTS: &[u8] = b"rewind: the secret of salts, no statement";

/// Signs, and derives secrets; prints as its public half.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    secret: hmac::Key,
}

impl SigningKey {
    /// A new key, as the text of its PEM file. OpenSSL reads it, too.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<String, CertificateError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| CertificateError::NoRandomness)?;
        Ok(armoured("PRIVATE KEY", document.as_ref()))
    }

    /// # Errors
    /// Not an Ed25519 key in PKCS#8.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let refuse = |problem: String| CertificateError::BadKey { what: "private key", problem: shortened(problem) };
        let document = pem::parse(text).map_err(|error| refuse(error.to_string()))?;
        if document.tag() != "PRIVATE KEY" {
            return Err(refuse(format!("it is a {}", document.tag())));
        }
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.contents())
            .map_err(|error| refuse(error.to_string()))?;
        // Ed25519 signatures are a function of key and message: the same secret from the same key, however it is encoded.
        let secret = hmac::Key::new(hmac::HMAC_SHA256, pair.sign(SECRET_OF_SALTS).as_ref());
        Ok(Self { pair, secret })
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("Ed25519 keys have 32 bytes"))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().try_into().expect("Ed25519 signatures have 64 bytes")
    }

    /// A secret for this purpose; each part is told apart from the next by its length.
    pub(crate) fn derive(&self, purpose: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.secret);
        for part in purpose {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "signing key {}", self.public().fingerprint())
    }
}

/// Whose signatures are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// # Errors
    /// Not an Ed25519 key.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let refuse = |problem: String| CertificateError::BadKey { what: "public key", problem: shortened(problem) };
        let document = pem::parse(text).map_err(|error| refuse(error.to_string()))?;
        let key = document.contents().strip_prefix(&PUBLIC_KEY_HEAD).filter(|_| document.tag() == "PUBLIC KEY");
        let key = key.and_then(|key| key.try_into().ok());
        key.map(Self).ok_or_else(|| refuse(format!("it is a {} of another kind", document.tag())))
    }

    pub fn to_pem(self) -> String {
        armoured("PUBLIC KEY", &self.encoded())
    }

    fn encoded(self) -> Vec<u8> {
        [&PUBLIC_KEY_HEAD[..], &self.0].concat()
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo, in hexadecimal: `openssl pkey -pubin -outform DER | sha256sum`.
    pub fn fingerprint(self) -> String {
        hex::encode(sha256(&[&self.encoded()]))
    }

    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).ok()?.try_into().ok().map(Self)
    }

    pub(crate) fn verify(self, message: &[u8], signature: &[u8]) -> Result<(), CertificateError> {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).map_err(|_| CertificateError::BadSignature)
    }
}

fn armoured(tag: &str, contents: &[u8]) -> String {
    pem::encode_config(&Pem::new(tag, contents), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2, in the PKCS#8 form without a public key that OpenSSL writes.
    fn rfc_8032() -> SigningKey {
        let head = hex::decode("302e020100300506032b657004220420").expect("hexadecimal");
        let seed =
            hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").expect("hexadecimal");
        SigningKey::from_pem(&armoured("PRIVATE KEY", &[head, seed].concat())).expect("is a key")
    }

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        let key = rfc_8032();
        assert_eq!(key.public().to_hex(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = key.sign(&[0x72]);
        assert_eq!(
            hex::encode(signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert_eq!(key.public().verify(&[0x72], &signature), Ok(()));
        assert_eq!(key.public().verify(&[0x73], &signature), Err(CertificateError::BadSignature));
    }

    #[test]
    fn keys_come_back_from_their_files_and_others_are_refused() {
        let text = SigningKey::generate().expect("random numbers");
        let key = SigningKey::from_pem(&text).expect("was just made");
        let public = key.public().to_pem();
        assert_eq!(PublicKey::from_pem(&public), Ok(key.public()));
        assert_ne!(SigningKey::generate().expect("random numbers"), text);
        assert!(SigningKey::from_pem(&public).is_err() && PublicKey::from_pem(&text).is_err());
        assert!(SigningKey::from_pem("nothing").is_err() && PublicKey::from_pem("").is_err());
        assert_eq!(format!("{key:?}"), format!("signing key {}", key.public().fingerprint()));
    }

    #[test]
    fn derived_secrets_hang_on_the_key_and_on_every_part_of_their_purpose() {
        let (key, other) = (rfc_8032(), SigningKey::from_pem(&SigningKey::generate().expect("random")).expect("a key"));
        let secret = key.derive(&[b"a", b"bc"]);
        assert_eq!(secret, rfc_8032().derive(&[b"a", b"bc"]));
        for different in [key.derive(&[b"ab", b"c"]), key.derive(&[b"a", b"bd"]), other.derive(&[b"a", b"bc"])] {
            assert_ne!(secret, different);
        }
    }
}
