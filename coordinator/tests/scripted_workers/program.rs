//! The program under test, in a folder of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rewind_datasets::{Samples, idx};
use rewind_job::{JobEvent, JobId, JobState, JobStatus, Report, StepWeights};
use rewind_proto::{
    from_json,
    v1::{JobName, JobUpdate, ListRequest, SubmitRequest, jobs_client::JobsClient},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::{Status, transport::Channel};

/// Longest wait for a state, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Coordinator {
    pub folder: TempDir,
    pub address: String,
    child: Child,
}

impl Coordinator {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let samples =
            Samples { shape: [1, 28, 28], images: vec![7; 100 * 784], labels: (0..100).map(|i| i % 10).collect() };
        idx::write(&samples, &folder.path().join("images"), &folder.path().join("labels")).expect("writes");
        let (child, address) = spawn(folder.path(), &[]).await;
        Self { folder, address, child }
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("dir")
    }

    /// SIGKILL, and another process over the same folder.
    pub async fn kill_and_restart(&mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("ends");
        fs::remove_file(self.dir().join("coordinator.addr")).expect("a killed program leaves its address");
        (self.child, self.address) = spawn(self.folder.path(), &[]).await;
    }

    /// Ends, and starts with more arguments.
    pub async fn restart_with(&mut self, arguments: &[&str]) {
        self.terminate().await;
        (self.child, self.address) = spawn(self.folder.path(), arguments).await;
    }

    /// SIGTERM; returns the exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        let id = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(id, Signal::TERM).expect("signals");
        eventually("the coordinator ends", async || self.child.try_wait().expect("waits")).await.code()
    }

    pub async fn jobs(&self) -> JobsClient<Channel> {
        JobsClient::connect(self.address.clone()).await.expect("connects")
    }

    /// Two steps that make weights, of two rounds each, and one that measures.
    pub fn specification(&self, world: u32) -> String {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            r#"
            name = "scripted"
            fleet = {{ world-size = {world} }}
            model = {{ architecture = "mlp" }}
            data = {{ pool = {{ images = "{}", labels = "{}" }}, split = {{ train = 80, test = 10, validation = 10, attack = 0 }}, forget = {{ random = {{ share = 0.2, seed = 1 }} }} }}
            [[step]]
            name = "pretrained"
            pretrain = {{ epochs = 2, batch-size = 8, optimiser = {{ sgd = {{ learning-rate = 0.1 }} }} }}
            [[step]]
            name = "unlearned"
            [step.unlearn]
            from = "pretrained"
            method = {{ neg-grad = {{}} }}
            forward = {{ optimiser = {{ sgd = {{ learning-rate = 0.1 }} }}, batch-size = 8 }}
            stop = {{ rounds = 2 }}
            [[step]]
            name = "evaluation"
            evaluate = {{}}
            "#,
            file("images"),
            file("labels"),
        )
    }

    pub async fn try_submit(&self, specification: String) -> Result<JobId, Status> {
        let submitted = self.jobs().await.submit(SubmitRequest { specification, submission: String::new() }).await?;
        Ok(JobId(submitted.into_inner().job))
    }

    pub async fn submit(&self, world: u32) -> JobId {
        self.try_submit(self.specification(world)).await.expect("is accepted")
    }

    pub async fn status(&self, job: &JobId) -> JobStatus {
        let list = self.jobs().await.list(ListRequest {}).await.expect("lists").into_inner();
        let jobs = list.status_json.iter().map(|json| from_json::<JobStatus>("status", json).expect("is a status"));
        jobs.into_iter().find(|status| &status.job == job).expect("is listed")
    }

    /// All that was decided about a job so far.
    pub async fn events(&self, job: &JobId) -> Vec<JobEvent> {
        let stream = self.jobs().await.watch(JobName { job: job.0.clone() }).await;
        let first = stream.expect("watches").into_inner().message().await.expect("answers").expect("is there");
        read(&first).1
    }

    pub async fn eventually_is(&self, job: &JobId, state: JobState) -> JobStatus {
        eventually(&format!("{job} is {state:?}"), async || {
            Some(self.status(job).await).filter(|status| status.state == state)
        })
        .await
    }

    pub async fn report(&self, job: &JobId) -> Result<(Report, Vec<StepWeights>), Status> {
        let answer = self.jobs().await.get_report(JobName { job: job.0.clone() }).await?.into_inner();
        let report = from_json("report", &answer.report_json).expect("is a report");
        Ok((report, from_json("weights", &answer.weights_json).expect("are weights")))
    }

    pub async fn cancel(&self, job: &JobId) -> Result<JobStatus, Status> {
        Ok(read(&self.jobs().await.cancel(JobName { job: job.0.clone() }).await?.into_inner()).0)
    }

    /// Every update until the job ends.
    pub async fn watch(&self, job: &JobId) -> (Vec<JobStatus>, Vec<JobEvent>) {
        let mut stream = self.jobs().await.watch(JobName { job: job.0.clone() }).await.expect("watches").into_inner();
        let (mut statuses, mut events) = (Vec::new(), Vec::new());
        let end = async {
            while let Some(update) = stream.message().await.expect("goes on") {
                let (status, new) = read(&update);
                statuses.push(status);
                events.extend(new);
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("ends with the job");
        (statuses, events)
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(update: &JobUpdate) -> (JobStatus, Vec<JobEvent>) {
    let events = update.event_json.iter().map(|json| from_json("event", json).expect("is an event"));
    (from_json("status", &update.status_json).expect("is a status"), events.collect())
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rewind-coordinator"));
    command.arg("--dir").arg(folder.join("dir")).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs the program to its end, which must come by itself.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).stderr(Stdio::piped()).output().expect("runs")
}

async fn spawn(folder: &Path, more: &[&str]) -> (Child, String) {
    let log = folder.join("coordinator.log");
    let log = log.to_str().expect("printable");
    let arguments = [&["--listen", "127.0.0.1:0", "--die-with-parent", "--log-file", log], more].concat();
    let child = command(folder, &arguments).spawn();
    let address = folder.join("dir/coordinator.addr");
    let address = eventually("the coordinator tells its address", async || fs::read_to_string(&address).ok()).await;
    (child.expect("starts"), address)
}

/// Waits for a state, never for a time.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to this: {what}");
}
