//! Fresh weights, drawn.

use rand::{Rng, RngExt};
use rewind_datasets::{generator, normal};
use rewind_job::Initialisation;

/// How one tensor begins.
#[derive(Clone, Copy, Debug)]
pub enum Initial {
    /// By the network's [`Initialisation`]. As PyTorch does it, uniform in ±1/√fan-in: its default for convolutions,
    /// linear layers and their biases (for weights Kaiming-uniform with a = √5; He et al., 2015). Fan-in is the
    /// weight's, also for a bias.
    FanIn(i64),
    /// From N(0, `deviation`²) under [`Initialisation::Torch`], which stands for what the network's authors do; under every
    /// other as [`Self::FanIn`].
    Normal {
        fan_in: i64,
        deviation: f64,
    },
    /// As Keras' `he_normal`: normal, drawn again beyond two deviations, and then of variance 2 / fan-in (He et al., 2015),
    /// under [`Initialisation::Torch`]; under every other as [`Self::FanIn`].
    KerasHeNormal {
        fan_in: i64,
    },
    /// As Keras' `glorot_uniform`: uniform, of variance 2 / (fan-in + fan-out) (Glorot and Bengio, 2010), under
    /// [`Initialisation::Torch`]; under every other as [`Self::FanIn`].
    KerasGlorotUniform {
        fan_in: i64,
        fan_out: i64,
    },
    /// Normal with standard deviation 0.02, under every initialisation but [`Initialisation::Small`], whose gain it
    /// takes: a position embedding.
    Embedding,
    Constant(f32),
}

impl Initial {
    /// The values of a tensor, row by row: a function of the seed and the tensor's name.
    pub fn draw(self, initialisation: Initialisation, shape: &[i64], seed: u64, name: &str) -> Vec<f32> {
        let count = shape.iter().product::<i64>() as usize;
        let mut rng = generator(seed, &format!("weights/{name}"));
        let gain = match initialisation {
            Initialisation::Small { gain } => gain as f32,
            _ => 1.0,
        };
        let is_bias = shape.len() < 2;
        let drawn_as = match (self, initialisation) {
            (
                Self::Normal { fan_in, .. } | Self::KerasHeNormal { fan_in } | Self::KerasGlorotUniform { fan_in, .. },
                kind,
            ) if kind != Initialisation::Torch => Self::FanIn(fan_in),
            _ => self,
        };
        match (drawn_as, initialisation) {
            (Self::Constant(value), _) => vec![value; count],
            (Self::Normal { deviation, .. }, _) => normals(&mut rng, count, deviation),
            (Self::KerasHeNormal { fan_in }, _) => {
                let deviation = (2.0 / fan_in as f64).sqrt() / CUT_DEVIATION;
                (0..count).map(|_| (deviation * cut_normal(&mut rng)) as f32).collect()
            }
            (Self::KerasGlorotUniform { fan_in, fan_out }, _) => {
                uniform(&mut rng, count, (6.0 / (fan_in + fan_out) as f32).sqrt())
            }
            (Self::Embedding, _) => normals(&mut rng, count, 0.02 * f64::from(gain)),
            (Self::FanIn(fan_in), Initialisation::Torch) => uniform(&mut rng, count, 1.0 / (fan_in as f32).sqrt()),
            (Self::FanIn(fan_in), Initialisation::Small { .. }) => {
                uniform(&mut rng, count, gain / (fan_in as f32).sqrt())
            }
            (Self::FanIn(_), _) if is_bias => vec![0.0; count],
            (Self::FanIn(fan_in), Initialisation::KaimingNormal) => {
                normals(&mut rng, count, (2.0 / fan_in as f64).sqrt())
            }
            (Self::FanIn(fan_in), Initialisation::XavierUniform) => {
                // [outputs, inputs / groups, kernel, kernel]: torch's fan-out leaves the groups out too.
                let fan_out = shape[0] * shape[2..].iter().product::<i64>();
                uniform(&mut rng, count, (6.0 / (fan_in + fan_out) as f32).sqrt())
            }
            (Self::FanIn(_), Initialisation::Orthogonal) => orthogonal(&mut rng, shape[0] as usize, count),
        }
    }
}

fn uniform(rng: &mut impl Rng, count: usize, bound: f32) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-bound..bound)).collect()
}

fn normals(rng: &mut impl Rng, count: usize, deviation: f64) -> Vec<f32> {
    (0..count).map(|_| (deviation * normal(rng)) as f32).collect()
}

/// Standard deviation of the standard normal distribution cut at ±2.
const CUT_DEVIATION: f64 = 0.879_625_661_034_239_8;

/// From the standard normal distribution cut at ±2.
fn cut_normal(rng: &mut impl Rng) -> f64 {
    loop {
        let value = normal(rng);
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

/// A matrix `[rows, count / rows]` with orthonormal rows, or columns where there are fewer of these: normal vectors,
/// made orthogonal one after another (Gram and Schmidt), twice for the sake of rounding.
fn orthogonal(rng: &mut impl Rng, rows: usize, count: usize) -> Vec<f32> {
    let columns = count / rows;
    let (vectors, len) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(vectors);
    for _ in 0..vectors {
        let mut vector: Vec<f64> = (0..len).map(|_| normal(rng)).collect();
        for earlier in basis.iter().chain(&basis) {
            let along = dot(&vector, earlier);
            for (value, direction) in vector.iter_mut().zip(earlier) {
                *value -= along * direction;
            }
        }
        let length = dot(&vector, &vector).sqrt();
        vector.iter_mut().for_each(|value| *value /= length);
        basis.push(vector);
    }
    let at = |row: usize, column: usize| if rows <= columns { basis[row][column] } else { basis[column][row] };
    (0..count).map(|index| at(index / columns, index % columns) as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
