//! A scripted worker: it says what the test wants, over a real session, and beats as a worker must.

use std::sync::Arc;

use rewind_artifacts::ArtifactStore;
use rewind_job::{
    Assignment, DeviceKind, Digest, Layout, Manifest, Measured, Rank, Report, Round, RoundDone, SampleRecord,
    ShardPlan, StepIndex, StepOutcome, StepWeights, StopReason, Timeouts, WorkerCommand, WorkerEvent, WorkerId,
    Working,
};
use rewind_proto::v1::{CoordinatorMessage, WorkerMessage, fleet_client::FleetClient};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

use crate::program::{Coordinator, PATIENCE};

pub struct ScriptedWorker {
    messages: mpsc::UnboundedSender<WorkerMessage>,
    commands: Streaming<CoordinatorMessage>,
    artifacts: Arc<dyn ArtifactStore>,
}

/// The steps that have rounds, and how many each.
pub const ROUNDS: [(u32, u32); 4] = [(0, 1), (0, 2), (1, 1), (1, 2)];

impl ScriptedWorker {
    pub async fn join(coordinator: &Coordinator, name: &str) -> Self {
        Self::try_join(coordinator, name).await.expect("joins")
    }

    pub async fn try_join(coordinator: &Coordinator, name: &str) -> Result<Self, Status> {
        Self::begin(coordinator, joined(name, None)).await
    }

    /// A session whose first message is any event.
    pub async fn begin(coordinator: &Coordinator, first: WorkerEvent) -> Result<Self, Status> {
        Self::begin_with(coordinator, first.into()).await
    }

    pub async fn begin_with(coordinator: &Coordinator, first: WorkerMessage) -> Result<Self, Status> {
        let (messages, to_send) = mpsc::unbounded_channel();
        messages.send(first).expect("is open");
        let mut client = FleetClient::connect(coordinator.address.clone()).await.expect("connects");
        let commands = client.session(UnboundedReceiverStream::new(to_send)).await?.into_inner();
        let heart = messages.downgrade();
        tokio::spawn(async move {
            let mut interval = tokio::time::interval(Timeouts::default().heartbeat);
            loop {
                interval.tick().await;
                // Dropping the worker ends its session.
                let Some(messages) = heart.upgrade() else { return };
                if messages.send(WorkerEvent::Heartbeat.into()).is_err() {
                    return;
                }
            }
        });
        let artifacts = coordinator.dir().join("artifacts").display().to_string();
        let artifacts = rewind_artifacts::open(&artifacts).expect("opens");
        Ok(Self { messages, commands, artifacts })
    }

    pub fn says(&self, event: WorkerEvent) {
        self.sends(event.into());
    }

    pub fn sends(&self, message: WorkerMessage) {
        // A session that has ended is noticed by who listens.
        let _ = self.messages.send(message);
    }

    /// Comes back with work that it was given before.
    pub async fn comes_back(coordinator: &Coordinator, name: &str, working: Working) -> Self {
        Self::begin(coordinator, joined(name, Some(working))).await.expect("joins")
    }

    /// The next command but acknowledgements; none when the session ended.
    pub async fn hears(&mut self) -> Option<WorkerCommand> {
        loop {
            match self.hears_anything().await {
                Some(WorkerCommand::Acknowledged { .. }) => {}
                other => return other,
            }
        }
    }

    /// The next command; none when the session ended.
    pub async fn hears_anything(&mut self) -> Option<WorkerCommand> {
        let message = tokio::time::timeout(PATIENCE, self.commands.message()).await.expect("is told something");
        message.ok().flatten().map(|message| {
            assert!(message.term > 0, "every command carries its term");
            WorkerCommand::try_from(message).expect("can be read")
        })
    }

    pub async fn is_assigned(&mut self) -> Assignment {
        match self.hears().await {
            Some(WorkerCommand::Assign(assignment)) => *assignment,
            other => panic!("wanted an assignment, heard {other:?}"),
        }
    }

    pub async fn begins(&mut self) -> ShardPlan {
        match self.hears().await {
            Some(WorkerCommand::Begin { plan, .. }) => plan,
            other => panic!("wanted to begin, heard {other:?}"),
        }
    }

    pub async fn hears_of_commit(&mut self) -> Manifest {
        match self.hears().await {
            Some(WorkerCommand::Committed { manifest, .. }) => *manifest,
            other => panic!("wanted a commit, heard {other:?}"),
        }
    }

    /// Is told to leave and leaves; returns the reason.
    pub async fn leaves_when_told(&mut self) -> String {
        match self.hears().await {
            Some(WorkerCommand::Abort { job, generation, reason }) => {
                self.says(WorkerEvent::Left { job, generation, last: None });
                reason
            }
            other => panic!("wanted to be told to leave, heard {other:?}"),
        }
    }

    pub fn is_prepared(&self, to: &Assignment) {
        self.says(WorkerEvent::Prepared {
            job: to.job.clone(),
            generation: to.generation,
            rank: to.rank,
            layout: layout(),
        });
    }

    pub fn has_durable(&self, to: &Assignment, step: u32, round: u32) {
        self.says(WorkerEvent::ShardDurable {
            job: to.job.clone(),
            generation: to.generation,
            rank: to.rank,
            round: Box::new(round_done(step, round, to.rank)),
        });
    }

    /// Says that it has finished, if it is rank 0, and leaves.
    pub fn finishes(&self, to: &Assignment) {
        self.finishes_with(to, "");
    }

    /// The same, with a warning in its report.
    pub fn finishes_with(&self, to: &Assignment, warning: &str) {
        let (job, generation) = (to.job.clone(), to.generation);
        if to.rank == Rank(0) {
            let mut report = report(to);
            report.warnings.push(warning.to_owned());
            self.reports(to, &report);
        }
        self.says(WorkerEvent::Left { job, generation, last: None });
    }

    /// The only rank has finished, having read these samples in its step `unlearned`.
    pub fn finishes_reading(&self, to: &Assignment, record: &SampleRecord) {
        let mut report = report(to);
        let weights = Digest("ab".repeat(32));
        report.methods.push(Measured { name: "unlearned".into(), weights, ..Measured::default() });
        let record = serde_json::to_vec(record).expect("is JSON");
        report.samples = Some(self.artifacts.put(&record).expect("is stored"));
        self.reports(to, &report);
        self.says(WorkerEvent::Left { job: to.job.clone(), generation: to.generation, last: None });
    }

    fn reports(&self, to: &Assignment, report: &Report) {
        let weights = vec![StepWeights { step: "unlearned".into(), weights: Digest("ab".repeat(32)) }];
        let report = serde_json::to_vec(report).expect("is JSON");
        let report = self.artifacts.put(&report).expect("is stored");
        self.says(WorkerEvent::Finished {
            job: to.job.clone(),
            generation: to.generation,
            report,
            weights,
            verdict: None,
        });
    }
}

pub fn joined(name: &str, working: Option<Working>) -> WorkerEvent {
    let (worker, version, device) = (WorkerId(name.into()), "0.1.0".into(), DeviceKind::Cpu);
    WorkerEvent::Joined { worker, process: 1, version, cores: 1, device, working }
}

/// All are assigned, prepared, and begin.
pub async fn all_begin(gang: &mut [&mut ScriptedWorker]) -> Vec<Assignment> {
    let mut assignments = Vec::new();
    for worker in gang.iter_mut() {
        let assignment = worker.is_assigned().await;
        worker.is_prepared(&assignment);
        assignments.push(assignment);
    }
    for worker in gang.iter_mut() {
        assert_eq!(worker.begins().await, ShardPlan::balanced(&layout(), assignments[0].world_size));
    }
    assignments
}

/// All make these rounds durable, one after another, and hear that they are committed.
pub async fn all_commit(gang: &mut [&mut ScriptedWorker], to: &[Assignment], rounds: &[(u32, u32)]) {
    for &(step, round) in rounds {
        for (worker, assignment) in gang.iter().zip(to) {
            worker.has_durable(assignment, step, round);
        }
        for worker in gang.iter_mut() {
            let manifest = worker.hears_of_commit().await;
            assert_eq!((manifest.step, manifest.round), (StepIndex(step), Round(round)));
            assert_eq!(manifest.shards.len(), to.len());
        }
    }
}

pub fn layout() -> Layout {
    Layout::new([("weight".into(), vec![40, 1000]), ("bias".into(), vec![10])])
}

pub fn round_done(step: u32, round: u32, rank: Rank) -> RoundDone {
    let record = json!({
        "round": round, "loss": 0.5, "weight_change": 0.0, "seconds": 0.0, "forget_epochs": 0.0, "bytes_moved": 0,
    });
    let stop = StopReason { rule: "rounds".into(), text: "all 2 rounds are done".into() };
    RoundDone {
        step: StepIndex(step),
        round: Round(round),
        shard: Digest(format!("{step}-{round}-{rank}")),
        record: serde_json::from_value(record).expect("is a record"),
        best: Round(round),
        outcome: (round == 2).then_some(StepOutcome { selected: Round(round), stop }),
    }
}

fn report(to: &Assignment) -> Report {
    let report = json!({
        "version": "0",
        "job": to.job,
        "world_size": to.world_size,
        "specification": to.specification,
        "data": { "forget": 16, "files": [] },
        "machine": { "threads": 1, "libtorch": "none", "cpu_capability": "none", "device": "cpu" },
        "methods": [], "stop": [], "recovered": [], "events": [], "warnings": [],
    });
    serde_json::from_value(report).expect("is a report")
}
