use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tonic::{
    Status,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Caller,
    role::caller_in,
    table::{Who, who_may_call},
    tokens::Tokens,
};

/// The layer of a server that lets a call through only if its caller's role may make it.
///
/// The [`Caller`] goes with the request, in its extensions.
#[derive(Clone, Debug)]
pub struct Authorize {
    asks: Asks,
}

#[derive(Clone, Debug)]
enum Asks {
    Nobody,
    ForCertificate,
    ForCertificateOrToken(Arc<Tokens>),
}

impl Authorize {
    /// For a server with [`server_tls`](crate::server_tls) of the same tokens.
    pub fn new(tokens: Option<Tokens>) -> Self {
        let asks = tokens.map_or(Asks::ForCertificate, |tokens| Asks::ForCertificateOrToken(Arc::new(tokens)));
        Self { asks }
    }

    /// Everybody may call everything: for a server that only its own machine reaches, or that is insecure by intent.
    pub fn nobody_is_asked() -> Self {
        Self { asks: Asks::Nobody }
    }

    fn decide<B>(&self, request: &Request<B>) -> Result<Option<Caller>, Status> {
        let tokens = match &self.asks {
            Asks::Nobody => return Ok(None),
            Asks::ForCertificate => None,
            Asks::ForCertificateOrToken(tokens) => Some(&**tokens),
        };
        let path = request.uri().path();
        let roles = match who_may_call(path) {
            Some(Who::Anybody) => return Ok(None),
            Some(Who::Only(roles)) => roles,
            None => return Err(Status::permission_denied(format!("{path} is not known here: nobody may call it"))),
        };
        let caller = who_calls(request, tokens)?;
        if roles.contains(&caller.role) {
            return Ok(Some(caller));
        }
        let needed: Vec<_> = roles.iter().map(|role| role.name()).collect();
        let Caller { role, name } = caller;
        let needed = needed.join(" or ");
        Err(Status::permission_denied(format!("{name} has the role {role}, but {path} needs the role {needed}")))
    }
}

/// A token that is sent decides, even beside a certificate: it is the more deliberate of the two.
fn who_calls<B>(request: &Request<B>, tokens: Option<&Tokens>) -> Result<Caller, Status> {
    let Some(connection) = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>() else {
        return Err(Status::unauthenticated("the connection is not encrypted: nobody is believed on it"));
    };
    match (token_in(request.headers())?, tokens) {
        (Some(token), Some(tokens)) => {
            let known = tokens.caller(token).cloned();
            return known.ok_or_else(|| Status::unauthenticated("the token is not one that this coordinator knows"));
        }
        (Some(_), None) => {
            return Err(Status::unauthenticated("this coordinator takes no tokens: send a client certificate alone"));
        }
        (None, _) => {}
    }
    let certificates = connection.peer_certs();
    let Some(own) = certificates.as_ref().and_then(|certificates| certificates.first()) else {
        return Err(Status::unauthenticated(
            "neither a client certificate nor a token came with this call: \
             give a certificate and key signed by this coordinator's authority, or a token that it knows",
        ));
    };
    caller_in(own)
        .map_err(|problem| Status::unauthenticated(format!("the client certificate does not help: {problem}")))
}

/// What comes after `Bearer`; the header's value itself gets into no text.
fn token_in(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let unclear = || Status::unauthenticated("the header `authorization` is not of the form `Bearer TOKEN`");
    if values.next().is_some() {
        return Err(unclear());
    }
    match value.to_str().map_err(|_| unclear())?.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(unclear()),
    }
}

impl<S> Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized { inner, authorize: self.clone() }
    }
}

/// A service behind [`Authorize`].
#[derive(Clone, Debug)]
pub struct Authorized<S> {
    inner: S,
    authorize: Authorize,
}

impl<S, B, R> Service<Request<B>> for Authorized<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.authorize.decide(&request) {
            Ok(caller) => {
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                Either::Left(self.inner.call(request))
            }
            Err(refused) => {
                tracing::warn!(path = request.uri().path(), reason = refused.message(), "refused a call");
                Either::Right(ready(Ok(refused.into_http())))
            }
        }
    }
}
