//! Makes rounds durable: hashed and written beside the computation, committed by the coordinator.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Instant,
};

use rewind_artifacts::{ArtifactStore, Shard};
use rewind_job::{
    Assignment, Figure, Generation, JobId, Progress, Round, RoundDone, RoundRecord, StepIndex, StepOutcome, WorkerEvent,
};
use rewind_telemetry::{
    fail_point,
    metrics::worker::{CHECKPOINT_BYTES_STORED, CHECKPOINT_SECONDS, ROUND_SECONDS, ROUNDS_DONE},
};
use rewind_unlearning::{Commit, UnlearningError};

use crate::link::{EndedBy, Link};

/// Commits the rounds of one step. One writer thread; at most one round is ahead of its commit.
pub struct RoundCommitter {
    step: StepIndex,
    step_name: String,
    rounds: u32,
    report_progress: bool,
    job: JobId,
    generation: Generation,
    link: Link,
    writes: Option<mpsc::Sender<(Shard, RoundDone)>>,
    writer: Option<JoinHandle<()>>,
    previous: Option<Round>,
    /// The round under way.
    begun: Instant,
}

impl RoundCommitter {
    pub fn new(
        step: StepIndex,
        rounds: u32,
        assignment: &Assignment,
        link: &Link,
        artifacts: Arc<dyn ArtifactStore>,
    ) -> Self {
        let (writes, todo) = mpsc::channel::<(Shard, RoundDone)>();
        let writer = {
            let (link, job) = (link.clone(), assignment.job.clone());
            let (generation, rank) = (assignment.generation, assignment.rank);
            let span = tracing::Span::current();
            std::thread::spawn(move || {
                let _inside = span.enter();
                for (shard, mut done) in todo {
                    fail_point("checkpoint");
                    let begun = Instant::now();
                    match shard.to_bytes().and_then(|bytes| Ok((artifacts.put(&bytes)?, bytes.len()))) {
                        Ok((digest, bytes)) => {
                            done.shard = digest;
                            CHECKPOINT_SECONDS.observe(begun.elapsed());
                            CHECKPOINT_BYTES_STORED.add(bytes as u64);
                            tracing::debug!(round = done.round.0, bytes, "a shard is durable");
                        }
                        Err(error) => {
                            // The compute thread waits for this commit: ending the link wakes it.
                            link.end(EndedBy::Worker, &format!("failed to store a round: {error}"));
                            return;
                        }
                    }
                    fail_point("durable");
                    link.tell(WorkerEvent::ShardDurable { job: job.clone(), generation, rank, round: Box::new(done) });
                }
            })
        };
        let step_name = assignment.specification.steps[step.0 as usize].name.clone();
        let report_progress = assignment.rank.0 == 0;
        Self {
            step,
            step_name,
            rounds,
            report_progress,
            job: assignment.job.clone(),
            generation: assignment.generation,
            link: link.clone(),
            writes: Some(writes),
            writer: Some(writer),
            previous: None,
            begun: Instant::now(),
        }
    }

    /// Waits until the last round is committed.
    pub fn finish(mut self) -> Result<(), UnlearningError> {
        self.wait_for_previous()?;
        self.writes = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            return Err(UnlearningError::Commit("the writer thread ended too early".into()));
        }
        Ok(())
    }

    fn wait_for_previous(&self) -> Result<(), UnlearningError> {
        match self.previous {
            Some(round) => {
                self.link.wait_for_commit(self.step, round).map_err(|ended| UnlearningError::Stopped(ended.reason))
            }
            None => Ok(()),
        }
    }
}

impl Commit for RoundCommitter {
    fn commit(
        &mut self,
        shard: Shard,
        record: &RoundRecord,
        best: Round,
        outcome: Option<&StepOutcome>,
    ) -> Result<(), UnlearningError> {
        tracing::Span::current().record("round", record.round.0);
        self.wait_for_previous()?;
        let done = RoundDone {
            step: self.step,
            round: record.round,
            shard: rewind_job::Digest(String::new()),
            record: record.clone(),
            best,
            outcome: outcome.cloned(),
        };
        let writes = self.writes.as_ref().expect("finish() consumes the committer");
        writes.send((shard, done)).map_err(|_| UnlearningError::Commit("the writer thread ended".into()))?;
        self.previous = Some(record.round);
        ROUND_SECONDS.observe(std::mem::replace(&mut self.begun, Instant::now()).elapsed());
        ROUNDS_DONE.add(1);
        Ok(())
    }

    fn progress(&mut self, record: &RoundRecord, fraction: f64) {
        if !self.report_progress {
            return;
        }
        let percent = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.1} %"));
        self.link.mention(WorkerEvent::Progress {
            job: self.job.clone(),
            generation: self.generation,
            progress: Progress {
                step: self.step,
                text: match record.scores.get(Figure::FORGET_ACCURACY) {
                    Some(_) => format!(
                        "{}: round {} of {}, forget data {}, validation {}",
                        self.step_name,
                        record.round,
                        self.rounds,
                        percent(record.number(Figure::FORGET_ACCURACY)),
                        percent(record.number(Figure::VALIDATION_ACCURACY))
                    ),
                    // A predictor's epoch.
                    None => {
                        let error = record.number(Figure::PREDICTOR_ERROR);
                        let held_out = error.map_or_else(String::new, |error| format!(", held out {error:.4}"));
                        let loss =
                            record.loss.number().map_or_else(|| "not finite".into(), |loss| format!("{loss:.4}"));
                        let Self { step_name, rounds, .. } = self;
                        format!("{step_name}: epoch {} of {rounds}, loss {loss}{held_out}", record.round)
                    }
                },
                fraction,
            },
        });
    }
}
