//! Who may call what: certificates, tokens, transport security, and the layer that refuses.
//!
//! A role stands in the subject of a certificate (organizational unit `rewind:worker`) or in the list of tokens.

mod authorize;
mod bearer;
mod error;
mod files;
pub mod pki;
mod role;
mod secret;
mod signing;
mod table;
mod tls;
pub mod tokens;

pub use authorize::{Authorize, Authorized};
pub use bearer::Bearer;
pub use error::SecurityError;
pub use files::Files;
pub use role::{Caller, Role};
pub use secret::Secret;
pub use signing::{PUBLIC_SIGNING_KEY, SIGNING_KEY, read_signing_key, signing_key_in};
pub use tls::{ClientTls, client_tls, client_tls_for_token, server_tls};
