//! How running work survives the coordinator: a new leader expects the workers of what was running, and they come back
//! with it.

use rewind_job::{JobState, Rank, Timeouts, WorkerCommand, WorkerId, Working};

use crate::{
    Command, Count, Now,
    fleet::{Duty, Fleet},
    job::{Gang, Job, Yield},
};

/// Expects the workers of the job's running gang, or of its tasks. A worker that another job expects already has left
/// this one.
pub fn expect(job: &mut Job, fleet: &mut Fleet, timeouts: &Timeouts, now: Now) {
    for record in job.tasks.values() {
        if let Some(worker) = &record.worker {
            let duty = Duty::Task(job.id.clone(), record.generation, record.task);
            fleet.join(worker.clone(), duty, now);
        }
    }
    if job.head.state != JobState::Running {
        return;
    }
    let Some(stored) = &job.head.gang else { return };
    let mut gang = Gang::new(stored.members.clone(), now);
    gang.plan = Some(stored.plan.clone());
    gang.yielding = job.head.pausing.then(|| Yield {
        then: JobState::Paused,
        reason: "paused by the user".into(),
        at_the_latest: now.after(timeouts.drain),
    });
    for member in &stored.members {
        if fleet.duty(member).is_some() {
            gang.left.insert(member.clone());
        } else {
            fleet.join(member.clone(), Duty::Assigned(job.id.clone(), job.head.generation), now);
        }
    }
    job.gang = Some(gang);
}

/// What a worker that came back with its gang's work has missed.
pub fn catch_up(job: &Job, worker: &WorkerId, working: &Working) -> Vec<Command> {
    let send = |command| Command::Send(worker.clone(), command);
    let mut commands = vec![Command::Count(Count::Reattached)];
    if let Some(plan) = job.gang.as_ref().and_then(|gang| gang.plan.clone()) {
        commands.push(send(WorkerCommand::Begin { job: job.id.clone(), generation: job.head.generation, plan }));
    }
    let missed = job.manifests.iter().filter(|manifest| Some((manifest.step, manifest.round)) > working.committed);
    for manifest in missed {
        commands.push(send(WorkerCommand::Committed {
            job: job.id.clone(),
            generation: job.head.generation,
            manifest: Box::new(manifest.clone()),
        }));
    }
    commands
}

/// A worker that came back without its gang's work had done its part, if that was possible.
pub fn may_have_left(job: &Job, worker: &WorkerId) -> bool {
    let rank = job.gang.as_ref().and_then(|gang| gang.rank_of(worker));
    job.is_done() && rank.is_some_and(|rank| rank != Rank(0))
}
