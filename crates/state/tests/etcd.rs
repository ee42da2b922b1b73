//! The state store on real etcd, of one member and of three, while members are killed, frozen and restarted.

use std::{
    net::TcpListener,
    sync::mpsc::RecvTimeoutError,
    thread,
    time::{Duration, Instant},
};

use rewind_job::Term;
use rewind_state::{
    EtcdOptions, EtcdStore, LARGEST_VALUE, StateStore, StoreError, Write, conformance, etcd_process::Etcd,
};

const LEASE: Duration = Duration::from_secs(2);
const LONG_LEASE: Duration = Duration::from_secs(60);
/// A call's deadline, and what a busy machine adds.
const ONE_CALL: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(30);

fn put(key: &str, value: &[u8]) -> Write {
    Write { key: key.into(), value: Some(value.into()), expected: None }
}

fn put_over(key: &str, value: &[u8], expected: u64) -> Write {
    Write { expected: Some(expected), ..put(key, value) }
}

/// The same call again until etcd is there, each in time; how long it took, and how often etcd was away.
fn until_done(call: impl Fn() -> Result<(), StoreError>) -> (Duration, usize) {
    let begun = Instant::now();
    for away in 0.. {
        let this = Instant::now();
        match call() {
            Ok(()) => return (begun.elapsed(), away),
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
        }
        assert!(this.elapsed() < ONE_CALL, "a call took {:?}", this.elapsed());
        assert!(begun.elapsed() < PATIENCE, "etcd does not come back");
    }
    unreachable!()
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
fn no_write_is_lost_or_doubled_while_one_leader_of_etcd_after_another_is_killed() {
    let mut etcd = Etcd::start(3);
    let store = etcd.store("fleet/");
    let term = store.campaign("one", LONG_LEASE).expect("campaigns").term;
    thread::scope(|scope| {
        let writes = scope.spawn(|| {
            let (mut count, mut longest) = (0_u64, Duration::ZERO);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(9) {
                let number = format!("n/{count:06}");
                let counter =
                    if count == 0 { put("counter", b"0") } else { put_over("counter", number.as_bytes(), count) };
                let writes = [put(&number, number.as_bytes()), counter];
                longest = longest.max(until_done(|| store.write(term, &writes)).0);
                count += 1;
            }
            (count, longest)
        });
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(1000));
            let leader = etcd.leader();
            etcd.kill_member(leader);
            thread::sleep(Duration::from_millis(1500));
            etcd.start_member(leader);
            etcd.wait_for_member(leader);
        }
        let (count, longest) = writes.join().expect("it writes");
        println!("{count} writes; the longest wait while a leader died: {longest:?}");
        let listed = store.list("n/").expect("lists");
        assert_eq!(listed.len() as u64, count, "none is lost");
        assert!(listed.iter().all(|(key, value, version)| value == key.as_bytes() && *version == 1), "none is doubled");
        assert_eq!(store.read("counter").expect("reads").expect("is there").1, count);
    });
}

#[test]
fn a_frozen_member_costs_one_turn_and_a_frozen_leader_an_election() {
    let etcd = Etcd::start(3);
    let store = etcd.store("fleet/");
    let term = store.campaign("one", LONG_LEASE).expect("campaigns").term;
    for member in 0..3 {
        let what = if etcd.leader() == member { "leader" } else { "follower" };
        etcd.freeze_member(member);
        let mut longest = Duration::ZERO;
        for number in 0..20 {
            let write = put(&format!("{member}/{number}"), b"");
            longest = longest.max(until_done(|| store.write(term, std::slice::from_ref(&write))).0);
        }
        println!("a frozen {what}: the longest write took {longest:?}");
        if what == "follower" {
            assert!(longest < Duration::from_secs(1), "the other members answer: {longest:?}");
        }
        store.renew(term).expect("renews while a member is frozen");
        etcd.thaw_member(member);
        until_done(|| store.write(term, &[put(&format!("{member}/after"), b"")]));
        thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(store.list("").expect("lists").len(), 63);
}

fn an_outage_loses_nothing(members: usize) {
    let mut etcd = Etcd::start(members);
    let store = etcd.store("fleet/");
    let term = store.campaign("one", Duration::from_secs(10)).expect("campaigns").term;
    store.write(term, &[put("a", b"1")]).expect("writes");
    let changes = store.watch_leader().expect("watches");
    etcd.kill_all();
    let killed = Instant::now();
    let in_time = |what: &str, outcome: Result<(), StoreError>, begun: Instant| {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{what}: {outcome:?}");
        assert!(begun.elapsed() < ONE_CALL, "{what} took {:?}", begun.elapsed());
    };
    in_time("write", store.write(term, &[put("b", b"2")]), Instant::now());
    in_time("renew", store.renew(term), Instant::now());
    in_time("campaign", store.campaign("two", LEASE).map(drop), Instant::now());
    in_time("list", store.list("").map(drop), Instant::now());
    in_time("watch", store.watch_leader().map(drop), Instant::now());
    in_time("connect", EtcdStore::connect(etcd.options("fleet/")).map(drop), Instant::now());
    assert_eq!(changes.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected), "a broken watch is closed");
    thread::sleep(Duration::from_secs(2).saturating_sub(killed.elapsed()));
    etcd.start_all();
    until_done(|| store.write(term, &[put("b", b"2")]));
    store.renew(term).expect("a short outage ends no lease");
    assert_eq!(store.read("a").expect("reads"), Some((b"1".to_vec(), 1)));
    assert_eq!(store.read("b").expect("reads"), Some((b"2".to_vec(), 1)));
    let changes = store.watch_leader().expect("watches again");
    store.resign(term).expect("resigns");
    changes.recv_timeout(Duration::from_secs(1)).expect("the new watch works");
}

#[test]
fn an_outage_of_one_member_is_an_answer_in_time_and_loses_nothing() {
    an_outage_loses_nothing(1);
}

#[test]
fn an_outage_of_three_members_is_an_answer_in_time_and_loses_nothing() {
    an_outage_loses_nothing(3);
}

#[test]
fn after_an_outage_longer_than_the_lease_the_leader_goes_on_or_hears_that_it_is_deposed() {
    let mut etcd = Etcd::start(1);
    let store = etcd.store("fleet/");
    let term = store.campaign("one", Duration::from_secs(1)).expect("campaigns").term;
    etcd.kill_all();
    thread::sleep(Duration::from_secs(3));
    etcd.start_all();
    let begun = Instant::now();
    let outcome = loop {
        match store.renew(term) {
            Err(StoreError::Unavailable(_)) => assert!(begun.elapsed() < PATIENCE),
            outcome => break outcome,
        }
    };
    println!("a lease of 1 s after an outage of 3 s: {outcome:?}");
    match outcome {
        Ok(()) => store.write(term, &[put("a", b"")]).expect("writes"),
        Err(StoreError::Deposed(over)) => assert_eq!(over, term),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn of_two_that_campaign_at_once_one_wins_and_terms_grow() {
    let etcd = Etcd::start(1);
    let stores = [etcd.store("fleet/"), etcd.store("fleet/")];
    let mut last = Term(0);
    let mut won = [0; 2];
    for round in 0..50 {
        let leaders = thread::scope(|scope| {
            let campaigns: Vec<_> = stores
                .iter()
                .zip(["0", "1"])
                .map(|(store, name)| scope.spawn(move || store.campaign(name, LONG_LEASE).expect("campaigns")))
                .collect();
            campaigns.into_iter().map(|campaign| campaign.join().expect("ends")).collect::<Vec<_>>()
        });
        assert_eq!(leaders[0], leaders[1], "both know the one leader");
        assert!(leaders[0].term > last, "round {round}");
        last = leaders[0].term;
        let winner: usize = leaders[0].address.parse().expect("one of the two");
        won[winner] += 1;
        stores[winner].write(last, &[put(&format!("round/{round}"), b"")]).expect("the winner writes");
        stores[0].resign(last).expect("resigns");
    }
    println!("won: {won:?}");
}

#[test]
fn a_leader_that_stalled_beyond_its_lease_writes_nothing() {
    let etcd = Etcd::start(1);
    let (stalled, next) = (etcd.store("fleet/"), etcd.store("fleet/"));
    let term = stalled.campaign("stalled", LEASE).expect("campaigns").term;
    stalled.write(term, &[put("before", b"1")]).expect("writes");
    let begun = Instant::now();
    let successor = loop {
        let leader = next.campaign("next", LONG_LEASE).expect("campaigns");
        if leader.address == "next" {
            break leader;
        }
        assert!(begun.elapsed() < LEASE + Duration::from_secs(2), "the lease does not end");
        // At the moment the lease ends, too, the answer is one of two.
        thread::sleep(Duration::from_millis(20));
    };
    println!("a silent leader's successor after {:?} (lease {LEASE:?})", begun.elapsed());
    let deposed = |outcome| assert!(matches!(outcome, Err(StoreError::Deposed(over)) if over == term));
    deposed(stalled.write(term, &[put("late", b"1")]));
    deposed(stalled.write(term, &[put("before", b"1")]));
    deposed(stalled.write(term, &[]));
    deposed(stalled.renew(term));
    stalled.resign(term).expect("nothing to give up");
    assert_eq!(stalled.leader().expect("answers"), Some(successor.clone()));
    assert_eq!(next.read("late").expect("reads"), None);
    next.write(successor.term, &[put("late", b"next")]).expect("the successor writes");
}

#[test]
fn renewing_as_the_lease_ends_says_that_it_leads_or_is_deposed() {
    let etcd = Etcd::start(1);
    let store = etcd.store("fleet/");
    let mut deposed = 0;
    for delay in [900, 1100, 1300, 1500, 1700] {
        let term = store.campaign("one", Duration::from_secs(1)).expect("campaigns").term;
        thread::sleep(Duration::from_millis(delay));
        match store.renew(term) {
            Ok(()) => store.write(term, &[]).expect("leads"),
            Err(StoreError::Deposed(_)) => deposed += 1,
            Err(other) => panic!("after {delay} ms: {other}"),
        }
        store.resign(term).expect("resigns");
    }
    println!("deposed {deposed} times of 5");
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
    changes.recv_timeout(Duration::from_secs(1)).expect("the lead is free");
    println!("told of a resignation after {:?}", begun.elapsed());

    leader.campaign("one", LEASE).expect("campaigns");
    changes.recv_timeout(Duration::from_secs(5)).expect("the lead was taken");
    let begun = Instant::now();
    changes.recv_timeout(LEASE + Duration::from_secs(2)).expect("the lease has ended");
    println!("told of a silent leader after {:?} (lease {LEASE:?})", begun.elapsed());
}

#[test]
fn a_quiet_watch_lasts_and_one_on_a_frozen_member_ends() {
    let etcd = Etcd::start(1);
    let store = etcd.store("fleet/");
    let changes = store.watch_leader().expect("watches");
    // Longer than etcd takes to close a connection that is probed too often.
    assert_eq!(changes.recv_timeout(Duration::from_secs(12)), Err(RecvTimeoutError::Timeout), "nothing happened");
    store.campaign("one", LONG_LEASE).expect("campaigns");
    changes.recv_timeout(Duration::from_secs(1)).expect("the same watch works");
    etcd.freeze_member(0);
    let begun = Instant::now();
    assert_eq!(changes.recv_timeout(Duration::from_secs(10)), Err(RecvTimeoutError::Disconnected));
    println!("a watch on a frozen member ended after {:?}", begun.elapsed());
}

#[test]
fn a_watch_on_a_member_cut_off_from_the_others_ends() {
    let mut etcd = Etcd::start(3);
    let mut options = etcd.options("fleet/");
    options.endpoints.truncate(1);
    let store = EtcdStore::connect(options).expect("connects");
    let changes = store.watch_leader().expect("watches");
    etcd.kill_member(1);
    etcd.kill_member(2);
    let begun = Instant::now();
    assert_eq!(changes.recv_timeout(Duration::from_secs(10)), Err(RecvTimeoutError::Disconnected));
    println!("a watch on a member without a leader ended after {:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(matches!(store.leader(), Err(StoreError::Unavailable(_))), "no stale answer");
    assert!(begun.elapsed() < ONE_CALL);
}

#[test]
fn a_transaction_is_one_up_to_etcds_limits_and_refused_beyond() {
    let etcd = Etcd::start(1);
    let store = etcd.store("fleet/");
    let term = store.campaign("one", LONG_LEASE).expect("campaigns").term;
    let writes = |count: usize| (0..count).map(|n| put(&format!("w/{count}/{n}"), b"x")).collect::<Vec<_>>();
    for count in [100, 127] {
        store.write(term, &writes(count)).expect("writes");
        store.write(term, &writes(count)).expect("the same again is no conflict");
        assert_eq!(store.list(&format!("w/{count}/")).expect("lists").len(), count);
    }
    assert!(matches!(store.write(term, &writes(128)), Err(StoreError::Failed(text)) if text.contains("127")));

    // Each value may be as large as one may be, both together are too much.
    let large = vec![7; LARGEST_VALUE];
    assert!(matches!(store.write(term, &[put("one", &large), put("two", &large)]), Err(StoreError::Failed(_))));
    assert_eq!(store.read("one").expect("reads"), None);

    // What a refused transaction finds may be larger than any request.
    let keys: Vec<String> = (0..6).map(|number| format!("large/{number}")).collect();
    keys.iter().for_each(|key| store.write(term, &[put(key, &large)]).expect("writes"));
    let all: Vec<_> = keys.iter().map(|key| put(key, b"small")).collect();
    assert!(matches!(store.write(term, &all), Err(StoreError::Conflict(key)) if key == "large/0"));

    assert!(matches!(store.write(term, &[put("leader", b"me")]), Err(StoreError::Failed(_))), "the lead is no value");
    store.renew(term).expect("leads");
}

#[test]
fn a_lease_lasts_whole_seconds() {
    let etcd = Etcd::start(1);
    let store = etcd.store("fleet/");
    for asked in [Duration::from_millis(1), Duration::from_millis(1200)] {
        let begun = Instant::now();
        store.campaign("one", asked).expect("campaigns");
        while store.leader().expect("answers").is_some() {
            thread::sleep(Duration::from_millis(20));
        }
        println!("a lease of {asked:?} lasted {:?}", begun.elapsed());
        let whole = Duration::from_secs(asked.as_millis().div_ceil(1000) as u64);
        assert!(begun.elapsed() > whole.mul_f32(0.9) && begun.elapsed() < whole + Duration::from_secs(2));
    }
}

#[test]
fn an_etcd_that_is_not_there_is_named() {
    let begun = Instant::now();
    let error = EtcdStore::connect(EtcdOptions::new(vec!["http://127.0.0.1:1".into()], "a/")).err().expect("refused");
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("http://127.0.0.1:1")), "{error}");
    // One that accepts and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", silent.local_addr().expect("an address"));
    let error = EtcdStore::connect(EtcdOptions::new(vec![silent.clone()], "a/")).err().expect("refused");
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains(&silent)), "{error}");
    assert!(begun.elapsed() < ONE_CALL * 2);
}

#[test]
fn one_endpoint_that_answers_is_enough() {
    let etcd = Etcd::start(1);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut options = etcd.options("a/");
    options.endpoints.insert(0, format!("http://{}", silent.local_addr().expect("an address")));
    options.endpoints.insert(0, "http://127.0.0.1:1".into());
    let store = EtcdStore::connect(options).expect("connects");
    let term = store.campaign("one", LONG_LEASE).expect("campaigns").term;
    store.write(term, &[put("a", b"1")]).expect("writes");
}

#[test]
fn it_may_be_called_and_dropped_on_a_thread_of_another_runtime() {
    let etcd = Etcd::start(1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = etcd.store("a/");
        assert_eq!(store.leader().expect("answers"), None);
    });
}
