//! Groups left behind: they end on a thread of their own, because dropping one may wait for what is in flight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

static ABANDONED: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// Counts the groups that this process has abandoned since its start.
pub fn abandoned_groups() -> u64 {
    ABANDONED.load(Ordering::Acquire)
}

/// Counts the abandoned groups that still hold their threads, connections and tensors.
pub fn unfinished_abandoned_groups() -> u64 {
    let ended = ENDED.load(Ordering::Acquire);
    abandoned_groups().saturating_sub(ended)
}

/// Runs `end`, which drops a group, where nobody waits for it.
pub(crate) fn abandon(end: impl FnOnce() + Send + 'static) {
    ABANDONED.fetch_add(1, Ordering::AcqRel);
    let (hand_over, taken) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let undertaker = thread::Builder::new().name("abandoned-group".to_owned()).spawn(move || {
        if let Ok(end) = taken.recv() {
            end();
            ENDED.fetch_add(1, Ordering::AcqRel);
        }
    });
    match undertaker {
        Ok(_) => {
            if let Err(mpsc::SendError(end)) = hand_over.send(Box::new(end)) {
                std::mem::forget(end);
            }
        }
        // Without a thread to wait on, leaking is the only way not to wait here.
        Err(_) => std::mem::forget(end),
    }
}
