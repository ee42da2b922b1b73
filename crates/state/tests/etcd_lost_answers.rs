//! What was done although its answer was lost: a proxy before etcd lets requests through and cuts the connection before
//! the answer.

use std::{
    io::{Read, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rewind_state::{EtcdOptions, EtcdStore, StateStore, StoreError, Write, etcd_process::Etcd};

const LEASE: Duration = Duration::from_secs(3);
/// How much later than etcd gives it an answer arrives: enough for a test to hear of it first.
const LATENCY: Duration = Duration::from_millis(100);

struct Proxy {
    address: SocketAddr,
    refuses: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn before(etcd: &Etcd) -> Self {
        let server = etcd.endpoints()[0].trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let refuses = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let proxy = Self { address, refuses: refuses.clone(), connections: connections.clone() };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if refuses.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let both = [client.try_clone(), server.try_clone()].map(|stream| stream.expect("a handle"));
                let other = [client.try_clone(), server.try_clone()].map(|stream| stream.expect("a handle"));
                connections.lock().expect("whole").extend(both);
                let [client_again, server_again] = other;
                thread::spawn(move || pass(client, server_again, Duration::ZERO));
                thread::spawn(move || pass(server, client_again, LATENCY));
            }
        });
        proxy
    }

    fn store(&self) -> EtcdStore {
        let mut options = EtcdOptions::new(vec![format!("http://{}", self.address)], "fleet/");
        options.call = LATENCY * 15;
        EtcdStore::connect(options).expect("connects")
    }

    fn cut(&self) {
        for connection in self.connections.lock().expect("whole").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, latency: Duration) {
    let mut bytes = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        thread::sleep(latency);
        if to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

fn put(key: &str, value: &[u8]) -> Write {
    Write { key: key.into(), value: Some(value.into()), expected: None }
}

#[test]
fn a_campaign_whose_answer_was_lost_is_asked_again_and_won() {
    let etcd = Etcd::start(1);
    let (direct, proxy) = (etcd.store("fleet/"), Proxy::before(&etcd));
    let store = proxy.store();
    let changes = direct.watch_leader().expect("watches");
    let leader = thread::scope(|scope| {
        let campaign = scope.spawn(|| store.campaign("one", LEASE));
        changes.recv_timeout(Duration::from_secs(5)).expect("etcd has given the lead");
        proxy.cut();
        campaign.join().expect("ends").expect("the same call hears of it")
    });
    assert_eq!(leader.address, "one");
    assert_eq!(direct.leader().expect("answers"), Some(leader.clone()));
    store.write(leader.term, &[put("a", b"1")]).expect("it leads");
}

#[test]
fn a_campaign_that_was_won_unheard_leads_at_the_next_call() {
    let etcd = Etcd::start(1);
    let (direct, proxy) = (etcd.store("fleet/"), Proxy::before(&etcd));
    let store = proxy.store();
    let changes = direct.watch_leader().expect("watches");
    thread::scope(|scope| {
        let campaign = scope.spawn(|| store.campaign("one", LEASE));
        changes.recv_timeout(Duration::from_secs(5)).expect("etcd has given the lead");
        proxy.refuse(true);
        proxy.cut();
        let outcome = campaign.join().expect("ends");
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    });
    let lead = direct.leader().expect("answers").expect("somebody leads");
    proxy.refuse(false);
    let heard = Instant::now();
    assert_eq!(store.campaign("one", LEASE).expect("campaigns"), lead, "it leads, and says so");
    // And leads for a whole lease, although more than a second of it had passed.
    thread::sleep((LEASE - Duration::from_millis(200)).saturating_sub(heard.elapsed()));
    store.write(lead.term, &[put("a", b"1")]).expect("it leads still");
}

#[test]
fn a_campaign_that_was_won_unheard_by_one_that_died_ends_with_its_lease() {
    let etcd = Etcd::start(1);
    let (direct, proxy) = (etcd.store("fleet/"), Proxy::before(&etcd));
    let store = proxy.store();
    let changes = direct.watch_leader().expect("watches");
    let won = thread::scope(|scope| {
        let campaign = scope.spawn(|| store.campaign("one", LEASE));
        changes.recv_timeout(Duration::from_secs(5)).expect("etcd has given the lead");
        let won = Instant::now();
        proxy.refuse(true);
        proxy.cut();
        assert!(campaign.join().expect("ends").is_err());
        won
    });
    drop(store);
    while direct.campaign("two", LEASE).expect("campaigns").address != "two" {
        assert!(won.elapsed() < LEASE + Duration::from_secs(2), "nobody leads for too long");
        thread::sleep(Duration::from_millis(20));
    }
    println!("the next leader after {:?} (lease {LEASE:?})", won.elapsed());
}

#[test]
fn a_write_whose_answer_was_lost_happened_once() {
    let etcd = Etcd::start(1);
    let (direct, proxy) = (etcd.store("fleet/"), Proxy::before(&etcd));
    let store = proxy.store();
    let term = store.campaign("one", Duration::from_secs(60)).expect("campaigns").term;
    let is_there = |key: &str| {
        let begun = Instant::now();
        while direct.read(key).expect("reads").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it is not written");
        }
    };
    thread::scope(|scope| {
        let write = scope.spawn(|| store.write(term, &[put("heard", b"1")]));
        is_there("heard");
        proxy.cut();
        write.join().expect("ends").expect("the same call hears of it");
    });
    thread::scope(|scope| {
        let write = scope.spawn(|| store.write(term, &[put("unheard", b"1")]));
        is_there("unheard");
        proxy.refuse(true);
        proxy.cut();
        let outcome = write.join().expect("ends");
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    });
    proxy.refuse(false);
    store.write(term, &[put("unheard", b"1")]).expect("the same again");
    for key in ["heard", "unheard"] {
        assert_eq!(direct.read(key).expect("reads"), Some((b"1".to_vec(), 1)));
    }
}

#[test]
fn a_write_whose_answer_was_lost_as_the_term_ended_is_not_called_unwritten() {
    let etcd = Etcd::start(1);
    let (direct, proxy) = (etcd.store("fleet/"), Proxy::before(&etcd));
    let store = proxy.store();
    let term = store.campaign("one", Duration::from_secs(60)).expect("campaigns").term;
    let begun = Instant::now();
    let outcome = thread::scope(|scope| {
        let write = scope.spawn(|| store.write(term, &[put("a", b"1")]));
        while direct.read("a").expect("reads").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it is not written");
        }
        proxy.refuse(true);
        proxy.cut();
        direct.resign(term).expect("resigns");
        proxy.refuse(false);
        write.join().expect("ends")
    });
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "it was written: {outcome:?}");
    let again = store.write(term, &[put("a", b"1")]);
    assert!(matches!(again, Err(StoreError::Deposed(_))), "this call wrote nothing: {again:?}");
}
