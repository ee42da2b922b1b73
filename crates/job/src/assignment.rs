//! What coordinator and workers say to each other. Commands go down, events come up.

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Generation, JobId, Layout, Rank, Report, Round, RoundRecord, ShardPlan, Specification, StepIndex,
    StopReason, WorkerId, WorldSize,
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
}

/// Worker → coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WorkerEvent {
    /// First message of a session.
    Joined {
        worker: WorkerId,
        process: u32,
        version: String,
        cores: u32,
    },
    Heartbeat,
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
    /// Rank 0 alone: all steps are done.
    Finished {
        job: JobId,
        generation: Generation,
        report: Box<Report>,
        weights: Vec<StepWeights>,
    },
    Failed {
        job: JobId,
        generation: Generation,
        rank: Rank,
        failure: Failure,
    },
    /// The worker has left the gang and is idle.
    Left {
        job: JobId,
        generation: Generation,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundDone {
    pub step: StepIndex,
    pub round: Round,
    pub shard: Digest,
    /// The same on every rank.
    pub record: RoundRecord,
    /// Set in a step's last round, the same on every rank.
    pub outcome: Option<StepOutcome>,
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
    /// One a rank, in rank order: their tiles follow one another.
    pub shards: Vec<Digest>,
    pub record: RoundRecord,
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
    pub world_size: WorldSize,
    pub progress: Option<Progress>,
    /// Last committed step and round.
    pub committed: Option<(StepIndex, Round)>,
    pub steps: Vec<String>,
    /// Unix seconds.
    pub submitted_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// No gang: not enough idle workers.
    Waiting,
    /// A gang reads data and builds the model.
    Preparing,
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl JobState {
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
