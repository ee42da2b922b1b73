//! Augmentation of training images: an affine map, a random crop after zero padding, a random flip.

use rand::RngExt;
use rewind_job::Augment;
use tch::{Kind, Tensor};

use crate::affine_map::{AffineMap, apply_maps};

/// What is done to one sample: its affine map, then where its crop begins in the padded image, then whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distortion {
    pub map: Option<AffineMap>,
    pub row: i64,
    pub column: i64,
    pub mirrored: bool,
}

impl Distortion {
    /// A function of its arguments alone, as the order of samples is: it does not matter which rank meets the sample, in
    /// which batch, and what its label is.
    pub fn draw(augment: Augment, seed: u64, step: &str, epoch: u32, position: i64) -> Self {
        let mut rng = rewind_datasets::generator(seed, &format!("augment/{step}/{epoch}/{position}"));
        let places = 2 * i64::from(augment.crop);
        let (row, column) = (rng.random_range(0..=places), rng.random_range(0..=places));
        let mirrored = augment.flip && rng.random();
        // Drawn last, so that crop and flip are the same with a map and without.
        let map = augment.is_affine().then(|| AffineMap::draw(augment, &mut rng));
        Self { map, row, column, mirrored }
    }
}

/// Maps, crops and mirrors each of the images `[n, C, H, W]`, which stand at `positions` of their data, as one epoch of a
/// step does; of the same size.
pub fn augment(images: &Tensor, augment: Augment, seed: u64, step: &str, epoch: u32, positions: &[i64]) -> Tensor {
    let [n, channels, height, width] = images.size()[..] else { panic!("images come as [n, C, H, W]") };
    let crop = i64::from(augment.crop);
    let (padded_height, padded_width) = (height + 2 * crop, width + 2 * crop);
    let drawn: Vec<Distortion> =
        positions.iter().map(|&position| Distortion::draw(augment, seed, step, epoch, position)).collect();
    let maps: Vec<AffineMap> = drawn.iter().filter_map(|distortion| distortion.map).collect();
    let images = if maps.is_empty() { images.shallow_clone() } else { apply_maps(images, &maps) };
    // [n, H · W]: from which place of the padded image each pixel comes.
    let mut places: Vec<i64> = Vec::with_capacity((n * height * width) as usize);
    for Distortion { row, column, mirrored, .. } in drawn {
        for y in 0..height {
            let start = (y + row) * padded_width + column;
            places.extend((0..width).map(|x| start + if mirrored { width - 1 - x } else { x }));
        }
    }
    let places = Tensor::from_slice(&places).to_device(images.device());
    let places = places.view([n, 1, height * width]).expand([n, channels, height * width], false);
    let padded = images.constant_pad_nd([crop; 4]).view([n, channels, padded_height * padded_width]);
    padded.gather(2, &places, false).view([n, channels, height, width]).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const BOTH: Augment = Augment { crop: 2, flip: true, rotate: 0.0, shift: 0.0, shear: 0.0, zoom: 0.0 };
    const ALL: Augment = Augment { rotate: 10.0, shift: 0.15, shear: 0.1, zoom: 0.3, ..BOTH };

    /// No pixel is zero, and no two are equal.
    fn images(count: i64) -> Tensor {
        (Tensor::arange(count * 2 * 5 * 6, (Kind::Float, Device::Cpu)) + 1.0).view([count, 2, 5, 6])
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.contiguous().view([-1])).expect("float32")
    }

    #[test]
    fn an_image_is_a_window_of_the_padded_one_mirrored_or_not() {
        let x = images(40);
        let positions: Vec<i64> = (0..40).collect();
        let y = augment(&x, BOTH, 3, "training", 1, &positions);
        let padded = x.constant_pad_nd([2; 4]);
        let mut seen = std::collections::BTreeSet::new();
        for at in 0..40 {
            let Distortion { row, column, mirrored, .. } = Distortion::draw(BOTH, 3, "training", 1, at);
            let window = padded.get(at).narrow(1, row, 5).narrow(2, column, 6);
            let expected = if mirrored { window.flip([2]) } else { window };
            assert_eq!(values(&y.get(at)), values(&expected));
            seen.insert((row, mirrored));
        }
        assert_eq!(seen.len(), 10, "40 draws miss one of 5 × 2 with probability 0.15, and these do not");
    }

    #[test]
    fn it_hangs_on_seed_step_epoch_and_position_and_not_on_the_batch() {
        let x = images(8);
        let all: Vec<i64> = (0..8).collect();
        for how in [BOTH, ALL] {
            let whole = values(&augment(&x, how, 3, "training", 1, &all));
            let (front, back) = (x.narrow(0, 0, 3), x.narrow(0, 3, 5));
            let parts = [(&front, &all[..3]), (&back, &all[3..])];
            let parts: Vec<f32> =
                parts.iter().flat_map(|(x, at)| values(&augment(x, how, 3, "training", 1, at))).collect();
            assert_eq!(whole, parts);
            for (seed, step, epoch) in [(4, "training", 1), (3, "unlearning", 1), (3, "training", 2)] {
                assert_ne!(whole, values(&augment(&x, how, seed, step, epoch, &all)));
            }
        }
    }

    #[test]
    fn a_map_comes_before_the_crop_and_the_flip_which_it_leaves_as_they_are() {
        let x = images(12);
        let positions: Vec<i64> = (0..12).collect();
        let drawn: Vec<Distortion> = positions.iter().map(|&at| Distortion::draw(ALL, 3, "training", 1, at)).collect();
        let maps: Vec<AffineMap> = drawn.iter().map(|distortion| distortion.map.expect("is drawn")).collect();
        let by_hand = augment(&apply_maps(&x, &maps), BOTH, 3, "training", 1, &positions);
        assert_eq!(values(&augment(&x, ALL, 3, "training", 1, &positions)), values(&by_hand));
        for (at, with_map) in (0..).zip(drawn) {
            let without = Distortion::draw(BOTH, 3, "training", 1, at);
            assert_eq!(Distortion { map: None, ..with_map }, without);
        }
    }

    #[test]
    fn without_crop_only_the_flip_is_left() {
        let x = images(20);
        let positions: Vec<i64> = (0..20).collect();
        let y = augment(&x, Augment { crop: 0, ..BOTH }, 3, "training", 0, &positions);
        let is = |at: i64, other: &Tensor| values(&y.get(at)) == values(other);
        let mirrored = (0..20).filter(|&at| is(at, &x.get(at).flip([2]))).count();
        assert!((0..20).all(|at| is(at, &x.get(at)) || is(at, &x.get(at).flip([2]))));
        assert!((3..=17).contains(&mirrored), "{mirrored} of 20 are mirrored");
    }
}
