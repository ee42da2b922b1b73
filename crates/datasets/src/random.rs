//! Randomness as a function of its purpose: nothing depends on what was drawn before.

use rand::{Rng, RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A generator that is a function of a seed and a purpose.
pub fn generator(seed: u64, purpose: &str) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// The order of `count` samples in an epoch of a step: a permutation of `0..count`.
///
/// A function of its arguments alone, so that it is the same on every rank and after every restart.
pub fn order(seed: u64, step: &str, epoch: u32, count: usize) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..count as u32).collect();
    positions.shuffle(&mut generator(seed, &format!("order/{step}/{epoch}")));
    positions
}

/// A number from N(0, 1) (Box and Muller, 1958).
pub fn normal(rng: &mut impl Rng) -> f64 {
    // From 1 downwards: the logarithm of 0 is not finite.
    let (radius, angle): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// Noise on one sample in an epoch of a step: `count` numbers from N(0, 1).
///
/// As [`order`] a function of its arguments alone: it does not matter which rank meets the sample, and when.
pub fn noise(seed: u64, step: &str, epoch: u32, sample: u32, count: usize) -> Vec<f32> {
    let mut rng = generator(seed, &format!("noise/{step}/{epoch}/{sample}"));
    (0..count).map(|_| normal(&mut rng) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_that_depends_on_all_its_arguments() {
        let first = order(1, "pretrained", 0, 50);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
        assert_eq!(first, order(1, "pretrained", 0, 50));
        for other in [order(2, "pretrained", 0, 50), order(1, "retrain", 0, 50), order(1, "pretrained", 1, 50)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn every_sample_is_as_likely_at_every_place_and_next_to_every_other() {
        let (mut places, mut followers) = ([[0_u32; 6]; 6], [[0_u32; 6]; 6]);
        for epoch in 0..12_000 {
            let order = order(1, "uniform", epoch, 6);
            for (place, &sample) in order.iter().enumerate() {
                places[sample as usize][place] += 1;
            }
            for pair in order.windows(2) {
                followers[pair[0] as usize][pair[1] as usize] += 1;
            }
        }
        // 2,000 expected of each; four standard deviations of a binomial count: 41 each.
        assert!(places.iter().flatten().all(|count| count.abs_diff(2000) < 164), "{places:?}");
        let of_others = |of: usize| (0..6).filter(move |&other| other != of);
        assert!((0..6).all(|of| of_others(of).all(|other| followers[of][other].abs_diff(2000) < 164)), "{followers:?}");
    }

    #[test]
    fn an_order_stays_the_same_from_version_to_version() {
        assert_eq!(order(0, "step", 0, 8), PINNED);
    }

    #[test]
    fn noise_has_mean_0_and_variance_1_and_depends_on_all_its_arguments() {
        let first = noise(1, "pretrained", 0, 0, 20_000);
        let mean = |power: i32| first.iter().map(|&v| f64::from(v).powi(power)).sum::<f64>() / 20_000.0;
        // Within four standard deviations of the moments of N(0, 1).
        assert!(mean(1).abs() < 0.03 && (mean(2) - 1.0).abs() < 0.04 && (mean(4) - 3.0).abs() < 0.28);
        assert_eq!(first[..9], noise(1, "pretrained", 0, 0, 9));
        for (seed, step, epoch, sample) in
            [(2, "pretrained", 0, 0), (1, "retrain", 0, 0), (1, "pretrained", 1, 0), (1, "pretrained", 0, 1)]
        {
            assert_ne!(first[..9], noise(seed, step, epoch, sample, 9));
        }
    }

    const PINNED: [u32; 8] = [3, 5, 6, 1, 0, 4, 2, 7];
}
