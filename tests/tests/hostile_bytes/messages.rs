use prost::Message;
use rewind_hostile_bytes::{Answer, Parser};
use rewind_job::{
    Assignment, DeviceKind, Digest, Failure, Generation, LastCollective, Layout, Manifest, Progress, Rank, Round,
    RoundDone, RoundRecord, ShardPlan, StepIndex, StepOutcome, StepWeights, StopReason, TaskAssignment, TaskIndex,
    WorkerCommand, WorkerEvent, Working, WorldSize,
};
use rewind_proto::{
    is_not_leader, leader_in, not_leader,
    v1::{self, CoordinatorMessage, WorkerMessage},
};
use tonic::{Code, Status, metadata::MetadataMap};

use crate::{examples, parse, text, words};

fn events() -> Vec<WorkerEvent> {
    let (job, generation) = (|| "job-7".into(), Generation(3));
    let record = RoundRecord { round: Round(2), loss: 0.1.into(), weight_change: 1e-300, ..RoundRecord::default() };
    let stop = StopReason { rule: "rounds".into(), text: "all rounds".into() };
    let done = RoundDone {
        step: StepIndex(1),
        round: Round(2),
        shard: Digest("ab".repeat(32)),
        record,
        best: Round(1),
        outcome: Some(StepOutcome { selected: Round(1), stop }),
    };
    let layout = Layout::new([("conv.weight".into(), vec![4, 1, 3, 3]), ("conv.bias".into(), vec![4])]);
    let failure = Failure { reason: "no".into(), retryable: true, bad_checkpoints: vec![Digest("ef".into())] };
    let last = LastCollective { sequence: 57, operation: "all-reduce".into(), ended: false };
    let weights = vec![StepWeights { step: "unlearned".into(), weights: Digest("cd".into()) }];
    let progress = Progress { step: StepIndex(1), text: "half way".into(), fraction: 0.5 };
    let working = Working { job: job(), generation, committed: Some((StepIndex(1), Round(4))) };
    vec![
        WorkerEvent::Joined {
            worker: "worker-1".into(),
            process: 7,
            version: "1".into(),
            cores: 2,
            device: DeviceKind::Cpu,
            working: Some(working),
        },
        WorkerEvent::Heartbeat,
        WorkerEvent::TaskDone { job: job(), generation, task: TaskIndex(3), output: Digest("ab".into()) },
        WorkerEvent::Prepared { job: job(), generation, rank: Rank(1), layout },
        WorkerEvent::ShardDurable { job: job(), generation, rank: Rank(1), round: Box::new(done) },
        WorkerEvent::Progress { job: job(), generation, progress },
        WorkerEvent::Finished { job: job(), generation, report: Digest("12".into()), weights, verdict: None },
        WorkerEvent::Failed { job: job(), generation, rank: Rank(0), failure },
        WorkerEvent::Left { job: job(), generation, last: Some(last) },
    ]
}

fn commands() -> Vec<WorkerCommand> {
    let (job, generation) = (|| "job-7".into(), Generation(3));
    let specification = || parse(text(&examples()[0]).expect("text")).expect("is valid");
    let manifest = Manifest {
        step: StepIndex(0),
        round: Round(2),
        generation: Generation(2),
        shards: vec![Digest("ab".repeat(32)), Digest("cd".repeat(32))],
        record: RoundRecord::default(),
        best: Round(2),
        outcome: None,
    };
    let assignment = Assignment {
        job: job(),
        generation,
        rank: Rank(1),
        world_size: WorldSize(2),
        specification: specification(),
        committed: vec![manifest.clone()],
        warnings: vec!["went back".into()],
    };
    let task = TaskAssignment { job: job(), generation, task: TaskIndex(2), specification: specification() };
    vec![
        WorkerCommand::Assign(Box::new(assignment)),
        WorkerCommand::Begin { job: job(), generation, plan: ShardPlan { boundaries: vec![0, 3, 9] } },
        WorkerCommand::Committed { job: job(), generation, manifest: Box::new(manifest) },
        WorkerCommand::Abort { job: job(), generation, reason: "worker-2 was lost".into() },
        WorkerCommand::RunTask(Box::new(task)),
        WorkerCommand::Acknowledged { sequence: 12 },
    ]
}

#[test]
fn what_workers_send_is_refused_or_comes_back_as_it_was() {
    let seeds: Vec<Vec<u8>> = events().into_iter().map(|event| WorkerMessage::from(event).encode_to_vec()).collect();
    Parser::of("messages of workers").cases(6000).run(&seeds, |bytes| {
        let event = WorkerEvent::try_from(WorkerMessage::decode(bytes).map_err(words)?).map_err(words)?;
        let again = WorkerMessage::from(event.clone());
        assert_eq!(WorkerEvent::try_from(again).expect("is read"), event);
        Ok(())
    });
}

#[test]
fn what_coordinators_send_is_refused_or_comes_back_as_it_was() {
    let seeds: Vec<Vec<u8>> =
        commands().into_iter().map(|command| CoordinatorMessage::from(command).encode_to_vec()).collect();
    Parser::of("messages of coordinators").cases(4000).run(&seeds, |bytes| {
        let command = WorkerCommand::try_from(CoordinatorMessage::decode(bytes).map_err(words)?).map_err(words)?;
        if let WorkerCommand::Begin { plan, .. } = &command {
            // A worker asks at once for its own part.
            let _ = plan.world_size();
        }
        let again = CoordinatorMessage::from(command.clone());
        assert_eq!(WorkerCommand::try_from(again).expect("is read"), command);
        Ok(())
    });
}

#[test]
fn requests_are_refused_or_read() {
    fn read<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Answer {
        let message = M::decode(bytes).map_err(words)?;
        assert_eq!(M::decode(&*message.encode_to_vec()).expect("is read"), message);
        Ok(())
    }
    let work = Some(v1::Work { job: "job-1".into(), generation: 3 });
    let set = v1::SetRequest { work: work.clone(), key: "rank-0".into(), value: vec![7; 40] };
    let get = v1::GetRequest { work: work.clone(), key: "rank-0".into(), timeout_ms: 100 };
    let submit = v1::SubmitRequest { specification: "name = \"a\"".into(), submission: "mine".into() };
    Parser::of("requests").run(&[set.encode_to_vec(), get.encode_to_vec(), submit.encode_to_vec()], |bytes| {
        let readers =
            [read::<v1::SetRequest>, read::<v1::AddRequest>, read::<v1::GetRequest>, read::<v1::SubmitRequest>];
        readers.map(|read| read(bytes)).into_iter().reduce(Result::or).expect("there are some")
    });
}

#[test]
fn whatever_a_header_names_as_leader_is_an_answer() {
    let seed = not_leader(Some("http://10.0.0.1:7060")).metadata().get("rewind-leader").expect("is there").to_owned();
    Parser::of("leader in a header").run(&[seed.as_bytes().to_vec()], |bytes| {
        let value = tonic::metadata::AsciiMetadataValue::try_from(bytes).map_err(words)?;
        let mut metadata = MetadataMap::new();
        metadata.insert("rewind-leader", value);
        let status = Status::with_metadata(Code::Unavailable, "stands by", metadata);
        assert!(is_not_leader(&status));
        assert!(leader_in(&status).is_none_or(|leader| !leader.is_empty()));
        Ok(())
    });
}
