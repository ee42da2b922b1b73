//! The decisions.

use std::collections::BTreeMap;

use rewind_job::{
    Assignment, Failure, Generation, JobEvent, JobId, JobState, JobStatus, Layout, Manifest, Rank, Report, RoundDone,
    ShardPlan, StepWeights, Timeouts, WorkerCommand, WorkerEvent, WorkerId, WorldSize,
};

use crate::{
    Change, Command, Event, JobHead, Now, StoredJob,
    fleet::{Duty, Fleet},
    job::{Gang, Job},
};

/// After so many failed generations without a commit between them a job fails.
const FAILURES: u32 = 5;

/// All jobs and workers, and what to do about them.
pub struct Control {
    timeouts: Timeouts,
    fleet: Fleet,
    /// By submission.
    jobs: BTreeMap<u64, Job>,
}

impl Control {
    /// Takes up what was stored. Jobs that ran wait for workers again.
    pub fn restore(timeouts: Timeouts, stored: Vec<StoredJob>, now: Now) -> (Self, Vec<Command>) {
        let mut control = Self { timeouts, fleet: Fleet::default(), jobs: BTreeMap::new() };
        let mut commands = Vec::new();
        for stored in stored {
            let mut job = Job::restore(stored);
            if matches!(job.head.state, JobState::Preparing | JobState::Running) {
                let changes = job.decide(JobState::Waiting, "the coordinator was restarted".into(), now);
                commands.push(Command::Store(changes));
            }
            control.jobs.insert(number_of(&job.id), job);
        }
        (control, commands)
    }

    /// The name of the next job that is submitted.
    pub fn next_job(&self) -> JobId {
        JobId(format!("job-{}", self.jobs.keys().last().map_or(1, |last| last + 1)))
    }

    pub fn jobs(&self) -> Vec<JobStatus> {
        self.jobs.values().map(Job::status).collect()
    }

    pub fn status(&self, job: &JobId) -> Option<JobStatus> {
        self.job(job).map(Job::status)
    }

    /// A job's events after the given sequence number.
    pub fn events_after(&self, job: &JobId, sequence: u64) -> Vec<JobEvent> {
        let events = self.job(job).map_or(&[][..], |job| &job.events);
        events.iter().filter(|event| event.sequence > sequence).cloned().collect()
    }

    /// Names of all workers, in order.
    pub fn workers(&self) -> Vec<WorkerId> {
        self.fleet.names()
    }

    /// What must be done about `event`.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Command> {
        let mut commands = match event {
            Event::Submitted(specification) => self.submit(*specification, now),
            Event::CancelWanted(job) => self.cancel(&job, now),
            Event::Said(worker, WorkerEvent::Joined { .. }) => {
                // A session of the same name that was not seen to end has ended now.
                let commands = self.lose(&worker, "began a new session", now);
                self.fleet.join(worker, now);
                commands
            }
            Event::Said(worker, event) => {
                self.fleet.hear(&worker, now);
                self.said(&worker, event, now)
            }
            Event::SessionEnded(worker) => self.lose(&worker, "was lost", now),
            Event::Tick => {
                let overdue = self.fleet.overdue(now, &self.timeouts);
                let mut commands = Vec::new();
                for (worker, why) in overdue {
                    commands.push(Command::CloseSession(worker.clone()));
                    commands.extend(self.lose(&worker, &why, now));
                }
                commands
            }
        };
        commands.extend(self.admit(now));
        commands
    }

    fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(&number_of(id)).filter(|job| &job.id == id)
    }

    fn submit(&mut self, specification: rewind_job::Specification, now: Now) -> Vec<Command> {
        let id = self.next_job();
        let head = JobHead {
            state: JobState::Waiting,
            reason: String::new(),
            generation: Generation(0),
            submitted_at: now.0,
            failures: 0,
        };
        let stored = Change::Specification(id.clone(), Box::new(specification.clone()));
        let mut job =
            Job::restore(StoredJob { job: id.clone(), specification, head, manifests: Vec::new(), events: Vec::new() });
        let mut changes = vec![stored];
        changes.extend(job.decide(JobState::Waiting, "submitted".into(), now));
        self.jobs.insert(number_of(&id), job);
        vec![Command::Store(changes), Command::Publish(id)]
    }

    fn cancel(&mut self, id: &JobId, now: Now) -> Vec<Command> {
        let Some(job) = self.jobs.get_mut(&number_of(id)).filter(|job| !job.head.state.is_final()) else {
            return Vec::new();
        };
        let reason = "cancelled by the user";
        let mut commands = vec![Command::Store(job.decide(JobState::Cancelled, reason.into(), now))];
        commands.extend(dissolve(job, &mut self.fleet, None, reason, now));
        commands.push(Command::Publish(id.clone()));
        commands
    }

    /// A worker is gone: its gang dissolves at once, and its job waits for another.
    fn lose(&mut self, worker: &WorkerId, why: &str, now: Now) -> Vec<Command> {
        let Some(Duty::Assigned(id, _)) = self.fleet.lose(worker) else {
            return Vec::new();
        };
        let job = self.jobs.get_mut(&number_of(&id)).expect("an assigned worker has a job");
        let at = match job.committed() {
            Some((step, round)) => {
                let step = &job.specification.steps[step.0 as usize].name;
                format!(" (round {round} of {step} is the last committed)")
            }
            None => String::new(),
        };
        let reason = format!("{worker} {why}{at}");
        retry(job, &mut self.fleet, Some(worker), reason, now)
    }

    fn said(&mut self, worker: &WorkerId, event: WorkerEvent, now: Now) -> Vec<Command> {
        let (id, generation) = match &event {
            WorkerEvent::Joined { .. } | WorkerEvent::Heartbeat => return Vec::new(),
            WorkerEvent::Left { job, generation } => {
                self.left(worker, job, *generation);
                return Vec::new();
            }
            WorkerEvent::Prepared { job, generation, .. }
            | WorkerEvent::ShardDurable { job, generation, .. }
            | WorkerEvent::Progress { job, generation, .. }
            | WorkerEvent::Finished { job, generation, .. }
            | WorkerEvent::Failed { job, generation, .. } => (job.clone(), *generation),
        };
        // A stale message changes nothing: only a member of the present gang is heard.
        let Some(job) = self.jobs.get_mut(&number_of(&id)).filter(|job| job.head.generation == generation) else {
            return Vec::new();
        };
        let Some(rank) = job.gang.as_ref().and_then(|gang| gang.rank_of(worker)) else {
            return Vec::new();
        };
        let fleet = &mut self.fleet;
        match event {
            WorkerEvent::Prepared { layout, .. } => prepared(job, fleet, rank, layout, now),
            WorkerEvent::ShardDurable { round, .. } => durable(job, fleet, rank, *round, now),
            WorkerEvent::Progress { progress, .. } if rank == Rank(0) => {
                job.progress = Some(progress);
                vec![Command::Publish(id)]
            }
            WorkerEvent::Finished { report, weights, .. } if rank == Rank(0) => {
                finished(job, fleet, report, weights, now)
            }
            WorkerEvent::Failed { failure, .. } => failed(job, fleet, worker, failure, now),
            _ => Vec::new(),
        }
    }

    fn left(&mut self, worker: &WorkerId, id: &JobId, generation: Generation) {
        let job = self.jobs.get_mut(&number_of(id)).filter(|job| job.head.generation == generation);
        match job.and_then(|job| job.gang.as_mut()) {
            // Done with its part before rank 0 has said that the job is finished.
            Some(gang) => {
                gang.left.insert(worker.clone());
            }
            None => self.fleet.left(worker, id, generation),
        }
    }

    /// Assigns waiting jobs, oldest first, each to a whole gang or not at all. A job that wants more workers than
    /// there are does not hold up the others.
    fn admit(&mut self, now: Now) -> Vec<Command> {
        let mut commands = Vec::new();
        for job in self.jobs.values_mut().filter(|job| job.head.state == JobState::Waiting) {
            let wanted = job.specification.fleet.world_size;
            let idle = self.fleet.idle();
            if idle.len() >= wanted.0 as usize {
                commands.extend(assign(job, &mut self.fleet, idle, now));
                continue;
            }
            let waiting = format!("waiting for workers: {} of {wanted} are idle", idle.len());
            if job.head.reason != waiting {
                commands.push(Command::Store(job.decide(JobState::Waiting, waiting, now)));
                commands.push(Command::Publish(job.id.clone()));
            }
            if self.fleet.len() >= wanted.0 as usize {
                break;
            }
        }
        commands
    }
}

fn number_of(id: &JobId) -> u64 {
    id.0.strip_prefix("job-").and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn assign(job: &mut Job, fleet: &mut Fleet, mut members: Vec<WorkerId>, now: Now) -> Vec<Command> {
    let world_size = job.specification.fleet.world_size;
    members.truncate(world_size.0 as usize);
    job.head.generation.0 += 1;
    let generation = job.head.generation;
    let names: Vec<&str> = members.iter().map(|member| member.0.as_str()).collect();
    let reason = format!("generation {generation}: assigned to {}", names.join(", "));
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
    job.progress = None;
    commands.push(Command::Publish(job.id.clone()));
    commands
}

fn prepared(job: &mut Job, fleet: &mut Fleet, rank: Rank, layout: Layout, now: Now) -> Vec<Command> {
    let gang = job.gang.as_mut().expect("said() found the gang");
    gang.prepared[rank.0 as usize] = Some(layout);
    if job.head.state != JobState::Preparing || gang.prepared.iter().any(Option::is_none) {
        return Vec::new();
    }
    let layouts: Vec<&Layout> = gang.prepared.iter().flatten().collect();
    let layout = layouts[0].clone();
    if layouts.iter().any(|other| **other != layout) {
        return fail(job, fleet, "the workers built different models from the same specification".into(), now);
    }
    let plan = ShardPlan::balanced(&layout, WorldSize(gang.members.len() as u32));
    let members = gang.members.clone();
    let reason = format!("runs on {} workers, {} parameters", members.len(), layout.coordinates());
    let mut commands = vec![Command::Store(job.decide(JobState::Running, reason, now))];
    for member in members {
        let begin = WorkerCommand::Begin { job: job.id.clone(), generation: job.head.generation, plan: plan.clone() };
        commands.push(Command::Send(member, begin));
    }
    commands.push(Command::Publish(job.id.clone()));
    commands
}

fn durable(job: &mut Job, fleet: &mut Fleet, rank: Rank, done: RoundDone, now: Now) -> Vec<Command> {
    let key = (done.step, done.round);
    if job.head.state != JobState::Running || job.committed() >= Some(key) {
        return Vec::new();
    }
    let gang = job.gang.as_mut().expect("said() found the gang");
    let world = gang.members.len();
    gang.durable.entry(key).or_insert_with(|| vec![None; world])[rank.0 as usize] = Some(done);
    let mut commands = Vec::new();
    // Rounds commit in order; a later one that is complete waits for the one before it.
    while let Some((&(step, round), shards)) = job.gang.as_ref().and_then(|gang| gang.durable.first_key_value()) {
        if shards.iter().any(Option::is_none) {
            break;
        }
        if !job.follows(step, round) {
            let reason = format!("round {round} of step {step} does not follow the last committed round");
            commands.extend(fail(job, fleet, reason, now));
            break;
        }
        let shards: Vec<RoundDone> = shards.iter().flatten().cloned().collect();
        if shards.iter().any(|other| other.outcome != shards[0].outcome) {
            commands.extend(fail(job, fleet, format!("the workers disagree on round {round} of step {step}"), now));
            break;
        }
        commands.extend(commit(job, shards, now));
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
        let name = &job.specification.steps[manifest.step.0 as usize].name;
        let text = format!("{name} ended: {}; round {} was selected", outcome.stop.text, outcome.selected);
        changes.push(job.note(text, now));
    }
    let mut commands = vec![Command::Store(changes)];
    let gang = job.gang.as_mut().expect("a commit has a gang");
    gang.durable.remove(&(manifest.step, manifest.round));
    for member in &gang.members {
        let committed = WorkerCommand::Committed {
            job: job.id.clone(),
            generation: job.head.generation,
            manifest: Box::new(manifest.clone()),
        };
        commands.push(Command::Send(member.clone(), committed));
    }
    commands.push(Command::Publish(job.id.clone()));
    commands
}

fn finished(
    job: &mut Job,
    fleet: &mut Fleet,
    report: Box<Report>,
    weights: Vec<StepWeights>,
    now: Now,
) -> Vec<Command> {
    let mut changes = vec![Change::Report(job.id.clone(), report, weights)];
    changes.extend(job.decide(JobState::Finished, "all steps are done".into(), now));
    let gang = job.gang.take().expect("said() found the gang");
    let (id, generation) = (job.id.clone(), job.head.generation);
    for member in &gang.members {
        // They leave by themselves.
        let leaving = Duty::Leaving(id.clone(), generation, now);
        fleet.set(member, if gang.left.contains(member) { Duty::Idle } else { leaving });
    }
    vec![Command::Store(changes), Command::DropRendezvous(id.clone(), generation), Command::Publish(id)]
}

fn failed(job: &mut Job, fleet: &mut Fleet, worker: &WorkerId, failure: Failure, now: Now) -> Vec<Command> {
    let reason = format!("{worker}: {}", failure.reason);
    if failure.retryable { retry(job, fleet, None, reason, now) } else { fail(job, fleet, failure.reason, now) }
}

/// Dissolves the gang; the job waits for another, unless too many generations have failed.
fn retry(job: &mut Job, fleet: &mut Fleet, lost: Option<&WorkerId>, reason: String, now: Now) -> Vec<Command> {
    job.head.failures += 1;
    if job.head.failures >= FAILURES {
        let reason = format!("{FAILURES} generations failed without a committed round; the last because {reason}");
        let mut commands = vec![Command::Store(job.decide(JobState::Failed, reason.clone(), now))];
        commands.extend(dissolve(job, fleet, lost, &reason, now));
        commands.push(Command::Publish(job.id.clone()));
        return commands;
    }
    let mut commands = vec![Command::Store(job.decide(JobState::Waiting, reason.clone(), now))];
    commands.extend(dissolve(job, fleet, lost, &reason, now));
    commands.push(Command::Publish(job.id.clone()));
    commands
}

fn fail(job: &mut Job, fleet: &mut Fleet, reason: String, now: Now) -> Vec<Command> {
    let mut commands = vec![Command::Store(job.decide(JobState::Failed, reason.clone(), now))];
    commands.extend(dissolve(job, fleet, None, &reason, now));
    commands.push(Command::Publish(job.id.clone()));
    commands
}

/// Tells the members at once: nobody sits in a collective until a timeout.
fn dissolve(job: &mut Job, fleet: &mut Fleet, lost: Option<&WorkerId>, reason: &str, now: Now) -> Vec<Command> {
    let Some(gang) = job.gang.take() else {
        return Vec::new();
    };
    job.progress = None;
    let (id, generation) = (job.id.clone(), job.head.generation);
    let mut commands = Vec::new();
    for member in gang.members.iter().filter(|member| Some(*member) != lost) {
        if gang.left.contains(member) {
            fleet.set(member, Duty::Idle);
            continue;
        }
        fleet.set(member, Duty::Leaving(id.clone(), generation, now));
        let abort = WorkerCommand::Abort { job: id.clone(), generation, reason: reason.to_owned() };
        commands.push(Command::Send(member.clone(), abort));
    }
    commands.push(Command::DropRendezvous(id, generation));
    commands
}
