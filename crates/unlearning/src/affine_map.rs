//! One affine map of an image, as Keras' `ImageDataGenerator` makes it (version 2.15, `apply_affine_transform`).

use rand::{Rng, RngExt};
use rewind_job::Augment;
use tch::{Kind, Tensor};

/// Where each pixel of a changed image comes from. With a pixel's column and row counted from the middle as `(x, y)`, that is
/// `R · T · S · Z (x, y)`: scaled, sheared, shifted, turned. The middle is Keras': column `(height − 1) / 2` and row
/// `(width − 1) / 2`, which of an image that is not square is another place than one would think.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineMap {
    /// Of `R`, in degrees.
    pub rotate: f64,
    /// Of `T`, a share of the width: what stands to the right of a place comes to it.
    pub columns: f64,
    /// Likewise from below, a share of the height.
    pub rows: f64,
    /// Of `S = [[1, −sin], [0, cos]]`, in degrees.
    pub shear: f64,
    /// Of `Z`: above 1 the image becomes smaller.
    pub zoom_columns: f64,
    pub zoom_rows: f64,
}

impl AffineMap {
    /// Draws the six numbers in this order, which is Keras', whether or not they can be other than still: each uniform, and
    /// independent of the others.
    pub fn draw(augment: Augment, rng: &mut impl Rng) -> Self {
        let mut within = |most: f64| most * (2.0 * rng.random::<f64>() - 1.0);
        Self {
            rotate: within(augment.rotate),
            columns: within(augment.shift),
            rows: within(augment.shift),
            shear: within(augment.shear),
            zoom_columns: 1.0 + within(augment.zoom),
            zoom_rows: 1.0 + within(augment.zoom),
        }
    }

    /// From a pixel's row and column, from the upper left one, to those of where it comes from, in an image of this height
    /// and width.
    fn sources(self, [height, width]: [i64; 2]) -> impl Fn([i64; 2]) -> [f64; 2] {
        let [middle_column, middle_row] = [height, width].map(|side| (side - 1) as f64 / 2.0);
        let (columns, rows) = (self.columns * width as f64, self.rows * height as f64);
        let (shear_sin, shear_cos) = self.shear.to_radians().sin_cos();
        let (sin, cos) = self.rotate.to_radians().sin_cos();
        move |[row, column]| {
            let x = self.zoom_columns * (column as f64 - middle_column);
            let y = self.zoom_rows * (row as f64 - middle_row);
            let (x, y) = (x - shear_sin * y + columns, shear_cos * y + rows);
            [sin * x + cos * y + middle_row, cos * x - sin * y + middle_column]
        }
    }
}

/// Each of the images `[n, C, H, W]` by its own map: between pixels linearly in both directions, beyond the edge the nearest
/// pixel. An image's bits hang on its map alone.
pub(crate) fn apply_maps(images: &Tensor, maps: &[AffineMap]) -> Tensor {
    let [n, channels, height, width] = images.size()[..] else { panic!("images come as [n, C, H, W]") };
    let count = (n * height * width) as usize;
    // [n, H · W] each: the four pixels around the place that a pixel comes from, and their weights.
    let mut places: [Vec<i64>; 4] = std::array::from_fn(|_| Vec::with_capacity(count));
    let mut weights: [Vec<f32>; 4] = std::array::from_fn(|_| Vec::with_capacity(count));
    for map in maps {
        let source = map.sources([height, width]);
        for row in 0..height {
            for column in 0..width {
                let [y, x] = source([row, column]);
                let (y, x) = (y.clamp(0.0, (height - 1) as f64), x.clamp(0.0, (width - 1) as f64));
                let (top, left) = (y.floor(), x.floor());
                let (down, right) = (y - top, x - left);
                let (top, left) = (top as i64, left as i64);
                let (bottom, end) = ((top + 1).min(height - 1), (left + 1).min(width - 1));
                let corners = [
                    (top, left, (1.0 - down) * (1.0 - right)),
                    (top, end, (1.0 - down) * right),
                    (bottom, left, down * (1.0 - right)),
                    (bottom, end, down * right),
                ];
                for (corner, (row, column, weight)) in corners.into_iter().enumerate() {
                    places[corner].push(row * width + column);
                    weights[corner].push(weight as f32);
                }
            }
        }
    }
    let device = images.device();
    let pixels = images.to_kind(Kind::Float).reshape([n, channels, height * width]);
    let corner = |(places, weights): (&Vec<i64>, &Vec<f32>)| {
        let places = Tensor::from_slice(places).to_device(device).view([n, 1, height * width]);
        let weights = Tensor::from_slice(weights).to_device(device).view([n, 1, height * width]);
        pixels.gather(2, &places.expand([n, channels, height * width], false), false) * weights
    };
    let sum = places.iter().zip(&weights).map(corner).reduce(|sum, part| sum + part);
    sum.expect("there are four corners").view([n, channels, height, width])
}

#[cfg(test)]
mod tests {
    use rewind_datasets::generator;
    use serde_json::Value;
    use tch::Device;

    use super::*;

    static GOLDEN: &str = include_str!("../../../tests/golden/image_data_generator.json");

    /// The ranges of InvWNN's authors.
    const PUBLISHED: Augment = Augment { crop: 0, flip: true, rotate: 10.0, shift: 0.15, shear: 0.1, zoom: 0.3 };
    const STILL: AffineMap =
        AffineMap { rotate: 0.0, columns: 0.0, rows: 0.0, shear: 0.0, zoom_columns: 1.0, zoom_rows: 1.0 };

    fn golden() -> Value {
        serde_json::from_str(GOLDEN).expect("the golden file is JSON")
    }

    fn numbers(value: &Value) -> Vec<f32> {
        value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number") as f32).collect()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.contiguous().view([-1])).expect("float32")
    }

    /// What the generator changed, by case: the map, whether it mirrored, the changed image `[1, C, H, W]`.
    fn cases(golden: &Value) -> Vec<(AffineMap, bool, Tensor)> {
        let shape: Vec<i64> = numbers(&golden["shape"]).iter().map(|&side| side as i64).collect();
        let case = |case: &Value| {
            let number = |name: &str| case[name].as_f64().expect("a number");
            let map = AffineMap {
                rotate: number("rotate"),
                columns: number("columns") / shape[2] as f64,
                rows: number("rows") / shape[1] as f64,
                shear: number("shear"),
                zoom_columns: number("zoom-columns"),
                zoom_rows: number("zoom-rows"),
            };
            let changed = Tensor::from_slice(&numbers(&case["changed"])).view([1, shape[0], shape[1], shape[2]]);
            (map, case["mirrored"].as_bool().expect("yes or no"), changed)
        };
        golden["cases"].as_array().expect("a list").iter().map(case).collect()
    }

    /// To 2e-6 of pixels between 0 and 1: weights and sums are float32 here, and float64 there.
    #[test]
    fn images_are_changed_as_by_keras_image_data_generator() {
        let golden = golden();
        let cases = cases(&golden);
        assert!(cases.len() >= 6 && cases.iter().any(|(_, mirrored, _)| *mirrored));
        for (map, mirrored, expected) in &cases {
            let image = Tensor::from_slice(&numbers(&golden["image"])).view(&expected.size()[..]);
            let changed = apply_maps(&image, &[*map]);
            let changed = if *mirrored { changed.flip([3]) } else { changed };
            let error = (changed - expected).abs().max().double_value(&[]);
            assert!(error < 2e-6, "{map:?}: {error:e} from Keras'");
            let moved = (image - expected).abs().mean(Kind::Float).double_value(&[]);
            assert!(moved > 0.05, "{map:?} changes the image");
        }
    }

    #[test]
    fn the_still_map_leaves_every_bit_and_whole_shifts_move_pixels() {
        let image = (Tensor::arange(2 * 5 * 7, (Kind::Float, Device::Cpu)) + 0.1).view([1, 2, 5, 7]);
        assert_eq!(values(&apply_maps(&image, &[STILL])), values(&image));
        let moved = apply_maps(&image, &[AffineMap { columns: 2.0 / 7.0, rows: -1.0 / 5.0, ..STILL }]);
        for (row, column) in [(0, 0), (1, 0), (4, 4), (2, 6)] {
            let (from_row, from_column) = ((row - 1_i64).max(0), (column + 2_i64).min(6));
            let at = |image: &Tensor, row, column| image.double_value(&[0, 1, row, column]);
            assert_eq!(at(&moved, row, column), at(&image, from_row, from_column), "{row}, {column}");
        }
    }

    /// Of a uniform number the means of `n` draws scatter by σ / √n, their mean squares by 2σ² / √(5n).
    #[test]
    fn what_is_drawn_has_the_distribution_of_keras_generator() {
        let golden = golden();
        const DRAWS: usize = 20_000;
        let draw = |position: usize| {
            let mut rng = generator(3, &format!("augment/training/0/{position}"));
            let map = AffineMap::draw(PUBLISHED, &mut rng);
            // Keras' were drawn for images of 32 pixels.
            [map.rotate, 32.0 * map.columns, 32.0 * map.rows, map.shear, map.zoom_columns, map.zoom_rows]
        };
        let drawn: Vec<[f64; 6]> = (0..DRAWS).map(draw).collect();
        let names = ["rotate", "columns", "rows", "shear", "zoom-columns", "zoom-rows"];
        let mut scaled = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let [least, _, deviation, most] = numbers(&golden["drawn"][name])[..] else { panic!("four numbers") };
            let (middle, half) = (f64::from(least + most) / 2.0, f64::from(most - least) / 2.0);
            let expected = half / 3.0_f64.sqrt();
            assert!((f64::from(deviation) / expected - 1.0).abs() < 0.02, "Keras draws {name} uniformly");
            let mine: Vec<f64> = drawn.iter().map(|map| (map[index] - middle) / expected).collect();
            let largest = mine.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            assert!((1.725..1.735).contains(&largest), "{name}: {largest} of √3");
            let mean = mine.iter().sum::<f64>() / DRAWS as f64;
            assert!(mean.abs() < 4.0 / (DRAWS as f64).sqrt(), "{name}: mean {mean}");
            let square = mine.iter().map(|value| value * value).sum::<f64>() / DRAWS as f64;
            assert!((square - 1.0).abs() < 8.0 / (5.0 * DRAWS as f64).sqrt() + 1e-3, "{name}: mean square {square}");
            scaled.push(mine);
        }
        for first in 0..6 {
            for second in first + 1..6 {
                let product = scaled[first].iter().zip(&scaled[second]).map(|(a, b)| a * b).sum::<f64>();
                let bound = 4.0 / (DRAWS as f64).sqrt();
                assert!((product / DRAWS as f64).abs() < bound, "{} hangs on {}", names[first], names[second]);
            }
        }
    }
}
