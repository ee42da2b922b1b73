//! Augmentation of training images: a random crop after zero padding, a random flip.

use rand::RngExt;
use rewind_job::Augment;
use tch::{Kind, Tensor};

/// Where one sample's crop begins in the padded image, and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Distortion {
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
        Self { row, column, mirrored: augment.flip && rng.random() }
    }
}

/// Crops and mirrors each of the images `[n, C, H, W]`, which stand at `positions` of their data, as one epoch of a step
/// does; of the same size.
pub fn augment(images: &Tensor, augment: Augment, seed: u64, step: &str, epoch: u32, positions: &[i64]) -> Tensor {
    let [n, channels, height, width] = images.size()[..] else { panic!("images come as [n, C, H, W]") };
    let crop = i64::from(augment.crop);
    let (padded_height, padded_width) = (height + 2 * crop, width + 2 * crop);
    // [n, H · W]: from which place of the padded image each pixel comes.
    let mut places: Vec<i64> = Vec::with_capacity((n * height * width) as usize);
    for &position in positions {
        let Distortion { row, column, mirrored } = Distortion::draw(augment, seed, step, epoch, position);
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

    const BOTH: Augment = Augment { crop: 2, flip: true };

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
            let Distortion { row, column, mirrored } = Distortion::draw(BOTH, 3, "training", 1, at);
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
        let whole = values(&augment(&x, BOTH, 3, "training", 1, &all));
        let (front, back) = (x.narrow(0, 0, 3), x.narrow(0, 3, 5));
        let parts = [(&front, &all[..3]), (&back, &all[3..])];
        let parts: Vec<f32> =
            parts.iter().flat_map(|(x, at)| values(&augment(x, BOTH, 3, "training", 1, at))).collect();
        assert_eq!(whole, parts);
        for (seed, step, epoch) in [(4, "training", 1), (3, "unlearning", 1), (3, "training", 2)] {
            assert_ne!(whole, values(&augment(&x, BOTH, seed, step, epoch, &all)));
        }
    }

    #[test]
    fn without_crop_only_the_flip_is_left() {
        let x = images(20);
        let positions: Vec<i64> = (0..20).collect();
        let y = augment(&x, Augment { crop: 0, flip: true }, 3, "training", 0, &positions);
        let is = |at: i64, other: &Tensor| values(&y.get(at)) == values(other);
        let mirrored = (0..20).filter(|&at| is(at, &x.get(at).flip([2]))).count();
        assert!((0..20).all(|at| is(at, &x.get(at)) || is(at, &x.get(at).flip([2]))));
        assert!((3..=17).contains(&mirrored), "{mirrored} of 20 are mirrored");
    }
}
