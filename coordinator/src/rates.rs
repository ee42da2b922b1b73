//! How often users may call, so that no script keeps the others from being heard.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use rewind_security::Caller;
use tonic::{
    Request, Status,
    service::Interceptor,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};

/// Calls of one caller in a second, on average; twice as many at once.
const CALLS_A_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("is not 0");
/// Callers that are remembered before the idle ones are forgotten.
const REMEMBERED: usize = 1024;

/// Who is counted: the name that was proven, else the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    Address(Option<IpAddr>),
}

/// Refuses calls of who calls too often.
#[derive(Clone)]
pub struct Rates(Arc<DefaultKeyedRateLimiter<Key>>);

impl Rates {
    pub fn new() -> Self {
        let burst = CALLS_A_SECOND.saturating_mul(NonZeroU32::new(2).expect("is not 0"));
        Self(Arc::new(RateLimiter::keyed(Quota::per_second(CALLS_A_SECOND).allow_burst(burst))))
    }

    fn take(&self, key: &Key) -> Result<(), Status> {
        if self.0.len() > REMEMBERED {
            self.0.retain_recent();
        }
        self.0.check_key(key).map_err(|_| {
            Status::resource_exhausted(format!(
                "more than {CALLS_A_SECOND} calls a second: wait a moment, and call again"
            ))
        })
    }
}

impl Interceptor for Rates {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let extensions = request.extensions();
        let key = match extensions.get::<Caller>() {
            Some(caller) => Key::Name(caller.name.clone()),
            None => {
                let encrypted = extensions.get::<TlsConnectInfo<TcpConnectInfo>>().map(TlsConnectInfo::get_ref);
                let connection = encrypted.or_else(|| extensions.get::<TcpConnectInfo>());
                Key::Address(connection.and_then(TcpConnectInfo::remote_addr).map(|address| address.ip()))
            }
        };
        self.take(&key)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_too_often_is_refused_and_nobody_else() {
        let rates = Rates::new();
        let (eager, calm) = (Key::Name("eager".into()), Key::Name("calm".into()));
        let refused = (0..2000).filter(|_| rates.take(&eager).is_err()).count();
        assert!((1000..=1600).contains(&refused), "{refused}");
        rates.take(&calm).expect("is heard");
    }

    #[test]
    fn callers_are_forgotten() {
        let rates = Rates::new();
        for number in 0..100_000 {
            rates.take(&Key::Name(number.to_string())).expect("is heard");
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        rates.take(&Key::Name("last".into())).expect("is heard");
        assert!(rates.0.len() < 10_000, "{}", rates.0.len());
    }
}
