//! Tokens for people and programs without a certificate; the coordinator knows their SHA-256 alone.

use std::{fmt, path::Path};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Caller, Role, Secret, SecurityError, secret::read_unforged};

/// A token that was just made, and the line by which the coordinator will know it.
#[derive(Debug)]
pub struct NewToken {
    pub token: Secret,
    /// `role sha256-of-the-token comment`, without a line's end.
    pub line: String,
}

/// Makes a token of 256 random bits.
pub fn generate(role: Role, comment: &str) -> NewToken {
    let token = hex::encode(rand::random::<[u8; 32]>());
    let comment: Vec<_> = comment.split_whitespace().collect();
    let line = format!("{role} {} {}", hex::encode(digest(&token)), comment.join(" "));
    NewToken { token: Secret::new(token), line: line.trim_end().to_owned() }
}

/// The tokens that a coordinator accepts: one a line, as `role sha256-of-the-token [comment]`.
///
/// Empty lines and lines that begin with `#` say nothing.
#[derive(Clone)]
pub struct Tokens(Vec<Known>);

#[derive(Clone)]
struct Known {
    digest: [u8; 32],
    caller: Caller,
}

impl Tokens {
    /// Reads a tokens file that others cannot write.
    ///
    /// # Errors
    /// Names the file, and the line that is not valid.
    pub fn read(path: &Path) -> Result<Self, SecurityError> {
        let bytes = read_unforged(path)?;
        Self::parse(&bytes).map_err(|(line, problem)| SecurityError::TokenLine { path: path.to_owned(), line, problem })
    }

    /// The line's number, from 1, goes with what is wrong there; the text itself does not: it may be a token.
    fn parse(bytes: &[u8]) -> Result<Self, (usize, String)> {
        let mut known: Vec<Known> = Vec::new();
        for (line, bytes) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            let refuse = |problem: &str| (line, problem.to_owned());
            let text = str::from_utf8(bytes).map_err(|_| refuse("is not UTF-8"))?.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let mut words = text.split_whitespace();
            let role = words.next().and_then(|role| role.parse().ok());
            let role = role.filter(|role| *role != Role::Coordinator);
            let role = role.ok_or_else(|| refuse("does not begin with worker, operator or viewer"))?;
            let mut digest = [0; 32];
            words.next().and_then(|word| hex::decode_to_slice(word, &mut digest).ok()).ok_or_else(|| {
                refuse("after the role comes the token's SHA-256 as 64 hexadecimal digits, nothing else")
            })?;
            if known.iter().any(|other| other.digest == digest) {
                return Err(refuse("has the token of a line before"));
            }
            let comment: Vec<_> = words.collect();
            let name = if comment.is_empty() { format!("token in line {line}") } else { comment.join(" ") };
            known.push(Known { digest, caller: Caller { role, name } });
        }
        Ok(Self(known))
    }

    /// Whose token it is; takes as long for every token.
    pub(crate) fn caller(&self, token: &str) -> Option<&Caller> {
        let digest = digest(token);
        let mut found = None;
        for known in &self.0 {
            if bool::from(known.digest.ct_eq(&digest)) {
                found = Some(&known.caller);
            }
        }
        found
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|known| &known.caller)).finish()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_generated_token_is_known_by_its_line_alone() {
        let made = generate(Role::Operator, "Ada's\n laptop");
        assert!(!made.line.contains(made.token.expose()) && !made.line.contains('\n'), "{}", made.line);
        let text = format!("# people\n\n{}\r\n{}", made.line, generate(Role::Viewer, "").line);
        let tokens = Tokens::parse(text.as_bytes()).expect("is valid");
        let ada = Caller { role: Role::Operator, name: "Ada's laptop".into() };
        assert_eq!(tokens.caller(made.token.expose()), Some(&ada));
        assert_eq!(tokens.caller(generate(Role::Operator, "").token.expose()), None);
        assert_eq!(tokens.caller(""), None);
        assert_eq!(tokens.0[1].caller.name, "token in line 4");
    }

    #[test]
    fn a_digest_is_no_token() {
        let made = generate(Role::Operator, "");
        let tokens = Tokens::parse(made.line.as_bytes()).expect("is valid");
        assert_eq!(tokens.caller(&hex::encode(digest(made.token.expose()))), None);
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_never_repeated() {
        let good = generate(Role::Viewer, "").line;
        for (text, problem) in [
            ("root abc".to_owned(), "does not begin with"),
            ("viewer".to_owned(), "64 hexadecimal digits"),
            ("viewer hunter2".to_owned(), "64 hexadecimal digits"),
            (format!("{good}0"), "64 hexadecimal digits"),
            (good.replacen("viewer", "operator", 1), "a line before"),
        ] {
            let (line, found) = Tokens::parse(format!("{good}\n{text}\n").as_bytes()).expect_err("is refused");
            assert_eq!(line, 2);
            assert!(found.contains(problem) && !found.contains("hunter2"), "{found}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Tokens::parse(&bytes);
        }

        #[test]
        fn files_that_look_like_tokens_never_panic(text in "((worker|viewer|#)?[ \\t]?[0-9a-fé]{0,65}[ \\n]?){0,9}") {
            let _ = Tokens::parse(text.as_bytes());
        }
    }
}
