//! Whatever workers and coordinator say comes back from the wire as it was; what says too little is refused by field.

use rewind_job::{
    Assignment, DeviceKind, Digest, Failure, Generation, JobId, LastCollective, Layout, Manifest, Progress, Rank,
    Round, RoundDone, RoundRecord, ShardPlan, Specification, StepIndex, StepOutcome, StepWeights, StopReason,
    TaskAssignment, TaskIndex, Verdict, WorkerCommand, WorkerEvent, Working, WorldSize,
};
use rewind_proto::v1::{self, CoordinatorMessage, WorkerMessage, coordinator_message::Command, worker_message::Event};
use serde_json::json;

fn job() -> (JobId, Generation) {
    ("job-7".into(), Generation(3))
}

fn record() -> RoundRecord {
    let record = json!({
        "round": 2, "loss": 0.1, "forget_accuracy": 99.5, "weight_change": 1e-300, "seconds": 0.30000000000000004,
        "forget_epochs": 4.0, "bytes_moved": u64::MAX,
    });
    serde_json::from_value(record).expect("is a record")
}

fn outcome() -> StepOutcome {
    StepOutcome { selected: Round(1), stop: StopReason { rule: "rounds".into(), text: "all „2“ rounds".into() } }
}

fn specification() -> Specification {
    let text = r#"
        name = "weights and forget data"
        model = { architecture = "lenet", weights = "/w.safetensors" }
        data = { forget = { files = { images = "/i", labels = "/l" } } }
        [[step]]
        name = "unlearned"
        [step.unlearn]
        method = { task-vector = { lambda = { convolution = 1.24, fully-connected = 0.24, bias = 0.1 } } }
        forward = { optimiser = { adamw = { learning-rate = 1e-3 } }, batch-size = 8 }
        stop = { rounds = 2 }
    "#;
    Specification::parse(text, "/".as_ref()).expect("is valid")
}

fn events() -> Vec<WorkerEvent> {
    let (job, generation) = job();
    let layout = Layout::new([("conv.weight".into(), vec![4, 1, 3, 3]), ("conv.bias".into(), vec![4])]);
    let done = |outcome| RoundDone {
        step: StepIndex(1),
        round: Round(2),
        shard: Digest("ab".into()),
        record: record(),
        best: Round(1),
        outcome,
    };
    let durable = |outcome| WorkerEvent::ShardDurable {
        job: job.clone(),
        generation,
        rank: Rank(1),
        round: Box::new(done(outcome)),
    };
    let progress = Progress { step: StepIndex(1), text: "half way".into(), fraction: 0.5 };
    let failure =
        Failure { reason: "the peer is gone".into(), retryable: true, bad_checkpoints: vec![Digest("ef".into())] };
    let last = LastCollective { sequence: 57, operation: "all-reduce".into(), ended: false };
    let weights = vec![StepWeights { step: "unlearned".into(), weights: Digest("cd".into()) }];
    vec![
        joined(None),
        joined(Some(Working { job: job.clone(), generation, committed: Some((StepIndex(1), Round(4))) })),
        WorkerEvent::Heartbeat,
        WorkerEvent::Draining,
        WorkerEvent::TaskDone { job: job.clone(), generation, task: TaskIndex(3), output: Digest("ab".into()) },
        WorkerEvent::Prepared { job: job.clone(), generation, rank: Rank(1), layout },
        durable(None),
        durable(Some(outcome())),
        WorkerEvent::Progress { job: job.clone(), generation, progress },
        WorkerEvent::Finished {
            job: job.clone(),
            generation,
            report: Digest("12".into()),
            weights,
            verdict: Some(Verdict::NotForgotten),
        },
        WorkerEvent::Failed { job: job.clone(), generation, rank: Rank(0), failure },
        WorkerEvent::Left { job: job.clone(), generation, last: None },
        WorkerEvent::Left { job, generation, last: Some(last) },
    ]
}

fn joined(working: Option<Working>) -> WorkerEvent {
    let (worker, version, device) = ("worker-1".into(), "0.1.0".into(), DeviceKind::Cuda);
    WorkerEvent::Joined { worker, process: 7, version, cores: 2, device, working }
}

fn commands() -> Vec<WorkerCommand> {
    let (job, generation) = job();
    let manifest = Manifest {
        step: StepIndex(0),
        round: Round(2),
        generation: Generation(2),
        shards: vec![Digest("ab".into()), Digest("cd".into())],
        record: record(),
        best: Round(2),
        outcome: Some(outcome()),
    };
    let assignment = Assignment {
        job: job.clone(),
        generation,
        rank: Rank(1),
        world_size: WorldSize(2),
        specification: specification(),
        committed: vec![manifest.clone()],
        warnings: vec!["went back to round 1".into()],
    };
    let task = TaskAssignment { job: job.clone(), generation, task: TaskIndex(2), specification: specification() };
    vec![
        WorkerCommand::Assign(Box::new(assignment)),
        WorkerCommand::Begin { job: job.clone(), generation, plan: ShardPlan { boundaries: vec![0, 3, 9] } },
        WorkerCommand::Committed { job: job.clone(), generation, manifest: Box::new(manifest) },
        WorkerCommand::Abort { job, generation, reason: "worker-2 was lost".into() },
        WorkerCommand::RunTask(Box::new(task)),
        WorkerCommand::Acknowledged { sequence: 12 },
        WorkerCommand::Shutdown,
    ]
}

#[test]
fn every_event_and_command_comes_back_as_it_was() {
    for event in events() {
        assert_eq!(WorkerEvent::try_from(WorkerMessage::from(event.clone())).expect("is read"), event);
    }
    for command in commands() {
        assert_eq!(WorkerCommand::try_from(CoordinatorMessage::from(command.clone())).expect("is read"), command);
    }
}

#[test]
fn empty_messages_are_refused() {
    let error = WorkerEvent::try_from(WorkerMessage { event: None, sequence: 0 }).expect_err("refused");
    assert_eq!(error.to_string(), "a message lacks its `event`");
    let error = WorkerCommand::try_from(CoordinatorMessage { command: None, term: 0 }).expect_err("refused");
    assert_eq!(error.to_string(), "a message lacks its `command`");
    for event in [
        Event::Prepared(v1::Prepared::default()),
        Event::ShardDurable(v1::ShardDurable { record_json: "{}".into(), ..Default::default() }),
        Event::Progress(v1::ProgressMade::default()),
        Event::Finished(v1::Finished::default()),
        Event::Failed(v1::Failed::default()),
        Event::Left(v1::Left::default()),
        Event::TaskDone(v1::TaskDone::default()),
    ] {
        let error = WorkerEvent::try_from(WorkerMessage { event: Some(event), sequence: 0 }).expect_err("refused");
        assert_eq!(error.to_string(), "a message lacks its `work`");
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_field() {
    let work = Some(v1::Work { job: "job-7".into(), generation: 3 });
    let prepared = v1::Prepared { work: work.clone(), rank: 0, layout_json: "{\"segments\":3}".into() };
    let error = WorkerEvent::try_from(WorkerMessage { event: Some(Event::Prepared(prepared)), sequence: 0 })
        .expect_err("refused");
    assert!(error.to_string().starts_with("`layout_json` is not valid: invalid type"), "{error}");
    let committed = v1::Committed { work, manifest_json: "null".into() };
    let command = Some(Command::Committed(committed));
    let status =
        tonic::Status::from(WorkerCommand::try_from(CoordinatorMessage { command, term: 0 }).expect_err("refused"));
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().starts_with("`manifest_json` is not valid"), "{status}");
}

#[test]
fn a_progress_that_is_no_number_is_refused_by_its_field() {
    let work = Some(v1::Work { job: "job-7".into(), generation: 3 });
    for fraction in [f64::NAN, f64::INFINITY] {
        let progress = v1::ProgressMade { work: work.clone(), fraction, ..Default::default() };
        let event = Some(Event::Progress(progress));
        let error = WorkerEvent::try_from(WorkerMessage { event, sequence: 1 }).expect_err("refused");
        assert_eq!(error.to_string(), format!("`fraction` is {fraction}"));
    }
}

#[test]
fn a_plan_that_deals_tiles_to_nobody_is_refused_by_its_field() {
    let work = Some(v1::Work { job: "job-7".into(), generation: 3 });
    for boundaries in [vec![], vec![0], vec![1, 2], vec![0, 5, 3]] {
        let command = Some(Command::Begin(v1::Begin { work: work.clone(), boundaries }));
        let error = WorkerCommand::try_from(CoordinatorMessage { command, term: 1 }).expect_err("refused");
        assert!(error.to_string().starts_with("`boundaries` "), "{error}");
    }
}

#[test]
fn a_coordinator_that_stands_by_names_the_leader() {
    let status = rewind_proto::not_leader(Some("http://10.0.0.1:7060"));
    assert!(rewind_proto::is_not_leader(&status));
    assert_eq!(rewind_proto::leader_in(&status).as_deref(), Some("http://10.0.0.1:7060"));
    let status = rewind_proto::not_leader(None);
    assert!(rewind_proto::is_not_leader(&status));
    assert_eq!(rewind_proto::leader_in(&status), None);
    assert!(!rewind_proto::is_not_leader(&tonic::Status::unavailable("the connection broke")));
}

#[test]
fn work_that_a_worker_comes_back_with_is_refused_by_field() {
    for working in ["{}", "null!", "{\"job\":\"job-1\",\"generation\":-1,\"committed\":null}"] {
        let joined = v1::Joined { worker: "worker-1".into(), working_json: Some(working.into()), ..Default::default() };
        let event = Some(Event::Joined(joined));
        let error = WorkerEvent::try_from(WorkerMessage { event, sequence: 0 }).expect_err(working);
        assert!(error.to_string().starts_with("`working_json` is not valid"), "{error}");
    }
}

#[test]
fn a_task_that_lacks_its_specification_is_refused() {
    let work = Some(v1::Work { job: "job-7".into(), generation: 3 });
    let run = v1::RunTask { work, ..Default::default() };
    let command = Some(Command::RunTask(run));
    let error = WorkerCommand::try_from(CoordinatorMessage { command, term: 1 }).expect_err("refused");
    assert!(error.to_string().contains("specification"), "{error}");
}

#[test]
fn an_address_that_is_no_header_is_left_out() {
    let status = rewind_proto::not_leader(Some("http://a\nb"));
    assert_eq!(rewind_proto::leader_in(&status), None);
    assert_eq!(status.code(), tonic::Code::Unavailable);
}
