//! A network between hosts. Every packet goes through this process, which may delay it, lose it, or carry nothing one way.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rewind_state::etcd_process::in_network;
use tokio::{
    runtime::Runtime,
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use tokio_tun::Tun;

/// The interface of every host.
pub const INTERFACE: &str = "net0";
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// As on Ethernet: what programs send at once goes in many packets, and any of them may be lost.
const LONGEST_PACKET: usize = 1500;

/// What happens to every packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// One way.
    pub latency: Duration,
    /// At most so much is added, at random. Packets stay in order.
    pub jitter: Duration,
    /// Share of the packets that are lost, at random.
    pub loss: f64,
}

/// The kernel of each host hands its packets to a TUN device, whose other end is here.
pub struct Network {
    runtime: Runtime,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    cables: BTreeMap<Ipv4Addr, Cable>,
    quality: Quality,
    /// From, to.
    cuts: BTreeSet<(Ipv4Addr, Ipv4Addr)>,
    carried: u64,
    lost: u64,
}

struct Cable {
    device: Arc<Tun>,
    reader: AbortHandle,
}

impl Network {
    /// Nobody is connected, and packets are carried at once.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self { runtime: runtime.expect("threads start"), table: Arc::default() }
    }

    /// Gives a network namespace an interface with this address, and connects it.
    pub fn connect(&self, namespace: &Path, address: Ipv4Addr) {
        let runtime = self.runtime.handle().clone();
        let device = in_network(namespace, move || {
            let _entered = runtime.enter();
            let device = Tun::builder().name(INTERFACE).mtu(LONGEST_PACKET as i32);
            device.address(address).netmask(MASK).up().build().map_err(|error| error.to_string())
        });
        let mut devices = device.unwrap_or_else(|error| panic!("a network needs root and /dev/net/tun: {error}"));
        let device = Arc::new(devices.remove(0));
        let reader = self.runtime.spawn(carry(device.clone(), address, self.table.clone())).abort_handle();
        self.lock().cables.insert(address, Cable { device, reader });
    }

    /// Takes an address off the network: nothing is said to those who spoke with it.
    pub fn disconnect(&self, address: Ipv4Addr) {
        if let Some(cable) = self.lock().cables.remove(&address) {
            cable.reader.abort();
        }
    }

    /// From now on packets are treated so, on every way.
    pub fn set_quality(&self, quality: Quality) {
        self.lock().quality = quality;
    }

    /// Packets from one to the other are lost. The way back stays.
    pub fn cut(&self, from: Ipv4Addr, to: Ipv4Addr) {
        self.lock().cuts.insert((from, to));
    }

    /// Takes all cuts back.
    pub fn heal(&self) {
        self.lock().cuts.clear();
    }

    /// Packets carried, and packets lost by chance or at a cut.
    pub fn counts(&self) -> (u64, u64) {
        let table = self.lock();
        (table.carried, table.lost)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where an IPv4 packet goes.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (packet[0] >> 4 == 4).then_some(to.into())
}

impl Table {
    /// When a packet is to arrive, if it arrives.
    fn arrival(&mut self, from: Ipv4Addr, to: Ipv4Addr) -> Option<Instant> {
        if self.cuts.contains(&(from, to)) || rand::random::<f64>() < self.quality.loss {
            self.lost += 1;
            return None;
        }
        self.carried += 1;
        Some(Instant::now() + self.quality.latency + self.quality.jitter.mul_f64(rand::random()))
    }
}

/// Carries what one host sends, a queue for each host that it sends to.
async fn carry(device: Arc<Tun>, from: Ipv4Addr, table: Arc<Mutex<Table>>) {
    let mut ways: BTreeMap<Ipv4Addr, UnboundedSender<(Instant, Vec<u8>)>> = BTreeMap::new();
    let mut packet = [0; LONGEST_PACKET];
    while let Ok(length) = device.recv(&mut packet).await {
        let packet = &packet[..length];
        let Some(to) = destination(packet) else { continue };
        let Some(arrival) = lock(&table).arrival(from, to) else { continue };
        let way = ways.entry(to).or_insert_with(|| {
            let (way, mut packets) = unbounded_channel::<(Instant, Vec<u8>)>();
            let table = table.clone();
            tokio::spawn(async move {
                while let Some((arrival, packet)) = packets.recv().await {
                    sleep_until(arrival).await;
                    let device = lock(&table).cables.get(&to).map(|cable| cable.device.clone());
                    // A device that is down takes nothing: the packet is lost.
                    if let Some(device) = device {
                        let _ = device.send(&packet).await;
                    }
                }
            });
            way
        });
        let _ = way.send((arrival, packet.to_vec()));
    }
}
