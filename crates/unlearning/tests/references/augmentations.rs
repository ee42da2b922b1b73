//! Augmentation by drawn numbers: Keras' affine map, and crop with flip; also of images that are not square, whose middle
//! Keras takes as (height, width) for (x, y).

use rewind_job::Augment;
use rewind_unlearning::{AffineMap, Distortion, augment_images};
use serde_json::json;
use tch::{Kind, Tensor};

use crate::{
    drawing::{SEED, uniform},
    reference::{Answer, Case, compare_with_reference, expect_nothing, near},
};

const COUNT: i64 = 12;
/// Height and width.
const SIZES: [[i64; 2]; 3] = [[9, 9], [9, 6], [5, 8]];
const STEP: &str = "training";
const AFFINE: Augment = Augment { crop: 0, flip: true, rotate: 10.0, shift: 0.15, shear: 5.0, zoom: 0.3 };
const CROP: Augment = Augment { crop: 3, flip: true, rotate: 0.0, shift: 0.0, shear: 0.0, zoom: 0.0 };

fn distortions(how: Augment) -> Vec<Distortion> {
    (0..COUNT).map(|position| Distortion::draw(how, SEED, STEP, 1, position)).collect()
}

fn images([height, width]: [i64; 2]) -> Tensor {
    uniform("images", &[COUNT, 3, height, width], 0.0, 1.0)
}

fn case(augment: &str, how: Augment, size: [i64; 2]) -> Case {
    let flips: Vec<i64> = distortions(how).iter().map(|distortion| i64::from(distortion.mirrored)).collect();
    let asked = if augment == "crop-flip" {
        json!({"augment": augment, "padding": how.crop})
    } else {
        json!({"augment": augment})
    };
    let name = format!("{augment} of {} x {}", size[0], size[1]);
    Case::new("augment", name, asked).with("images", &images(size)).with("flip", &Tensor::from_slice(&flips))
}

fn affine(size: [i64; 2]) -> Case {
    let drawn = distortions(AFFINE);
    let maps: Vec<AffineMap> = drawn.iter().map(|distortion| distortion.map.expect("is drawn")).collect();
    let column = |of: &dyn Fn(&AffineMap) -> f64| Tensor::from_slice(&maps.iter().map(of).collect::<Vec<f64>>());
    let [height, width] = size.map(|side| side as f64);
    case("keras-affine", AFFINE, size)
        .with("theta", &column(&|map| map.rotate))
        .with("tx", &column(&|map| map.columns * width))
        .with("ty", &column(&|map| map.rows * height))
        .with("shear", &column(&|map| map.shear))
        .with("zx", &column(&|map| map.zoom_columns))
        .with("zy", &column(&|map| map.zoom_rows))
}

fn crop(size: [i64; 2]) -> Case {
    let drawn = distortions(CROP);
    let column = |of: &dyn Fn(&Distortion) -> i64| {
        Tensor::from_slice(&drawn.iter().map(of).collect::<Vec<i64>>()).to_kind(Kind::Int64)
    };
    case("crop-flip", CROP, size)
        .with("top", &column(&|distortion| distortion.row))
        .with("left", &column(&|distortion| distortion.column))
}

pub fn cases() -> Vec<Case> {
    SIZES.into_iter().flat_map(|size| [affine(size), crop(size)]).collect()
}

fn check(case: &Case, how: Augment, size: [i64; 2]) -> Vec<String> {
    let found = augment_images(&images(size), how, SEED, STEP, 1, &(0..COUNT).collect::<Vec<_>>());
    compare_with_reference(case, |answer: &Answer| near("the images", &found, answer.tensor("images")?, 1e-6))
}

#[test]
fn keras_affine_map_agrees_with_its_reference() {
    expect_nothing(&SIZES.map(|size| check(&affine(size), AFFINE, size)).concat());
}

#[test]
fn crop_and_flip_agree_with_their_reference() {
    expect_nothing(&SIZES.map(|size| check(&crop(size), CROP, size)).concat());
}
