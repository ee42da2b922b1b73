//! Who gets workers: gangs whole or not at all, by priority and age; then tasks, on what is idle.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rewind_job::{DeviceKind, Generation, JobId, JobState, WorkerId};

use crate::{
    Command, Now,
    control::{Control, number_of},
    fleet::Fleet,
    gang,
    job::{Job, Wait},
    tasks,
};

/// A waiting job rises by one priority in this time.
const AGEING: Duration = Duration::from_secs(3600);

impl Control {
    pub(crate) fn admit(&mut self, now: Now) -> Vec<Command> {
        let mut commands = Vec::new();
        let reserved = self.admit_gangs(now, &mut commands);
        self.admit_tasks(&reserved, now, &mut commands);
        commands.extend(self.say_what_jobs_wait_for(now));
        commands
    }

    /// Waiting jobs, the first to be served first.
    fn queue(&self, now: Now, tasks: bool) -> Vec<u64> {
        let waiting = self.jobs.iter().filter(|(_, job)| {
            let may_start = job.head.state == JobState::Waiting || (tasks && job.head.state == JobState::Running);
            may_start && job.specification.collect().is_some() == tasks
        });
        let mut queue: Vec<(i64, u64)> = waiting.map(|(&number, job)| (-standing(job, now), number)).collect();
        queue.sort_unstable();
        queue.into_iter().map(|(_, number)| number).collect()
    }

    /// A job that wants more workers than there are does not hold up the others; one that could have its workers if
    /// others ended does, and idle workers are kept for it. Returns of which kinds they are.
    fn admit_gangs(&mut self, now: Now, commands: &mut Vec<Command>) -> BTreeSet<DeviceKind> {
        let mut reserved = BTreeSet::new();
        for number in self.queue(now, false) {
            let Some(job) = self.jobs.get_mut(&number) else { continue };
            if now < job.not_before {
                continue;
            }
            let fleet = &mut self.fleet;
            let (wanted, fewest) = sizes(job);
            let kind = kind_for(job, fleet);
            if reserved.contains(&kind) {
                continue;
            }
            let idle = fleet.idle(kind);
            let on_tasks = fleet.on_tasks(kind);
            let soon = idle.len() + fleet.leaving(kind) + on_tasks.len();
            let is_short = fleet.len(kind) < wanted;
            let may_be_fewer = is_short && now.since(job.waiting_since) > job.specification.fleet.grace;
            let world = if soon >= wanted {
                wanted
            } else if may_be_fewer && soon >= fewest {
                soon
            } else if is_short {
                continue;
            } else {
                reserved.insert(kind);
                continue;
            };
            if idle.len() >= world {
                job.head.device = Some(kind);
                commands.extend(gang::assign(job, fleet, idle, world, now));
                continue;
            }
            let lacking = world - idle.len() - fleet.leaving(kind).min(world - idle.len());
            let id = job.id.clone();
            self.preempt(&id, on_tasks, lacking, now, commands);
            reserved.insert(kind);
        }
        reserved
    }

    /// The youngest tasks give way: of the youngest job the one that was begun last.
    fn preempt(
        &mut self,
        for_job: &JobId,
        mut on_tasks: Vec<(WorkerId, JobId, Generation)>,
        count: usize,
        now: Now,
        commands: &mut Vec<Command>,
    ) {
        on_tasks.sort_by_key(|(_, job, generation)| std::cmp::Reverse((number_of(job), *generation)));
        for (worker, owner, _) in on_tasks.into_iter().take(count) {
            if let Some(owner) = find(&mut self.jobs, &owner) {
                let reason = format!("{worker} is wanted by {for_job}");
                commands.extend(tasks::preempt(owner, &mut self.fleet, &worker, &reason, now));
            }
        }
    }

    fn admit_tasks(&mut self, reserved: &BTreeSet<DeviceKind>, now: Now, commands: &mut Vec<Command>) {
        for number in self.queue(now, true) {
            let Some(job) = self.jobs.get_mut(&number) else { continue };
            // Histories are made on CPUs, which workers with GPUs have, too.
            let kinds =
                job.specification.fleet.device.map_or(vec![DeviceKind::Cpu, DeviceKind::Cuda], |kind| vec![kind]);
            for kind in kinds.into_iter().filter(|kind| !reserved.contains(kind)) {
                for worker in self.fleet.idle(kind) {
                    match tasks::assign(job, &mut self.fleet, &worker, now) {
                        Some(more) => commands.extend(more),
                        None => break,
                    }
                }
            }
        }
    }

    fn say_what_jobs_wait_for(&mut self, now: Now) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut ahead: BTreeMap<DeviceKind, JobId> = BTreeMap::new();
        let queue: Vec<u64> = [self.queue(now, false), self.queue(now, true)].concat();
        for number in queue {
            let Some(job) = self.jobs.get_mut(&number).filter(|job| job.head.state == JobState::Waiting) else {
                continue;
            };
            let (wanted, fewest) = sizes(job);
            let kind = kind_for(job, &self.fleet);
            let is_short = self.fleet.len(kind) < wanted;
            let idle = self.fleet.idle(kind).len().min(wanted);
            let is_special = job.specification.fleet.device.is_some() || kind != self.fleet.prevailing();
            let on = if is_special { format!(" on {kind}") } else { String::new() };
            let needs = format!("needs {wanted} {}{on}, {idle} idle", workers(wanted));
            let (wait, mut waiting) = if now < job.not_before {
                (Wait::Pause, format!("tries again in {} s", job.not_before.since(now).as_secs() + 1))
            } else if let Some(other) = ahead.get(&kind) {
                (Wait::Queue, format!("waiting behind {other}"))
            } else if is_short && fewest < wanted {
                let grace = job.specification.fleet.grace;
                (Wait::Grace, format!("{needs}; takes {fewest} after {grace:?}"))
            } else {
                (Wait::Workers, needs)
            };
            if !job.head.reason.is_empty() {
                waiting = format!("{waiting}: {}", job.head.reason);
            }
            if job.waiting != waiting {
                job.waiting = waiting.clone();
                // Numbers come and go with the fleet: the status has them, the events only what kind of wait it is.
                if job.waits_noted.insert(wait) {
                    commands.push(Command::Store(vec![job.note(waiting, now)]));
                }
                commands.push(Command::Publish(job.id.clone()));
            }
            if !is_short {
                ahead.entry(kind).or_insert_with(|| job.id.clone());
            }
        }
        commands
    }
}

/// Priority, raised by age.
fn standing(job: &Job, now: Now) -> i64 {
    let waited = now.since(job.waiting_since).as_secs() / AGEING.as_secs();
    job.specification.priority as i64 + waited as i64
}

fn sizes(job: &Job) -> (usize, usize) {
    let fleet = &job.specification.fleet;
    (fleet.world_size.0 as usize, fleet.fewest().0 as usize)
}

/// The kind of workers that the job's gangs are made of: once a round is committed, that of the gang that made it.
fn kind_for(job: &Job, fleet: &Fleet) -> DeviceKind {
    let kept = job.head.device.filter(|_| job.committed().is_some());
    job.specification.fleet.device.or(kept).unwrap_or_else(|| fleet.prevailing())
}

fn find<'a>(jobs: &'a mut BTreeMap<u64, Job>, id: &JobId) -> Option<&'a mut Job> {
    crate::control::find(jobs, id)
}

pub fn workers(count: usize) -> &'static str {
    if count == 1 { "worker" } else { "workers" }
}
