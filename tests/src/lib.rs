//! The vocabulary of the tests that need more than one room: a real fleet of real processes.

pub mod cluster;
pub mod hosts;
pub mod network;
pub mod s3_server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rewind_job::{JobState, JobStatus, Report};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for a state, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the repository").to_owned()
}

/// A program of the workspace, built by `make programs`.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in target/debug/deps");
    let program = folder.join(name);
    assert!(program.exists(), "{} is not built: run `make test`", program.display());
    program
}

/// `rewind` with arguments, in the root of the repository.
pub fn rewind(arguments: &[&str]) -> Output {
    Command::new(program("rewind"))
        .args(arguments)
        .current_dir(repository())
        .stdin(Stdio::null())
        .output()
        .expect("rewind runs")
}

/// What a program wrote to standard error.
pub fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running `rewind up`, stopped when dropped.
pub struct Fleet {
    pub folder: TempDir,
    up: Child,
}

impl Fleet {
    pub fn start(workers: u32) -> Self {
        Self::start_with(workers, &["--device", "cpu"], &[])
    }

    /// The same with these options and variables.
    pub fn start_with(workers: u32, options: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), workers, options, environment)
    }

    /// A fleet that goes on with a store that another one has left: a copy of the folder `store`.
    pub fn start_on(store: &Path, workers: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        copy_folder(store, &folder.path().join("fleet"));
        Self::start_in(folder, workers, &["--device", "cpu"], &[])
    }

    fn start_in(folder: TempDir, workers: u32, options: &[&str], environment: &[(&str, &str)]) -> Self {
        let up = Command::new(program("rewind"))
            .args(["up", "--workers", &workers.to_string(), "--dir"])
            .arg(folder.path().join("fleet"))
            .args(options)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("rewind up starts");
        let fleet = Self { folder, up };
        fleet.eventually("the coordinator answers", || {
            let jobs = fleet.ask(&["jobs", "--json"]);
            jobs.status.success().then_some(())
        });
        fleet
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("fleet")
    }

    /// `rewind` about this fleet.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        let dir = self.dir();
        let dir = dir.to_str().expect("a printable folder");
        rewind(&[arguments, &["--dir", dir]].concat())
    }

    /// Submits a specification, given as text; returns the job's name.
    pub fn submit(&self, specification: &str) -> String {
        let file = self.folder.path().join("specification.toml");
        fs::write(&file, specification).expect("writes");
        let output = self.ask(&["submit", file.to_str().expect("printable")]);
        assert!(output.status.success(), "{}", complaint(&output));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Submits a specification that is refused; returns what is said.
    pub fn refusal(&self, specification: &str) -> String {
        let file = self.folder.path().join("refused.toml");
        fs::write(&file, specification).expect("writes");
        let output = self.ask(&["submit", file.to_str().expect("printable")]);
        assert!(!output.status.success(), "it was not refused");
        complaint(&output)
    }

    pub fn status(&self, job: &str) -> JobStatus {
        let output = self.ask(&["jobs", "--json"]);
        let jobs: Vec<JobStatus> = serde_json::from_slice(&output.stdout).expect("a list of jobs");
        jobs.into_iter().find(|status| status.job.0 == job).expect("the job is listed")
    }

    /// Waits until a job fails; returns why.
    pub fn failure(&self, job: &str) -> String {
        let status = self.eventually("the job ends", || {
            let status = self.status(job);
            status.state.is_final().then_some(status)
        });
        assert_eq!(status.state, JobState::Failed, "{}", status.reason);
        status.reason
    }

    /// Waits until a job ends well; returns its report.
    pub fn report(&self, job: &str) -> Report {
        let status = self.eventually("the job ends", || {
            let status = self.status(job);
            status.state.is_final().then_some(status)
        });
        assert_eq!(status.state, JobState::Finished, "{}", status.reason);
        let out = self.folder.path().join(format!("report-{job}"));
        let output = self.ask(&["report", job, "--weights", "--out", out.to_str().expect("printable")]);
        assert!(output.status.success(), "{}", complaint(&output));
        report_in(&out)
    }

    /// Where [`Self::report`] has put a job's report.
    pub fn report_folder(&self, job: &str) -> PathBuf {
        self.folder.path().join(format!("report-{job}"))
    }

    /// The process of a worker, by its place in the fleet (from 1).
    pub fn worker(&self, number: u32) -> Pid {
        let name = format!("worker-{number}");
        self.eventually("the worker runs", || self.processes().into_iter().find(|(_, line)| line.contains(&name))).0
    }

    /// What a program of the fleet has logged: `worker-1`, `coordinator`.
    pub fn log(&self, program: &str) -> String {
        fs::read_to_string(self.dir().join("logs").join(format!("{program}.log"))).unwrap_or_default()
    }

    /// Sends SIGKILL.
    pub fn kill(&self, process: Pid) {
        kill_process(process, Signal::KILL).expect("the process is there");
    }

    /// Everything that runs for this fleet: workers and coordinator, with their command lines.
    pub fn processes(&self) -> Vec<(Pid, String)> {
        let dir = self.dir().display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("proc is mounted").flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default().replace('\0', " ");
            if line.contains(&dir) && (line.contains("rewind-worker") || line.contains("rewind-coordinator")) {
                found.extend(Pid::from_raw(id).map(|pid| (pid, line)));
            }
        }
        found
    }

    /// Waits for a state, never for a time.
    pub fn eventually<T>(&self, what: &str, state: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = state() {
                return value;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the fleet as a user does, with Ctrl-C; returns whether `rewind up` ended well.
    pub fn stop(&mut self) -> bool {
        if let Some(pid) = Pid::from_raw(self.up.id() as i32) {
            let _ = kill_process(pid, Signal::INT);
        }
        self.up.wait().expect("rewind up ends").success()
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.dir().join("logs")).into_iter().flatten().flatten() {
            let log = fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            text += &format!("== {}\n{}\n", entry.path().display(), lines[lines.len().saturating_sub(15)..].join("\n"));
        }
        text
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if matches!(self.up.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes a folder");
    for entry in fs::read_dir(from).expect("there is such a folder") {
        let entry = entry.expect("lists");
        let place = to.join(entry.file_name());
        if entry.file_type().expect("is of a type").is_dir() {
            copy_folder(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).expect("copies");
        }
    }
}

/// Reads a folder's report.json.
pub fn report_in(folder: &Path) -> Report {
    let bytes = fs::read(folder.join("report.json")).expect("there is a report");
    serde_json::from_slice(&bytes).expect("a report")
}

/// The same as plain JSON.
pub fn report_json(folder: &Path) -> Value {
    let bytes = fs::read(folder.join("report.json")).expect("there is a report");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// A job of some seconds: a small convolutional network with BatchNorm, wrong labels, every method.
pub fn small_job(world_size: u32) -> String {
    let root = repository();
    let root = root.display();
    format!(
        r#"
format = 3
name = "small"
# Whoever waits for it asks whether it ran to its end, not what came of it.
fail-if = []
[fleet]
world-size = {world_size}
[model]
architecture = "depthwise-small"
[data]
pool = {{ images = "{root}/.data/digits/images-idx3-ubyte", labels = "{root}/.data/digits/labels-idx1-ubyte" }}
split = {{ train = 600, test = 100, validation = 100, attack = 100 }}
forget = {{ label-noise = {{ share = 0.2, seed = 3 }} }}
[[step]]
name = "pretrained"
pretrain = {{ epochs = 6, batch-size = 32, optimiser = {{ adam = {{ learning-rate = 3e-3 }} }}, schedule = "cosine" }}
[[step]]
name = "retrain"
retrain = {{ epochs = 6, batch-size = 32, optimiser = {{ adam = {{ learning-rate = 3e-3 }} }}, schedule = "cosine" }}
[[step]]
name = "rewinding"
[step.unlearn]
from = "pretrained"
method = {{ rewinding = {{ predictor = "{root}/predictors/equivariant.safetensors", horizon = 8, scale = 0.2 }} }}
forward = {{ optimiser = {{ adam = {{ learning-rate = 1e-3 }} }}, batch-size = 32, batch-norm = "train-recompute" }}
stop = {{ rounds = 3 }}
roll-back = "best-validation"
[[step]]
name = "task-vector"
[step.unlearn]
from = "pretrained"
method = {{ task-vector = {{ lambda = 0.2 }} }}
forward = {{ optimiser = {{ adam = {{ learning-rate = 1e-3 }} }}, batch-size = 32 }}
stop = {{ rounds = 3, utility-budget = 50.0 }}
[[step]]
name = "neg-grad"
[step.unlearn]
from = "pretrained"
method = {{ neg-grad = {{}} }}
forward = {{ optimiser = {{ sgd = {{ learning-rate = 1e-2, momentum = 0.9 }} }}, batch-size = 32 }}
stop = {{ rounds = 2, ua-at-least = 99.0 }}
[[step]]
name = "evaluation"
evaluate = {{}}
"#
    )
}

/// The first `count` samples of an IDX file.
pub fn first_of(file: &str, header: usize, sample: usize, count: usize) -> Vec<u8> {
    let whole = fs::read(repository().join(".data/digits").join(file)).expect("the digits are there");
    let mut part = whole[..header + sample * count].to_vec();
    part[4..8].copy_from_slice(&(count as u32).to_be_bytes());
    part
}
