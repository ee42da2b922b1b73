//! What goes wrong, and what users want meanwhile.

use rewind_control::Event as ControlEvent;
use rewind_job::JobState;

use crate::{
    jobs,
    world::{Happening, KEEP_ALIVE, World},
};

/// A fault of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    WorkerCrash,
    WorkerFrozen,
    WorkerCutOff,
    WorkerDrained,
    CoordinatorCrash,
    CoordinatorFrozen,
    CoordinatorCutFromStore,
    StoreAway,
    AnswerLost,
    /// What the worker says is lost from now on.
    HalfOpenUp,
    /// What the worker is told is lost from now on.
    HalfOpenDown,
    SessionBroken,
    /// Messages of any session come again.
    Duplicated,
    Delayed,
    CheckpointAltered,
    CheckpointMissing,
    DiskFull,
}

impl Fault {
    pub const ALL: [Self; 17] = [
        Self::WorkerCrash,
        Self::WorkerFrozen,
        Self::WorkerCutOff,
        Self::WorkerDrained,
        Self::CoordinatorCrash,
        Self::CoordinatorFrozen,
        Self::CoordinatorCutFromStore,
        Self::StoreAway,
        Self::AnswerLost,
        Self::HalfOpenUp,
        Self::HalfOpenDown,
        Self::SessionBroken,
        Self::Duplicated,
        Self::Delayed,
        Self::CheckpointAltered,
        Self::CheckpointMissing,
        Self::DiskFull,
    ];
}

impl World {
    /// Something goes wrong: this, or another thing if this is not possible now.
    pub fn fail(&mut self, mut fault: Fault) {
        for _ in 0..10 {
            if self.inflict(fault) {
                *self.faults.entry(format!("{fault:?}")).or_default() += 1;
                return;
            }
            fault = Fault::ALL[self.between(0, Fault::ALL.len() as u64 - 1) as usize];
        }
    }

    /// Returns whether anything changed.
    fn inflict(&mut self, fault: Fault) -> bool {
        let worker = self.between(0, self.workers.len() as u64 - 1) as usize;
        // Half of the coordinators' faults hit the one that leads.
        let any = self.between(0, self.coordinators.len() as u64 - 1) as usize;
        let coordinator = if self.between(0, 1) == 0 { self.leader().unwrap_or(any) } else { any };
        let connection = self.workers[worker].session;
        let (short, long) = (self.between(200, 12_000), self.between(500, 15_000));
        match fault {
            Fault::WorkerCrash if self.workers[worker].alive => {
                self.crash_worker(worker);
                self.after(short, Happening::Heal(fault, worker));
            }
            Fault::WorkerFrozen if self.workers[worker].alive && !self.workers[worker].frozen => {
                self.workers[worker].frozen = true;
                self.after(long, Happening::Heal(fault, worker));
            }
            Fault::WorkerCutOff if self.workers[worker].alive && !self.partitioned[worker] => {
                self.partitioned[worker] = true;
                if let Some(connection) = connection {
                    self.lose_both_ways(connection);
                }
                self.after(long, Happening::Heal(fault, worker));
            }
            Fault::WorkerDrained if self.workers[worker].alive && !self.workers[worker].draining => {
                self.workers[worker].draining = true;
                if let Some(connection) = connection {
                    self.send_up(connection, 0, rewind_job::WorkerEvent::Draining);
                }
                let drain = self.timeouts.drain.as_millis() as u64;
                self.after(drain, Happening::Heal(fault, worker));
            }
            Fault::CoordinatorCrash if self.coordinators[coordinator].replica.is_some() => {
                self.crash_coordinator(coordinator);
                self.after(short, Happening::Heal(fault, coordinator));
            }
            Fault::CoordinatorFrozen
                if self.coordinators[coordinator].replica.is_some() && !self.coordinators[coordinator].frozen =>
            {
                self.coordinators[coordinator].frozen = true;
                let broken: Vec<u64> =
                    self.connections.iter().filter(|(_, c)| c.coordinator == coordinator).map(|(n, _)| *n).collect();
                if long > KEEP_ALIVE {
                    broken.into_iter().for_each(|connection| self.cut(connection));
                }
                self.after(long, Happening::Heal(fault, coordinator));
            }
            Fault::CoordinatorCutFromStore
                if self.coordinators[coordinator].replica.is_some() && self.is_reachable(coordinator) =>
            {
                self.set_reachable(coordinator, false);
                self.after(long, Happening::Heal(fault, coordinator));
            }
            Fault::StoreAway if !self.store.is_away() => {
                self.store.set_away(true);
                self.after(short, Happening::Heal(fault, 0));
            }
            Fault::AnswerLost if self.leader().is_some() => {
                let answers = self.between(1, 3) as u32;
                self.store.lose_answers(answers);
            }
            Fault::HalfOpenUp | Fault::HalfOpenDown => {
                let found = connection.and_then(|connection| self.connections.get_mut(&connection));
                let (Some(found), Some(connection)) = (found, connection) else { return false };
                let lost = if fault == Fault::HalfOpenUp { &mut found.up_is_lost } else { &mut found.down_is_lost };
                if std::mem::replace(lost, true) {
                    return false;
                }
                self.cut(connection);
            }
            Fault::SessionBroken => {
                let Some(connection) = connection else { return false };
                self.close_at_coordinator(connection);
                self.after(3, Happening::BrokenAtWorker(connection));
            }
            Fault::Duplicated if !self.old_messages.is_empty() => {
                for _ in 0..5 {
                    let at = self.between(0, self.old_messages.len() as u64 - 1) as usize;
                    let (connection, sequence, event) = self.old_messages[at].clone();
                    let delay = self.between(1, 2000);
                    self.after(delay, Happening::Up { connection, sequence, event });
                }
            }
            Fault::Delayed if self.delay == 0 => {
                self.delay = 800;
                self.after(long, Happening::Heal(fault, 0));
            }
            Fault::CheckpointAltered | Fault::CheckpointMissing => {
                let at = self.between(0, 1 << 20) as usize;
                return self.artifacts.harm(at, fault == Fault::CheckpointMissing);
            }
            Fault::DiskFull if !self.artifacts.disk_full => {
                self.artifacts.disk_full = true;
                self.after(long, Happening::Heal(fault, 0));
            }
            _ => return false,
        }
        true
    }

    fn lose_both_ways(&mut self, connection: u64) {
        if let Some(found) = self.connections.get_mut(&connection) {
            (found.up_is_lost, found.down_is_lost) = (true, true);
        }
        self.cut(connection);
    }

    pub fn heal(&mut self, fault: Fault, index: usize) {
        match fault {
            Fault::WorkerCrash if !self.workers[index].alive => self.start_worker(index),
            Fault::WorkerDrained if self.workers[index].alive && self.workers[index].draining => {
                // It was not let go in time: it ends by itself.
                self.crash_worker(index);
                self.start_worker(index);
            }
            Fault::WorkerFrozen if self.workers[index].frozen => self.thaw_worker(index),
            Fault::WorkerCutOff => self.partitioned[index] = false,
            Fault::CoordinatorCrash if self.coordinators[index].replica.is_none() => self.start_coordinator(index),
            Fault::CoordinatorFrozen if self.coordinators[index].frozen => self.thaw_coordinator(index),
            Fault::CoordinatorCutFromStore => self.set_reachable(index, true),
            Fault::StoreAway => self.store.set_away(false),
            Fault::Delayed => self.delay = 0,
            Fault::DiskFull => self.artifacts.disk_full = false,
            _ => {}
        }
    }

    /// What users do in a schedule, one thing after another.
    pub fn user_asks(&mut self, index: usize) {
        let Some(wish) = self.wishes.get(index).cloned() else { return };
        let before = self.leader().filter(|leader| !self.coordinators[*leader].frozen);
        if before.is_none() {
            return self.after(1000, Happening::User(index));
        }
        self.ask(wish, Some(index));
    }

    /// After the last fault a user lets go on what has failed and what was paused.
    pub fn resume_everything(&mut self) {
        let Some(leader) = self.leader() else { return };
        let Some(control) = self.coordinators[leader].replica.as_ref().and_then(|replica| replica.control()) else {
            return;
        };
        let stopped: Vec<_> = control
            .jobs()
            .into_iter()
            .filter(|status| match status.state {
                JobState::Paused => true,
                JobState::Failed => !status.reason.contains("deadline"),
                _ => false,
            })
            .map(|status| status.job)
            .collect();
        for job in stopped {
            self.ask(ControlEvent::ResumeWanted(job), None);
        }
    }

    /// A schedule's users: jobs to run, and changes of mind.
    pub fn plan_users(&mut self) {
        let workers = self.workers.len() as u32;
        let world = self.between(2, u64::from(workers.min(3))) as u32;
        let at_least = (self.between(0, 2) == 0).then_some(1);
        self.wishes.push(ControlEvent::submitted(jobs::histories()));
        self.wishes.push(ControlEvent::submitted(jobs::gang(world, at_least, "")));
        let extra = ["", "priority = \"high\"", "deadline = \"12s\""][self.between(0, 2) as usize];
        let second = self.between(1, 2) as u32;
        self.wishes.push(ControlEvent::submitted(jobs::gang(second, None, extra)));
        let job = |number: u64| rewind_job::JobId(format!("job-{number}"));
        let (one, two) = (self.between(1, 3), self.between(1, 3));
        match self.between(0, 8) {
            0 | 5 => self.wishes.push(ControlEvent::CancelWanted(job(two))),
            1 | 2 => {
                self.wishes.push(ControlEvent::PauseWanted(job(one)));
                self.wishes.push(ControlEvent::ResumeWanted(job(one)));
            }
            6 => {
                self.wishes.push(ControlEvent::PauseWanted(job(one)));
                self.wishes.push(ControlEvent::CancelWanted(job(one)));
            }
            // It may pass its deadline while it is paused.
            7 => self.wishes.push(ControlEvent::PauseWanted(job(3))),
            // What has failed is given up.
            8 => self.after(30_000, Happening::User(self.wishes.len())),
            _ => {}
        }
        let given_up = ControlEvent::CancelWanted(job(3));
        let mut at = 600;
        for index in 0..self.wishes.len() {
            self.after(at, Happening::User(index));
            at += self.between(50, 3000);
        }
        self.wishes.push(given_up);
    }
}
