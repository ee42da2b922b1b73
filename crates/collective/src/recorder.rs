//! A flight recorder: what this rank did last.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::{CollectiveError, Operation};

const KEPT: usize = 256;

/// One operation of a rank.
#[derive(Clone, Debug)]
pub struct OperationRecord {
    /// Position among the operations of the group, from 0; forming the group comes first.
    pub sequence: u64,
    pub operation: Operation,
    /// Bytes of the tensor given to the operation.
    pub bytes: u64,
    pub started: SystemTime,
    pub took: Option<Duration>,
    pub outcome: Outcome,
}

/// How an operation ended, if it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Running,
    Finished,
    Failed(CollectiveError),
}

/// Keeps the latest operations and counts the bytes they sent. Clones share what is kept: it outlives its group.
#[derive(Clone, Default)]
pub struct FlightRecorder {
    inside: Arc<Mutex<Inside>>,
    observer: Option<Observer>,
}

type Observer = Arc<dyn Fn(&OperationRecord) + Send + Sync>;

impl fmt::Debug for FlightRecorder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("FlightRecorder").field("inside", &self.inside).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inside {
    records: VecDeque<OperationRecord>,
    next_sequence: u64,
    started: Option<Instant>,
    bytes_moved: u64,
}

impl FlightRecorder {
    /// A recorder that also shows each operation to `observer`, when it has ended.
    pub fn observed_by(observer: impl Fn(&OperationRecord) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Arc::new(observer)), ..Self::default() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the record of an operation and returns its sequence number.
    pub(crate) fn begin(&self, operation: Operation, bytes: u64) -> u64 {
        let mut inside = self.inside();
        let sequence = inside.next_sequence;
        inside.next_sequence += 1;
        if inside.records.len() == KEPT {
            inside.records.pop_front();
        }
        inside.records.push_back(OperationRecord {
            sequence,
            operation,
            bytes,
            started: SystemTime::now(),
            took: None,
            outcome: Outcome::Running,
        });
        inside.started = Some(Instant::now());
        sequence
    }

    /// Closes the record opened last; `sent` counts only when the operation ended well.
    pub(crate) fn end(&self, result: &Result<(), CollectiveError>, sent: u64) {
        let mut inside = self.inside();
        let took = inside.started.take().map(|started| started.elapsed());
        if result.is_ok() {
            inside.bytes_moved += sent;
        }
        if let Some(record) = inside.records.back_mut() {
            record.took = took;
            record.outcome = match result {
                Ok(()) => Outcome::Finished,
                Err(error) => Outcome::Failed(error.clone()),
            };
            if let Some(observer) = &self.observer {
                observer(record);
            }
        }
    }

    /// Bytes sent by operations that ended well.
    pub fn bytes_moved(&self) -> u64 {
        self.inside().bytes_moved
    }

    /// The latest operations, oldest first.
    pub fn recent(&self) -> Vec<OperationRecord> {
        self.inside().records.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorder_keeps_the_latest_operations_in_order() {
        let recorder = FlightRecorder::default();
        for _ in 0..KEPT + 3 {
            recorder.begin(Operation::Barrier, 0);
            recorder.end(&Ok(()), 2);
        }
        let records = recorder.recent();
        assert_eq!(records.len(), KEPT);
        assert_eq!(records[0].sequence, 3);
        assert_eq!(records[KEPT - 1].sequence, KEPT as u64 + 2);
        assert_eq!(recorder.bytes_moved(), 2 * (KEPT as u64 + 3));
    }

    #[test]
    fn a_failed_operation_moves_no_bytes_and_keeps_its_error() {
        let recorder = FlightRecorder::default();
        let sequence = recorder.begin(Operation::AllReduce, 8);
        let error = CollectiveError::Cancelled { rank: rewind_job::Rank(0), operation: Operation::AllReduce, sequence };
        assert_eq!(recorder.recent()[0].outcome, Outcome::Running);
        recorder.end(&Err(error.clone()), 8);
        assert_eq!(recorder.recent()[0].outcome, Outcome::Failed(error));
        assert_eq!(recorder.bytes_moved(), 0);
    }
}
