//! What compact differences cost: see `Encoding`.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

mod recordings;

use proptest::prelude::*;
use recordings::*;
use rewind_histories::*;
use rewind_job::Layout;

/// Relative error of a number rounded to bfloat16, which has 8 bits, at most.
const HALF_ULP: f64 = 1.0 / 256.0;

/// What the store gives back for these snapshots.
fn reconstructed(snapshots: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let layout = Layout::new([("weight".into(), vec![snapshots[0].len() as i64])]);
    let moments = (0..snapshots.len() as u32).map(|epoch| Moment::new(Phase::Training, epoch)).collect();
    let run = record(&layout, moments, snapshots, Sample::All);
    let store = Memory::default();
    read(&store, &write(&store, &run, Options::default()).unwrap()).unwrap().weights
}

/// Half the distance to the next float32, for a number of this size.
fn half_ulp(number: f32) -> f64 {
    f64::from(number.abs().next_up() - number.abs()) / 2.0
}

/// Root mean square of the errors of all differences, relative to that of the differences.
fn relative_error_of_differences(wanted: &[Vec<f32>], found: &[Vec<f32>]) -> f64 {
    let (mut errors, mut squares) = (0.0, 0.0);
    for (wanted, found) in wanted.windows(2).zip(found.windows(2)) {
        for i in 0..wanted[0].len() {
            let difference = f64::from(wanted[1][i]) - f64::from(wanted[0][i]);
            let error = f64::from(found[1][i]) - f64::from(found[0][i]) - difference;
            errors += error * error;
            squares += difference * difference;
        }
    }
    (errors / squares).sqrt()
}

#[test]
fn differences_are_off_by_two_parts_in_a_thousand() {
    for step in [1e-1, 1e-2, 1e-3, 1e-4] {
        let snapshots = drifting(5_000, 20, step, 3);
        let error = relative_error_of_differences(&snapshots, &reconstructed(&snapshots));
        assert!(error < 0.0025, "steps of {step}: {error}");
    }
}

/// Of such steps bfloat16 weights would keep nothing.
#[test]
fn steps_of_a_millionth_on_weights_of_size_1_are_kept() {
    let snapshots = drifting(5_000, 300, 1e-6, 4);
    let found = reconstructed(&snapshots);
    let error = relative_error_of_differences(&snapshots, &found);
    assert!(error < 0.001, "{error}");
    // There the rounding of a step is less than the last bit of float32.
    for at in (0..5_000).filter(|&at| snapshots[0][at].abs() > 0.25) {
        assert!(found.iter().zip(&snapshots).all(|(found, wanted)| found[at] == wanted[at]), "coordinate {at}");
    }
    // The whole drift, over which errors would have added up.
    let drift = |snapshots: &[Vec<f32>], at: usize| f64::from(snapshots[299][at]) - f64::from(snapshots[0][at]);
    let worst = (0..5_000).map(|at| (drift(&found, at) - drift(&snapshots, at)).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-6 * HALF_ULP, "{worst}");
}

#[test]
fn errors_do_not_add_up() {
    // A steady drift whose difference lies between two numbers of bfloat16: rounding the differences alone would be off
    // by its error times the number of steps.
    let step = 1.0 + 1.0 / 300.0;
    let snapshots: Vec<Vec<f32>> = (0..400).map(|j| vec![0.01 * step * j as f32]).collect();
    let found = reconstructed(&snapshots);
    for (j, (found, wanted)) in found.iter().zip(&snapshots).enumerate() {
        let error = f64::from((found[0] - wanted[0]).abs());
        assert!(error <= 0.01 * f64::from(step) * 1.01 * HALF_ULP + 2.0 * half_ulp(wanted[0]), "step {j}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `|R_j − θ_j| ≤ |θ_j − R_{j−1}| / 256 + ulp(R_j) / 2`: one difference's rounding, whatever came before.
    #[test]
    fn every_snapshot_is_off_by_the_rounding_of_one_difference(
        weights in prop::collection::vec(-1e3f32..1e3, 1..20),
        steps in prop::collection::vec((-9i32..3, any::<u64>()), 1..12),
    ) {
        let mut snapshots = vec![weights];
        for (size, seed) in steps {
            let mut noise = noise(seed);
            let last = &snapshots[snapshots.len() - 1];
            let next = last.iter().map(|weight| weight + 10f32.powi(size) * noise()).collect();
            snapshots.push(next);
        }
        let found = reconstructed(&snapshots);
        prop_assert_eq!(&found[0], &snapshots[0]);
        for j in 1..snapshots.len() {
            for ((&found, &before), &wanted) in found[j].iter().zip(&found[j - 1]).zip(&snapshots[j]) {
                let error = (f64::from(found) - f64::from(wanted)).abs();
                let difference = (f64::from(wanted) - f64::from(before)).abs();
                let bound = difference * HALF_ULP * (1.0 + 1e-6) + half_ulp(found) + 1e-38;
                prop_assert!(error <= bound, "{} {} {}: {} > {}", before, wanted, found, error, bound);
            }
        }
    }
}
