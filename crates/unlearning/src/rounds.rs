//! The loop that every step shares: round, record, decide, commit.

use std::collections::BTreeSet;

use rewind_artifacts::Shard;
use rewind_job::{Figure, Part, Reader, RollBack, Round, RoundRecord, Scores, StepOutcome, Stop, StopReason};
use tch::Tensor;

use crate::{
    Judged, LabelledSamples, Learner, Ledger, Meter, Predictions, RoundMethod, UnlearningError, accuracy, select_round,
    stop_reason,
};

/// Makes rounds durable.
pub trait Commit {
    /// Takes this rank's shard of a round; `best` is the round that would be the step's result if it ended now. Returns once the round *before* it is committed: a job runs at most one
    /// round ahead of its commits.
    ///
    /// # Errors
    /// When the round cannot be stored, or the coordinator has ended this generation.
    fn commit(
        &mut self,
        shard: Shard,
        record: &RoundRecord,
        best: Round,
        outcome: Option<&StepOutcome>,
    ) -> Result<(), UnlearningError>;

    /// Says how far the step is: the share of its rounds that are done.
    fn progress(&mut self, record: &RoundRecord, fraction: f64);
}

/// What a step knows of its data and its end.
pub struct StepRun<'a> {
    pub stop: Stop,
    pub roll_back: RollBack,
    /// Set: BatchNorm's statistics are taken anew on it after each round, this many samples at once.
    pub recompute: Option<(&'a LabelledSamples, usize)>,
    /// Where `D_f` is measured, with the labels that were trained with.
    pub forget: &'a LabelledSamples,
    pub validation: Option<&'a LabelledSamples>,
    /// Unseen samples of the classes of `D_f`, where validation data has none of them: what `like-unseen` and
    /// `membership-auc-at-most` compare `D_f` with. None: validation data.
    pub unseen: Option<&'a LabelledSamples>,
    /// All samples whose reading is noted in the records.
    pub watched: &'a [(Part, &'a LabelledSamples)],
}

/// What a step leaves.
#[derive(Debug)]
pub struct Finished {
    pub records: Vec<RoundRecord>,
    pub outcome: StepOutcome,
}

/// Runs a step's rounds to its end. `records` are of the rounds done so far; the learner holds the state after them.
///
/// # Errors
/// A lost peer, a failed commit, or the end of this generation.
pub fn run_rounds(
    learner: &mut Learner,
    method: &mut dyn RoundMethod,
    run: &StepRun,
    mut records: Vec<RoundRecord>,
    commit: &mut dyn Commit,
) -> Result<Finished, UnlearningError> {
    let mut meter = Meter::new(&learner.gang, records.last());
    let mut ledger = Ledger::new(run.watched);
    // Whatever was read to make the method.
    ledger.put_down_to(Reader::Method);
    let at_start = match records.last() {
        Some(record) => record.at_start.clone(),
        None => measure(learner, run)?,
    };
    ledger.put_down_to(Reader::Rules);
    loop {
        let round = records.last().map_or(Round(0), |record| record.round).next();
        let before = learner.to_shard()?;
        let mut loss = method.round(learner)?;
        let diverged = !is_finite(learner, loss)?;
        if diverged {
            learner.take_back(&before)?;
            loss = f64::NAN;
        } else if let Some((data, batch_size)) = run.recompute {
            learner.recompute_batch_norm(data, batch_size)?;
        }
        ledger.put_down_to(Reader::Method);
        let mut scores = measure(learner, run)?;
        let mut step_length = None;
        if let Some(wanted) = run.stop.wanted_ua()
            && run.stop.bisections > 0
            && !diverged
            && scores.number(Figure::FORGET_ACCURACY).is_some_and(|forget| 100.0 - forget >= wanted)
        {
            step_length = Some(shorten(learner, &before, wanted, run, &mut ledger)?);
            scores = measure(learner, run)?;
        }
        let weight_change = learner.change_since(&before)?;
        let cost = meter.read(&mut learner.gang)?;
        ledger.put_down_to(Reader::Rules);
        let reads = ledger.close(&mut learner.gang)?;
        records.push(RoundRecord {
            round,
            loss: loss.into(),
            scores,
            at_start: at_start.clone(),
            step_length,
            weight_change,
            seconds: cost.seconds,
            forget_epochs: method.forget_epochs(round.0),
            bytes_moved: cost.bytes_moved,
            device_seconds: cost.device_seconds,
            peak_memory: cost.peak_memory,
            reads,
        });
        let stop = if diverged { Some(divergence(round)) } else { stop_reason(&run.stop, &records) };
        let outcome = stop.map(|stop| StepOutcome { selected: select_round(run.roll_back, &stop, &records), stop });
        let best =
            outcome.as_ref().map_or_else(|| select_round(run.roll_back, &in_the_middle(), &records), |o| o.selected);
        let record = &records[records.len() - 1];
        commit.progress(record, f64::from(round.0) / f64::from(run.stop.rounds));
        commit.commit(learner.to_shard()?, record, best, outcome.as_ref())?;
        if let Some(outcome) = outcome {
            return Ok(Finished { records, outcome });
        }
    }
}

/// Takes back as much of the last round's change as can be while UA stays at least `wanted`: the shortest of
/// `stop.bisections` halvings that does. `before` is the own shard as the round began. Returns the share that is kept.
fn shorten(
    learner: &mut Learner,
    before: &Shard,
    wanted: f64,
    run: &StepRun,
    ledger: &mut Ledger,
) -> Result<f64, UnlearningError> {
    let after = learner.to_shard()?;
    let (mut short, mut long) = (0.0, 1.0);
    for _ in 0..run.stop.bisections {
        let middle = f64::midpoint(short, long);
        ledger.put_down_to(Reader::Rules);
        go_part_of_the_way(learner, before, &after, middle, run)?;
        ledger.put_down_to(Reader::Method);
        if 100.0 - accuracy(&learner.network, &mut learner.gang, run.forget)? >= wanted {
            long = middle;
        } else {
            short = middle;
        }
    }
    ledger.put_down_to(Reader::Rules);
    go_part_of_the_way(learner, before, &after, long, run)?;
    ledger.put_down_to(Reader::Method);
    Ok(long)
}

/// To `before + share · (after − before)`; BatchNorm's statistics likewise, unless they are taken anew.
fn go_part_of_the_way(
    learner: &mut Learner,
    before: &Shard,
    after: &Shard,
    share: f64,
    run: &StepRun,
) -> Result<(), UnlearningError> {
    learner.take_back(&before.towards(after, share))?;
    match run.recompute {
        Some((data, batch_size)) if share < 1.0 => learner.recompute_batch_norm(data, batch_size),
        _ => Ok(()),
    }
}

/// What is measured of the present weights to decide by.
fn measure(learner: &mut Learner, run: &StepRun) -> Result<Scores, UnlearningError> {
    let judged = Judged { forget: run.forget, validation: run.validation, unseen: run.unseen };
    let (mut scores, answers) = judged.measure(&learner.network, &mut learner.gang)?;
    let of_forget_classes = of_forget_classes(run, answers.validation.as_ref(), answers.unseen.as_ref())?;
    scores.set(Figure::VALIDATION_ACCURACY_OF_FORGET_CLASSES, of_forget_classes);
    Ok(scores)
}

/// Accuracy on the validation samples of the classes that occur in `D_f`, where a round is chosen by it; none where
/// there is no such sample. Where a class that is forgotten whole has left validation data, these are all there are of it:
/// `of_class`.
fn of_forget_classes(
    run: &StepRun,
    validation: Option<&Predictions>,
    of_class: Option<&Predictions>,
) -> Result<Option<f64>, UnlearningError> {
    if run.roll_back != RollBack::HoldOutForgetError {
        return Ok(None);
    }
    if let Some(of_class) = of_class {
        return Ok(Some(of_class.accuracy()));
    }
    let (Some(data), Some(predictions)) = (run.validation, validation) else { return Ok(None) };
    let labels = |data: &LabelledSamples| Vec::<i64>::try_from(data.labels());
    let classes: BTreeSet<i64> = labels(run.forget)?.into_iter().collect();
    let labels = labels(data)?;
    Ok(predictions.accuracy_where(|at| classes.contains(&labels[at])))
}

/// As if the rounds ended here.
fn in_the_middle() -> StopReason {
    StopReason { rule: "rounds".into(), text: String::new() }
}

fn divergence(round: Round) -> StopReason {
    StopReason {
        rule: "diverged".into(),
        text: format!("round {round} left weights or statistics that are not finite; it was taken back"),
    }
}

fn is_finite(learner: &mut Learner, loss: f64) -> Result<bool, UnlearningError> {
    let all_of = |tensor: &Tensor| tensor.isfinite().all().int64_value(&[]) == 1;
    // Statistics count as weights: a network answers by both.
    let finite = all_of(&learner.gang.shard(learner.network.flat()))
        && learner.network.buffers().iter().all(|(_, statistics)| all_of(statistics));
    let bad = learner.gang.sum(&[f64::from(u8::from(!finite))])?[0];
    Ok(bad == 0.0 && loss.is_finite())
}
