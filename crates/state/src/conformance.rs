//! What every implementation must do.

use std::{
    sync::mpsc::RecvTimeoutError,
    time::{Duration, Instant},
};

use rewind_job::Term;

use crate::{LARGEST_VALUE, StateStore, StoreError, Write};

fn put(key: &str, value: &[u8], expected: Option<u64>) -> Write {
    Write { key: key.into(), value: Some(value.into()), expected }
}

fn delete(key: &str, expected: u64) -> Write {
    Write { key: key.into(), value: None, expected: Some(expected) }
}

/// Panics where `store`, new and empty, does not behave as a state store must. `pass` lets time pass for the store's
/// leases; `lease` is the shortest lease that it takes.
pub fn conformance(store: &dyn StateStore, lease: Duration, pass: &dyn Fn(Duration)) {
    let term = the_first_leader_is_alone(store, lease);
    writes_are_compared_with_versions(store, term);
    transactions_are_whole_or_absent(store, term);
    a_repeated_write_counts_once(store, term);
    lists_are_in_order(store, term);
    values_stay_small(store, term);
    leases_end(store, term, lease, pass);
}

fn the_first_leader_is_alone(store: &dyn StateStore, lease: Duration) -> Term {
    assert_eq!(store.leader().expect("answers"), None);
    assert!(matches!(store.write(Term(1), &[put("early", b"", None)]), Err(StoreError::Deposed(_))));
    assert!(matches!(store.renew(Term(1)), Err(StoreError::Deposed(_))));
    let first = store.campaign("first", lease).expect("campaigns");
    assert_eq!(first.address, "first");
    assert_eq!(store.campaign("second", lease).expect("campaigns"), first, "there is a leader already");
    assert_eq!(store.leader().expect("answers"), Some(first.clone()));
    store.renew(first.term).expect("renews");
    assert!(matches!(store.renew(Term(first.term.0 + 1)), Err(StoreError::Deposed(_))));
    first.term
}

fn writes_are_compared_with_versions(store: &dyn StateStore, term: Term) {
    assert_eq!(store.read("a").expect("reads"), None);
    store.write(term, &[put("a", b"1", None)]).expect("writes");
    assert_eq!(store.read("a").expect("reads"), Some((b"1".to_vec(), 1)));
    assert!(matches!(store.write(term, &[put("a", b"2", None)]), Err(StoreError::Conflict(key)) if key == "a"));
    store.write(term, &[put("a", b"2", Some(1))]).expect("writes");
    assert_eq!(store.read("a").expect("reads"), Some((b"2".to_vec(), 2)));
    assert!(matches!(store.write(term, &[put("a", b"3", Some(1))]), Err(StoreError::Conflict(_))));
    assert!(matches!(store.write(term, &[put("b", b"new", Some(7))]), Err(StoreError::Conflict(key)) if key == "b"));
    store.write(term, &[delete("a", 2)]).expect("deletes");
    assert_eq!(store.read("a").expect("reads"), None);
    store.write(term, &[put("a", b"again", None)]).expect("a deleted key is new");
    assert_eq!(store.read("a").expect("reads"), Some((b"again".to_vec(), 1)));
}

fn transactions_are_whole_or_absent(store: &dyn StateStore, term: Term) {
    assert!(store.write(term, &[put("c", b"new", None), put("a", b"3", Some(9))]).is_err());
    assert_eq!(store.read("c").expect("reads"), None, "the second write conflicts, so the first did not happen");
    store.write(term, &[put("c", b"new", None), put("a", b"3", Some(1)), put("d", b"", None)]).expect("writes");
    assert_eq!(store.read("a").expect("reads"), Some((b"3".to_vec(), 2)));
    assert_eq!(store.read("d").expect("reads"), Some((Vec::new(), 1)), "an empty value is a value");
    let old = Term(term.0 - 1);
    assert!(matches!(store.write(old, &[put("fenced", b"", None)]), Err(StoreError::Deposed(_))));
    assert_eq!(store.read("fenced").expect("reads"), None);
}

fn a_repeated_write_counts_once(store: &dyn StateStore, term: Term) {
    let writes = [put("once", b"x", None), put("d", b"y", Some(1)), delete("c", 1)];
    store.write(term, &writes).expect("writes");
    store.write(term, &writes).expect("its answer may have been lost: the same again is no conflict");
    assert_eq!(store.read("d").expect("reads"), Some((b"y".to_vec(), 2)));
    let other = [put("once", b"other", None)];
    assert!(matches!(store.write(term, &other), Err(StoreError::Conflict(_))), "another value is one");
}

fn lists_are_in_order(store: &dyn StateStore, term: Term) {
    // More than a page of any store.
    let keys: Vec<String> = (0..600).map(|number| format!("list/{number:04}")).collect();
    for chunk in keys.chunks(50) {
        let writes: Vec<Write> = chunk.iter().rev().map(|key| put(key, key.as_bytes(), None)).collect();
        store.write(term, &writes).expect("writes");
    }
    store.write(term, &[put("list0", b"", None), put("lisz", b"", None)]).expect("writes");
    let listed = store.list("list/").expect("lists");
    assert_eq!(listed.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>(), keys);
    assert!(listed.iter().all(|(key, value, version)| value == key.as_bytes() && *version == 1));
    assert!(store.list("nothing/").expect("lists").is_empty());
}

fn values_stay_small(store: &dyn StateStore, term: Term) {
    store.write(term, &[put("large", &vec![7; LARGEST_VALUE], None)]).expect("writes");
    let refused = store.write(term, &[put("larger", &vec![7; LARGEST_VALUE + 1], None)]);
    assert!(matches!(refused, Err(StoreError::TooLarge { key, .. }) if key == "larger"));
    assert_eq!(store.read("large").expect("reads").expect("is there").0.len(), LARGEST_VALUE);
}

fn leases_end(store: &dyn StateStore, first: Term, lease: Duration, pass: &dyn Fn(Duration)) {
    let changes = store.watch_leader().expect("watches");
    // A renewed lease lasts longer than one that is not.
    for _ in 0..4 {
        pass(lease / 2);
        store.renew(first).expect("renews in time");
    }
    let begun = Instant::now();
    while store.leader().expect("answers").is_some() {
        pass(lease / 4);
        assert!(begun.elapsed() < lease * 10 + Duration::from_secs(5), "the lease does not end");
    }
    assert_ne!(changes.recv_timeout(Duration::from_secs(5)), Err(RecvTimeoutError::Timeout), "nobody was told");
    assert!(matches!(store.write(first, &[put("late", b"", None)]), Err(StoreError::Deposed(_))));
    assert!(matches!(store.renew(first), Err(StoreError::Deposed(_))));

    let second = store.campaign("second", lease).expect("campaigns");
    assert_eq!(second.address, "second");
    assert!(second.term > first, "terms grow");
    assert!(matches!(store.write(first, &[put("late", b"", None)]), Err(StoreError::Deposed(_))));
    assert_eq!(store.read("late").expect("reads"), None);
    store.write(second.term, &[put("late", b"second", None)]).expect("the new leader writes");
    store.resign(first).expect("nothing to give up");
    assert_eq!(store.leader().expect("answers"), Some(second.clone()));
    store.resign(second.term).expect("resigns");
    assert_eq!(store.leader().expect("answers"), None);
    let third = store.campaign("third", lease).expect("campaigns");
    assert!(third.address == "third" && third.term > second.term);
    assert_eq!(store.read("late").expect("reads"), Some((b"second".to_vec(), 1)), "what was written stays");
}
