//! Worker → coordinator.

use rewind_job::{
    DeviceKind, Digest, Failure, Progress, Rank, Round, RoundDone, StepIndex, TaskIndex, Verdict, WorkerEvent,
    WorkerId, shortened,
};

use crate::{
    PROTOCOL, WireError, from_json, to_json,
    v1::{self, worker_message::Event},
    work, work_of,
};

impl From<WorkerEvent> for v1::WorkerMessage {
    fn from(event: WorkerEvent) -> Self {
        let event = match event {
            WorkerEvent::Joined { worker, process, version, cores, device, working } => {
                let working_json = working.as_ref().map(to_json);
                Event::Joined(v1::Joined {
                    worker: worker.0,
                    process,
                    version,
                    cores,
                    working_json,
                    protocol: PROTOCOL,
                    device: device.to_string(),
                })
            }
            WorkerEvent::Heartbeat => Event::Heartbeat(v1::Empty {}),
            WorkerEvent::Draining => Event::Draining(v1::Empty {}),
            WorkerEvent::TaskDone { job, generation, task, output } => {
                Event::TaskDone(v1::TaskDone { work: work(&job, generation), task: task.0, output: output.0 })
            }
            WorkerEvent::Prepared { job, generation, rank, layout } => Event::Prepared(v1::Prepared {
                work: work(&job, generation),
                rank: rank.0,
                layout_json: to_json(&layout),
            }),
            WorkerEvent::ShardDurable { job, generation, rank, round } => Event::ShardDurable(v1::ShardDurable {
                work: work(&job, generation),
                rank: rank.0,
                step: round.step.0,
                round: round.round.0,
                shard: round.shard.0,
                record_json: to_json(&round.record),
                best: round.best.0,
                outcome_json: round.outcome.as_ref().map(to_json),
            }),
            WorkerEvent::Progress { job, generation, progress } => Event::Progress(v1::ProgressMade {
                work: work(&job, generation),
                step: progress.step.0,
                text: progress.text,
                fraction: progress.fraction,
            }),
            WorkerEvent::Finished { job, generation, report, weights, verdict } => Event::Finished(v1::Finished {
                work: work(&job, generation),
                report: report.0,
                weights_json: to_json(&weights),
                verdict: verdict.map_or_else(String::new, |verdict| verdict.name().to_owned()),
            }),
            WorkerEvent::Failed { job, generation, rank, failure } => Event::Failed(v1::Failed {
                work: work(&job, generation),
                rank: rank.0,
                reason: failure.reason,
                retryable: failure.retryable,
                bad_checkpoints: failure.bad_checkpoints.into_iter().map(|digest| digest.0).collect(),
            }),
            WorkerEvent::Left { job, generation, last } => {
                Event::Left(v1::Left { work: work(&job, generation), last_json: last.as_ref().map(to_json) })
            }
        };
        Self { event: Some(event), sequence: 0 }
    }
}

impl TryFrom<v1::WorkerMessage> for WorkerEvent {
    type Error = WireError;

    fn try_from(message: v1::WorkerMessage) -> Result<Self, WireError> {
        Ok(match message.event.ok_or(WireError::Missing("event"))? {
            Event::Joined(m) => {
                let working = m.working_json.as_deref().map(|json| from_json("working_json", json)).transpose()?;
                let v1::Joined { worker, process, version, cores, device, .. } = m;
                let device = match device.as_str() {
                    "" | "cpu" => DeviceKind::Cpu,
                    "cuda" => DeviceKind::Cuda,
                    _ => {
                        let problem = shortened(format!("is {device:?}, a word that this program does not know"));
                        return Err(WireError::Impossible { field: "device", problem });
                    }
                };
                Self::Joined { worker: WorkerId(worker), process, version, cores, device, working }
            }
            Event::Heartbeat(_) => Self::Heartbeat,
            Event::Draining(_) => Self::Draining,
            Event::TaskDone(m) => {
                let (job, generation) = work_of(m.work)?;
                Self::TaskDone { job, generation, task: TaskIndex(m.task), output: Digest(m.output) }
            }
            Event::Prepared(m) => {
                let (job, generation) = work_of(m.work)?;
                let layout = from_json("layout_json", &m.layout_json)?;
                Self::Prepared { job, generation, rank: Rank(m.rank), layout }
            }
            Event::ShardDurable(m) => {
                let (job, generation) = work_of(m.work)?;
                let outcome = m.outcome_json.as_deref().map(|json| from_json("outcome_json", json)).transpose()?;
                let round = Box::new(RoundDone {
                    step: StepIndex(m.step),
                    round: Round(m.round),
                    shard: Digest(m.shard),
                    record: from_json("record_json", &m.record_json)?,
                    best: Round(m.best),
                    outcome,
                });
                Self::ShardDurable { job, generation, rank: Rank(m.rank), round }
            }
            Event::Progress(m) => {
                let (job, generation) = work_of(m.work)?;
                if !m.fraction.is_finite() {
                    // Nobody could read it again: JSON has no such number.
                    return Err(WireError::Impossible { field: "fraction", problem: format!("is {}", m.fraction) });
                }
                let progress = Progress { step: StepIndex(m.step), text: m.text, fraction: m.fraction };
                Self::Progress { job, generation, progress }
            }
            Event::Finished(m) => {
                let (job, generation) = work_of(m.work)?;
                let verdict = match m.verdict.as_str() {
                    "" => None,
                    name => Some(Verdict::ALL.into_iter().find(|verdict| verdict.name() == name).ok_or_else(|| {
                        WireError::Impossible {
                            field: "verdict",
                            problem: format!("is `{}`", shortened(m.verdict.clone())),
                        }
                    })?),
                };
                let weights = from_json("weights_json", &m.weights_json)?;
                Self::Finished { job, generation, report: Digest(m.report), weights, verdict }
            }
            Event::Failed(m) => {
                let (job, generation) = work_of(m.work)?;
                let bad_checkpoints = m.bad_checkpoints.into_iter().map(Digest).collect();
                let failure = Failure { reason: m.reason, retryable: m.retryable, bad_checkpoints };
                Self::Failed { job, generation, rank: Rank(m.rank), failure }
            }
            Event::Left(m) => {
                let (job, generation) = work_of(m.work)?;
                let last = m.last_json.as_deref().map(|json| from_json("last_json", json)).transpose()?;
                Self::Left { job, generation, last }
            }
        })
    }
}
