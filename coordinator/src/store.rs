//! Where decisions are stored: small values under versioned keys.

/// Counts the writes to one key, from 1.
pub type Version = u64;

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    pub value: Vec<u8>,
    /// The version that must be there now; none: the key must be new.
    pub expected: Option<Version>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another coordinator has written `{0}`")]
    Conflict(String),
    #[error("the state store {0} is in use by another coordinator")]
    InUse(String),
    #[error("the state store failed: {0}")]
    Failed(String),
    #[error("`{key}` in the state store is not readable: {problem}")]
    Unreadable { key: String, problem: String },
}

/// A store of decisions.
pub trait StateStore: Send {
    /// Writes all or nothing, durably.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a key has another version than expected; then nothing is written.
    fn write(&mut self, writes: &[Write]) -> Result<(), StoreError>;

    fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, StoreError>;

    /// All keys that begin with `prefix`, in order.
    fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>, Version)>, StoreError>;
}

/// What every implementation must do.
#[cfg(test)]
pub fn conformance(store: &mut dyn StateStore) {
    let write = |key: &str, value: &[u8], expected| Write { key: key.into(), value: value.into(), expected };
    assert_eq!(store.read("a").expect("reads"), None);
    store.write(&[write("a", b"1", None), write("b/2", b"x", None), write("b/1", b"y", None)]).expect("writes");
    assert_eq!(store.read("a").expect("reads"), Some((b"1".to_vec(), 1)));

    // A key that is there is not new.
    assert!(matches!(store.write(&[write("a", b"2", None)]), Err(StoreError::Conflict(key)) if key == "a"));
    store.write(&[write("a", b"2", Some(1))]).expect("writes");
    assert_eq!(store.read("a").expect("reads"), Some((b"2".to_vec(), 2)));

    // All or nothing: the second write conflicts, so the first did not happen.
    assert!(store.write(&[write("c", b"new", None), write("a", b"3", Some(1))]).is_err());
    assert_eq!(store.read("c").expect("reads"), None);
    assert!(store.write(&[write("d", b"new", Some(7))]).is_err());

    let listed = store.list("b/").expect("lists");
    assert_eq!(listed, [("b/1".to_owned(), b"y".to_vec(), 1), ("b/2".to_owned(), b"x".to_vec(), 1)]);
    assert!(store.list("nothing").expect("lists").is_empty());
}
