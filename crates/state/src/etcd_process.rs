//! Real etcd processes on this machine, or on hosts within it, for tests.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tempfile::TempDir;

use crate::{EtcdOptions, EtcdStore, EtcdTls};

const PATIENCE: Duration = Duration::from_secs(60);

/// One or several members, stopped and removed when dropped.
pub struct Etcd {
    folder: TempDir,
    members: Vec<Member>,
    server: Option<ServerCertificate>,
}

/// With it clients, and members of other places, come by TLS and show a certificate of the same authority. In PEM; it
/// must name the members' addresses.
pub struct ServerCertificate {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// A host of its own for a member.
pub struct Place {
    pub address: IpAddr,
    /// What stands before a program to start it there. The program ends with it.
    pub entrance: Vec<String>,
    /// Its network namespace; a member is asked there for its health, also where nobody else reaches it.
    pub network: PathBuf,
    /// A folder of its disk, as programs there see it, …
    pub folder: PathBuf,
    /// … and as this process does.
    pub folder_from_here: PathBuf,
}

struct Member {
    place: Option<Place>,
    client: u16,
    peer: u16,
    /// Health and metrics, without TLS.
    health: u16,
    process: Option<Child>,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Starts a process that dies with this one, if `setpriv --pdeathsig KILL` stands before it. Such a process dies with the thread that starts it: this thread stays.
pub fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static ORDERS: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, child) = mpsc::channel();
    ORDERS.lock().expect("nobody panics with it").send((command, answer)).expect("the thread stays");
    child.recv().expect("the thread stays")
}

/// Does something in another network namespace: sockets that it opens belong there.
pub fn in_network<T: Send + 'static>(namespace: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = File::open(namespace).expect("the namespace is there");
    let there = thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may do that");
        work()
    });
    there.join().expect("nothing panics there")
}

/// One request by HTTP/1.0, and the body of its answer.
fn ask(port: u16, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}

impl Etcd {
    /// Starts `members` and waits until each is healthy.
    pub fn start(members: usize) -> Self {
        Self::start_with(members, None)
    }

    /// As [`Etcd::start`], with TLS for clients.
    pub fn start_with_tls(members: usize, server: ServerCertificate) -> Self {
        Self::start_with(members, Some(server))
    }

    fn start_with(members: usize, server: Option<ServerCertificate>) -> Self {
        let member =
            |_| Member { place: None, client: free_port(), peer: free_port(), health: free_port(), process: None };
        Self::start_members((0..members).map(member).collect(), server)
    }

    /// Starts a member at each place and waits until each is healthy; with TLS also between members.
    pub fn start_at(places: Vec<Place>, server: ServerCertificate) -> Self {
        let member = |place| Member { place: Some(place), client: 2379, peer: 2380, health: 2381, process: None };
        Self::start_members(places.into_iter().map(member).collect(), Some(server))
    }

    fn start_members(members: Vec<Member>, server: Option<ServerCertificate>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(server) = &server {
            let there = |member: &Member| member.place.as_ref().map(|place| place.folder_from_here.clone());
            let places = members.iter().filter_map(there);
            for disk in places.chain([folder.path().to_owned()]) {
                fs::create_dir_all(&disk).expect("a folder");
                let files = [("ca.pem", &server.ca), ("etcd.pem", &server.certificate), ("etcd.key", &server.key)];
                for (name, pem) in files {
                    fs::write(disk.join(name), pem).expect("a file");
                }
            }
        }
        let mut etcd = Self { folder, members, server };
        etcd.start_all();
        etcd
    }

    pub fn endpoints(&self) -> Vec<String> {
        let scheme = if self.server.is_some() { "https" } else { "http" };
        self.members.iter().map(|member| format!("{scheme}://{}:{}", member.address(), member.client)).collect()
    }

    pub fn options(&self, prefix: &str) -> EtcdOptions {
        let mut options = EtcdOptions::new(self.endpoints(), prefix);
        options.tls = self.server.as_ref().map(|server| EtcdTls { ca: server.ca.clone(), client: None });
        options
    }

    /// A store on it, as soon as it answers.
    pub fn store(&self, prefix: &str) -> EtcdStore {
        let begun = Instant::now();
        loop {
            match EtcdStore::connect(self.options(prefix)) {
                Ok(store) => return store,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Where a member finds its files.
    fn folder_of(&self, member: &Member) -> PathBuf {
        member.place.as_ref().map_or(self.folder.path(), |place| &place.folder).to_owned()
    }

    fn log(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("member-{index}.log"))
    }

    /// Starts a member, or starts it again on its data; it answers a little later.
    pub fn start_member(&mut self, index: usize) {
        let peer = |member: &Member| {
            let scheme = if member.place.is_some() { "https" } else { "http" };
            format!("{scheme}://{}:{}", member.address(), member.peer)
        };
        let cluster: Vec<String> =
            self.members.iter().enumerate().map(|(i, member)| format!("member-{i}={}", peer(member))).collect();
        let clients = &self.endpoints()[index];
        let member = &self.members[index];
        let file = |name: &str| self.folder_of(member).join(name);
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(member.place.iter().flat_map(|place| &place.entrance))
            .args(["etcd", "--unsafe-no-fsync", "--logger", "zap"])
            .args(["--name", &format!("member-{index}"), "--initial-cluster", &cluster.join(",")])
            .args(["--listen-client-urls", clients, "--advertise-client-urls", clients])
            .args(["--listen-peer-urls", &peer(member), "--initial-advertise-peer-urls", &peer(member)])
            .args(["--listen-metrics-urls", &format!("http://127.0.0.1:{}", member.health)])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .arg("--data-dir")
            .arg(file(&format!("member-{index}")));
        if self.server.is_some() {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(file("ca.pem"));
            command.arg("--cert-file").arg(file("etcd.pem")).arg("--key-file").arg(file("etcd.key"));
        }
        if member.place.is_some() {
            command.arg("--peer-client-cert-auth").arg("--peer-trusted-ca-file").arg(file("ca.pem"));
            command.arg("--peer-cert-file").arg(file("etcd.pem")).arg("--peer-key-file").arg(file("etcd.key"));
        }
        let log = File::options().create(true).append(true).open(self.log(index)).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.members[index].process = Some(spawn(command).expect("setpriv comes with util-linux"));
    }

    /// Starts the members that do not run, and waits until all are healthy.
    pub fn start_all(&mut self) {
        (0..self.len())
            .filter(|&index| self.members[index].process.is_none())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|index| self.start_member(index));
        (0..self.len()).for_each(|index| self.wait_for_member(index));
    }

    /// Waits until a member is healthy.
    pub fn wait_for_member(&mut self, index: usize) {
        let begun = Instant::now();
        while !self.is_healthy(index) {
            assert!(begun.elapsed() < PATIENCE, "{}", self.complaint(index));
            // Another program may have had its port for a moment.
            if self.members[index]
                .process
                .as_mut()
                .is_some_and(|process| process.try_wait().is_ok_and(|end| end.is_some()))
            {
                thread::sleep(Duration::from_millis(500));
                self.start_member(index);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_healthy(&self, index: usize) -> bool {
        let answer = self.members[index].ask_health("GET /health HTTP/1.0\r\n\r\n");
        answer.is_ok_and(|answer| answer.contains(r#""health":"true""#))
    }

    fn complaint(&self, index: usize) -> String {
        let log = fs::read_to_string(self.log(index)).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        format!("member {index} is not healthy (is etcd installed? scripts/setup does it): {last:?}")
    }

    /// The member that leads the others, of those that run.
    pub fn leader(&self) -> usize {
        let begun = Instant::now();
        let leads = |member: &Member| {
            let metrics = member.ask_health("GET /metrics HTTP/1.0\r\n\r\n");
            metrics.is_ok_and(|metrics| metrics.lines().any(|line| line == "etcd_server_is_leader 1"))
        };
        loop {
            let running = |member: &&Member| member.process.is_some();
            if let Some(index) = self.members.iter().position(|member| running(&member) && leads(member)) {
                return index;
            }
            assert!(begun.elapsed() < PATIENCE, "etcd has no leader");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Calls etcd's JSON interface, for what the store never does, with the token of a user where there are users.
    pub fn command(&self, path: &str, body: &str, token: Option<&str>) -> String {
        let length = body.len();
        let token = token.map_or_else(String::new, |token| format!("Authorization: {token}\r\n"));
        let request = format!("POST {path} HTTP/1.0\r\n{token}Content-Length: {length}\r\n\r\n{body}");
        ask(self.members[0].client, &request).expect("etcd answers")
    }

    fn signal(&self, index: usize, signal: Signal) {
        let process = self.members[index].process.as_ref().expect("the member runs");
        let pid = Pid::from_raw(process.id() as i32).expect("a process has a number");
        kill_process(pid, signal).expect("the process is there");
    }

    /// SIGKILL. A member at a place of its own is gone a moment later.
    pub fn kill_member(&mut self, index: usize) {
        if let Some(mut process) = self.members[index].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// SIGKILL, to all.
    pub fn kill_all(&mut self) {
        (0..self.len()).for_each(|index| self.kill_member(index));
    }

    /// SIGSTOP.
    pub fn freeze_member(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw_member(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl Member {
    fn address(&self) -> IpAddr {
        self.place.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), |place| place.address)
    }

    fn ask_health(&self, request: &'static str) -> io::Result<String> {
        let health = self.health;
        match &self.place {
            Some(place) => in_network(&place.network, move || ask(health, request)),
            None => ask(health, request),
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill_all();
    }
}
