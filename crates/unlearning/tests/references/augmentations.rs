//! Augmentation by drawn numbers: Keras' affine map, and crop with flip.
//!
//! Images are square: where they are not, Keras takes the middle of (height, width) for that of (x, y), and ours does
//! not.

use rewind_job::Augment;
use rewind_unlearning::{AffineMap, Distortion, augment_images};
use serde_json::json;
use tch::{Kind, Tensor};

use crate::{
    drawing::{SEED, uniform},
    reference::{Answer, Case, compare_with_reference, expect_nothing, near},
};

const COUNT: i64 = 12;
const SIDE: i64 = 9;
const STEP: &str = "training";

fn distortions(how: Augment) -> Vec<Distortion> {
    (0..COUNT).map(|position| Distortion::draw(how, SEED, STEP, 1, position)).collect()
}

fn check(case: Case, how: Augment) -> Vec<String> {
    let images = uniform("images", &[COUNT, 3, SIDE, SIDE], 0.0, 1.0);
    let found = augment_images(&images, how, SEED, STEP, 1, &(0..COUNT).collect::<Vec<_>>());
    let flips: Vec<i64> = distortions(how).iter().map(|distortion| i64::from(distortion.mirrored)).collect();
    let case = case.with("images", &images).with("flip", &Tensor::from_slice(&flips));
    compare_with_reference(&case, |answer: &Answer| near("the images", &found, answer.tensor("images")?, 1e-6))
}

#[test]
fn keras_affine_map_agrees_with_its_reference() {
    let how = Augment { flip: true, rotate: 10.0, shift: 0.15, shear: 5.0, zoom: 0.3, ..Augment::default() };
    let maps: Vec<AffineMap> = distortions(how).iter().map(|distortion| distortion.map.expect("is drawn")).collect();
    let column = |of: &dyn Fn(&AffineMap) -> f64| Tensor::from_slice(&maps.iter().map(of).collect::<Vec<f64>>());
    let case = Case::new("augment", "keras-affine", json!({"augment": "keras-affine"}))
        .with("theta", &column(&|map| map.rotate))
        .with("tx", &column(&|map| map.columns * SIDE as f64))
        .with("ty", &column(&|map| map.rows * SIDE as f64))
        .with("shear", &column(&|map| map.shear))
        .with("zx", &column(&|map| map.zoom_columns))
        .with("zy", &column(&|map| map.zoom_rows));
    expect_nothing(&check(case, how));
}

#[test]
fn crop_and_flip_agree_with_their_reference() {
    let how = Augment { crop: 3, flip: true, ..Augment::default() };
    let drawn = distortions(how);
    let column = |of: &dyn Fn(&Distortion) -> i64| {
        Tensor::from_slice(&drawn.iter().map(of).collect::<Vec<i64>>()).to_kind(Kind::Int64)
    };
    let case = Case::new("augment", "crop-flip", json!({"augment": "crop-flip", "padding": how.crop}))
        .with("top", &column(&|distortion| distortion.row))
        .with("left", &column(&|distortion| distortion.column));
    expect_nothing(&check(case, how));
}
