//! The line between the session (async) and the compute thread, for one generation of one job.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rewind_collective::{CancelSignal, FlightRecorder};
use rewind_job::{Manifest, Round, ShardPlan, StepIndex, WorkerEvent};

use crate::{flight, outbox::Outbox};

/// What the coordinator has said about this generation, and a way to answer.
#[derive(Clone)]
pub struct Link {
    pub cancel: CancelSignal,
    /// What this rank did last with the others.
    pub recorder: FlightRecorder,
    outbox: Outbox,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

#[derive(Default)]
struct Heard {
    plan: Option<ShardPlan>,
    committed: Vec<Manifest>,
    ended: Option<Ended>,
    /// `Left` was said.
    left: bool,
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
    /// Told to leave: the coordinator knows.
    Coordinator,
    /// This worker cannot go on: the coordinator must be told.
    Worker,
}

impl Link {
    pub fn new(outbox: Outbox) -> Self {
        let heard = Arc::new((Mutex::default(), Condvar::new()));
        Self { cancel: CancelSignal::default(), recorder: flight::recorder(), outbox, heard }
    }

    /// What was committed before this generation.
    pub fn know(&self, committed: &[Manifest]) {
        self.change(|heard| heard.committed = committed.to_vec());
    }

    /// Tells the coordinator, or the one after it.
    pub fn tell(&self, event: WorkerEvent) {
        if matches!(event, WorkerEvent::Left { .. }) {
            self.change(|heard| heard.left = true);
        }
        self.outbox.tell(event);
    }

    /// Tells the coordinator, if there is one now.
    pub fn mention(&self, event: WorkerEvent) {
        self.outbox.mention(event);
    }

    /// Whether the coordinator was told that this generation is left.
    pub fn has_left(&self) -> bool {
        self.lock().left
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
