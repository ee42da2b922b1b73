//! Where ranks find each other before they are connected.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A small key-value store that all ranks of a group see.
///
/// It is used while a group forms, from a thread of the group. Keys arrive prefixed. A call may take as long as the
/// timeout it is given, and a store over a network bounds the calls without one itself. The content of a prefix is
/// worthless once its group has formed.
pub trait RendezvousStore: Send + Sync {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Returns the value of `key`, waiting until somebody sets it.
    fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, StoreError>;

    /// Waits until somebody sets `key`.
    fn wait(&self, key: &str, timeout: Duration) -> Result<(), StoreError> {
        self.get(key, timeout).map(drop)
    }

    /// Adds to the decimal number in `key`, 0 where there is none, and returns the sum.
    fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError>;

    /// Whether `key` is set, now.
    fn check(&self, key: &str) -> Result<bool, StoreError>;

    /// Returns whether there was something to delete.
    fn delete(&self, key: &str) -> Result<bool, StoreError>;

    /// Sets `key` to `desired` if it holds `expected`, or is missing and `expected` is empty.
    ///
    /// Returns what `key` holds afterwards, and `expected` where it is missing.
    fn compare_set(&self, key: &str, expected: &[u8], desired: &[u8]) -> Result<Vec<u8>, StoreError>;
}

/// Why a rendezvous store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("nobody set {key} within {timeout:?}")]
    TimedOut { key: String, timeout: Duration },
    #[error("{key} holds no number")]
    NotANumber { key: String },
    #[error("failed to reach the rendezvous store: {detail}")]
    Unavailable { detail: String },
}

/// A rendezvous store for ranks that are threads of one process.
#[derive(Debug, Default)]
pub struct InMemoryStore {
    values: Mutex<HashMap<String, Vec<u8>>>,
    changed: Condvar,
}

impl InMemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    fn values(&self) -> MutexGuard<'_, HashMap<String, Vec<u8>>> {
        // No operation leaves the map half changed.
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RendezvousStore for InMemoryStore {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.values().insert(key.to_owned(), value.to_vec());
        self.changed.notify_all();
        Ok(())
    }

    fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, StoreError> {
        let until = Instant::now() + timeout;
        let mut values = self.values();
        loop {
            if let Some(value) = values.get(key) {
                return Ok(value.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::TimedOut { key: key.to_owned(), timeout });
            }
            values = self.changed.wait_timeout(values, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        let mut values = self.values();
        let before = match values.get(key) {
            None => 0,
            Some(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or_else(|| StoreError::NotANumber { key: key.to_owned() })?,
        };
        let sum = before.wrapping_add(amount);
        values.insert(key.to_owned(), sum.to_string().into_bytes());
        self.changed.notify_all();
        Ok(sum)
    }

    fn check(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.values().contains_key(key))
    }

    fn delete(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.values().remove(key).is_some())
    }

    fn compare_set(&self, key: &str, expected: &[u8], desired: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut values = self.values();
        match values.get(key) {
            Some(current) if current != expected => Ok(current.clone()),
            None if !expected.is_empty() => Ok(expected.to_vec()),
            _ => {
                values.insert(key.to_owned(), desired.to_vec());
                self.changed.notify_all();
                Ok(desired.to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn a_waiting_rank_wakes_when_the_key_is_set() {
        let store = Arc::new(InMemoryStore::new());
        let reader = {
            let store = Arc::clone(&store);
            std::thread::spawn(move || store.get("address", Duration::from_secs(10)))
        };
        store.set("address", b"here").unwrap();
        assert_eq!(reader.join().unwrap(), Ok(b"here".to_vec()));
    }

    #[test]
    fn a_key_that_nobody_sets_is_an_error_that_names_it() {
        let missing = StoreError::TimedOut { key: "address".to_owned(), timeout: SHORT };
        assert_eq!(InMemoryStore::new().get("address", SHORT), Err(missing.clone()));
        assert_eq!(InMemoryStore::new().wait("address", SHORT), Err(missing));
    }

    #[test]
    fn numbers_add_up_and_anything_else_is_refused() {
        let store = InMemoryStore::new();
        assert_eq!(store.add("count", 2), Ok(2));
        assert_eq!(store.add("count", -5), Ok(-3));
        assert_eq!(store.get("count", SHORT), Ok(b"-3".to_vec()));
        store.set("word", b"word").unwrap();
        let key = "word".to_owned();
        assert_eq!(store.add("word", 1), Err(StoreError::NotANumber { key }));
    }

    #[test]
    fn compare_set_changes_only_what_it_expects() {
        let store = InMemoryStore::new();
        assert_eq!(store.compare_set("key", b"a", b"b"), Ok(b"a".to_vec()));
        assert_eq!(store.check("key"), Ok(false));
        assert_eq!(store.compare_set("key", b"", b"a"), Ok(b"a".to_vec()));
        assert_eq!(store.compare_set("key", b"x", b"b"), Ok(b"a".to_vec()));
        assert_eq!(store.compare_set("key", b"a", b"b"), Ok(b"b".to_vec()));
        assert_eq!(store.delete("key"), Ok(true));
        assert_eq!(store.delete("key"), Ok(false));
    }
}
