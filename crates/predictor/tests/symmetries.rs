//! The four symmetries of the equivariant and of the conditioned network, on random trajectories, scales, weights and horizons.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rewind_job::{Layout, OperationType};
use rewind_predictor::{Architecture, Network, Predictor, Statistics, Trajectory, partial_sums, rewind, statistics};
use tch::Tensor;

/// A tensor's snapshots, oldest first, and what to ask about them.
#[derive(Clone, Debug)]
struct Case {
    /// `[snapshots][coordinates]`
    snapshots: Vec<Vec<f32>>,
    horizon: u32,
    seed: u64,
    architecture: Architecture,
}

impl Case {
    fn coordinates(&self) -> usize {
        self.snapshots[0].len()
    }

    fn map(&self, change: impl Fn(f32) -> f32) -> Self {
        let snapshots = self.snapshots.iter().map(|snapshot| snapshot.iter().map(|&w| change(w)).collect()).collect();
        Self { snapshots, ..self.clone() }
    }

    fn statistics(&self) -> Statistics {
        let (layout, trajectory) = self.record();
        statistics(&layout, &partial_sums(&trajectory).unwrap(), trajectory.len()).unwrap()[0]
    }

    fn record(&self) -> (Layout, Trajectory) {
        let layout = Layout::new([("bias".to_owned(), vec![self.coordinates() as i64])]);
        let mut trajectory = Trajectory::new(&layout, &layout.tiles());
        for snapshot in &self.snapshots {
            trajectory.record(&Tensor::from_slice(snapshot)).unwrap();
        }
        (layout, trajectory)
    }

    fn predictor(&self) -> Predictor {
        Predictor::untrained(self.architecture, self.snapshots.len(), &[1, 20], self.seed)
    }

    /// A network of which every parameter is random: an untrained one answers nothing along its linear path.
    fn network(&self) -> Network {
        use rand::{RngExt, SeedableRng};
        let mut draw = rand_chacha::ChaCha8Rng::seed_from_u64(self.seed);
        let predictor = self.predictor();
        let untrained = predictor.for_snapshots(self.snapshots.len()).unwrap().of(OperationType::Bias);
        let mut parameters = untrained.parameters().iter();
        Network::from_parameters(self.architecture, self.snapshots.len(), "", |_| {
            let shape = parameters.next().unwrap().1.size();
            let values: Vec<f32> = (0..shape.iter().product::<i64>()).map(|_| draw.random_range(-0.5..0.5)).collect();
            Ok(Tensor::from_slice(&values).view(shape.as_slice()))
        })
        .unwrap()
    }

    /// The residual of every coordinate.
    fn residual(&self) -> Vec<f32> {
        let (_, trajectory) = self.record();
        let window = trajectory.tiles().next().unwrap().window();
        Vec::try_from(self.network().residual(&window, &self.statistics(), self.horizon)).unwrap()
    }
}

/// Whole multiples of 2⁻¹⁰ below 1, so that sums and differences of a few of them are exact in float32.
fn weight() -> impl Strategy<Value = f32> {
    (-1023i32..1024).prop_map(|w| w as f32 / 1024.0)
}

fn case() -> impl Strategy<Value = Case> {
    (prop_oneof![Just(2usize), Just(3), Just(5), Just(15)], 1usize..40).prop_flat_map(|(snapshots, coordinates)| {
        let trajectory = prop::collection::vec(prop::collection::vec(weight(), coordinates), snapshots);
        let architecture = prop::sample::select(vec![Architecture::Equivariant, Architecture::Conditioned]);
        (trajectory, 1u32..=20, any::<u64>(), architecture).prop_map(|(snapshots, horizon, seed, architecture)| Case {
            snapshots,
            horizon,
            seed,
            architecture,
        })
    })
}

fn assert_close(found: &[f32], expected: &[f32]) -> Result<(), TestCaseError> {
    let largest = expected.iter().fold(0f32, |largest, r| largest.max(r.abs()));
    for (found, expected) in found.iter().zip(expected) {
        prop_assert!((found - expected).abs() <= 1e-5 * largest, "{found} is not {expected}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_random_trajectory_gets_an_answer(case in case()) {
        let residual = case.residual();
        prop_assert!(residual.iter().all(|r| r.is_finite()));
        prop_assert!(case.statistics().scale == 0.0 || residual.iter().any(|&r| r != 0.0));
    }

    /// Still: no motion, no residual, though the rest of the tensor moves.
    #[test]
    fn a_still_coordinate_stays(case in case(), still in weight()) {
        let mut case = case;
        for snapshot in &mut case.snapshots {
            snapshot[0] = still;
        }
        prop_assert_eq!(case.residual()[0], 0.0);
    }

    /// Still: a tensor with drift scale 0 is answered with exactly 0, and rewound to its own bits.
    #[test]
    fn a_still_tensor_stays(case in case()) {
        let still = Case { snapshots: vec![case.snapshots[0].clone(); case.snapshots.len()], ..case };
        prop_assert_eq!(still.statistics(), Statistics::default());
        prop_assert!(still.residual().iter().all(|&r| r == 0.0));

        let (_, trajectory) = still.record();
        let rewound = rewind(&trajectory, &still.predictor(), &[Statistics::default()], still.horizon, 1.0).unwrap();
        prop_assert_eq!(Vec::<f32>::try_from(rewound).unwrap(), still.snapshots[0].clone());
    }

    /// Shift: the equivariant network does not see where the weights lie; exact where the shifted weights are.
    #[test]
    fn a_shift_of_all_snapshots_changes_no_residual(case in case(), shift in weight()) {
        let case = Case { architecture: Architecture::Equivariant, ..case };
        prop_assert_eq!(case.map(|w| w + shift).residual(), case.residual());
    }

    /// Scale: exact for powers of two, from the smallest drifts of a careful optimiser to the largest.
    #[test]
    fn a_power_of_two_times_the_drift_is_that_times_the_residual(case in case(), exponent in -60i32..60) {
        let factor = 2f32.powi(exponent);
        let expected: Vec<f32> = case.residual().iter().map(|r| r * factor).collect();
        prop_assert_eq!(case.map(|w| w * factor).residual(), expected);
    }

    /// Scale: within rounding for any other factor.
    #[test]
    fn any_factor_times_the_drift_is_that_times_the_residual(case in case(), factor in 0.001f32..1000.0) {
        let expected: Vec<f32> = case.residual().iter().map(|r| r * factor).collect();
        assert_close(&case.map(|w| w * factor).residual(), &expected)?;
    }

    /// The lopsided network is still, and scales; it is not odd.
    #[test]
    fn the_lopsided_network_is_still_and_scales_but_is_not_odd(case in case(), still in weight()) {
        let mut case = Case { architecture: Architecture::Lopsided, ..case };
        let mirrored: Vec<f32> = case.residual().iter().map(|r| -r).collect();
        prop_assert!(case.statistics().scale == 0.0 || case.map(|w| -w).residual() != mirrored);
        let expected: Vec<f32> = case.residual().iter().map(|r| r * 8.0).collect();
        prop_assert_eq!(case.map(|w| w * 8.0).residual(), expected);
        for snapshot in &mut case.snapshots {
            snapshot[0] = still;
        }
        prop_assert_eq!(case.residual()[0], 0.0);
    }

    /// Shift, of WNN: it reads each coordinate from its oldest value.
    #[test]
    fn wnn_answers_the_same_wherever_a_coordinate_lies(case in case(), shift in -4i32..4) {
        let case = Case { architecture: Architecture::Wnn, ..case };
        prop_assert_eq!(case.map(|w| w + shift as f32).residual(), case.residual());
    }

    /// Scale, of WNN: far above its floor the answer is in units of the coordinate's own range.
    #[test]
    fn wnn_answers_in_units_of_the_range(case in case()) {
        let case = Case { architecture: Architecture::Wnn, ..case }.map(|w| w * 1024.0 * 1024.0);
        let (found, once) = (case.map(|w| w * 8.0).residual(), case.residual());
        let unit = 1024.0 * 1024.0 * 4.0;
        for (found, once) in found.iter().zip(once) {
            prop_assert!((found / 8.0 - once).abs() <= 1e-6 * unit, "{} {}", found, once);
        }
    }

    /// Odd: the mirrored trajectory has the mirrored residual, bit for bit.
    #[test]
    fn a_mirrored_trajectory_has_the_mirrored_residual(case in case()) {
        let mirrored: Vec<f32> = case.residual().iter().map(|r| -r).collect();
        prop_assert_eq!(case.map(|w| -w).residual(), mirrored);
    }

    /// Odd, about the base: what matters is the drift, not the weights.
    #[test]
    fn a_drift_mirrored_at_the_base_has_the_mirrored_residual(case in case()) {
        let mirrored: Vec<f32> = case.residual().iter().map(|r| -r).collect();
        let mut other = case.clone();
        for snapshot in &mut other.snapshots {
            for (weight, base) in snapshot.iter_mut().zip(&case.snapshots[0]) {
                *weight = 2.0 * base - *weight;
            }
        }
        prop_assert_eq!(other.residual(), mirrored);
    }
}
