//! A gang's life: assigned, prepared, begun, committed round by round, finished or dissolved.

use rewind_job::{
    Assignment, Failure, JobState, Layout, Manifest, Rank, Report, RoundDone, ShardPlan, StepWeights, WorkerCommand,
    WorkerId, WorldSize,
};

use crate::{
    Change, Command, Now,
    fleet::{Duty, Fleet},
    job::{Gang, Job},
};

/// After so many failed generations without a commit between them a job fails.
const FAILURES: u32 = 5;
/// Rounds of a gang that may be on their way at once: the one being committed, and the next.
const ROUNDS_UNDER_WAY: usize = 2;
/// Coordinates of the largest model that is planned for.
const LARGEST_MODEL: u64 = 1 << 36;

/// A new generation, on the first of the idle workers.
pub fn assign(job: &mut Job, fleet: &mut Fleet, mut members: Vec<WorkerId>, now: Now) -> Vec<Command> {
    let world_size = job.specification.fleet.world_size;
    members.truncate(world_size.0 as usize);
    job.head.generation.0 += 1;
    job.felt = false;
    job.progress = None;
    let generation = job.head.generation;
    let names: Vec<&str> = members.iter().map(|member| member.0.as_str()).collect();
    let from = match job.committed() {
        Some((step, round)) => format!(", goes on after round {round} of {}", job.step_name(step)),
        None => String::new(),
    };
    let reason = format!("generation {generation}: assigned to {}{from}", names.join(", "));
    let mut commands = vec![Command::Store(job.decide(JobState::Preparing, reason, now))];
    for (rank, member) in world_size.ranks().zip(&members) {
        fleet.set(member, Duty::Assigned(job.id.clone(), generation));
        let assignment = Assignment {
            job: job.id.clone(),
            generation,
            rank,
            world_size,
            specification: job.specification.clone(),
            committed: job.manifests.clone(),
        };
        commands.push(Command::Send(member.clone(), WorkerCommand::Assign(Box::new(assignment))));
    }
    job.gang = Some(Gang::new(members));
    commands.push(Command::Publish(job.id.clone()));
    commands
}

/// When the last rank is prepared: the shard plan, and all begin.
pub fn prepared(job: &mut Job, fleet: &mut Fleet, rank: Rank, layout: Layout, now: Now) -> Vec<Command> {
    if job.head.state != JobState::Preparing {
        return Vec::new();
    }
    if let Err(problem) = check_layout(&layout) {
        return fail(job, fleet, format!("the model's layout is impossible: {problem}"), now);
    }
    let Some(gang) = &mut job.gang else { return Vec::new() };
    gang.prepared[rank.0 as usize] = Some(layout);
    let layouts: Vec<&Layout> = gang.prepared.iter().flatten().collect();
    if layouts.len() < gang.members.len() {
        return Vec::new();
    }
    if layouts.iter().any(|other| *other != layouts[0]) {
        return fail(job, fleet, "the workers built different models from the same specification".into(), now);
    }
    let plan = ShardPlan::balanced(layouts[0], WorldSize(gang.members.len() as u32));
    let members = gang.members.clone();
    let reason = format!("runs on {} workers, {} parameters", members.len(), layouts[0].coordinates());
    let mut commands = vec![Command::Store(job.decide(JobState::Running, reason, now))];
    for member in members {
        let begin = WorkerCommand::Begin { job: job.id.clone(), generation: job.head.generation, plan: plan.clone() };
        commands.push(Command::Send(member, begin));
    }
    commands.push(Command::Publish(job.id.clone()));
    commands
}

/// A layout comes from another process: nothing is computed from it before it is known to be sound.
fn check_layout(layout: &Layout) -> Result<(), String> {
    let mut offset = 0;
    for segment in &layout.segments {
        let mut sides = segment.shape.iter();
        let len = sides.try_fold(1_u64, |product, &side| product.checked_mul(u64::try_from(side).ok()?));
        if segment.offset as u64 != offset {
            return Err(format!("{} begins at {} instead of {offset}", segment.name, segment.offset));
        }
        offset = len
            .and_then(|len| offset.checked_add(len))
            .filter(|end| *end <= LARGEST_MODEL)
            .ok_or_else(|| format!("{} has shape {:?}", segment.name, segment.shape))?;
    }
    Ok(())
}

/// When the last rank's shard of a round is durable: the round is committed.
pub fn durable(job: &mut Job, fleet: &mut Fleet, rank: Rank, done: RoundDone, now: Now) -> Vec<Command> {
    let key = (done.step, done.round);
    if job.head.state != JobState::Running || job.committed() >= Some(key) {
        return Vec::new();
    }
    let Some(gang) = &mut job.gang else { return Vec::new() };
    let world = gang.members.len();
    gang.durable.entry(key).or_insert_with(|| vec![None; world])[rank.0 as usize] = Some(done);
    let mut commands = Vec::new();
    // Rounds commit in order; a later one that is complete waits for the one before it.
    while let Some((&(step, round), shards)) = job.gang.as_ref().and_then(|gang| gang.durable.first_key_value()) {
        if shards.iter().any(Option::is_none) {
            break;
        }
        if job.next_round() != Some((step, round)) {
            let name = job.step_name(step);
            let reason = format!("round {round} of {name} does not follow the last committed round");
            commands.extend(fail(job, fleet, reason, now));
            break;
        }
        let shards: Vec<RoundDone> = shards.iter().flatten().cloned().collect();
        if shards.iter().any(|other| other.outcome != shards[0].outcome) {
            let reason = format!("the workers disagree on round {round} of {}", job.step_name(step));
            commands.extend(fail(job, fleet, reason, now));
            break;
        }
        commands.extend(commit(job, shards, now));
    }
    if job.gang.as_ref().is_some_and(|gang| gang.durable.len() > ROUNDS_UNDER_WAY) {
        commands.extend(fail(job, fleet, "the workers are not at the same round".into(), now));
    }
    commands
}

fn commit(job: &mut Job, shards: Vec<RoundDone>, now: Now) -> Vec<Command> {
    let first = shards[0].clone();
    let manifest = Manifest {
        step: first.step,
        round: first.round,
        generation: job.head.generation,
        shards: shards.into_iter().map(|done| done.shard).collect(),
        record: first.record,
        outcome: first.outcome,
    };
    job.manifests.push(manifest.clone());
    job.head.failures = 0;
    let mut changes = vec![
        Change::Manifest(job.id.clone(), Box::new(manifest.clone())),
        Change::Head(job.id.clone(), job.head.clone()),
    ];
    if let Some(outcome) = &manifest.outcome {
        let name = job.step_name(manifest.step);
        let text = format!("{name} ended: {}; round {} was selected", outcome.stop.text, outcome.selected);
        changes.push(job.note(text, now));
    }
    let mut commands = vec![Command::Store(changes)];
    if let Some(gang) = &mut job.gang {
        gang.durable.remove(&(manifest.step, manifest.round));
        for member in &gang.members {
            let committed = WorkerCommand::Committed {
                job: job.id.clone(),
                generation: job.head.generation,
                manifest: Box::new(manifest.clone()),
            };
            commands.push(Command::Send(member.clone(), committed));
        }
    }
    commands.push(Command::Publish(job.id.clone()));
    commands
}

/// Rank 0 has the report; the others leave by themselves.
pub fn finished(
    job: &mut Job,
    fleet: &mut Fleet,
    report: Box<Report>,
    weights: Vec<StepWeights>,
    now: Now,
) -> Vec<Command> {
    if !job.is_done() {
        return fail(job, fleet, "a report came before all rounds were committed".into(), now);
    }
    let Some(gang) = job.gang.take() else { return Vec::new() };
    let mut changes = vec![Change::Report(job.id.clone(), report, weights)];
    changes.extend(job.decide(JobState::Finished, "all steps are done".into(), now));
    let (id, generation) = (job.id.clone(), job.head.generation);
    for member in gang.present() {
        fleet.set(member, Duty::Leaving(id.clone(), generation, now));
    }
    vec![Command::Store(changes), Command::DropRendezvous(id.clone(), generation), Command::Publish(id)]
}

pub fn failed(job: &mut Job, fleet: &mut Fleet, worker: &WorkerId, failure: Failure, now: Now) -> Vec<Command> {
    let reason = format!("{worker}: {}", failure.reason);
    if !failure.retryable {
        return fail(job, fleet, reason, now);
    }
    let commands = retry(job, fleet, None, reason, now);
    job.felt = true;
    commands
}

/// A member that left is free at once. It may do so when its part is done; otherwise the others cannot go on.
pub fn left(job: &mut Job, fleet: &mut Fleet, worker: &WorkerId, rank: Rank, now: Now) -> Vec<Command> {
    fleet.set(worker, Duty::Idle);
    if rank != Rank(0) && job.is_done() {
        if let Some(gang) = &mut job.gang {
            gang.left.insert(worker.clone());
        }
        return Vec::new();
    }
    let reason = format!("{worker} left {}", job.whereabouts());
    retry(job, fleet, Some(worker), reason, now)
}

/// Dissolves the gang; the job waits for another, unless too many generations have failed.
pub fn retry(job: &mut Job, fleet: &mut Fleet, gone: Option<&WorkerId>, reason: String, now: Now) -> Vec<Command> {
    job.head.failures += 1;
    if job.head.failures >= FAILURES {
        let reason = format!("{FAILURES} generations failed without a committed round; the last one: {reason}");
        return end(job, fleet, JobState::Failed, reason, gone, now);
    }
    let mut commands = vec![Command::Store(job.wait(reason.clone(), now))];
    commands.extend(dissolve(job, fleet, gone, &reason, now));
    commands.push(Command::Publish(job.id.clone()));
    commands
}

fn fail(job: &mut Job, fleet: &mut Fleet, reason: String, now: Now) -> Vec<Command> {
    end(job, fleet, JobState::Failed, reason, None, now)
}

/// The job is over, and its gang with it. `gone` is told nothing.
pub fn end(
    job: &mut Job,
    fleet: &mut Fleet,
    state: JobState,
    reason: String,
    gone: Option<&WorkerId>,
    now: Now,
) -> Vec<Command> {
    let mut commands = vec![Command::Store(job.decide(state, reason.clone(), now))];
    commands.extend(dissolve(job, fleet, gone, &reason, now));
    commands.push(Command::Publish(job.id.clone()));
    commands
}

/// Tells the members at once: nobody sits in a collective until a timeout.
fn dissolve(job: &mut Job, fleet: &mut Fleet, gone: Option<&WorkerId>, reason: &str, now: Now) -> Vec<Command> {
    job.progress = None;
    let Some(gang) = job.gang.take() else {
        return Vec::new();
    };
    let (id, generation) = (job.id.clone(), job.head.generation);
    let mut commands = Vec::new();
    for member in gang.present().filter(|member| Some(*member) != gone) {
        fleet.set(member, Duty::Leaving(id.clone(), generation, now));
        let abort = WorkerCommand::Abort { job: id.clone(), generation, reason: reason.to_owned() };
        commands.push(Command::Send(member.clone(), abort));
    }
    commands.push(Command::DropRendezvous(id, generation));
    commands
}
