//! The state store on real etcd, of one member and of three, while members are killed, frozen and restarted.

use std::{
    thread,
    time::{Duration, Instant},
};

use rewind_job::Term;
use rewind_state::{EtcdOptions, EtcdStore, StateStore, StoreError, Write, conformance, etcd_process::Etcd};

const LEASE: Duration = Duration::from_secs(2);

fn put(key: &str, value: &[u8]) -> Write {
    Write { key: key.into(), value: Some(value.into()), expected: None }
}

#[test]
fn one_member_is_a_state_store() {
    let etcd = Etcd::start(1);
    conformance(&etcd.store("a/"), LEASE, &thread::sleep);
    // Another fleet on the same etcd sees nothing of it.
    assert!(etcd.store("b/").list("").expect("lists").is_empty());
}

#[test]
fn three_members_are_a_state_store() {
    let etcd = Etcd::start(3);
    conformance(&etcd.store("a/"), LEASE, &thread::sleep);
}

#[test]
fn no_write_is_lost_or_doubled_while_members_die_one_after_another() {
    let mut etcd = Etcd::start(3);
    let store = etcd.store("fleet/");
    let term = store.campaign("one", Duration::from_secs(60)).expect("campaigns").term;
    let mut longest = Duration::ZERO;
    for number in 0..60_u32 {
        if number % 20 == 10 {
            etcd.kill_member(number as usize / 20);
        }
        if number % 20 == 19 {
            etcd.start_member(number as usize / 20);
        }
        let begun = Instant::now();
        // The same write again until it is known to have happened.
        while let Err(error) = store.write(term, &[put(&format!("n/{number:04}"), &number.to_be_bytes())]) {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
        }
        longest = longest.max(begun.elapsed());
    }
    println!("longest wait of a write while a member died: {longest:?}");
    let listed = store.list("n/").expect("lists");
    assert_eq!(listed.len(), 60);
    assert!(listed.iter().all(|(_, _, version)| *version == 1), "each was written once");
}

#[test]
fn a_frozen_member_is_waited_for_no_longer_than_a_call_may_take() {
    let etcd = Etcd::start(3);
    let store = etcd.store("fleet/");
    let term = store.campaign("one", Duration::from_secs(60)).expect("campaigns").term;
    etcd.freeze_member(0);
    let begun = Instant::now();
    let mut attempts = 0;
    while let Err(error) = store.write(term, &[put("a", b"1")]) {
        attempts += 1;
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{attempts} attempts: {error}");
    }
    etcd.thaw_member(0);
    assert_eq!(store.read("a").expect("reads"), Some((b"1".to_vec(), 1)));
}

#[test]
fn an_outage_is_an_answer_in_time_and_loses_nothing() {
    let mut etcd = Etcd::start(1);
    let store = etcd.store("fleet/");
    let term = store.campaign("one", Duration::from_secs(10)).expect("campaigns").term;
    store.write(term, &[put("a", b"1")]).expect("writes");
    etcd.kill_member(0);
    let begun = Instant::now();
    assert!(matches!(store.write(term, &[put("b", b"2")]), Err(StoreError::Unavailable(_))));
    assert!(matches!(store.renew(term), Err(StoreError::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(5), "never a hang: {:?}", begun.elapsed());
    etcd.start_member(0);
    let begun = Instant::now();
    while let Err(error) = store.write(term, &[put("b", b"2")]) {
        assert!(matches!(error, StoreError::Unavailable(_)), "a short outage ends no lease: {error}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
    }
    store.renew(term).expect("goes on");
    assert_eq!(store.read("a").expect("reads"), Some((b"1".to_vec(), 1)));
    assert_eq!(store.read("b").expect("reads"), Some((b"2".to_vec(), 1)));
}

#[test]
fn of_two_that_campaign_at_once_one_wins_and_terms_grow() {
    let etcd = Etcd::start(1);
    let stores = [etcd.store("fleet/"), etcd.store("fleet/")];
    let mut last = Term(0);
    for round in 0..20 {
        let leaders = thread::scope(|scope| {
            let campaigns: Vec<_> = stores
                .iter()
                .zip(["one", "two"])
                .map(|(store, name)| {
                    scope.spawn(move || store.campaign(name, Duration::from_secs(30)).expect("campaigns"))
                })
                .collect();
            campaigns.into_iter().map(|campaign| campaign.join().expect("ends")).collect::<Vec<_>>()
        });
        assert_eq!(leaders[0], leaders[1], "both know the one leader");
        assert!(leaders[0].term > last, "round {round}");
        last = leaders[0].term;
        stores[0].resign(last).expect("resigns");
    }
}

#[test]
fn a_standby_wakes_when_the_leader_resigns_or_falls_silent() {
    let etcd = Etcd::start(1);
    let (leader, standby) = (etcd.store("fleet/"), etcd.store("fleet/"));
    let changes = standby.watch_leader().expect("watches");
    let term = leader.campaign("one", LEASE).expect("campaigns").term;
    changes.recv_timeout(Duration::from_secs(5)).expect("the lead was taken");
    let begun = Instant::now();
    leader.resign(term).expect("resigns");
    changes.recv_timeout(Duration::from_secs(5)).expect("the lead is free");
    println!("told of a resignation after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(1));

    leader.campaign("one", LEASE).expect("campaigns");
    changes.recv_timeout(Duration::from_secs(5)).expect("the lead was taken");
    let begun = Instant::now();
    changes.recv_timeout(Duration::from_secs(20)).expect("the lease has ended");
    println!("told of a silent leader after {:?} (lease {LEASE:?})", begun.elapsed());
}

#[test]
fn a_transaction_of_many_writes_is_one_and_of_too_many_is_refused() {
    let etcd = Etcd::start(1);
    let store = etcd.store("fleet/");
    let term = store.campaign("one", Duration::from_secs(60)).expect("campaigns").term;
    let writes = |count: usize| (0..count).map(|n| put(&format!("w/{count}/{n}"), b"x")).collect::<Vec<_>>();
    store.write(term, &writes(100)).expect("writes");
    assert_eq!(store.list("w/100/").expect("lists").len(), 100);
    assert!(matches!(store.write(term, &writes(101)), Err(StoreError::Failed(text)) if text.contains("101")));
}

#[test]
fn an_etcd_that_is_not_there_is_named() {
    let error = EtcdStore::connect(EtcdOptions::new(vec!["http://127.0.0.1:1".into()], "a/")).err().expect("refused");
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
}
