//! What this worker has said and nobody has acknowledged: it is said again to the next coordinator.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rewind_job::{Generation, JobId, Round, StepIndex, WorkerEvent};
use rewind_proto::v1::WorkerMessage;
use tokio::sync::mpsc::UnboundedSender;

/// The worker's events on their way up. Clones share it; it outlives sessions.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    session: Option<UnboundedSender<WorkerMessage>>,
    unacknowledged: VecDeque<(u64, WorkerEvent)>,
    last: u64,
}

impl Inside {
    fn send(&self, event: WorkerEvent, sequence: u64) {
        if let Some(session) = &self.session {
            // A session that just broke is noticed by its reader.
            let _ = session.send(WorkerMessage { sequence, ..event.into() });
        }
    }
}

impl Outbox {
    /// A session begins: `first` is said, then all that nobody has acknowledged.
    pub fn connect(&self, session: UnboundedSender<WorkerMessage>, first: Vec<WorkerEvent>) {
        let mut inside = self.inside();
        inside.session = Some(session);
        first.into_iter().for_each(|event| inside.send(event, 0));
        for (sequence, event) in &inside.unacknowledged {
            inside.send(event.clone(), *sequence);
        }
    }

    pub fn disconnect(&self) {
        self.inside().session = None;
    }

    /// Says what must arrive, if need be to another coordinator.
    pub fn tell(&self, event: WorkerEvent) {
        let mut inside = self.inside();
        inside.last += 1;
        let sequence = inside.last;
        inside.send(event.clone(), sequence);
        inside.unacknowledged.push_back((sequence, event));
    }

    /// Says what is worth nothing later.
    pub fn mention(&self, event: WorkerEvent) {
        self.inside().send(event, 0);
    }

    /// Returns what need not be said again.
    pub fn acknowledged(&self, sequence: u64) -> Option<WorkerEvent> {
        let mut inside = self.inside();
        let position = inside.unacknowledged.iter().position(|(unacknowledged, _)| *unacknowledged == sequence)?;
        inside.unacknowledged.remove(position).map(|(_, event)| event)
    }

    /// Forgets reports of rounds that are committed by now.
    pub fn committed(&self, job: &JobId, generation: Generation, step: StepIndex, round: Round) {
        self.inside().unacknowledged.retain(|(_, event)| match event {
            WorkerEvent::ShardDurable { job: j, generation: g, round: done, .. } => {
                (j, *g) != (job, generation) || (done.step, done.round) > (step, round)
            }
            _ => true,
        });
    }

    /// Forgets that the rank is prepared: it has begun.
    pub fn begun(&self, job: &JobId, generation: Generation) {
        self.inside().unacknowledged.retain(|(_, event)| {
            !matches!(event, WorkerEvent::Prepared { .. }) || event.work() != Some((job, generation))
        });
    }

    /// Forgets what only matters while this work goes on.
    pub fn is_over(&self, job: &JobId, generation: Generation) {
        self.inside()
            .unacknowledged
            .retain(|(_, event)| event.is_settled_when_decided() || event.work() != Some((job, generation)));
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn left(generation: u64) -> WorkerEvent {
        WorkerEvent::Left { job: JobId("job-1".into()), generation: Generation(generation), last: None }
    }

    fn heard(receiver: &mut UnboundedReceiver<WorkerMessage>) -> Vec<(u64, WorkerEvent)> {
        std::iter::from_fn(|| receiver.try_recv().ok())
            .map(|message| (message.sequence, WorkerEvent::try_from(message).expect("is an event")))
            .collect()
    }

    #[test]
    fn a_round_is_reported_again_until_it_is_committed() {
        let record = serde_json::json!({
            "round": 1, "loss": 0.5, "weight_change": 0.0, "seconds": 0.0, "forget_epochs": 0.0, "bytes_moved": 0,
        });
        let durable = |round| WorkerEvent::ShardDurable {
            job: JobId("job-1".into()),
            generation: Generation(1),
            rank: rewind_job::Rank(0),
            round: Box::new(rewind_job::RoundDone {
                step: StepIndex(0),
                round: Round(round),
                shard: rewind_job::Digest("ab".into()),
                record: serde_json::from_value(record.clone()).expect("is a record"),
                best: Round(round),
                outcome: None,
            }),
        };
        let outbox = Outbox::default();
        outbox.tell(durable(1));
        outbox.tell(durable(2));
        outbox.committed(&JobId("job-1".into()), Generation(1), StepIndex(0), Round(1));
        let (session, mut receiver) = unbounded_channel();
        outbox.connect(session, Vec::new());
        assert_eq!(heard(&mut receiver), [(2, durable(2))]);
        outbox.is_over(&JobId("job-1".into()), Generation(1));
        let (session, mut receiver) = unbounded_channel();
        outbox.connect(session, Vec::new());
        assert_eq!(heard(&mut receiver), []);
    }

    #[test]
    fn what_nobody_acknowledged_is_said_again_in_order() {
        let outbox = Outbox::default();
        outbox.tell(left(1));
        let (session, mut receiver) = unbounded_channel();
        outbox.connect(session, vec![WorkerEvent::Draining]);
        outbox.tell(left(2));
        outbox.mention(WorkerEvent::Heartbeat);
        let expected = [(0, WorkerEvent::Draining), (1, left(1)), (2, left(2)), (0, WorkerEvent::Heartbeat)];
        assert_eq!(heard(&mut receiver), expected);
        assert_eq!(outbox.acknowledged(1), Some(left(1)));
        assert_eq!(outbox.acknowledged(1), None);
        outbox.disconnect();
        outbox.tell(left(3));
        outbox.mention(WorkerEvent::Heartbeat);
        let (session, mut receiver) = unbounded_channel();
        outbox.connect(session, Vec::new());
        assert_eq!(heard(&mut receiver), [(2, left(2)), (3, left(3))]);
    }
}
