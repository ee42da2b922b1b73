//! Randomness as a function of its purpose: nothing depends on what was drawn before.

use rand::{SeedableRng, seq::SliceRandom};
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
    fn an_order_stays_the_same_from_version_to_version() {
        assert_eq!(order(0, "step", 0, 8), PINNED);
    }

    const PINNED: [u32; 8] = [3, 5, 6, 1, 0, 4, 2, 7];
}
