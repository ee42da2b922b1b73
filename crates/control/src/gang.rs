//! A gang's life: assigned, prepared, begun, committed round by round, finished or dissolved.

use std::time::Duration;

use rewind_job::{
    Assignment, Digest, Failure, JobState, LastCollective, Layout, Manifest, Rank, RoundDone, ShardPlan, StepWeights,
    Timeouts, Verdict, WorkerCommand, WorkerId, WorldSize,
};

use crate::{
    Change, Command, Count, Now, StoredGang,
    admission::workers,
    fleet::{Duty, Fleet},
    job::{Gang, Job, Yield},
    post_mortem::PostMortem,
    retention::{self, Doomed},
    store_in_pieces,
};

/// After so many failed generations without a commit between them a job fails.
const FAILURES: u32 = 5;
/// After so many generations that lost a worker, without a commit between them, a job fails.
const LOSSES: u32 = 30;
/// After so many checkpoints that were altered or gone, and no new round between them, a job fails.
const DISCARDS: u32 = 5;
/// Rounds of a gang that may be on their way at once: the one being committed, and the next.
const ROUNDS_UNDER_WAY: usize = 2;
/// Coordinates of the largest model that is planned for.
const LARGEST_MODEL: u64 = 1 << 36;
/// Longest wait between two generations that fail.
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// A new generation, on the first `world` of the idle workers.
pub fn assign(job: &mut Job, fleet: &mut Fleet, mut members: Vec<WorkerId>, world: usize, now: Now) -> Vec<Command> {
    members.truncate(world);
    let world_size = WorldSize(members.len() as u32);
    job.head.generation.0 += 1;
    job.felt = false;
    job.progress = None;
    let generation = job.head.generation;
    let names: Vec<&str> = members.iter().map(|member| member.0.as_str()).collect();
    let from = match job.committed() {
        Some((step, round)) => format!(", goes on after round {round} of {}", job.step_name(step)),
        None => String::new(),
    };
    let wanted = job.specification.fleet.world_size;
    let fewer =
        if world_size < wanted { format!(" ({world_size} instead of {wanted} workers)") } else { String::new() };
    if world_size < wanted {
        let text = format!("generation {generation} ran on {world_size} instead of {wanted} workers.");
        job.warn(text);
    }
    let reason = format!("generation {generation}: assigned to {}{fewer}{from}", names.join(", "));
    let mut commands = vec![Command::Store(job.decide(JobState::Preparing, reason, now))];
    commands.push(Command::Count(Count::GenerationStarted));
    if world_size < wanted {
        commands.push(Command::Count(Count::FewerWorkers));
    }
    for (rank, member) in world_size.ranks().zip(&members) {
        fleet.set(member, Duty::Assigned(job.id.clone(), generation));
        let assignment = Assignment {
            job: job.id.clone(),
            generation,
            rank,
            world_size,
            specification: job.specification.clone(),
            committed: job.manifests.clone(),
            warnings: job.head.warnings.clone(),
        };
        commands.push(Command::Send(member.clone(), WorkerCommand::Assign(Box::new(assignment))));
    }
    job.gang = Some(Gang::new(members, now));
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
    let coordinates = layouts[0].coordinates();
    let plan = ShardPlan::balanced(layouts[0], WorldSize(gang.members.len() as u32));
    gang.plan = Some(plan.clone());
    let members = gang.members.clone();
    job.head.gang = Some(StoredGang { members: members.clone(), plan: plan.clone() });
    let workers = workers(members.len());
    let reason = format!("runs on {} {workers}, {coordinates} parameters", members.len());
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
pub fn durable(
    job: &mut Job,
    fleet: &mut Fleet,
    doomed: &mut Doomed,
    rank: Rank,
    done: RoundDone,
    now: Now,
) -> Vec<Command> {
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
        if shards.iter().any(|other| other.outcome != shards[0].outcome || other.best != shards[0].best) {
            let reason = format!("the workers disagree on round {round} of {}", job.step_name(step));
            commands.extend(fail(job, fleet, reason, now));
            break;
        }
        commands.extend(commit(job, doomed, shards, now));
    }
    match job.gang.as_ref().map(|gang| (gang.durable.len() > ROUNDS_UNDER_WAY, gang.yielding.clone())) {
        Some((true, _)) => commands.extend(fail(job, fleet, "the workers are not at the same round".into(), now)),
        Some((false, Some(why))) if !commands.is_empty() => commands.extend(give_up(job, fleet, why, now)),
        _ => {}
    }
    commands
}

fn commit(job: &mut Job, doomed: &mut Doomed, shards: Vec<RoundDone>, now: Now) -> Vec<Command> {
    let first = shards[0].clone();
    let manifest = Manifest {
        step: first.step,
        round: first.round,
        generation: job.head.generation,
        shards: shards.into_iter().map(|done| done.shard).collect(),
        record: first.record,
        best: first.best,
        outcome: first.outcome,
    };
    job.manifests.push(manifest.clone());
    job.head.failures = 0;
    job.head.losses = 0;
    if job.head.furthest < job.committed() {
        job.head.furthest = job.committed();
        job.head.discards = 0;
    }
    let mut changes = vec![Change::Manifest(job.id.clone(), Box::new(manifest.clone())), job.head_change()];
    if let Some(outcome) = &manifest.outcome {
        let name = job.step_name(manifest.step);
        let text = format!("{name} ended: {}; round {} was selected", outcome.stop.text, outcome.selected);
        changes.push(job.note(text, now));
    }
    let mut commands = vec![Command::Store(changes), Command::Count(Count::Committed)];
    commands.extend(release(job, doomed, now));
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

/// Checkpoints that the job needs no more are to be deleted.
pub fn release(job: &mut Job, doomed: &mut Doomed, now: Now) -> Vec<Command> {
    let (released, shards) = retention::release(job);
    let unneeded = shards.into_iter().filter(|digest| !retention::needs(job, digest)).collect();
    // In this order: what is doomed and needed all the same is spared, what is released and not doomed stays for ever.
    let mut changes = doomed.add(unneeded, now);
    changes.extend(released);
    store_in_pieces(changes)
}

/// Rank 0 has the report; the others leave by themselves.
pub fn finished(
    job: &mut Job,
    fleet: &mut Fleet,
    doomed: &mut Doomed,
    (report, weights, verdict): (Digest, Vec<StepWeights>, Option<Verdict>),
    now: Now,
) -> Vec<Command> {
    if !job.is_done() {
        return fail(job, fleet, "a report came before all rounds were committed".into(), now);
    }
    let Some(gang) = job.gang.take() else { return Vec::new() };
    job.head.gang = None;
    job.head.verdict = verdict;
    let mut changes = vec![Change::Report(job.id.clone(), report, weights)];
    let done = "all steps are done".to_owned();
    let reason = verdict.map_or(done.clone(), |verdict| format!("{done}; verdict: {}", verdict.name()));
    changes.extend(job.decide(JobState::Finished, reason, now));
    let (id, generation) = (job.id.clone(), job.head.generation);
    for member in gang.present() {
        fleet.set(member, Duty::Leaving(id.clone(), generation, now));
    }
    let mut commands =
        vec![Command::Store(changes), Command::DropRendezvous(id.clone(), generation), Command::Publish(id)];
    commands.extend(release(job, doomed, now));
    commands
}

pub fn failed(job: &mut Job, fleet: &mut Fleet, worker: &WorkerId, failure: Failure, now: Now) -> Vec<Command> {
    let reason = format!("{worker}: {}", failure.reason);
    if !failure.bad_checkpoints.is_empty() {
        fleet.suspect(worker);
        return discard(job, fleet, &failure.bad_checkpoints, reason, now);
    }
    if !failure.retryable {
        return fail(job, fleet, reason, now);
    }
    job.head.failures += 1;
    if job.head.failures >= FAILURES {
        let reason = format!("{FAILURES} generations failed without a committed round; the last one: {reason}");
        return fail(job, fleet, reason, now);
    }
    // The first time at once; then ever later, so that what is short (disk, memory) may come back.
    let wait = Duration::from_millis(500) * 2_u32.pow(job.head.failures);
    job.not_before = if job.head.failures == 1 { now } else { now.after(wait.min(LONGEST_WAIT)) };
    let commands = dissolve_and_wait(job, fleet, None, reason, now);
    job.felt = true;
    commands
}

/// An altered or missing checkpoint: its round, and all that follow, never happened.
fn discard(job: &mut Job, fleet: &mut Fleet, bad: &[Digest], reason: String, now: Now) -> Vec<Command> {
    let Some(first) = job.manifests.iter().position(|manifest| manifest.shards.iter().any(|s| bad.contains(s))) else {
        return fail(job, fleet, reason, now);
    };
    job.head.discards += 1;
    if job.head.discards >= DISCARDS {
        let reason =
            format!("{DISCARDS} checkpoints could not be used, and no new round between them; the last one: {reason}");
        return fail(job, fleet, reason, now);
    }
    let bad = (job.manifests[first].step, job.manifests[first].round);
    // What was released before cannot be gone back to.
    let usable = job.manifests[..first].iter().rposition(|manifest| !manifest.shards.is_empty());
    let discarded = job.manifests.split_off(usable.map_or(0, |last| last + 1));
    let back = match job.committed() {
        Some((step, round)) => format!("goes back to round {round} of {}", job.step_name(step)),
        None => "begins anew".into(),
    };
    let text = format!("the checkpoint of round {} of {} cannot be used; the job {back}", bad.1, job.step_name(bad.0));
    job.warn(format!("{text}: {reason}."));
    let changes = vec![job.head_change(), job.note(text, now)];
    let mut commands = vec![Command::Store(changes), Command::Count(Count::CheckpointDiscarded)];
    job.leftovers.extend(discarded.iter().flat_map(|manifest| manifest.shards.iter().cloned()));
    // The last one first: what is left at any time is a beginning.
    let discarded = discarded.into_iter().rev();
    let discarded = discarded.map(|manifest| Change::Discarded(job.id.clone(), manifest.step, manifest.round));
    commands.extend(store_in_pieces(discarded.collect()));
    commands.extend(dissolve_and_wait(job, fleet, None, reason, now));
    commands
}

/// A member that left is free at once. It may do so when its part is done; otherwise the others cannot go on.
pub fn left(
    job: &mut Job,
    fleet: &mut Fleet,
    worker: &WorkerId,
    rank: Rank,
    last: Option<LastCollective>,
    now: Now,
) -> Vec<Command> {
    fleet.set(worker, Duty::Idle);
    if rank != Rank(0) && job.is_done() {
        if let Some(gang) = &mut job.gang {
            gang.left.insert(worker.clone());
        }
        return Vec::new();
    }
    let reason = format!("{worker} left {}", job.whereabouts());
    let generation = job.head.generation;
    let commands = lost(job, fleet, worker, reason, now);
    if let Some(post_mortem) = &mut job.post_mortem {
        post_mortem.hear(worker, generation, last);
    }
    commands
}

/// A member is gone: the others are told at once, and the job waits for another.
pub fn lost(job: &mut Job, fleet: &mut Fleet, worker: &WorkerId, reason: String, now: Now) -> Vec<Command> {
    job.head.losses += 1;
    if job.head.losses >= LOSSES {
        let reason = format!("{LOSSES} generations lost a worker without a committed round; the last one: {reason}");
        return end(job, fleet, JobState::Failed, reason, Some(worker), now);
    }
    dissolve_and_wait(job, fleet, Some(worker), reason, now)
}

/// The gang took too long to prepare.
pub fn too_slow(job: &mut Job, fleet: &mut Fleet, timeouts: &Timeouts, now: Now) -> Vec<Command> {
    let Some(gang) = &job.gang else { return Vec::new() };
    let slow = gang.members.iter().zip(&gang.prepared).filter(|(_, layout)| layout.is_none());
    let slow: Vec<WorkerId> = slow.map(|(member, _)| member.clone()).collect();
    slow.iter().for_each(|member| fleet.suspect(member));
    let names: Vec<&str> = slow.iter().map(|member| member.0.as_str()).collect();
    let reason = format!("{} did not prepare within {:?}", names.join(", "), timeouts.prepare);
    let failure = Failure { reason, retryable: true, bad_checkpoints: Vec::new() };
    let first = slow[0].clone();
    failed(job, fleet, &first, failure, now)
}

/// The gang ends now, as was wanted.
pub fn give_up(job: &mut Job, fleet: &mut Fleet, why: Yield, now: Now) -> Vec<Command> {
    match why.then {
        JobState::Waiting => dissolve_and_wait(job, fleet, None, why.reason, now),
        state => end(job, fleet, state, why.reason, None, now),
    }
}

fn dissolve_and_wait(
    job: &mut Job,
    fleet: &mut Fleet,
    gone: Option<&WorkerId>,
    reason: String,
    now: Now,
) -> Vec<Command> {
    if job.head.pausing {
        return end(job, fleet, JobState::Paused, format!("paused by the user; {reason}"), gone, now);
    }
    let mut commands = vec![Command::Store(job.wait(reason.clone(), now))];
    commands.extend(dissolve(job, fleet, gone, &reason, now));
    commands.push(Command::Publish(job.id.clone()));
    commands
}

pub fn fail(job: &mut Job, fleet: &mut Fleet, reason: String, now: Now) -> Vec<Command> {
    end(job, fleet, JobState::Failed, reason, None, now)
}

/// The job is over or paused, and its gang is no more. `gone` is told nothing.
pub fn end(
    job: &mut Job,
    fleet: &mut Fleet,
    state: JobState,
    reason: String,
    gone: Option<&WorkerId>,
    now: Now,
) -> Vec<Command> {
    job.head.gang = None;
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
    let durable = gang.durable.values().flatten().flatten();
    job.leftovers.extend(durable.map(|done| done.shard.clone()));
    let (id, generation) = (job.id.clone(), job.head.generation);
    let mut commands = Vec::new();
    for member in gang.present().filter(|member| Some(*member) != gone) {
        fleet.set(member, Duty::Leaving(id.clone(), generation, now));
        let abort = WorkerCommand::Abort { job: id.clone(), generation, reason: reason.to_owned() };
        commands.push(Command::Send(member.clone(), abort));
    }
    if gang.plan.is_some() && gang.members.len() > 1 {
        job.post_mortem = Some(PostMortem::new(generation, &gang.members, gone));
    }
    commands.push(Command::DropRendezvous(id, generation));
    commands
}
