//! The line between the session (async) and the compute thread, for one generation of one job.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rewind_collective::CancelSignal;
use rewind_job::{Assignment, Manifest, Round, ShardPlan, StepIndex, WorkerEvent};
use tokio::sync::mpsc::UnboundedSender;

/// What the coordinator has said about this generation, and a way to answer.
#[derive(Clone)]
pub struct Link {
    pub cancel: CancelSignal,
    events: UnboundedSender<WorkerEvent>,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

#[derive(Default)]
struct Heard {
    plan: Option<ShardPlan>,
    committed: Vec<Manifest>,
    ended: Option<Ended>,
}

/// This generation is over; what is not committed is dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Ended {
    pub reason: String,
    pub by: EndedBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// Told to leave, or the session broke: the coordinator knows.
    Coordinator,
    /// This worker cannot go on: the coordinator must be told.
    Worker,
}

impl Link {
    pub fn new(assignment: &Assignment, events: UnboundedSender<WorkerEvent>) -> Self {
        let heard = Heard { committed: assignment.committed.clone(), ..Heard::default() };
        Self { cancel: CancelSignal::default(), events, heard: Arc::new((Mutex::new(heard), Condvar::new())) }
    }

    /// Tells the coordinator. A closed session is noticed elsewhere.
    pub fn tell(&self, event: WorkerEvent) {
        let _ = self.events.send(event);
    }

    pub fn begin(&self, plan: ShardPlan) {
        self.change(|heard| heard.plan = Some(plan));
    }

    pub fn committed(&self, manifest: Manifest) {
        self.change(|heard| {
            let last = heard.committed.last().map(|m| (m.step, m.round));
            if last < Some((manifest.step, manifest.round)) {
                heard.committed.push(manifest);
            }
        });
    }

    /// Ends the generation: everything that waits returns at once.
    /// The first reason stays.
    pub fn end(&self, by: EndedBy, reason: &str) {
        self.change(|heard| {
            heard.ended.get_or_insert_with(|| Ended { reason: reason.to_owned(), by });
        });
        self.cancel.cancel();
    }

    /// Why this generation is over, if it is.
    pub fn ended(&self) -> Option<Ended> {
        self.lock().ended.clone()
    }

    /// Waits until all ranks are prepared.
    pub fn wait_for_plan(&self) -> Result<ShardPlan, Ended> {
        self.wait_until(|heard| heard.plan.clone())
    }

    /// Waits until a round is committed.
    pub fn wait_for_commit(&self, step: StepIndex, round: Round) -> Result<(), Ended> {
        self.wait_until(|heard| {
            heard.committed.last().is_some_and(|m| (m.step, m.round) >= (step, round)).then_some(())
        })
    }

    /// Every manifest committed so far, in order.
    pub fn manifests(&self) -> Vec<Manifest> {
        self.lock().committed.clone()
    }

    fn wait_until<T>(&self, ready: impl Fn(&Heard) -> Option<T>) -> Result<T, Ended> {
        let mut heard = self.lock();
        loop {
            if let Some(ended) = &heard.ended {
                return Err(ended.clone());
            }
            if let Some(value) = ready(&heard) {
                return Ok(value);
            }
            heard = self.heard.1.wait(heard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.lock());
        self.heard.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
