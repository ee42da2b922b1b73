use std::path::Path;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};

use crate::{SecurityError, secret::read_private};

/// Adds `authorization: Bearer …` to every request of a client; use it with an endpoint of [`crate::ClientTls`] only.
#[derive(Clone, Debug)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// Takes the token from a file that others cannot read.
    ///
    /// # Errors
    /// Names the file that is missing, open to others, or holds no token.
    pub fn read(path: &Path) -> Result<Self, SecurityError> {
        let no_token = || SecurityError::NoToken(path.to_owned());
        let text = String::from_utf8(read_private(path)?).map_err(|_| no_token())?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(no_token());
        }
        let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| no_token())?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }

    /// For clients that show a certificate, or need to show nothing.
    pub fn none() -> Self {
        Self(None)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}
