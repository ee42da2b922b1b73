//! Numbers for cases, each a function of its name.

use rand::RngExt;
use tch::Tensor;

/// Of everything that is drawn here.
pub const SEED: u64 = 5;

/// Uniform from `low` to `high`, float32.
pub fn uniform(name: &str, shape: &[i64], low: f32, high: f32) -> Tensor {
    let mut rng = rewind_datasets::generator(SEED, name);
    let values: Vec<f32> = (0..shape.iter().product::<i64>()).map(|_| rng.random_range(low..high)).collect();
    Tensor::from_slice(&values).view(shape)
}

/// N(0, 1), float32.
pub fn normal(name: &str, shape: &[i64]) -> Tensor {
    let count = shape.iter().product::<i64>() as usize;
    Tensor::from_slice(&rewind_datasets::noise(SEED, name, 0, 0, count)).view(shape)
}

/// The same in float64, one after the other.
pub fn normals(name: &str, count: usize) -> Vec<f64> {
    let mut rng = rewind_datasets::generator(SEED, name);
    (0..count).map(|_| rewind_datasets::normal(&mut rng)).collect()
}
