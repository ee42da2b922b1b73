//! Real etcd processes on this machine, for tests.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{EtcdOptions, EtcdStore};

/// One or several members, stopped and removed when dropped.
pub struct Etcd {
    folder: TempDir,
    members: Vec<Member>,
}

struct Member {
    client: u16,
    peer: u16,
    process: Option<Child>,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Etcd {
    /// Starts `members` and waits until they answer.
    pub fn start(members: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let members = (0..members).map(|_| Member { client: free_port(), peer: free_port(), process: None }).collect();
        let mut etcd = Self { folder, members };
        (0..etcd.members.len()).for_each(|index| etcd.start_member(index));
        etcd.wait();
        etcd
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://127.0.0.1:{}", member.client)).collect()
    }

    /// A store on it, as soon as it answers.
    pub fn store(&self, prefix: &str) -> EtcdStore {
        let begun = Instant::now();
        loop {
            match EtcdStore::connect(EtcdOptions::new(self.endpoints(), prefix)) {
                Ok(store) => return store,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn wait(&self) {
        drop(self.store("is-it-there/"));
    }

    fn data(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("member-{index}"))
    }

    /// Starts a member, or starts it again on its data.
    pub fn start_member(&mut self, index: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> =
            self.members.iter().enumerate().map(|(i, member)| format!("member-{i}={}", url(member.peer))).collect();
        let data = self.data(index);
        let member = &mut self.members[index];
        let log = std::fs::File::create(self.folder.path().join(format!("member-{index}.log"))).expect("a log");
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("member-{index}"), "--initial-cluster", &cluster.join(",")])
            .args(["--listen-client-urls", &url(member.client), "--advertise-client-urls", &url(member.client)])
            .args(["--listen-peer-urls", &url(member.peer), "--initial-advertise-peer-urls", &url(member.peer)])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .arg("--data-dir")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        member.process = Some(command.spawn().expect("etcd is installed by scripts/setup"));
    }

    fn signal(&self, index: usize, signal: Signal) {
        let process = self.members[index].process.as_ref().expect("the member runs");
        let pid = Pid::from_raw(process.id() as i32).expect("a process has a number");
        kill_process(pid, signal).expect("the process is there");
    }

    /// SIGKILL.
    pub fn kill_member(&mut self, index: usize) {
        if let Some(mut process) = self.members[index].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn freeze_member(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

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

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|index| self.kill_member(index));
    }
}
