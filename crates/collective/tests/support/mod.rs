//! Ranks as threads, ranks as processes, and a store between processes.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rewind_collective::{CollectiveError, GroupOptions, InMemoryStore, ProcessGroup, RendezvousStore, StoreError};
use rewind_job::{Rank, WorldSize};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

pub const AMPLE: Duration = Duration::from_secs(60);

/// Runs `act` on every rank of a new world of threads; results in rank order.
pub fn on_threads<T: Send>(world_size: u32, act: impl Fn(&mut ProcessGroup) -> T + Sync) -> Vec<T> {
    let store: Arc<dyn RendezvousStore> = Arc::new(InMemoryStore::new());
    thread::scope(|scope| {
        let ranks: Vec<_> = WorldSize(world_size)
            .ranks()
            .map(|rank| {
                let options = GroupOptions::loopback(rank, WorldSize(world_size), Arc::clone(&store), "job-1/1", AMPLE);
                let act = &act;
                scope.spawn(move || act(&mut ProcessGroup::connect(options).unwrap()))
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < AMPLE, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A place in a world that a process takes: the rank, the world, and the prefix of the rendezvous.
#[derive(Clone, Debug)]
pub struct Place {
    pub rank: u32,
    pub world_size: u32,
    pub prefix: String,
}

impl Place {
    pub fn new(rank: u32, world_size: u32, prefix: &str) -> Self {
        Self { rank, world_size, prefix: prefix.to_owned() }
    }

    pub fn options(&self, store: Arc<dyn RendezvousStore>, deadline: Duration) -> GroupOptions {
        GroupOptions::loopback(Rank(self.rank), WorldSize(self.world_size), store, self.prefix.clone(), deadline)
    }

    pub fn join(&self, store: Arc<dyn RendezvousStore>, deadline: Duration) -> Result<ProcessGroup, CollectiveError> {
        ProcessGroup::connect(self.options(store, deadline))
    }
}

const STORE: &str = "REWIND_TEST_STORE";
const PLACES: &str = "REWIND_TEST_PLACES";

/// Another process: this test program again, running its test `peer`. It dies with this process.
pub struct PeerProcess(Child);

impl PeerProcess {
    /// Starts a process that takes the places one after the other.
    pub fn start(store: &StoreServer, places: &[Place]) -> Self {
        let places: Vec<String> =
            places.iter().map(|place| format!("{} {} {}", place.rank, place.world_size, place.prefix)).collect();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["peer", "--exact", "--ignored", "--nocapture"])
            .env(STORE, store.address.to_string())
            .env(PLACES, places.join(","))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// In such a process: the store and the places. None in a process that was not started by a test.
    pub fn assignment() -> Option<(Arc<dyn RendezvousStore>, Vec<Place>)> {
        let address = std::env::var(STORE).ok()?;
        set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
        let places = std::env::var(PLACES)
            .unwrap()
            .split(',')
            .map(|place| {
                let words: Vec<&str> = place.split(' ').collect();
                Place::new(words[0].parse().unwrap(), words[1].parse().unwrap(), words[2])
            })
            .collect();
        Some((Arc::new(StoreClient { address }), places))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    pub fn wait_for_success(mut self) {
        let mut status = None;
        eventually("the peer process ended", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "the peer process failed");
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves an in-memory store to other processes, one connection a call.
pub struct StoreServer {
    pub store: Arc<dyn RendezvousStore>,
    address: std::net::SocketAddr,
}

impl StoreServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let store: Arc<dyn RendezvousStore> = Arc::new(InMemoryStore::new());
        let served = Arc::clone(&store);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let store = Arc::clone(&served);
                // A peer that was killed in a call is no concern of the store.
                thread::spawn(move || {
                    let _ = answer(connection, store.as_ref());
                });
            }
        });
        Self { store, address }
    }
}

fn answer(mut connection: TcpStream, store: &dyn RendezvousStore) -> io::Result<()> {
    let operation = receive(&mut connection)?;
    let key = String::from_utf8(receive(&mut connection)?).unwrap();
    let first = receive(&mut connection)?;
    let second = receive(&mut connection)?;
    let number = || String::from_utf8_lossy(&first).parse::<i64>().unwrap();
    let flag = |found: bool| vec![u8::from(found)];
    let outcome = match operation.as_slice() {
        b"set" => store.set(&key, &first).map(|()| Vec::new()),
        b"get" => store.get(&key, Duration::from_millis(number() as u64)),
        b"add" => store.add(&key, number()).map(|sum| sum.to_string().into_bytes()),
        b"check" => store.check(&key).map(flag),
        b"delete" => store.delete(&key).map(flag),
        b"compare-set" => store.compare_set(&key, &first, &second),
        _ => unreachable!(),
    };
    match outcome {
        Ok(value) => {
            send(&mut connection, b"done")?;
            send(&mut connection, &value)
        }
        Err(StoreError::TimedOut { .. }) => {
            send(&mut connection, b"timed out")?;
            send(&mut connection, b"")
        }
        Err(error) => {
            send(&mut connection, b"failed")?;
            send(&mut connection, error.to_string().as_bytes())
        }
    }
}

fn send(connection: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    connection.write_all(&(bytes.len() as u32).to_le_bytes())?;
    connection.write_all(bytes)
}

fn receive(connection: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    connection.read_exact(&mut bytes)?;
    Ok(bytes)
}

struct StoreClient {
    address: String,
}

impl StoreClient {
    fn ask(&self, operation: &str, key: &str, first: &[u8], second: &[u8]) -> Result<Vec<u8>, StoreError> {
        let exchange = || -> io::Result<(Vec<u8>, Vec<u8>)> {
            let mut connection = TcpStream::connect(&self.address)?;
            for part in [operation.as_bytes(), key.as_bytes(), first, second] {
                send(&mut connection, part)?;
            }
            Ok((receive(&mut connection)?, receive(&mut connection)?))
        };
        let unavailable = |detail: String| StoreError::Unavailable { detail };
        let (outcome, value) = exchange().map_err(|error| unavailable(error.to_string()))?;
        match outcome.as_slice() {
            b"done" => Ok(value),
            b"timed out" => Err(StoreError::TimedOut { key: key.to_owned(), timeout: Duration::ZERO }),
            _ => Err(unavailable(String::from_utf8_lossy(&value).into_owned())),
        }
    }
}

impl RendezvousStore for StoreClient {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.ask("set", key, value, b"").map(drop)
    }

    fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, StoreError> {
        self.ask("get", key, timeout.as_millis().to_string().as_bytes(), b"")
    }

    fn add(&self, key: &str, amount: i64) -> Result<i64, StoreError> {
        let sum = self.ask("add", key, amount.to_string().as_bytes(), b"")?;
        Ok(String::from_utf8_lossy(&sum).parse().unwrap())
    }

    fn check(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.ask("check", key, b"", b"")? == [1])
    }

    fn delete(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.ask("delete", key, b"", b"")? == [1])
    }

    fn compare_set(&self, key: &str, expected: &[u8], desired: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.ask("compare-set", key, expected, desired)
    }
}
