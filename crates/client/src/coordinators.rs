//! The coordinators of a fleet, as a worker reaches them: one leads, the others say who does.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rewind_job::Timeouts;
use rewind_proto::{is_not_leader, leader_in};
use rewind_security::ClientTls;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::with_scheme;

/// Longest wait for one attempt to connect.
const CONNECT: Duration = Duration::from_secs(2);

/// A coordinator's URL that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--coordinator {url}: {problem}")]
pub struct AddressError {
    url: String,
    problem: String,
}

/// Where the next session is begun. Clones share what they learn.
#[derive(Clone)]
pub struct Coordinators {
    known: Vec<String>,
    tls: Option<ClientTls>,
    timeouts: Timeouts,
    present: Arc<Mutex<Present>>,
}

struct Present {
    url: String,
    /// Among the known ones.
    next: usize,
    channel: Channel,
}

impl Coordinators {
    /// # Errors
    /// When one of the URLs is none.
    pub fn new(known: Vec<String>, tls: Option<ClientTls>, timeouts: Timeouts) -> Result<Self, AddressError> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let known: Vec<String> = known.iter().map(|address| with_scheme(address, scheme)).collect();
        for url in &known {
            endpoint(url, tls.as_ref(), &timeouts)?;
        }
        let url = known[0].clone();
        let channel = endpoint(&url, tls.as_ref(), &timeouts)?.connect_lazy();
        let present = Present { url, next: 1 % known.len(), channel };
        Ok(Self { known, tls, timeouts, present: Arc::new(Mutex::new(present)) })
    }

    /// The coordinator to talk to now.
    pub fn present(&self) -> (String, Channel) {
        let present = self.lock();
        (present.url.clone(), present.channel.clone())
    }

    /// After a session that broke, or was refused: the leader, if the answer names it; otherwise the next one.
    pub fn turn_to_another(&self, answer: Option<&Status>) {
        let named = answer.filter(|status| is_not_leader(status)).and_then(leader_in);
        let mut present = self.lock();
        let url = match named {
            Some(leader) => leader,
            None => {
                let url = self.known[present.next].clone();
                present.next = (present.next + 1) % self.known.len();
                url
            }
        };
        if let Ok(endpoint) = endpoint(&url, self.tls.as_ref(), &self.timeouts) {
            // A new channel: the old one may hold a connection to a peer that stands still.
            present.channel = endpoint.connect_lazy();
            present.url = url;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn endpoint(url: &str, tls: Option<&ClientTls>, timeouts: &Timeouts) -> Result<Endpoint, AddressError> {
    let problem = |problem: String| AddressError { url: url.to_owned(), problem };
    let endpoint = match tls {
        Some(tls) => tls.endpoint(url).map_err(|error| problem(error.to_string()))?,
        None => Endpoint::from_shared(url.to_owned()).map_err(|error| problem(error.to_string()))?,
    };
    Ok(endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(timeouts.lease / 2)
        .keep_alive_timeout(timeouts.lease)
        .keep_alive_while_idle(true))
}
