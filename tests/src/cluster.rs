//! A cluster of real processes: etcd, several coordinators that lead or stand by, workers; everything over TLS.

mod on_hosts;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rewind_job::{JobState, JobStatus, Report};
use rewind_state::etcd_process::Etcd;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{complaint, program, report_in, repository};

const PATIENCE: Duration = Duration::from_secs(300);

pub struct Cluster {
    pub folder: TempDir,
    pub etcd: Etcd,
    coordinators: Vec<String>,
    /// Where artifacts are, as programs take it.
    artifacts: String,
    environment: Vec<(String, String)>,
    /// What stands before `rewind`.
    desk: Vec<String>,
    programs: BTreeMap<String, Running>,
}

struct Running {
    /// What stands before it, to start it on its host.
    entrance: Vec<String>,
    command: Vec<String>,
    child: Option<Child>,
    frozen: bool,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

impl Cluster {
    /// Starts everything and waits until all workers have joined.
    pub fn start(etcd_members: usize, coordinators: usize, workers: usize) -> Self {
        Self::start_with(etcd_members, coordinators, workers, None, Vec::new())
    }

    /// The same with artifacts elsewhere than in a folder of its own, and with these variables for its programs.
    pub fn start_with(
        etcd_members: usize,
        coordinators: usize,
        workers: usize,
        artifacts: Option<String>,
        environment: Vec<(String, String)>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let artifacts = artifacts.unwrap_or_else(|| folder.path().join("artifacts").display().to_string());
        let etcd = Etcd::start(etcd_members);
        let urls = (0..coordinators).map(|_| format!("https://127.0.0.1:{}", free_port())).collect();
        let programs = BTreeMap::new();
        let mut cluster = Self { folder, etcd, coordinators: urls, artifacts, environment, desk: Vec::new(), programs };
        let made = cluster.rewind(&["pki", "create", cluster.path("pki").to_str().expect("printable")]);
        assert!(made.status.success(), "{}", complaint(&made));
        let lines = ["operator", "viewer", "worker"].map(|role| cluster.make_token(role));
        fs::write(cluster.path("tokens"), lines.join("\n")).expect("writes");
        fs::set_permissions(cluster.path("tokens"), fs::Permissions::from_mode(0o600)).expect("is ours");
        // As by default, but for what a test would have to wait for.
        fs::write(cluster.path("timeouts.toml"), "retention = \"8s\"").expect("writes");
        for index in 0..coordinators {
            let mut arguments = cluster.coordinator_arguments(index, cluster.folder.path());
            arguments.extend(["--tokens".into(), cluster.path("tokens").display().to_string()]);
            arguments.push("--die-with-parent".into());
            cluster.launch(&format!("coordinator-{}", index + 1), Vec::new(), arguments);
        }
        for number in 1..=workers {
            let name = format!("worker-{number}");
            let urls = cluster.coordinators.join(",");
            cluster.launch_worker(&name, &urls);
        }
        cluster.eventually("all workers have joined", |cluster| {
            let joined = |n: &str| cluster.log(n).contains("session began");
            (1..=workers).all(|number| joined(&format!("worker-{number}"))).then_some(())
        });
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `ROLE.token`, and returns its line for the coordinators.
    fn make_token(&self, role: &str) -> String {
        let made = String::from_utf8(self.rewind(&["pki", "token", "--role", role]).stdout).expect("text");
        let behind = |start: &str| made.lines().find_map(|line| line.strip_prefix(start)).expect("is printed").trim();
        let file = self.token_file(role);
        fs::write(&file, behind("token (shown once):")).expect("writes");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("is ours");
        behind("line for the tokens file:").to_owned()
    }

    pub fn token_file(&self, role: &str) -> PathBuf {
        self.path(&format!("{role}.token"))
    }

    /// Options for the files in this folder's `pki`.
    fn identity(folder: &Path, role: &str) -> Vec<String> {
        let file = |name: String| folder.join("pki").join(name).display().to_string();
        vec![
            "--ca".into(),
            file("ca.pem".into()),
            "--certificate".into(),
            file(format!("{role}.pem")),
            "--key".into(),
            file(format!("{role}.key")),
        ]
    }

    /// With its files in this folder.
    fn coordinator_arguments(&self, index: usize, folder: &Path) -> Vec<String> {
        let address = self.coordinators[index].trim_start_matches("https://").to_owned();
        let dir = folder.join(format!("coordinator-{}", index + 1)).display().to_string();
        let mut arguments: Vec<String> = vec!["rewind-coordinator".into(), "--listen".into(), address];
        arguments.extend(["--dir".into(), dir, "--artifacts".into(), self.artifacts.clone()]);
        arguments.extend(["--timeouts".into(), folder.join("timeouts.toml").display().to_string()]);
        arguments.extend(["--etcd".into(), self.etcd.endpoints().join(",")]);
        arguments.extend(["--data-root".into(), repository().display().to_string()]);
        arguments.extend(Self::identity(folder, "coordinator"));
        arguments
    }

    /// Starts one more worker, which reaches its coordinators at these URLs.
    pub fn launch_worker(&mut self, name: &str, urls: &str) {
        let mut arguments = self.worker_arguments(name, urls, self.folder.path());
        arguments.push("--die-with-parent".into());
        self.launch(name, Vec::new(), arguments);
    }

    fn worker_arguments(&self, name: &str, urls: &str, folder: &Path) -> Vec<String> {
        let mut arguments: Vec<String> = vec!["rewind-worker".into(), "--name".into(), name.into()];
        arguments.extend(["--coordinator".into(), urls.into()]);
        arguments.extend(["--artifacts".into(), self.artifacts.clone()]);
        arguments.extend(["--data-root".into(), repository().display().to_string()]);
        arguments.extend(["--flight-records".into(), folder.join("flights").display().to_string()]);
        arguments.extend(Self::identity(folder, "worker"));
        arguments
    }

    fn launch(&mut self, name: &str, entrance: Vec<String>, command: Vec<String>) {
        self.programs.insert(name.to_owned(), Running { entrance, command, child: None, frozen: false });
        self.restart(name);
    }

    /// Starts a program that is not running.
    pub fn restart(&mut self, name: &str) {
        let fail_points = self.fail_points(name);
        fs::create_dir_all(&fail_points).expect("a folder");
        // A host's programs write here as to a console: it outlives the host.
        let log = File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).expect("a log");
        let running = self.programs.get_mut(name).expect("it was launched");
        let mut line = running.entrance.clone();
        line.push(program(&running.command[0]).display().to_string());
        line.extend_from_slice(&running.command[1..]);
        let child = Command::new(&line[0])
            .args(&line[1..])
            .env("REWIND_FAIL_POINTS", fail_points)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        running.child = Some(child);
        running.frozen = false;
    }

    fn fail_points(&self, name: &str) -> PathBuf {
        self.path("fail-points").join(name)
    }

    /// The program is to kill (or `stop`) itself where it comes to this point. Returns whether it did within `time`.
    pub fn fails_at(&mut self, name: &str, point: &str, wish: &str, time: Duration) -> bool {
        let file = self.fail_points(name).join(point);
        fs::write(&file, wish).expect("writes");
        let begun = Instant::now();
        while file.exists() && begun.elapsed() < time {
            std::thread::sleep(Duration::from_millis(5));
        }
        let hit = fs::remove_file(&file).is_err();
        if hit && wish == "stop" {
            self.programs.get_mut(name).expect("it was launched").frozen = true;
        }
        hit
    }

    pub fn names(&self) -> Vec<String> {
        self.programs.keys().cloned().collect()
    }

    fn signal(&self, name: &str, signal: Signal) {
        let child = self.programs[name].child.as_ref().expect("it runs");
        let pid = Pid::from_raw(child.id() as i32).expect("a process has a number");
        // A worker may have ended by itself.
        let _ = kill_process(pid, signal);
    }

    /// SIGKILL.
    pub fn kill(&mut self, name: &str) {
        let running = self.programs.get_mut(name).expect("it was launched");
        if let Some(mut child) = running.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and its end; returns how long that took.
    pub fn terminate(&mut self, name: &str) -> Duration {
        let begun = Instant::now();
        self.signal(name, Signal::TERM);
        let mut child = self.programs.get_mut(name).and_then(|running| running.child.take()).expect("it runs");
        let status = child.wait().expect("it ends");
        assert!(status.success(), "{name}: {status}");
        begun.elapsed()
    }

    pub fn freeze(&mut self, name: &str) {
        self.signal(name, Signal::STOP);
        self.programs.get_mut(name).expect("it was launched").frozen = true;
    }

    pub fn thaw(&mut self, name: &str) {
        self.signal(name, Signal::CONT);
        self.programs.get_mut(name).expect("it was launched").frozen = false;
    }

    /// Lets go on what is frozen, and starts again what has ended.
    pub fn supervise(&mut self) {
        for name in self.names() {
            if self.programs[&name].frozen {
                self.thaw(&name);
            }
            let child = self.programs.get_mut(&name).and_then(|running| running.child.as_mut());
            if child.is_none_or(|child| !matches!(child.try_wait(), Ok(None))) {
                self.restart(&name);
            }
        }
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// The coordinator that led last, and its term.
    pub fn leader(&self) -> (String, u64) {
        let terms = self.names().into_iter().filter(|name| name.starts_with("coordinator")).filter_map(|name| {
            let log = self.log(&name);
            let line = log.lines().rev().find(|line| line.contains("leads term="))?;
            let term = line.rsplit("term=").next()?.trim().parse().ok()?;
            Some((term, name))
        });
        let (term, name) = terms.max().expect("somebody led");
        (name, term)
    }

    /// `rewind` as an operator.
    pub fn rewind(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("rewind runs")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut line = self.desk.clone();
        line.push(program("rewind").display().to_string());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(arguments).current_dir(repository()).stdin(Stdio::null());
        if arguments[0] != "pki" {
            command.arg("--coordinator").arg(self.coordinators.join(","));
            command.args(Self::identity(self.folder.path(), "operator"));
        }
        command
    }

    /// `rewind` with these files instead of an operator's.
    pub fn rewind_as(&self, role: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("rewind"));
        command.args(arguments).arg("--coordinator").arg(self.coordinators.join(",")).stdin(Stdio::null());
        match role {
            Some(role) => command.args(Self::identity(self.folder.path(), role)),
            None => command.arg("--ca").arg(self.path("pki").join("ca.pem")),
        };
        command.output().expect("rewind runs")
    }

    /// `rewind` with a token, or with what this file holds.
    pub fn rewind_with_token(&self, file: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("rewind"));
        command.args(arguments).arg("--coordinator").arg(self.coordinators.join(",")).stdin(Stdio::null());
        command.arg("--ca").arg(self.path("pki").join("ca.pem")).arg("--token-file").arg(file);
        command.output().expect("rewind runs")
    }

    pub fn coordinator_url(&self, index: usize) -> &str {
        &self.coordinators[index]
    }

    pub fn submit(&self, specification: &str) -> String {
        let file = self.path("specification.toml");
        fs::write(&file, specification).expect("writes");
        let output = self.rewind(&["submit", file.to_str().expect("printable")]);
        assert!(output.status.success(), "{}", complaint(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// None while no coordinator answers.
    pub fn status(&self, job: &str) -> Option<JobStatus> {
        let output = self.rewind(&["jobs", "--json"]);
        let jobs: Vec<JobStatus> = serde_json::from_slice(&output.stdout).ok()?;
        jobs.into_iter().find(|status| status.job.0 == job)
    }

    /// Waits until a round of a step is committed.
    pub fn wait_for_round(&mut self, job: &str, step: u32, round: u32) {
        self.eventually("a round is committed", |cluster| {
            let committed = cluster.status(job)?.committed?;
            ((committed.0.0, committed.1.0) >= (step, round)).then_some(())
        });
    }

    /// Waits until a job ends well; returns its report.
    pub fn report(&mut self, job: &str) -> Report {
        let status = self.eventually("the job ends", |cluster| cluster.status(job).filter(|s| s.state.is_final()));
        assert_eq!(status.state, JobState::Finished, "{}", status.reason);
        let out = self.path(&format!("report-{job}"));
        let output = self.rewind(&["report", job, "--out", out.to_str().expect("printable")]);
        assert!(output.status.success(), "{}", complaint(&output));
        report_in(&out)
    }

    /// What was decided about a job.
    pub fn events(&self, job: &str) -> String {
        String::from_utf8_lossy(&self.rewind(&["events", job]).stdout).into_owned()
    }

    /// Waits for a state, never for a time.
    pub fn eventually<T>(&mut self, what: &str, state: impl Fn(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = state(self) {
                return value;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn logs(&self) -> String {
        let tail = |name: &String| {
            let log = self.log(name);
            let lines: Vec<&str> = log.lines().collect();
            format!("== {name}\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        self.names().iter().map(tail).collect()
    }

    pub fn artifacts(&self) -> PathBuf {
        self.path("artifacts")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for name in self.names() {
            self.kill(&name);
        }
    }
}

/// Weights of all steps, to compare bits.
pub fn bits(report: &Report) -> Vec<(String, String)> {
    report.measured().map(|measured| (measured.name.clone(), measured.weights.0.clone())).collect()
}

/// Every artifact of a folder, with its size.
pub fn artifacts_in(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(artifacts_in(&entry.path()));
        } else if entry.file_name().len() == 64
            && let Ok(metadata) = entry.metadata()
        {
            // Named by its SHA-256; others are the store's own files.
            found.push((entry.path(), metadata.len()));
        }
    }
    found.sort();
    found
}
