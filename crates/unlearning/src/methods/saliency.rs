//! Which coordinates matter most to the forget data.

use tch::{Kind, Tensor};

use crate::{Gang, LabelledSamples, Learner, UnlearningError};

/// The top `share` of the model's coordinates that may move, by |Σ gradient of the cross-entropy on `forget`| (SalUn;
/// Fan et al., 2024, equation 3): true in the own shard's `[n]`. One threshold for all shards.
pub fn most_salient(
    learner: &mut Learner,
    forget: &LabelledSamples,
    at_once: usize,
    share: f64,
) -> Result<Tensor, UnlearningError> {
    let gradient = learner.summed_gradient(forget, at_once)?;
    let movable = learner.movable.count_of(learner.gang.layout().coordinates());
    top_share(&mut learner.gang, &gradient, learner.movable.free(), share * movable as f64)
}

/// So many (rounded down, as SalUn's code does, but at least one) coordinates of a vector that lives in shards, by
/// magnitude: true in `[n]`. What ties with the last one is in. Only those count where `free` is true, `[n]`; none:
/// everywhere.
fn top_share(gang: &mut Gang, shard: &Tensor, free: Option<&Tensor>, wanted: f64) -> Result<Tensor, UnlearningError> {
    let wanted = wanted.floor().max(1.0);
    // Floats from 0 on are ordered as their bits are: bisect on these, and the threshold is exact.
    let bits = shard.abs().view_dtype(Kind::Int);
    let bits = match free {
        Some(free) => bits.masked_fill(&free.logical_not(), -1),
        None => bits,
    };
    let (mut inside, mut outside) = (0_i64, i64::from(i32::MAX));
    while outside - inside > 1 {
        let middle = i64::midpoint(inside, outside);
        let own = bits.ge(middle).sum(Kind::Int64).int64_value(&[]);
        let at_least = gang.sum(&[own as f64])?[0];
        if at_least >= wanted {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    Ok(bits.ge(inside))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind_collective::Solo;
    use rewind_job::{Layout, ShardPlan, WorldSize};

    fn alone(coordinates: i64) -> Gang {
        let layout = Layout::new([("w".to_owned(), vec![coordinates])]);
        let plan = ShardPlan::balanced(&layout, WorldSize(1));
        Gang::new(Box::new(Solo::new()), layout, plan)
    }

    fn chosen(values: &[f32], share: f64) -> Vec<bool> {
        let wanted = share * values.len() as f64;
        let mask = top_share(&mut alone(values.len() as i64), &Tensor::from_slice(values), None, wanted);
        Vec::try_from(mask.expect("is alone")).expect("bools")
    }

    #[test]
    fn the_largest_magnitudes_are_chosen() {
        assert_eq!(chosen(&[0.1, -3.0, 2.0, 1e-30], 0.5), [false, true, true, false]);
        assert_eq!(chosen(&[0.1, -3.0, 2.0, 1e-30], 0.75), [true, true, true, false]);
    }

    #[test]
    fn ties_are_in_and_at_least_one_is_chosen() {
        assert_eq!(chosen(&[1.0, -1.0, 1.0, 0.5], 0.25), [true, true, true, false]);
        assert_eq!(chosen(&[0.0, 0.0, 0.0, 0.0], 0.5), [true; 4]);
        assert_eq!(chosen(&[0.0, 0.0, 5.0, 0.0], 0.01), [false, false, true, false]);
    }

    #[test]
    fn a_share_that_is_no_whole_number_is_rounded_down() {
        assert_eq!(chosen(&[0.1, -3.0, 2.0], 0.5), [false, true, false]);
        assert_eq!(chosen(&[0.1, -3.0, 2.0], 0.67), [false, true, true]);
    }

    #[test]
    fn what_stays_is_never_chosen_whatever_its_magnitude() {
        let free = Tensor::from_slice(&[true, false, true, true]);
        let of = |values: &[f32], wanted| {
            let mask = top_share(&mut alone(4), &Tensor::from_slice(values), Some(&free), wanted).expect("is alone");
            Vec::<bool>::try_from(mask).expect("bools")
        };
        assert_eq!(of(&[0.1, -3.0, 2.0, 1.0], 2.0), [false, false, true, true]);
        assert_eq!(of(&[0.0, 0.0, 0.0, 0.0], 1.0), [true, false, true, true]);
    }
}
