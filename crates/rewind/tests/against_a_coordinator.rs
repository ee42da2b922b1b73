//! The command line against a coordinator whose answers are written down here.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

use std::{
    pin::Pin,
    process::Output,
    time::{Duration, Instant},
};

use rewind_job::*;
use rewind_proto::{
    to_json,
    v1::{
        ArtifactName, JobList, JobName, JobReport, JobUpdate, ListRequest, Piece, SubmitRequest, TaskStatus,
        WorkerList,
        jobs_server::{Jobs, JobsServer},
    },
};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status};

/// So long the command line tries to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

struct Written;

fn status(state: JobState, reason: &str, fraction: f64) -> JobStatus {
    let progress = Progress { step: StepIndex(0), text: format!("pretrained: epoch {}", fraction * 4.0), fraction };
    JobStatus {
        job: JobId("job-1".into()),
        name: "example".into(),
        state,
        reason: reason.into(),
        generation: Generation(1),
        world_size: WorldSize(1),
        priority: rewind_job::Priority::Normal,
        progress: Some(progress),
        tasks: None,
        committed: None,
        steps: vec!["pretrained".into(), "task-vector".into()],
        submitted_at: 0,
        verdict: None,
        fails: false,
    }
}

fn update(status: &JobStatus) -> JobUpdate {
    let event = JobEvent { sequence: 1, at: 0, generation: Generation(1), text: "1 of 1 workers: starting".into() };
    JobUpdate { status_json: to_json(status), event_json: vec![to_json(&event)] }
}

fn report() -> Report {
    let text = include_str!("../../../examples/quick.toml");
    Report {
        format: 1,
        version: "0.1.0".into(),
        commit: None,
        job: "job-1".into(),
        world_size: WorldSize(1),
        specification: Specification::parse(text, std::path::Path::new("/examples")).unwrap(),
        data: DataSummary { forget: 7, ..DataSummary::default() },
        machine: Machine { threads: 1, libtorch: "2.13.0".into(), cpu_capability: "AVX2".into(), device: "cpu".into() },
        pretrained: None,
        retrain: None,
        methods: vec![],
        stop: vec![],
        recovered: vec![],
        events: vec![],
        warnings: vec![],
        predictor: None,
        activation: None,
        landscape: None,
        samples: None,
        search: None,
    }
}

#[tonic::async_trait]
impl Jobs for Written {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<JobUpdate, Status>> + Send>>;
    type ListTasksStream = Pin<Box<dyn Stream<Item = Result<TaskStatus, Status>> + Send>>;
    type GetArtifactStream = Pin<Box<dyn Stream<Item = Result<Piece, Status>> + Send>>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<JobName>, Status> {
        let text = request.into_inner().specification;
        let specification = Specification::parse(&text, std::path::Path::new("/")).unwrap();
        if specification.name == "refused" {
            return Err(Status::invalid_argument("data.pool.images: /x is missing"));
        }
        Ok(Response::new(JobName { job: "job-1".into() }))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<JobList>, Status> {
        Ok(Response::new(JobList { status_json: vec![to_json(&status(JobState::Running, "2 of 2 workers", 0.5))] }))
    }

    async fn watch(&self, request: Request<JobName>) -> Result<Response<Self::WatchStream>, Status> {
        let states = match request.into_inner().job.as_str() {
            "job-1" => vec![
                status(JobState::Waiting, "waiting for 1 of 1 workers", 0.0),
                status(JobState::Running, "running on 1 worker", 0.25),
                status(JobState::Running, "running on 1 worker", 0.75),
                status(JobState::Finished, "all steps are done", 1.0),
            ],
            "job-2" => vec![status(JobState::Failed, "the data is gone", 0.0)],
            "job-3" => {
                let tasks = Some(TaskCount { total: 3, running: 1, done: 1, left: None });
                vec![JobStatus { tasks, ..status(JobState::Running, "tasks run on idle workers", 0.3) }]
            }
            _ => return Err(Status::not_found("no such job")),
        };
        let updates: Vec<_> = states.iter().map(|status| Ok(update(status))).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(updates))))
    }

    async fn cancel(&self, _: Request<JobName>) -> Result<Response<JobUpdate>, Status> {
        Ok(Response::new(update(&status(JobState::Cancelled, "cancelled by its user", 0.0))))
    }

    async fn pause(&self, _: Request<JobName>) -> Result<Response<JobUpdate>, Status> {
        Ok(Response::new(update(&status(JobState::Running, "running on 1 worker", 0.5))))
    }

    async fn resume(&self, request: Request<JobName>) -> Result<Response<JobUpdate>, Status> {
        match request.into_inner().job.as_str() {
            "job-1" => Ok(Response::new(update(&status(JobState::Waiting, "waiting for workers", 0.5)))),
            _ => Err(Status::not_found("no such job")),
        }
    }

    async fn list_tasks(&self, _: Request<JobName>) -> Result<Response<Self::ListTasksStream>, Status> {
        let task = |task, worker: &str, output: &str| {
            Ok(TaskStatus { task, worker: worker.into(), failures: task, output: output.into() })
        };
        let tasks = [task(0, "", "ab"), task(1, "worker-1", ""), task(2, "", "")];
        Ok(Response::new(Box::pin(tokio_stream::iter(tasks))))
    }

    async fn get_report(&self, request: Request<JobName>) -> Result<Response<JobReport>, Status> {
        if request.into_inner().job != "job-1" {
            return Err(Status::failed_precondition("job-2 has no report yet: running"));
        }
        let weights = vec![StepWeights { step: "../task-vector".into(), weights: Digest("d".into()) }];
        Ok(Response::new(JobReport {
            report_json: to_json(&report()),
            weights_json: to_json(&weights),
            no_certificate: "it took no note of what it read".into(),
            ..JobReport::default()
        }))
    }

    async fn get_artifact(&self, _: Request<ArtifactName>) -> Result<Response<Self::GetArtifactStream>, Status> {
        let pieces = ["bytes ", "in pieces"].map(|piece| Ok(Piece { bytes: piece.into() }));
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn list_workers(&self, _: Request<ListRequest>) -> Result<Response<WorkerList>, Status> {
        Ok(Response::new(WorkerList { workers: vec!["worker-1".into()] }))
    }
}

async fn rewind(arguments: &[&str]) -> Output {
    rewind_with_others("", "", arguments).await
}

/// Coordinators are named before and behind the one that answers.
async fn rewind_with_others(before: &str, behind: &str, arguments: &[&str]) -> Output {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = format!("{before}http://{}{behind}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(JobsServer::new(Written));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    tokio::process::Command::new(env!("CARGO_BIN_EXE_rewind"))
        .args(arguments)
        .env("REWIND_COORDINATOR", addresses)
        .output()
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_submitted_job_is_followed_in_plain_lines_and_leaves_its_report() {
    let out = tempfile::tempdir().unwrap();
    let specification = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/quick.toml");
    let output = rewind(&["submit", specification, "--watch", "--out", out.path().to_str().unwrap()]).await;
    let progress = text(&output.stderr);
    assert!(output.status.success(), "{progress}");
    assert!(progress.contains("job-1: waiting: waiting for 1 of 1 workers"), "{progress}");
    assert!(progress.contains("epoch 3 (75 % of step 1 of 2)"), "{progress}");
    assert!(text(&output.stdout).starts_with("job-1\n"));
    let json = std::fs::read_to_string(out.path().join("report.json")).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
    assert!(std::fs::read_to_string(out.path().join("report.html")).unwrap().contains("No unlearning step ran"));
}

#[tokio::test]
async fn a_refused_specification_names_the_field_and_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spec.toml");
    let text_of = include_str!("../../../examples/quick.toml").replace("quick: one class, one worker", "refused");
    std::fs::write(&file, text_of).unwrap();
    let output = rewind(&["submit", file.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("data.pool.images: /x is missing"));
}

#[tokio::test]
async fn a_failed_job_is_exit_code_1_with_its_reason() {
    let output = rewind(&["watch", "job-2"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("failed: the data is gone"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn an_unknown_job_is_named() {
    let output = rewind(&["watch", "job-9"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no job `job-9`"));
}

#[tokio::test]
async fn machines_read_states_as_json() {
    let jobs = rewind(&["jobs", "--json"]).await;
    let statuses: Vec<JobStatus> = serde_json::from_slice(&jobs.stdout).unwrap();
    assert_eq!(statuses[0].state, JobState::Running);
    let watch = rewind(&["watch", "job-1", "--json"]).await;
    let lines: Vec<JobStatus> = text(&watch.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap().state, JobState::Finished);
    assert_eq!(lines.len(), 4);
}

#[tokio::test]
async fn weights_come_with_the_report_and_stay_in_their_folder() {
    let out = tempfile::tempdir().unwrap();
    let output = rewind(&["report", "job-1", "--out", out.path().to_str().unwrap(), "--weights"]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let weights = std::fs::read_to_string(out.path().join("weights/_.._task-vector.safetensors")).unwrap();
    assert_eq!(weights, "bytes in pieces");
    let said = text(&output.stderr);
    assert!(said.contains("has no certificate: it took no note of what it read"), "{said}");
}

#[tokio::test]
async fn a_job_without_a_report_says_why() {
    let output = rewind(&["report", "job-2", "--out", "/nowhere"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("job-2 has no report yet: running"));
}

#[tokio::test]
async fn decisions_are_listed_with_their_time() {
    let output = rewind(&["events", "job-1"]).await;
    assert!(text(&output.stdout).contains("1970-01-01 00:00:00 UTC  gang 1    1 of 1 workers: starting"));
}

#[tokio::test]
async fn cancelling_says_what_became_of_the_job() {
    let output = rewind(&["cancel", "job-1"]).await;
    assert!(text(&output.stdout).contains("job-1: cancelled: cancelled by its user"));
}

#[tokio::test]
async fn pausing_says_what_was_decided_and_resuming_what_the_job_waits_for() {
    let paused = rewind(&["pause", "job-1"]).await;
    assert_eq!(text(&paused.stdout), "job-1: running: 1 of 1 workers: starting\n");
    let resumed = rewind(&["resume", "job-1"]).await;
    assert_eq!(text(&resumed.stdout), "job-1: waiting: waiting for workers\n");
    let unknown = rewind(&["resume", "job-9"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("job-9"), "{}", text(&unknown.stderr));
}

#[tokio::test]
async fn tasks_are_listed_for_people_and_for_machines() {
    let without = rewind(&["tasks", "job-1"]).await;
    assert!(text(&without.stderr).contains("job-1 makes no histories, so it has no tasks"));
    let listed = rewind(&["tasks", "job-3"]).await;
    let expected = "     0  sha256:ab\n     1  on worker-1  (1 failures)\n     2  open  (2 failures)\n";
    assert_eq!(text(&listed.stdout), expected);
    let json = rewind(&["tasks", "job-3", "--json"]).await;
    let rows: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(rows[1], serde_json::json!({ "task": 1, "worker": "worker-1", "failures": 1, "output": null }));
}

#[tokio::test]
async fn a_coordinator_that_does_not_even_refuse_is_not_waited_for() {
    // One connection fills its backlog; to all others it says nothing, as a machine that is lost.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = socket.listen(0).unwrap();
    let _first = tokio::net::TcpStream::connect(silent.local_addr().unwrap()).await.unwrap();
    let before = format!("http://{},", silent.local_addr().unwrap());
    let begun = Instant::now();
    let output = rewind_with_others(&before, "", &["jobs"]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(begun.elapsed() < CONNECT_TIMEOUT, "it is asked beside the next one: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_coordinator_that_refuses_costs_no_time() {
    // Nothing listens on port 1. With a head start for each of them this would take ten seconds.
    let begun = Instant::now();
    let output = rewind_with_others(&"http://127.0.0.1:1,".repeat(40), "", &["jobs"]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_address_that_is_none_is_named_whoever_answers() {
    let (before, behind) = ("http://127.0.0.1:1,", ",not an address");
    for (before, behind) in [("", behind), (before, behind)] {
        let output = rewind_with_others(before, behind, &["jobs"]).await;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("not an address` is no address"), "{}", text(&output.stderr));
    }
}
