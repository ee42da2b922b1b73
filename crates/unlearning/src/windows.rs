//! From recorded trainings to what a predictor learns from.

use std::ops::Range;

use rewind_histories::{Kind, Phase, Run};
use rewind_predictor::{Direction, History, PredictorError, Window};
use tch::Tensor;

/// Adds the windows of a run for trajectories of `snapshots` (`K`), one a tensor and a place.
///
/// A run made for unlearning has one place: the first `K` snapshots of forward training; the answer is where the weights
/// were before the forget data came in, and the horizon the epochs since then. It adds none if that is not one of
/// `horizons`, or if the forget data was not learned: its accuracy when forward training began, in percent, is below
/// `learned`. An ordinary training has one place every `K` epochs for each horizon, and looks back within itself, or
/// ahead.
///
/// Returns the number of windows.
///
/// # Errors
/// A run with fewer snapshots than `K` adds none; what a history refuses is an error.
pub fn add_windows(
    history: &mut History,
    run: &Run,
    snapshots: usize,
    horizons: &[u32],
    direction: Direction,
    learned: f64,
) -> Result<usize, PredictorError> {
    let before = history.windows().len();
    match run.outline.provenance.kind {
        Kind::Unlearning => {
            let (both, forward) = (run.outline.during(Phase::Both), run.outline.during(Phase::Forward));
            let past = run.outline.during(Phase::Remaining).last();
            let horizon = both.last().map_or(0, |last| run.outline.snapshots[last].epoch);
            let has_learned = run.outline.snapshots.get(forward.start).is_some_and(|moment| {
                moment.forget.and_then(|forget| forget.accuracy).is_none_or(|accuracy| accuracy >= learned)
            });
            if let Some(past) =
                past.filter(|_| has_learned && horizons.contains(&horizon) && forward.len() >= snapshots)
            {
                add(history, run, forward.start..forward.start + snapshots, past, horizon, Direction::Past)?;
            }
        }
        Kind::Training => {
            let all = run.outline.during(Phase::Training);
            for &horizon in horizons {
                let distance = horizon as usize;
                let (first, last) = match direction {
                    Direction::Past => (all.start + distance, all.end),
                    Direction::Future => (all.start, all.end.saturating_sub(distance)),
                };
                for start in (first..last).step_by(snapshots).filter(|start| start + snapshots <= last) {
                    let answer = match direction {
                        Direction::Past => start - distance,
                        Direction::Future => start + snapshots - 1 + distance,
                    };
                    add(history, run, start..start + snapshots, answer, horizon, direction)?;
                }
            }
        }
    }
    Ok(history.windows().len() - before)
}

/// One window a tensor: the trajectory of `window`, and where the weights were in the snapshot `answer`.
fn add(
    history: &mut History,
    run: &Run,
    window: Range<usize>,
    answer: usize,
    horizon: u32,
    direction: Direction,
) -> Result<(), PredictorError> {
    for (tensor, of) in run.outline.tensors.iter().enumerate() {
        let seen: Vec<Tensor> =
            window.clone().map(|snapshot| Tensor::from_slice(run.values(snapshot, tensor))).collect();
        let nearest = match direction {
            Direction::Past => &seen[0],
            Direction::Future => &seen[seen.len() - 1],
        };
        history.push(Window {
            operation: of.operation,
            horizon,
            scale: run.drift_scale(tensor, window.clone()),
            weight: 1.0,
            place: rewind_predictor::place(tensor, run.outline.tensors.len()),
            residual: Tensor::from_slice(run.values(answer, tensor)) - nearest,
            snapshots: Tensor::stack(&seen, 1), // [kept, snapshots]
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rewind_histories::{DataSet, Descent, Loss, Moment, Provenance, Recorder, Sample, Samples};
    use rewind_job::{Adam, Digest, Layout, OperationType, Optimiser, Schedule, Segment};

    use super::*;

    fn layout() -> Layout {
        let segment = |name: &str, operation, shape: &[i64], offset| Segment {
            name: name.into(),
            operation,
            shape: shape.to_vec(),
            offset,
        };
        let segments = vec![
            segment("fc.weight", OperationType::FullyConnected, &[70, 90], 0),
            segment("fc.bias", OperationType::Bias, &[70], 6300),
        ];
        Layout { segments }
    }

    fn descent() -> Descent {
        let optimiser =
            Optimiser::Adam(Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 });
        Descent { optimiser, schedule: Schedule::Constant, batch_size: 8 }
    }

    /// Weights at a time, spread over all coordinates.
    fn weights(time: f32) -> Vec<f32> {
        (0..6370).map(|i| ((i % 97) as f32 - 48.0) * 1e-2 + time * 1e-3 * ((i % 13) as f32 - 6.0)).collect()
    }

    fn run(kind: Kind, moments: &[(Phase, u32)]) -> Run {
        let mut recorder = Recorder::new(&layout(), Sample::AtMost { coordinates: 500, seed: 3 });
        for (time, &(phase, epoch)) in moments.iter().enumerate() {
            recorder.record(Moment::new(phase, epoch), &weights(time as f32)).expect("records");
        }
        let provenance = Provenance {
            kind,
            architecture: "mlp".into(),
            data: DataSet { name: "digits".into(), digest: Digest("ab".repeat(32)) },
            classes: 10,
            loss: Loss::Classification,
            initialisation: "torch".into(),
            seed: 1,
            samples: Samples { remaining: 10, forget: 5, held_out: 5 },
            wrong_labels: 0.0,
            threads: 1,
            training: descent(),
            forward: (kind == Kind::Unlearning).then(descent),
        };
        recorder.finish(provenance).expect("is a run")
    }

    fn unlearning() -> Run {
        let both = (1..=8).map(|epoch| (Phase::Both, epoch));
        let forward = (0..5).map(|epoch| (Phase::Forward, epoch));
        let moments: Vec<_> = [(Phase::Remaining, 6)].into_iter().chain(both).chain(forward).collect();
        run(Kind::Unlearning, &moments)
    }

    #[test]
    fn a_run_made_for_unlearning_gives_the_windows_that_whole_weights_give() {
        let (mut cut, mut whole) = (History::default(), History::default());
        assert_eq!(add_windows(&mut cut, &unlearning(), 4, &[8], Direction::Past, 50.0).expect("cuts"), 2);
        let seen: Vec<Tensor> = (9..13).map(|time| Tensor::from_slice(&weights(time as f32))).collect();
        let past = Tensor::from_slice(&weights(0.0));
        let sample = rewind_predictor::Sample::AtMost { coordinates: 500, seed: 3 };
        whole.record(&layout(), &seen, &past, 8, sample).expect("records");
        for (cut, whole) in cut.windows().iter().zip(whole.windows()) {
            assert_eq!((cut.operation, cut.horizon), (whole.operation, whole.horizon));
            // Sums of the same squares in another order.
            assert!((cut.scale / whole.scale - 1.0).abs() < 1e-12, "{} {}", cut.scale, whole.scale);
            assert_eq!((&cut.snapshots, &cut.residual), (&whole.snapshots, &whole.residual));
        }
    }

    #[test]
    fn other_horizons_and_longer_trajectories_are_not_in_a_run() {
        let mut history = History::default();
        assert_eq!(add_windows(&mut history, &unlearning(), 4, &[3], Direction::Past, 50.0).expect("cuts"), 0);
        assert_eq!(add_windows(&mut history, &unlearning(), 6, &[8], Direction::Past, 50.0).expect("cuts"), 0);
    }

    #[test]
    fn an_ordinary_training_looks_back_within_itself() {
        let moments: Vec<_> = (0..=12).map(|epoch| (Phase::Training, epoch)).collect();
        let mut history = History::default();
        // Windows of four begin at 3 and 7, and at 5 and 9, of 0 to 12.
        let added =
            add_windows(&mut history, &run(Kind::Training, &moments), 4, &[3, 5], Direction::Past, 0.0).expect("cuts");
        assert_eq!(added, 2 * 4);
        let residual = f64::try_from(history.windows()[0].residual.get(12)).expect("a number");
        let kept = run(Kind::Training, &moments);
        let expected = f64::from(kept.values(0, 0)[12]) - f64::from(kept.values(3, 0)[12]);
        assert!((residual - expected).abs() < 1e-6, "{residual} {expected}");
    }

    #[test]
    fn an_ordinary_training_looks_ahead_within_itself() {
        let moments: Vec<_> = (0..=12).map(|epoch| (Phase::Training, epoch)).collect();
        let kept = run(Kind::Training, &moments);
        let mut history = History::default();
        // Windows of four begin at 0 and 4, of 0 to 12; the answer of the first lies at 3 + 5.
        assert_eq!(add_windows(&mut history, &kept, 4, &[5], Direction::Future, 0.0).expect("cuts"), 2 * 2);
        let residual = f64::try_from(history.windows()[0].residual.get(12)).expect("a number");
        let expected = f64::from(kept.values(8, 0)[12]) - f64::from(kept.values(3, 0)[12]);
        assert!((residual - expected).abs() < 1e-6, "{residual} {expected}");
    }
}
