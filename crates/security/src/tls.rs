use std::{
    fmt,
    path::Path,
    time::{Duration, SystemTime},
};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

use crate::{
    Files, SecurityError,
    files::{Usage, read_authorities},
    tokens::Tokens,
};

/// Who connects and then says nothing is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How a server is known, and whom it lets in: clients with a certificate of the authority; with tokens, also without.
///
/// # Errors
/// Names the file that is missing or does not fit the others.
pub fn server_tls(files: &Files, tokens: Option<&Tokens>) -> Result<ServerTlsConfig, SecurityError> {
    let loaded = files.load(Usage::Server, SystemTime::now())?;
    Ok(ServerTlsConfig::new()
        .identity(Identity::from_pem(loaded.certificate, loaded.key))
        .client_ca_root(Certificate::from_pem(loaded.ca))
        .client_auth_optional(tokens.is_some())
        .timeout(HANDSHAKE))
}

/// How a client is known, and which servers it believes.
#[derive(Clone)]
pub struct ClientTls(ClientTlsConfig);

/// For a client that shows its certificate.
///
/// # Errors
/// Names the file that is missing or does not fit the others.
pub fn client_tls(files: &Files) -> Result<ClientTls, SecurityError> {
    let loaded = files.load(Usage::Client, SystemTime::now())?;
    Ok(ClientTls(believing(loaded.ca).identity(Identity::from_pem(loaded.certificate, loaded.key))))
}

/// For a client without a certificate, which sends a token instead.
///
/// # Errors
/// Names the authority's file when it is missing or not valid.
pub fn client_tls_for_token(ca: &Path) -> Result<ClientTls, SecurityError> {
    let (ca, _) = read_authorities(ca, SystemTime::now())?;
    Ok(ClientTls(believing(ca)))
}

fn believing(ca: Vec<u8>) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).timeout(HANDSHAKE)
}

impl ClientTls {
    /// The endpoint at an `https://` URL, whose host must stand in the server's certificate.
    ///
    /// # Errors
    /// Any other URL: `http://` would go, and take a token along, without encryption.
    pub fn endpoint(&self, url: &str) -> Result<Endpoint, SecurityError> {
        let refuse = |problem: String| SecurityError::Url { url: url.to_owned(), problem };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| refuse(error.to_string()))?;
        if endpoint.uri().scheme_str() != Some("https") {
            return Err(refuse("with certificates or tokens, the URL begins with https://".into()));
        }
        endpoint.tls_config(self.0.clone()).map_err(|error| refuse(error.to_string()))
    }
}

/// The configuration itself would print the private key.
impl fmt::Debug for ClientTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClientTls(***)")
    }
}
