//! The same cluster over hosts that share neither memory nor disk, only a network.

use std::{collections::BTreeMap, fs, path::Path};

use rewind_state::etcd_process::{Etcd, ServerCertificate};

use super::Cluster;
use crate::{
    complaint,
    hosts::{DISK, Hosts},
    rewind,
    s3_server::PLACE,
};

/// So many hosts, from the first, have a member of etcd and a coordinator.
const COORDINATORS: usize = 3;

impl Cluster {
    /// Starts a worker on each host, and on the first three a member of etcd and a coordinator; the first one leads. Waits
    /// until all workers have joined. Artifacts are in S3.
    pub fn start_on(hosts: &Hosts) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let addresses: Vec<String> = (1..=COORDINATORS).map(|number| hosts.host(number).address.to_string()).collect();
        let pki = path("pki").display().to_string();
        let made = rewind(&["pki", "create", &pki, "--host", &addresses.join(",")]);
        assert!(made.status.success(), "{}", complaint(&made));
        // As by default, but for what a test would have to wait for.
        fs::write(path("timeouts.toml"), "retention = \"8s\"").expect("writes");
        for number in hosts.numbers() {
            let mut files = vec!["timeouts.toml", "pki/ca.pem", "pki/worker.pem", "pki/worker.key"];
            if number <= COORDINATORS {
                files.extend(["pki/coordinator.pem", "pki/coordinator.key", "pki/signing.pem"]);
            }
            files.iter().for_each(|name| hosts.host(number).give(name, &path(name)));
        }
        let read = |name: &str| fs::read_to_string(path(name)).expect("was made");
        let certificate = ServerCertificate {
            ca: read("pki/ca.pem"),
            certificate: read("pki/coordinator.pem"),
            key: read("pki/coordinator.key"),
        };
        let places = (1..=COORDINATORS).map(|number| hosts.host(number).place_for_etcd()).collect();
        let mut cluster = Self {
            etcd: Etcd::start_at(places, certificate),
            coordinators: addresses.iter().map(|address| format!("https://{address}:7060")).collect(),
            artifacts: PLACE.into(),
            environment: hosts.server.environment(),
            desk: hosts.desk.network_entrance(),
            programs: BTreeMap::new(),
            folder,
        };
        for number in 1..=COORDINATORS {
            cluster.launch_coordinator_on(hosts, number);
            // The first one to listen leads.
            cluster.eventually("it leads, or stands by", |cluster| {
                let log = cluster.log(&format!("coordinator-{number}"));
                log.contains(if number == 1 { "leads term=" } else { "listening" }).then_some(())
            });
        }
        for number in hosts.numbers() {
            cluster.launch_worker_on(hosts, number);
        }
        for number in hosts.numbers() {
            cluster.eventually("all workers have joined", |cluster| {
                cluster.log(&format!("worker-{number}")).contains("session began").then_some(())
            });
        }
        cluster
    }

    fn launch_coordinator_on(&mut self, hosts: &Hosts, number: usize) {
        let disk = Path::new(DISK);
        let mut arguments = self.coordinator_arguments(number - 1, disk);
        let file = |name: &str| disk.join("pki").join(name).display().to_string();
        arguments.extend(["--signing-key".into(), file("signing.pem"), "--etcd-ca".into(), file("ca.pem")]);
        arguments.extend(["--etcd-certificate".into(), file("coordinator.pem")]);
        arguments.extend(["--etcd-key".into(), file("coordinator.key")]);
        self.launch_on(hosts, number, &format!("coordinator-{number}"), arguments);
    }

    fn launch_worker_on(&mut self, hosts: &Hosts, number: usize) {
        let name = format!("worker-{number}");
        let mut arguments = self.worker_arguments(&name, &self.coordinators.join(","), Path::new(DISK));
        arguments.extend(["--bind".into(), hosts.host(number).address.to_string()]);
        self.launch_on(hosts, number, &name, arguments);
    }

    fn launch_on(&mut self, hosts: &Hosts, number: usize, name: &str, arguments: Vec<String>) {
        let mut entrance: Vec<String> = ["setpriv", "--pdeathsig", "KILL"].map(str::to_owned).into();
        entrance.extend(hosts.host(number).entrance());
        self.launch(name, entrance, arguments);
    }

    /// Loses a host for good, with all that ran on it and all its files.
    pub fn lose(&mut self, hosts: &mut Hosts, number: usize) {
        hosts.lose(number);
        if number <= COORDINATORS {
            self.etcd.kill_member(number - 1);
        }
        for name in [format!("coordinator-{number}"), format!("worker-{number}")] {
            if self.programs.contains_key(&name) {
                self.kill(&name);
            }
        }
    }
}
