//! What coordinator and workers say to each other. Commands go down, events come up.

use serde::{Deserialize, Serialize};

use crate::{
    DeviceKind, Digest, Generation, JobId, Layout, Priority, Rank, Round, RoundRecord, ShardPlan, Specification,
    StepIndex, StopReason, TaskIndex, Verdict, WorkerId, WorldSize,
};

/// Coordinator → worker. Safe to repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WorkerCommand {
    /// Join a gang: read the data, build the model, answer [`WorkerEvent::Prepared`].
    Assign(Box<Assignment>),
    /// All ranks are prepared: form the collective and run.
    Begin { job: JobId, generation: Generation, plan: ShardPlan },
    /// The round's manifest is committed.
    Committed { job: JobId, generation: Generation, manifest: Box<Manifest> },
    /// Run one task of a job that makes histories; answer [`WorkerEvent::TaskDone`], then [`WorkerEvent::Left`].
    RunTask(Box<TaskAssignment>),
    /// The coordinator has done, durably, what this event asks for: it need not be sent again. A shard's report is
    /// acknowledged by [`WorkerCommand::Committed`], that a rank is prepared by [`WorkerCommand::Begin`].
    Acknowledged { sequence: u64 },
    /// Leave the collective at once, drop what is not committed, answer [`WorkerEvent::Left`].
    Abort { job: JobId, generation: Generation, reason: String },
    /// Finish and exit.
    Shutdown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    pub job: JobId,
    pub generation: Generation,
    pub rank: Rank,
    pub world_size: WorldSize,
    pub specification: Specification,
    /// Every manifest committed so far, in order; the work goes on after the last one.
    pub committed: Vec<Manifest>,
    /// What happened to the job so far that a reader of its report must know.
    pub warnings: Vec<String>,
}

/// One task of a job that makes histories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskAssignment {
    pub job: JobId,
    pub generation: Generation,
    pub task: TaskIndex,
    pub specification: Specification,
}

/// Work that a worker has when it begins a session: what it got from a coordinator before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Working {
    pub job: JobId,
    pub generation: Generation,
    /// The last manifest that it knows.
    pub committed: Option<(StepIndex, Round)>,
}

/// Worker → coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WorkerEvent {
    /// First message of a session.
    Joined {
        worker: WorkerId,
        /// Tells this process from others of its name.
        process: u32,
        version: String,
        cores: u32,
        device: DeviceKind,
        working: Option<Working>,
    },
    Heartbeat,
    /// The worker is to end: give it no more work, and let its gang go on without it from the next commit on.
    Draining,
    /// Data and model are ready; all ranks must report the same layout.
    Prepared {
        job: JobId,
        generation: Generation,
        rank: Rank,
        layout: Layout,
    },
    /// This rank's shard of a round is durable.
    ShardDurable {
        job: JobId,
        generation: Generation,
        rank: Rank,
        round: Box<RoundDone>,
    },
    /// How far the current step is (rank 0 alone sends it; not stored).
    Progress {
        job: JobId,
        generation: Generation,
        progress: Progress,
    },
    /// Rank 0 alone: all steps are done. The [`Report`](crate::Report) is an artifact, as JSON.
    Finished {
        job: JobId,
        generation: Generation,
        report: Digest,
        weights: Vec<StepWeights>,
        /// The report's.
        verdict: Option<Verdict>,
    },
    Failed {
        job: JobId,
        generation: Generation,
        rank: Rank,
        failure: Failure,
    },
    /// A history is durable.
    TaskDone {
        job: JobId,
        generation: Generation,
        task: TaskIndex,
        output: Digest,
    },
    /// The worker has left the gang and is idle.
    Left {
        job: JobId,
        generation: Generation,
        /// Its last collective call: comparing those of all ranks names who was missing.
        last: Option<LastCollective>,
    },
}

/// The youngest entry of a rank's flight recorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCollective {
    /// Counts the collective calls of this generation, from 1; the same on every rank.
    pub sequence: u64,
    pub operation: String,
    pub ended: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundDone {
    pub step: StepIndex,
    pub round: Round,
    pub shard: Digest,
    /// The same on every rank.
    pub record: RoundRecord,
    /// The round whose weights would be the step's result if it ended now, the same on every rank.
    pub best: Round,
    /// Set in a step's last round, the same on every rank.
    pub outcome: Option<StepOutcome>,
}

impl WorkerEvent {
    /// Whether what it leads to is durable once it is decided upon. A coordinator keeps a shard's report, and that a
    /// rank is prepared, in memory: only the commit, or the beginning, makes them durable.
    pub fn is_settled_when_decided(&self) -> bool {
        !matches!(self, Self::ShardDurable { .. } | Self::Prepared { .. })
    }

    /// The work that it is about.
    pub fn work(&self) -> Option<(&JobId, Generation)> {
        match self {
            Self::Joined { .. } | Self::Heartbeat | Self::Draining => None,
            Self::Prepared { job, generation, .. }
            | Self::ShardDurable { job, generation, .. }
            | Self::Progress { job, generation, .. }
            | Self::Finished { job, generation, .. }
            | Self::Failed { job, generation, .. }
            | Self::TaskDone { job, generation, .. }
            | Self::Left { job, generation, .. } => Some((job, *generation)),
        }
    }
}

/// What a finished step leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// The round whose weights are the step's result.
    pub selected: Round,
    pub stop: StopReason,
}

/// One committed round: it names every shard, so that any world size can load it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub step: StepIndex,
    pub round: Round,
    pub generation: Generation,
    /// One a rank, in rank order: their tiles follow one another. None: the checkpoint was deleted, its record stays.
    pub shards: Vec<Digest>,
    pub record: RoundRecord,
    /// The round whose weights would be the step's result if it ended here.
    pub best: Round,
    pub outcome: Option<StepOutcome>,
}

/// The whole weights of a step's result at rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepWeights {
    pub step: String,
    pub weights: Digest,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub step: StepIndex,
    /// `pretrained: epoch 3 of 20`.
    pub text: String,
    /// Share of the step that is done, 0 to 1.
    pub fraction: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: String,
    /// A lost peer or a passed deadline is worth another generation; bad input is not.
    pub retryable: bool,
    /// Checkpoints that are altered or missing: the work must go on from an earlier one.
    pub bad_checkpoints: Vec<Digest>,
}

/// Where a job stands, for people and machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    pub job: JobId,
    pub name: String,
    pub state: JobState,
    /// Why it is in this state: `waiting for 2 of 4 workers`.
    pub reason: String,
    pub generation: Generation,
    pub priority: Priority,
    /// Of the present gang, or the wanted one.
    pub world_size: WorldSize,
    pub progress: Option<Progress>,
    /// Of a job that makes histories.
    pub tasks: Option<TaskCount>,
    /// Last committed step and round.
    pub committed: Option<(StepIndex, Round)>,
    pub steps: Vec<String>,
    /// Unix seconds.
    pub submitted_at: u64,
    /// Of a finished job that unlearned: the worst of its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Whether this verdict counts as a failure (`fail-if`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fails: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCount {
    pub total: u32,
    pub running: u32,
    pub done: u32,
    /// Seconds until all are done, estimated: as long as those that this leader saw took, on as many workers as now.
    pub left: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// No gang: not enough idle workers.
    Waiting,
    /// A gang reads data and builds the model.
    Preparing,
    Running,
    /// By its user; it waits again when told to resume.
    Paused,
    Finished,
    Failed,
    Cancelled,
}

impl JobState {
    pub const ALL: [Self; 7] =
        [Self::Waiting, Self::Preparing, Self::Running, Self::Paused, Self::Finished, Self::Failed, Self::Cancelled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

/// A decision about a job, with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// Counts a job's events, from 1.
    pub sequence: u64,
    /// Unix milliseconds.
    pub at: u64,
    pub generation: Generation,
    pub text: String,
}
