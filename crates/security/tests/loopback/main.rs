//! A server and its callers over real sockets on loopback.

mod roles;
mod strangers;
mod support;
mod tokens;
