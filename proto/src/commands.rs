//! Coordinator → worker.

use rewind_job::{Assignment, Rank, ShardPlan, TaskAssignment, TaskIndex, WorkerCommand, WorldSize};

use crate::{
    WireError, from_json, to_json,
    v1::{self, coordinator_message::Command},
    work, work_of,
};

impl From<WorkerCommand> for v1::CoordinatorMessage {
    fn from(command: WorkerCommand) -> Self {
        let command = match command {
            WorkerCommand::Assign(assignment) => Command::Assign(v1::Assign {
                work: work(&assignment.job, assignment.generation),
                rank: assignment.rank.0,
                world_size: assignment.world_size.0,
                specification_json: to_json(&assignment.specification),
                committed_json: to_json(&assignment.committed),
                warnings: assignment.warnings,
            }),
            WorkerCommand::RunTask(task) => Command::RunTask(v1::RunTask {
                work: work(&task.job, task.generation),
                task: task.task.0,
                specification_json: to_json(&task.specification),
            }),
            WorkerCommand::Acknowledged { sequence } => Command::Acknowledged(v1::Acknowledged { sequence }),
            WorkerCommand::Begin { job, generation, plan } => Command::Begin(v1::Begin {
                work: work(&job, generation),
                boundaries: plan.boundaries.iter().map(|&tile| tile as u64).collect(),
            }),
            WorkerCommand::Committed { job, generation, manifest } => {
                Command::Committed(v1::Committed { work: work(&job, generation), manifest_json: to_json(&manifest) })
            }
            WorkerCommand::Abort { job, generation, reason } => {
                Command::Abort(v1::Abort { work: work(&job, generation), reason })
            }
            WorkerCommand::Shutdown => Command::Shutdown(v1::Empty {}),
        };
        Self { command: Some(command), term: 0 }
    }
}

impl TryFrom<v1::CoordinatorMessage> for WorkerCommand {
    type Error = WireError;

    fn try_from(message: v1::CoordinatorMessage) -> Result<Self, WireError> {
        Ok(match message.command.ok_or(WireError::Missing("command"))? {
            Command::Assign(m) => {
                let (job, generation) = work_of(m.work)?;
                Self::Assign(Box::new(Assignment {
                    job,
                    generation,
                    rank: Rank(m.rank),
                    world_size: WorldSize(m.world_size),
                    specification: from_json("specification_json", &m.specification_json)?,
                    committed: from_json("committed_json", &m.committed_json)?,
                    warnings: m.warnings,
                }))
            }
            Command::RunTask(m) => {
                let (job, generation) = work_of(m.work)?;
                let specification = from_json("specification_json", &m.specification_json)?;
                Self::RunTask(Box::new(TaskAssignment { job, generation, task: TaskIndex(m.task), specification }))
            }
            Command::Acknowledged(m) => Self::Acknowledged { sequence: m.sequence },
            Command::Begin(m) => {
                let (job, generation) = work_of(m.work)?;
                let boundaries: Vec<usize> = m.boundaries.iter().map(|&tile| tile as usize).collect();
                if boundaries.len() < 2 || boundaries[0] != 0 || !boundaries.is_sorted() {
                    let problem = format!("{boundaries:?} deal tiles to nobody, or not in order");
                    return Err(WireError::Impossible { field: "boundaries", problem });
                }
                Self::Begin { job, generation, plan: ShardPlan { boundaries } }
            }
            Command::Committed(m) => {
                let (job, generation) = work_of(m.work)?;
                Self::Committed { job, generation, manifest: from_json("manifest_json", &m.manifest_json)? }
            }
            Command::Abort(m) => {
                let (job, generation) = work_of(m.work)?;
                Self::Abort { job, generation, reason: m.reason }
            }
            Command::Shutdown(_) => Self::Shutdown,
        })
    }
}
