//! The decisions: who runs what, and what becomes of it.

use std::collections::BTreeMap;

use rewind_job::{
    Generation, JobEvent, JobId, JobState, JobStatus, Rank, Specification, Timeouts, WorkerEvent, WorkerId,
};

use crate::{
    Change, Command, Event, JobHead, Now, StoredJob,
    fleet::{Duty, Fleet},
    gang,
    job::Job,
};

/// All jobs and workers, and what to do about them.
pub struct Control {
    timeouts: Timeouts,
    fleet: Fleet,
    /// By submission.
    jobs: BTreeMap<u64, Job>,
    last_tick: Option<Now>,
}

impl Control {
    /// Takes up what was stored. Jobs that ran wait for workers again.
    pub fn restore(timeouts: Timeouts, stored: Vec<StoredJob>, now: Now) -> (Self, Vec<Command>) {
        let mut control = Self { timeouts, fleet: Fleet::default(), jobs: BTreeMap::new(), last_tick: None };
        let mut commands = Vec::new();
        for stored in stored {
            let mut job = Job::restore(stored);
            if matches!(job.head.state, JobState::Preparing | JobState::Running) {
                commands.push(Command::Store(job.wait("the coordinator was restarted".into(), now)));
            }
            control.jobs.insert(number_of(&job.id), job);
        }
        commands.extend(control.admit(now));
        (control, commands)
    }

    /// The name of the next job that is submitted.
    pub fn next_job(&self) -> JobId {
        JobId(format!("job-{}", self.jobs.keys().last().map_or(1, |last| last + 1)))
    }

    /// All jobs, oldest first.
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
            Event::Unreadable(worker, problem) => self.send_away(&worker, &problem, now),
            Event::SessionEnded(worker) => self.lose(&worker, "was lost", now),
            Event::Tick => self.tick(now),
        };
        commands.extend(self.admit(now));
        commands
    }

    fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(&number_of(id)).filter(|job| &job.id == id)
    }

    fn submit(&mut self, specification: Specification, now: Now) -> Vec<Command> {
        let id = self.next_job();
        let head = JobHead {
            state: JobState::Waiting,
            reason: String::new(),
            generation: Generation(0),
            submitted_at: now.0,
            failures: 0,
        };
        let mut changes = vec![Change::Specification(id.clone(), Box::new(specification.clone()))];
        let mut job =
            Job::restore(StoredJob { job: id.clone(), specification, head, manifests: Vec::new(), events: Vec::new() });
        changes.push(job.note("submitted".into(), now));
        changes.push(Change::Head(id.clone(), job.head.clone()));
        self.jobs.insert(number_of(&id), job);
        vec![Command::Store(changes), Command::Publish(id)]
    }

    fn cancel(&mut self, id: &JobId, now: Now) -> Vec<Command> {
        match find(&mut self.jobs, id).filter(|job| !job.head.state.is_final()) {
            Some(job) => {
                gang::end(job, &mut self.fleet, JobState::Cancelled, "cancelled by the user".into(), None, now)
            }
            None => Vec::new(),
        }
    }

    fn tick(&mut self, now: Now) -> Vec<Command> {
        let since = |tick: Now| u128::from(now.0.saturating_sub(tick.0));
        if self.last_tick.is_some_and(|last| since(last) > self.timeouts.detection.as_millis() / 2) {
            // This process stood still: silence since then says nothing about the workers.
            self.fleet.forgive(now);
        }
        self.last_tick = Some(now);
        let mut commands = Vec::new();
        for (worker, why) in self.fleet.overdue(now, &self.timeouts) {
            commands.push(Command::CloseSession(worker.clone()));
            commands.extend(self.lose(&worker, &why, now));
        }
        commands
    }

    /// A worker is gone: its gang dissolves at once, and its job waits for another.
    fn lose(&mut self, worker: &WorkerId, why: &str, now: Now) -> Vec<Command> {
        match self.fleet.lose(worker) {
            Some(Duty::Assigned(id, _)) => {
                let Some(job) = find(&mut self.jobs, &id) else { return Vec::new() };
                let reason = format!("{worker} {why} {}", job.whereabouts());
                gang::retry(job, &mut self.fleet, Some(worker), reason, now)
            }
            Some(Duty::Leaving(id, generation, _)) => {
                // Others felt the loss before it was seen here: name the cause, not what they felt.
                let job = find(&mut self.jobs, &id)
                    .filter(|job| job.felt && job.head.state == JobState::Waiting && job.head.generation == generation);
                let Some(job) = job else { return Vec::new() };
                let changes = job.wait(format!("{worker} {why} {}", job.whereabouts()), now);
                vec![Command::Store(changes), Command::Publish(id)]
            }
            Some(Duty::Idle) | None => Vec::new(),
        }
    }

    /// Another generation would bring the same message again: the job fails.
    fn send_away(&mut self, worker: &WorkerId, problem: &str, now: Now) -> Vec<Command> {
        let mut commands = vec![Command::CloseSession(worker.clone())];
        if let Some(Duty::Assigned(id, _)) = self.fleet.lose(worker)
            && let Some(job) = find(&mut self.jobs, &id)
        {
            let reason = format!("{worker} sent a message that cannot be read: {problem}");
            commands.extend(gang::end(job, &mut self.fleet, JobState::Failed, reason, Some(worker), now));
        }
        commands
    }

    fn said(&mut self, worker: &WorkerId, event: WorkerEvent, now: Now) -> Vec<Command> {
        let (id, generation) = match &event {
            WorkerEvent::Joined { .. } | WorkerEvent::Heartbeat => return Vec::new(),
            WorkerEvent::Prepared { job, generation, .. }
            | WorkerEvent::ShardDurable { job, generation, .. }
            | WorkerEvent::Progress { job, generation, .. }
            | WorkerEvent::Finished { job, generation, .. }
            | WorkerEvent::Failed { job, generation, .. }
            | WorkerEvent::Left { job, generation } => (job.clone(), *generation),
        };
        let fleet = &mut self.fleet;
        if matches!(event, WorkerEvent::Left { .. }) && fleet.left(worker, &id, generation) {
            return Vec::new();
        }
        // A stale message changes nothing: only a member of the present gang is heard.
        let Some(job) = find(&mut self.jobs, &id).filter(|job| job.head.generation == generation) else {
            return Vec::new();
        };
        let Some(rank) = job.gang.as_ref().and_then(|gang| gang.rank_of(worker)) else {
            return Vec::new();
        };
        match event {
            WorkerEvent::Prepared { layout, .. } => gang::prepared(job, fleet, rank, layout, now),
            WorkerEvent::ShardDurable { round, .. } => gang::durable(job, fleet, rank, *round, now),
            WorkerEvent::Progress { progress, .. } if rank == Rank(0) => {
                job.progress = Some(progress);
                vec![Command::Publish(id)]
            }
            WorkerEvent::Finished { report, weights, .. } if rank == Rank(0) => {
                gang::finished(job, fleet, report, weights, now)
            }
            WorkerEvent::Failed { failure, .. } => gang::failed(job, fleet, worker, failure, now),
            WorkerEvent::Left { .. } => gang::left(job, fleet, worker, rank, now),
            _ => Vec::new(),
        }
    }

    /// Assigns waiting jobs, oldest first, each to a whole gang or not at all. A job that wants more workers than
    /// there are does not hold up the others.
    fn admit(&mut self, now: Now) -> Vec<Command> {
        let mut commands = Vec::new();
        for job in self.jobs.values_mut().filter(|job| job.head.state == JobState::Waiting) {
            let wanted = job.specification.fleet.world_size.0 as usize;
            let idle = self.fleet.idle();
            if idle.len() >= wanted {
                commands.extend(gang::assign(job, &mut self.fleet, idle, now));
            } else if self.fleet.len() >= wanted {
                break;
            }
        }
        commands.extend(self.say_what_jobs_wait_for(now));
        commands
    }

    fn say_what_jobs_wait_for(&mut self, now: Now) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut ahead: Option<JobId> = None;
        let idle = self.fleet.idle().len();
        for job in self.jobs.values_mut().filter(|job| job.head.state == JobState::Waiting) {
            let wanted = job.specification.fleet.world_size.0 as usize;
            let mut waiting = match &ahead {
                Some(other) => format!("waiting behind {other}"),
                None => format!("waiting for workers: {} of {wanted} are idle", idle.min(wanted)),
            };
            if !job.head.reason.is_empty() {
                waiting = format!("{waiting}: {}", job.head.reason);
            }
            if job.waiting != waiting {
                job.waiting = waiting.clone();
                commands.push(Command::Store(vec![job.note(waiting, now)]));
                commands.push(Command::Publish(job.id.clone()));
            }
            if ahead.is_none() && self.fleet.len() >= wanted {
                ahead = Some(job.id.clone());
            }
        }
        commands
    }
}

fn number_of(id: &JobId) -> u64 {
    id.0.strip_prefix("job-").and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn find<'a>(jobs: &'a mut BTreeMap<u64, Job>, id: &JobId) -> Option<&'a mut Job> {
    jobs.get_mut(&number_of(id)).filter(|job| &job.id == id)
}
