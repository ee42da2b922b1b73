//! The decisions: who runs what, and what becomes of it.

use std::collections::BTreeMap;

use rewind_job::{
    Digest, Generation, JobEvent, JobId, JobState, JobStatus, LastCollective, Rank, Specification, Timeouts,
    WorkerCommand, WorkerEvent, WorkerId, Working,
};

use crate::{
    Change, Command, Count, Event, JobHead, LossReason, Now, StoredJob, TaskRecord, attach,
    fleet::{Duty, Fleet},
    gang,
    job::{Job, Yield},
    retention::{self, Doomed},
    store_in_pieces, tasks,
};

/// All jobs and workers, and what to do about them.
pub struct Control {
    timeouts: Timeouts,
    pub(crate) fleet: Fleet,
    /// By submission.
    pub(crate) jobs: BTreeMap<u64, Job>,
    doomed: Doomed,
    last_tick: Option<Now>,
}

impl Control {
    /// Takes up what was stored, as a new leader. What was running goes on as soon as its workers are heard; they are
    /// expected as if they had been heard now.
    pub fn restore(
        timeouts: Timeouts,
        stored: Vec<StoredJob>,
        doomed: Vec<(Digest, u64)>,
        now: Now,
    ) -> (Self, Vec<Command>) {
        let mut control = Self {
            timeouts,
            fleet: Fleet::default(),
            jobs: BTreeMap::new(),
            doomed: Doomed::restore(doomed),
            last_tick: None,
        };
        let mut commands = Vec::new();
        for stored in stored {
            let mut job = Job::restore(stored, now);
            if job.head.state == JobState::Preparing {
                commands.push(Command::Store(job.wait("the coordinator changed while it prepared".into(), now)));
            }
            commands.extend(gang::release(&mut job, &mut control.doomed, now));
            control.jobs.insert(number_of(&job.id), job);
        }
        // Of a gang that only measures, members may have left for other work: those that do it are expected first.
        let (measuring, working): (Vec<&mut Job>, Vec<&mut Job>) =
            control.jobs.values_mut().partition(|job| job.is_done());
        for job in working.into_iter().chain(measuring) {
            attach::expect(job, &mut control.fleet, &control.timeouts, now);
        }
        commands.extend(control.admit(now));
        (control, commands)
    }

    /// The name of the job that was submitted under this name, or will be.
    pub fn job_of(&self, submission: &str) -> JobId {
        let known = self.jobs.values().rev().find(|job| !submission.is_empty() && job.head.submission == submission);
        known.map_or_else(|| self.next_job(), |job| job.id.clone())
    }

    fn next_job(&self) -> JobId {
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

    /// The tasks of a job that were ever given to a worker, in order.
    pub fn tasks(&self, job: &JobId) -> Vec<TaskRecord> {
        self.job(job).map_or_else(Vec::new, |job| job.tasks.values().cloned().collect())
    }

    /// Names of all workers, in order.
    pub fn workers(&self) -> Vec<WorkerId> {
        self.fleet.names()
    }

    /// What each worker does.
    pub fn duties(&self) -> impl Iterator<Item = (&WorkerId, &Duty)> {
        self.fleet.duties()
    }

    /// What must be done about `event`.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Command> {
        let mut commands = match event {
            Event::Submitted { submission, specification } => self.submit(submission, *specification, now),
            Event::CancelWanted(job) => self.cancel(&job, now),
            Event::PauseWanted(job) => self.pause(&job, now),
            Event::ResumeWanted(job) => self.resume(&job, now),
            Event::Said(worker, WorkerEvent::Joined { device, working, .. }) => {
                let commands = self.joined(worker.clone(), working, now);
                self.fleet.computes_on(&worker, device);
                commands
            }
            Event::Said(worker, event) => {
                self.fleet.hear(&worker, now);
                self.said(&worker, event, now)
            }
            Event::Unreadable(worker, problem) => self.send_away(&worker, &problem, now),
            Event::SessionEnded(worker) => self.lose(&worker, LossReason::SessionEnded, "was lost", now),
            Event::Deleted(artifacts) => self.doomed.ended(artifacts, now),
            Event::Tick => self.tick(now),
        };
        commands.extend(self.admit(now));
        commands.extend(self.doom_leftovers(now));
        commands
    }

    fn doom_leftovers(&mut self, now: Now) -> Vec<Command> {
        let leftovers = self.jobs.values_mut().flat_map(|job| std::mem::take(&mut job.leftovers)).collect();
        store_in_pieces(self.doomed.add(leftovers, now))
    }

    fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(&number_of(id)).filter(|job| &job.id == id)
    }

    fn submit(&mut self, submission: String, specification: Specification, now: Now) -> Vec<Command> {
        let id = self.job_of(&submission);
        if self.job(&id).is_some() {
            return Vec::new();
        }
        let head = JobHead {
            state: JobState::Waiting,
            reason: String::new(),
            generation: Generation(0),
            submitted_at: now.0,
            submission,
            failures: 0,
            losses: 0,
            furthest: None,
            discards: 0,
            pausing: false,
            device: None,
            gang: None,
            warnings: Vec::new(),
            verdict: None,
        };
        let mut changes = vec![Change::Specification(id.clone(), Box::new(specification.clone()))];
        let stored = StoredJob {
            job: id.clone(),
            specification,
            head,
            manifests: Vec::new(),
            events: Vec::new(),
            tasks: Vec::new(),
        };
        let mut job = Job::restore(stored, now);
        changes.push(job.note("submitted".into(), now));
        changes.push(job.head_change());
        self.jobs.insert(number_of(&id), job);
        vec![Command::Store(changes), Command::Publish(id)]
    }

    fn end(&mut self, id: &JobId, state: JobState, reason: String, now: Now) -> Vec<Command> {
        match find(&mut self.jobs, id).filter(|job| !job.head.state.is_final()) {
            Some(job) if job.specification.collect().is_some() => tasks::end(job, &mut self.fleet, state, reason, now),
            Some(job) => {
                let mut commands = gang::end(job, &mut self.fleet, state, reason, None, now);
                commands.extend(gang::release(job, &mut self.doomed, now));
                commands
            }
            None => Vec::new(),
        }
    }

    /// A failed job can be cancelled too: then it goes on no more, and what it kept for that is released.
    fn cancel(&mut self, id: &JobId, now: Now) -> Vec<Command> {
        let reason = "cancelled by the user".to_owned();
        match find(&mut self.jobs, id).filter(|job| job.head.state == JobState::Failed) {
            Some(job) => {
                let mut commands = vec![Command::Store(job.decide(JobState::Cancelled, reason, now))];
                commands.extend(gang::release(job, &mut self.doomed, now));
                commands.push(Command::Publish(id.clone()));
                commands
            }
            None => self.end(id, JobState::Cancelled, reason, now),
        }
    }

    fn pause(&mut self, id: &JobId, now: Now) -> Vec<Command> {
        let reason = "paused by the user".to_owned();
        let Some(job) = find(&mut self.jobs, id) else { return Vec::new() };
        match job.head.state {
            JobState::Running if job.gang.is_some() => {
                let yielding = Yield { then: JobState::Paused, reason, at_the_latest: now.after(self.timeouts.drain) };
                self.yield_gang(id, yielding, "pauses after the round under way", now)
            }
            JobState::Waiting | JobState::Preparing | JobState::Running => self.end(id, JobState::Paused, reason, now),
            _ => Vec::new(),
        }
    }

    fn yield_gang(&mut self, id: &JobId, yielding: Yield, text: &str, now: Now) -> Vec<Command> {
        let Some(job) = find(&mut self.jobs, id) else { return Vec::new() };
        let Some(gang) = &mut job.gang else { return Vec::new() };
        // A user's wish is not undone by a worker that ends.
        if gang.yielding.as_ref().is_some_and(|before| before.then == JobState::Paused) {
            return Vec::new();
        }
        job.head.pausing = yielding.then == JobState::Paused;
        gang.yielding = Some(yielding);
        let changes = vec![job.note(text.to_owned(), now), job.head_change()];
        vec![Command::Store(changes), Command::Publish(id.clone())]
    }

    fn resume(&mut self, id: &JobId, now: Now) -> Vec<Command> {
        let Some(job) = find(&mut self.jobs, id) else { return Vec::new() };
        if let Some(gang) = &mut job.gang
            && gang.yielding.as_ref().is_some_and(|yielding| yielding.then == JobState::Paused)
        {
            gang.yielding = None;
            job.head.pausing = false;
            let ending = gang.present().find(|member| self.fleet.is_draining(member)).cloned();
            let changes = vec![job.note("goes on: resumed by the user".into(), now), job.head_change()];
            let mut commands = vec![Command::Store(changes), Command::Publish(id.clone())];
            if let Some(worker) = ending {
                commands.extend(self.go_on_without(&worker, id, now));
            }
            return commands;
        }
        if !matches!(job.head.state, JobState::Paused | JobState::Failed) {
            return Vec::new();
        }
        job.head.failures = 0;
        job.head.losses = 0;
        job.head.discards = 0;
        job.not_before = now;
        let mut forgiven = Vec::new();
        // What is done changes no more.
        let open = job.tasks.values_mut().filter(|record| record.output.is_none());
        for record in open.filter(|record| record.failures + record.losses > 0) {
            (record.failures, record.losses) = (0, 0);
            forgiven.push(Change::Task(job.id.clone(), record.clone()));
        }
        let mut commands = store_in_pieces(forgiven);
        commands.push(Command::Store(job.wait("resumed by the user".into(), now)));
        commands.push(Command::Publish(id.clone()));
        commands
    }

    fn tick(&mut self, now: Now) -> Vec<Command> {
        if self.last_tick.is_some_and(|last| now.since(last) > self.timeouts.detection / 2) {
            // This process stood still: silence since then says nothing about the workers.
            self.fleet.forgive(now);
        }
        self.last_tick = Some(now);
        let mut commands = Vec::new();
        for (worker, reason, why) in self.fleet.overdue(now, &self.timeouts) {
            commands.push(Command::CloseSession(worker.clone()));
            commands.extend(self.lose(&worker, reason, &why, now));
        }
        let ids: Vec<JobId> = self.jobs.values().map(|job| job.id.clone()).collect();
        for id in ids {
            commands.extend(self.watch_over(&id, now));
        }
        let jobs = &self.jobs;
        let needed = |digest: &Digest| jobs.values().any(|job| retention::needs(job, digest));
        commands.extend(self.doomed.due(now, &self.timeouts, needed));
        commands
    }

    /// What a job may not outlast.
    fn watch_over(&mut self, id: &JobId, now: Now) -> Vec<Command> {
        let timeouts = self.timeouts;
        let Some(job) = find(&mut self.jobs, id) else { return Vec::new() };
        if let Some(deadline) = job.specification.deadline
            && !job.head.state.is_final()
            && now.since(Now(job.head.submitted_at)) > deadline
        {
            let mut commands = self.end(id, JobState::Failed, format!("its deadline of {deadline:?} passed"), now);
            commands.push(Command::Count(Count::DeadlinePassed));
            return commands;
        }
        let Some(gang) = &job.gang else { return Vec::new() };
        if let Some(yielding) = gang.yielding.clone().filter(|yielding| now > yielding.at_the_latest) {
            return gang::give_up(job, &mut self.fleet, yielding, now);
        }
        if job.head.state == JobState::Preparing && now.since(gang.assigned_at) > timeouts.prepare {
            return gang::too_slow(job, &mut self.fleet, &timeouts, now);
        }
        Vec::new()
    }

    /// A worker begins a session, perhaps with work that it got from this coordinator or from the one before.
    fn joined(&mut self, worker: WorkerId, working: Option<Working>, now: Now) -> Vec<Command> {
        let has = |job: &JobId, generation: Generation| {
            working.as_ref().is_some_and(|working| &working.job == job && working.generation == generation)
        };
        match self.fleet.duty(&worker).cloned() {
            Some(Duty::Assigned(id, generation)) if has(&id, generation) => {
                self.fleet.hear(&worker, now);
                let job = find(&mut self.jobs, &id).zip(working.as_ref());
                return job.map_or_else(Vec::new, |(job, working)| attach::catch_up(job, &worker, working));
            }
            Some(Duty::Task(id, generation, _)) if has(&id, generation) => {
                self.fleet.hear(&worker, now);
                return vec![Command::Count(Count::Reattached)];
            }
            Some(Duty::Leaving(job, generation, _)) if has(&job, generation) => {
                self.fleet.hear(&worker, now);
                let reason = format!("generation {generation} of {job} is over");
                return vec![Command::Send(worker, WorkerCommand::Abort { job, generation, reason })];
            }
            Some(Duty::Assigned(id, _)) if working.is_none() => {
                let job = find(&mut self.jobs, &id).filter(|job| attach::may_have_left(job, &worker));
                if let Some(gang) = job.and_then(|job| job.gang.as_mut()) {
                    gang.left.insert(worker.clone());
                    self.fleet.join(worker, Duty::Idle, now);
                    return Vec::new();
                }
            }
            _ => {}
        }
        // A session of the same name that was not seen to end has ended now.
        let mut commands = self.lose(&worker, LossReason::NewSession, "began a new session", now);
        match working {
            Some(Working { job, generation, .. }) => {
                self.fleet.join(worker.clone(), Duty::Leaving(job.clone(), generation, now), now);
                let reason = format!("generation {generation} of {job} is over");
                commands.push(Command::Send(worker, WorkerCommand::Abort { job, generation, reason }));
            }
            None => self.fleet.join(worker, Duty::Idle, now),
        }
        commands
    }

    /// A worker is gone: its gang dissolves at once, and its job waits for another.
    fn lose(&mut self, worker: &WorkerId, reason: LossReason, why: &str, now: Now) -> Vec<Command> {
        let duty = self.fleet.lose(worker);
        for job in self.jobs.values_mut() {
            job.post_mortem.iter_mut().for_each(|post_mortem| post_mortem.lose(worker));
        }
        let mut commands = match duty.clone() {
            Some(Duty::Assigned(id, _)) => {
                let Some(job) = find(&mut self.jobs, &id) else { return Vec::new() };
                let reason = format!("{worker} {why} {}", job.whereabouts());
                gang::lost(job, &mut self.fleet, worker, reason, now)
            }
            Some(Duty::Task(id, _, task)) => {
                let Some(job) = find(&mut self.jobs, &id) else { return Vec::new() };
                tasks::lost(job, &mut self.fleet, task, &format!("{worker} {why}"), now)
            }
            Some(Duty::Leaving(id, generation, _)) => {
                // Others felt the loss before it was seen here: name the cause, not what they felt.
                let job = find(&mut self.jobs, &id)
                    .filter(|job| job.felt && job.head.state == JobState::Waiting && job.head.generation == generation);
                let mut commands = Vec::new();
                if let Some(job) = job {
                    // It was no failure of the work.
                    job.felt = false;
                    job.head.failures = job.head.failures.saturating_sub(1);
                    job.head.losses += 1;
                    job.not_before = now;
                    let changes = job.wait(format!("{worker} {why} {}", job.whereabouts()), now);
                    commands = vec![Command::Store(changes), Command::Publish(id.clone())];
                }
                commands.extend(self.conclude(&id, now));
                commands
            }
            Some(Duty::Idle) | None => Vec::new(),
        };
        if duty.is_some() {
            commands.push(Command::Count(Count::Lost(reason)));
        }
        commands
    }

    /// Another generation would bring the same message again: the job fails.
    fn send_away(&mut self, worker: &WorkerId, problem: &str, now: Now) -> Vec<Command> {
        let mut commands = vec![Command::CloseSession(worker.clone())];
        let duty = self.fleet.duty(worker).cloned();
        if let Some(Duty::Assigned(id, _)) = duty
            && let Some(job) = find(&mut self.jobs, &id)
        {
            self.fleet.lose(worker);
            let reason = format!("{worker} sent a message that cannot be read: {problem}");
            commands.extend(gang::end(job, &mut self.fleet, JobState::Failed, reason, Some(worker), now));
            commands.push(Command::Count(Count::Lost(LossReason::Unreadable)));
        } else {
            let why = format!("sent a message that cannot be read: {problem}");
            commands.extend(self.lose(worker, LossReason::Unreadable, &why, now));
        }
        commands
    }

    fn said(&mut self, worker: &WorkerId, event: WorkerEvent, now: Now) -> Vec<Command> {
        let (id, generation) = match &event {
            WorkerEvent::Joined { .. } | WorkerEvent::Heartbeat => return Vec::new(),
            WorkerEvent::Draining => return self.draining(worker, now),
            WorkerEvent::Prepared { job, generation, .. }
            | WorkerEvent::ShardDurable { job, generation, .. }
            | WorkerEvent::Progress { job, generation, .. }
            | WorkerEvent::Finished { job, generation, .. }
            | WorkerEvent::Failed { job, generation, .. }
            | WorkerEvent::TaskDone { job, generation, .. }
            | WorkerEvent::Left { job, generation, .. } => (job.clone(), *generation),
        };
        if let WorkerEvent::Left { last, .. } = &event
            && self.fleet.left(worker, &id, generation)
        {
            return self.has_left(worker, &id, generation, last.clone(), now);
        }
        if let Some(Duty::Task(job, attempt, task)) = self.fleet.duty(worker).cloned()
            && job == id
            && attempt == generation
        {
            return self.said_about_task(worker, &id, (task, generation), event, now);
        }
        let (fleet, doomed) = (&mut self.fleet, &mut self.doomed);
        // A stale message changes nothing: only a member of the present gang is heard.
        let found = find(&mut self.jobs, &id).filter(|job| job.head.generation == generation);
        let member = found.and_then(|job| {
            let rank = job.gang.as_ref().and_then(|gang| gang.rank_of(worker))?;
            Some((job, rank))
        });
        let Some((job, rank)) = member else { return vec![Command::Count(Count::StaleMessage)] };
        match event {
            WorkerEvent::Prepared { layout, .. } => gang::prepared(job, fleet, rank, layout, now),
            WorkerEvent::ShardDurable { round, .. } => gang::durable(job, fleet, doomed, rank, *round, now),
            WorkerEvent::Progress { progress, .. } if rank == Rank(0) => {
                job.progress = Some(progress);
                vec![Command::Publish(id)]
            }
            WorkerEvent::Finished { report, weights, verdict, .. } if rank == Rank(0) => {
                gang::finished(job, fleet, doomed, (report, weights, verdict), now)
            }
            WorkerEvent::Failed { failure, .. } => gang::failed(job, fleet, worker, failure, now),
            WorkerEvent::Left { last, .. } => {
                let mut commands = gang::left(job, fleet, worker, rank, last, now);
                commands.extend(self.shut_down_if_draining(worker));
                commands
            }
            _ => Vec::new(),
        }
    }

    fn said_about_task(
        &mut self,
        worker: &WorkerId,
        id: &JobId,
        (task, generation): (rewind_job::TaskIndex, Generation),
        event: WorkerEvent,
        now: Now,
    ) -> Vec<Command> {
        let Some(job) = find(&mut self.jobs, id) else { return Vec::new() };
        let fleet = &mut self.fleet;
        match event {
            WorkerEvent::TaskDone { task: done, output, .. } if done == task => {
                tasks::done(job, fleet, worker, (task, generation), output, now)
            }
            WorkerEvent::Failed { failure, .. } => tasks::failed(job, fleet, worker, (task, generation), failure, now),
            WorkerEvent::Left { .. } => {
                fleet.set(worker, Duty::Idle);
                let mut commands = tasks::reopen(job, task, &format!("{worker} left it"), now);
                commands.extend(self.shut_down_if_draining(worker));
                commands
            }
            _ => Vec::new(),
        }
    }

    /// A worker that was told to leave has left.
    fn has_left(
        &mut self,
        worker: &WorkerId,
        id: &JobId,
        generation: Generation,
        last: Option<LastCollective>,
        now: Now,
    ) -> Vec<Command> {
        if let Some(post_mortem) = find(&mut self.jobs, id).and_then(|job| job.post_mortem.as_mut()) {
            post_mortem.hear(worker, generation, last);
        }
        let mut commands = self.conclude(id, now);
        commands.extend(self.shut_down_if_draining(worker));
        commands
    }

    /// Once all members of a broken gang have left: who was missing, for the record, and later for the choice of workers.
    fn conclude(&mut self, id: &JobId, now: Now) -> Vec<Command> {
        let Some(job) = find(&mut self.jobs, id) else { return Vec::new() };
        let Some(post_mortem) = job.post_mortem.take_if(|post_mortem| post_mortem.is_complete()) else {
            return Vec::new();
        };
        let Some(verdict) = post_mortem.verdict() else { return Vec::new() };
        for (_, member) in post_mortem.missing() {
            self.fleet.suspect(&member);
        }
        // Its certificate was issued as of its last event.
        if job.head.state == JobState::Finished {
            return Vec::new();
        }
        vec![Command::Store(vec![job.note(verdict, now)]), Command::Publish(id.clone())]
    }

    /// A worker is to end: it gets no more work; its gang goes on without it from the next commit on.
    fn draining(&mut self, worker: &WorkerId, now: Now) -> Vec<Command> {
        if self.fleet.is_draining(worker) {
            return Vec::new();
        }
        self.fleet.drain(worker);
        let mut commands = vec![Command::Count(Count::Drained)];
        match self.fleet.duty(worker).cloned() {
            Some(Duty::Idle) => commands.extend(self.shut_down_if_draining(worker)),
            Some(Duty::Assigned(id, _)) => commands.extend(self.go_on_without(worker, &id, now)),
            Some(Duty::Task(id, ..)) => {
                if let Some(job) = find(&mut self.jobs, &id) {
                    commands.extend(tasks::preempt(job, &mut self.fleet, worker, &format!("{worker} is to end"), now));
                }
            }
            Some(Duty::Leaving(..)) | None => {}
        }
        commands
    }

    /// The worker's gang ends at its next commit; one that only prepares ends now.
    fn go_on_without(&mut self, worker: &WorkerId, id: &JobId, now: Now) -> Vec<Command> {
        let Some(job) = find(&mut self.jobs, id) else { return Vec::new() };
        let reason = format!("{worker} is to end");
        let at_the_latest = now.after(self.timeouts.drain);
        let yielding = Yield { then: JobState::Waiting, reason: reason.clone(), at_the_latest };
        if job.head.state == JobState::Preparing {
            return gang::give_up(job, &mut self.fleet, yielding, now);
        }
        let text = format!("{reason}: the gang dissolves after the round under way");
        self.yield_gang(id, yielding, &text, now)
    }

    fn shut_down_if_draining(&self, worker: &WorkerId) -> Vec<Command> {
        let is_free = self.fleet.duty(worker) == Some(&Duty::Idle);
        if is_free && self.fleet.is_draining(worker) {
            return vec![Command::Send(worker.clone(), WorkerCommand::Shutdown)];
        }
        Vec::new()
    }
}

pub(crate) fn number_of(id: &JobId) -> u64 {
    id.0.strip_prefix("job-").and_then(|number| number.parse().ok()).unwrap_or(0)
}

pub(crate) fn find<'a>(jobs: &'a mut BTreeMap<u64, Job>, id: &JobId) -> Option<&'a mut Job> {
    jobs.get_mut(&number_of(id)).filter(|job| &job.id == id)
}
