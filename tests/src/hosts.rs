//! Hosts within this machine: each has an address, a disk and processes of its own, and all of them go with it.
//!
//! A host is three namespaces (network, mounts, processes) that its first process holds; the kernel ends whatever runs on
//! it with that process, which dies with the test. Its disk is a tmpfs. All else of the file system is there read-only,
//! as if every host was installed from one image: programs, libraries, data and given weights.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rewind_state::etcd_process::{Place, in_network, spawn};

use crate::{
    network::{INTERFACE, Network},
    repository,
    s3_server::S3Server,
};

/// A host's disk, as its programs see it.
pub const DISK: &str = "/var/lib/rewind";

/// What `unshare` makes for a host.
const NAMESPACES: [&str; 6] = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Nothing is left of a lost host within this time, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the first process of a host does: `ready` is its last word.
const BOOT: &str = r#"
ip link set dev lo up
exec 9<"$1"
for mount in $(cut -d ' ' -f 5 /proc/self/mountinfo); do
    mount -o remount,bind,ro "$mount" || true
done 2>/dev/null
for folder in /tmp /run /dev/shm /var/lib; do
    mount -t tmpfs -o size=1g,mode=755 tmpfs "$folder"
done
mkdir /var/lib/rewind
# The checkout itself may lie in a folder that each host has of its own.
if [ ! -d "$1/target" ]; then
    mkdir -p "$1"
    # Not by its name, which is hidden by now.
    mount --no-canonicalize --bind /proc/self/fd/9 "$1"
    mount -o remount,bind,ro "$1"
fi
exec 9<&-
ls "$1/target" >/dev/null
if touch "$1/target/written-by-a-host" 2>/dev/null; then
    echo "$1 can be written to" >&2
    exit 1
fi
echo ready
exec sleep infinity
"#;

/// Whether hosts can be had. If not, that the test is not run, and why, is told past the capture of output.
///
/// # Panics
/// In CI (`CI` is set): there no test is skipped.
pub fn can_be_had() -> bool {
    let mut command = Command::new("unshare");
    command.args(NAMESPACES).args(["sh", "-c", "exec 3<>/dev/net/tun"]).stdin(Stdio::null());
    let why = match command.output() {
        Ok(tried) if tried.status.success() => return true,
        Ok(tried) => String::from_utf8_lossy(&tried.stderr).trim().to_owned(),
        Err(error) => format!("unshare: {error}"),
    };
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let why = format!("hosts need namespaces, mounts and TUN devices, as root has them ({why})");
    assert!(std::env::var_os("CI").is_none(), "{test}: {why}, and in CI no test is skipped");
    let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: {why}; `sudo -E make test` runs it");
    false
}

/// The namespaces of a host's files and processes. They, and with them its disk, last as long as anything is in them.
pub struct Namespaces([PathBuf; 2]);

impl Namespaces {
    /// Processes of this machine that are in one of them.
    pub fn inhabitants(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").expect("is mounted").flatten().map(|entry| entry.path());
        let is_inside = |process: &PathBuf| {
            // Those of a process that has ended cannot be read.
            let namespace = |kind| fs::read_link(process.join("ns").join(kind)).ok();
            ["mnt", "pid"].into_iter().filter_map(namespace).any(|namespace| self.0.contains(&namespace))
        };
        let name = |process: PathBuf| {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            format!("{} ({})", process.display(), name.trim())
        };
        processes.filter(is_inside).map(name).collect()
    }
}

/// One host.
pub struct Host {
    pub address: Ipv4Addr,
    holder: Child,
}

impl Host {
    fn start(network: &Network, address: Ipv4Addr) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare"]).args(NAMESPACES);
        command.args(["sh", "-euc", BOOT, "boot"]).arg(repository());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = spawn(command).expect("setpriv and unshare come with util-linux");
        let mut word = String::new();
        let said = BufReader::new(holder.stdout.take().expect("is piped")).read_line(&mut word);
        if said.is_err() || word.trim() != "ready" {
            let mut complaint = String::new();
            let _ = holder.stderr.take().map(|mut stderr| stderr.read_to_string(&mut complaint));
            panic!("a host needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN, and iproute2: {complaint}");
        }
        let host = Self { address, holder };
        network.connect(&host.namespace("net"), address);
        host
    }

    fn process(&self) -> PathBuf {
        Path::new("/proc").join(self.holder.id().to_string())
    }

    fn namespace(&self, kind: &str) -> PathBuf {
        self.process().join("ns").join(kind)
    }

    /// Those of its files and processes.
    pub fn namespaces(&self) -> Namespaces {
        let read = |kind| fs::read_link(self.namespace(kind)).expect("the host is there");
        Namespaces(["mnt", "pid_for_children"].map(read))
    }

    /// What stands before a program to start it on this host. The program ends with it.
    pub fn entrance(&self) -> Vec<String> {
        let namespace = |option: &str, kind: &str| format!("--{option}={}", self.namespace(kind).display());
        let mut entrance = vec!["nsenter".into(), namespace("net", "net"), namespace("mount", "mnt")];
        // What `unshare` has made for its children; it lives outside.
        entrance.push(namespace("pid", "pid_for_children"));
        entrance.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
        entrance
    }

    /// What stands before a program that uses this host's network, and this machine's files.
    pub fn network_entrance(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net={}", self.namespace("net").display())]
    }

    /// A command on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let entrance = self.entrance();
        let mut command = Command::new(&entrance[0]);
        command.args(&entrance[1..]).arg(program).stdin(Stdio::null());
        command
    }

    /// Its disk, as this process sees it.
    pub fn disk(&self) -> PathBuf {
        self.process().join("root").join(DISK.trim_start_matches('/'))
    }

    /// Puts a file on its disk.
    pub fn give(&self, name: &str, file: &Path) {
        let to = self.disk().join(name);
        fs::create_dir_all(to.parent().expect("it lies on the disk")).expect("a folder");
        // With its permissions.
        fs::copy(file, to).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Takes its link down: no connection is closed, and what it sends itself still arrives.
    pub fn lose_link(&self) {
        self.set_link("down");
    }

    pub fn regain_link(&self) {
        self.set_link("up");
    }

    fn set_link(&self, state: &str) {
        let done = self.command("ip").args(["link", "set", "dev", INTERFACE, state]).status();
        assert!(done.expect("iproute2 is installed").success(), "the link is {state}");
    }

    /// Where a member of etcd runs on it.
    pub fn place_for_etcd(&self) -> Place {
        let (folder, folder_from_here) = (Path::new(DISK).join("etcd"), self.disk().join("etcd"));
        let (address, network) = (IpAddr::V4(self.address), self.namespace("net"));
        Place { address, entrance: self.entrance(), network, folder, folder_from_here }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Hosts of a fleet, beside them one with a server of S3's protocol, and one at which an operator sits.
pub struct Hosts {
    pub network: Network,
    hosts: Vec<Option<Host>>,
    pub desk: Host,
    /// Its disk is a folder of the test, in which the server runs: it is never lost.
    storage: Host,
    pub server: S3Server,
}

impl Hosts {
    pub fn start(count: usize) -> Self {
        let network = Network::new();
        let address = |number: usize| Ipv4Addr::new(10, 77, 0, number as u8);
        let hosts = (1..=count).map(|number| Some(Host::start(&network, address(number)))).collect();
        let (desk, storage) = (Host::start(&network, address(100)), Host::start(&network, address(101)));
        let listens_at = (storage.address, 9000);
        let listener = in_network(&storage.namespace("net"), move || TcpListener::bind(listens_at));
        let server = S3Server::start(listener.expect("binds"));
        Self { network, hosts, desk, storage, server }
    }

    /// By its number, from 1.
    pub fn host(&self, number: usize) -> &Host {
        self.hosts[number - 1].as_ref().expect("it is not lost")
    }

    /// Numbers of those that are not lost.
    pub fn numbers(&self) -> Vec<usize> {
        (1..=self.hosts.len()).filter(|number| self.hosts[number - 1].is_some()).collect()
    }

    /// Nothing of a host is left: neither a word on the network, nor a process, nor a file.
    pub fn lose(&mut self, number: usize) {
        let host = self.hosts[number - 1].take().expect("it is not lost");
        self.network.disconnect(host.address);
        let namespaces = host.namespaces();
        drop(host);
        let begun = Instant::now();
        while !namespaces.inhabitants().is_empty() {
            let left = namespaces.inhabitants().join(", ");
            assert!(begun.elapsed() < PATIENCE, "host {number} is not gone after {PATIENCE:?}; still there: {left}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nothing of what one of them sends arrives at any other; what is sent to it does.
    pub fn silence(&self, number: usize) {
        let from = self.host(number).address;
        let others = self.numbers().into_iter().filter(|other| *other != number).map(|other| self.host(other).address);
        others.chain([self.desk.address, self.storage.address]).for_each(|to| self.network.cut(from, to));
    }
}
