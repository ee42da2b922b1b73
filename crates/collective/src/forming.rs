//! Forming a group: on a thread of its own, beside a deadline and a cancel signal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rewind_job::Rank;

use crate::abandon::abandon;
use crate::shim::{Failure, Group};
use crate::store::{RendezvousStore, StoreError};
use crate::{Backend, CancelSignal, CollectiveError, GroupOptions, Operation};

/// The backend's own timeout lies this much behind the deadline, so that the deadline is the one that is seen.
const BACKEND_TIMEOUT_MARGIN: Duration = Duration::from_secs(1);
/// A wait in the rendezvous store is cut into slices, after which it may find itself abandoned.
const STORE_SLICE: Duration = Duration::from_millis(100);
/// How often a forming group looks at the cancel signal.
const FORMING_SLICE: Duration = Duration::from_millis(2);

/// Forms a group on a thread of its own, which is left behind when the deadline passes first.
pub(crate) fn form(options: GroupOptions, started: Instant) -> Result<Group, CollectiveError> {
    let GroupOptions { rank, world_size, backend, device, store, prefix, deadline, cancel, .. } = options;
    let rendezvous_error =
        |detail: String| CollectiveError::Rendezvous { rank, world_size, prefix: prefix.clone(), detail };
    let rendezvous = Arc::new(Rendezvous::new(store, &prefix));
    let (report, formed) = mpsc::channel();
    let seen_by_the_group = Arc::clone(&rendezvous);
    thread::Builder::new()
        .name("forming-group".to_owned())
        .spawn(move || {
            let timeout = deadline + BACKEND_TIMEOUT_MARGIN;
            let agreed = catch_unwind(AssertUnwindSafe(|| agree(&*seen_by_the_group, rank, &backend, deadline)));
            let panicked =
                || Failure { is_connection: false, message: "the rendezvous store panicked at backend".to_owned() };
            if let Err(failure) = agreed.unwrap_or_else(|_| Err(panicked())) {
                let _ = report.send(Err(failure));
                return;
            }
            let _ = report.send(match backend {
                Backend::Gloo { bind_address } => {
                    Group::gloo(seen_by_the_group, rank, world_size, &bind_address, timeout)
                }
                Backend::Nccl => Group::nccl(seen_by_the_group, rank, world_size, device, timeout),
            });
        })
        .map_err(|error| rendezvous_error(format!("failed to start a thread: {error}")))?;

    let error = loop {
        match formed.recv_timeout(FORMING_SLICE) {
            Ok(Ok(group)) => return Ok(group),
            Ok(Err(failure)) => return Err(rendezvous_error(failure.message)),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(rendezvous_error("the forming thread panicked".to_owned()));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if cancel.is_cancelled() {
            break CollectiveError::Cancelled { rank, operation: Operation::Form, sequence: 0 };
        }
        if started.elapsed() >= deadline {
            break CollectiveError::DeadlineExceeded {
                rank,
                operation: Operation::Form,
                sequence: 0,
                deadline,
                waiting_for: rendezvous.waiting_for(),
            };
        }
    };
    rendezvous.closed.cancel();
    abandon(move || drop(formed.recv()));
    Err(error)
}

/// Whether rank 0 connects its gang by the same backend: ranks that speak differently would wait for each other.
fn agree(store: &dyn RendezvousStore, rank: Rank, backend: &Backend, deadline: Duration) -> Result<(), Failure> {
    let failed = |message: String| Failure { is_connection: false, message };
    let away = |error: StoreError| failed(error.to_string());
    if rank.0 == 0 {
        return store.set("backend", backend.name().as_bytes()).map_err(away);
    }
    let of_rank_0 = store.get("backend", deadline).map_err(away)?;
    if of_rank_0 == backend.name().as_bytes() {
        return Ok(());
    }
    let (mine, other) = (backend.name(), String::from_utf8_lossy(&of_rank_0).into_owned());
    Err(failed(format!("rank 0 connects by {other}, rank {rank} by {mine}: give all workers the same --collective")))
}

/// The caller's store under a prefix, closed when the group is abandoned.
struct Rendezvous {
    store: Arc<dyn RendezvousStore>,
    prefix: String,
    closed: CancelSignal,
    waiting_for: Mutex<Option<String>>,
}

impl Rendezvous {
    fn new(store: Arc<dyn RendezvousStore>, prefix: &str) -> Self {
        Self { store, prefix: prefix.to_owned(), closed: CancelSignal::new(), waiting_for: Mutex::new(None) }
    }

    fn waiting_for(&self) -> Option<String> {
        self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_waiting_for(&self, key: Option<String>) {
        *self.waiting_for.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    fn key(&self, key: &str) -> Result<String, StoreError> {
        if self.closed.is_cancelled() {
            return Err(StoreError::Unavailable { detail: "the group was abandoned while it formed".to_owned() });
        }
        Ok(format!("{}/{key}", self.prefix))
    }

    /// Waits in slices, so that an abandoned group ends soon.
    fn wait_in_slices<T>(
        &self,
        key: &str,
        timeout: Duration,
        wait: impl Fn(&str, Duration) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        loop {
            let key = self.key(key)?;
            let left = timeout.saturating_sub(started.elapsed());
            match wait(&key, left.min(STORE_SLICE)) {
                Err(StoreError::TimedOut { .. }) if !left.is_zero() => {
                    self.set_waiting_for(Some(key));
                }
                answer => {
                    self.set_waiting_for(None);
                    return answer;
                }
            }
        }
    }
}

impl RendezvousStore for Rendezvous {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.store.set(&self.key(key)?, value)
    }

    fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, StoreError> {
        self.wait_in_slices(key, timeout, |key, slice| self.store.get(key, slice))
    }

    fn wait(&self, key: &str, timeout: Duration) -> Result<(), StoreError> {
        self.wait_in_slices(key, timeout, |key, slice| self.store.wait(key, slice))
    }

    fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        self.store.add(&self.key(key)?, amount)
    }

    fn check(&self, key: &str) -> Result<bool, StoreError> {
        self.store.check(&self.key(key)?)
    }

    fn delete(&self, key: &str) -> Result<bool, StoreError> {
        self.store.delete(&self.key(key)?)
    }

    fn compare_set(&self, key: &str, expected: &[u8], desired: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.store.compare_set(&self.key(key)?, expected, desired)
    }
}
