//! The plane in which weights move most: the first two principal components of their snapshots (Li et al., 2018,
//! section 7.2).

use tch::{Device, Kind, Tensor};

use crate::UnlearningError;

/// Coordinates that are held in float64 at once.
const BLOCK: usize = 1 << 16;

/// A component that explains a smaller share of what the first one explains is rounding.
const ROUNDING: f64 = 1e-12;

/// Where snapshots lie in the plane of their first two principal components, seen from their mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    /// One a snapshot: distances along the components.
    pub coordinates: Vec<[f64; 2]>,
    /// Share of the variance that each component explains.
    pub explained: [f64; 2],
}

/// Places snapshots (`[P]` each) in the plane of their first two principal components. The snapshot `anchor` has no
/// positive coordinate, so that two such planes can be compared.
pub fn places(snapshots: &[Tensor], anchor: usize) -> Result<Places, UnlearningError> {
    let gram = gram(snapshots);
    let variance = gram.trace().double_value(&[]);
    // Ascending eigenvalues and their vectors, one a column: G = U Λ Uᵀ.
    let (values, vectors) = gram.f_linalg_eigh("L")?;
    let last = snapshots.len() as i64 - 1;
    let first = values.double_value(&[last]);
    let mut places = Places { coordinates: vec![[0.0; 2]; snapshots.len()], explained: [0.0; 2] };
    for component in 0..snapshots.len().min(2) {
        let column = last - component as i64;
        let value = values.double_value(&[column]);
        if value <= ROUNDING * first || value <= 0.0 {
            continue;
        }
        // Snapshot i lies at √λ u_i.
        let along: Vec<f64> =
            Vec::try_from(vectors.select(1, column) * (value.sqrt() * sign(&vectors, column, anchor)))?;
        for (place, at) in places.coordinates.iter_mut().zip(along) {
            place[component] = at;
        }
        places.explained[component] = value / variance;
    }
    Ok(places)
}

/// 1 or −1: what makes the anchor's entry negative; where that is 0, the largest entry positive.
fn sign(vectors: &Tensor, column: i64, anchor: usize) -> f64 {
    let vector = vectors.select(1, column);
    let at_anchor = vector.double_value(&[anchor as i64]);
    let flips = if at_anchor.abs() > 1e-9 {
        at_anchor > 0.0
    } else {
        vector.double_value(&[vector.abs().argmax(0, false).int64_value(&[])]) < 0.0
    };
    if flips { -1.0 } else { 1.0 }
}

/// Scalar products of the snapshots seen from their mean: `[snapshots, snapshots]`, float64.
fn gram(snapshots: &[Tensor]) -> Tensor {
    let count = snapshots.len() as i64;
    let mut gram = Tensor::zeros([count, count], (Kind::Double, Device::Cpu));
    for (_, block) in blocks(snapshots) {
        let centred = &block - mean(&block);
        gram += centred.matmul(&centred.transpose(0, 1));
    }
    gram
}

/// The snapshots piece by piece: first coordinate, and `[snapshots, coordinates]` in float64.
fn blocks(snapshots: &[Tensor]) -> impl Iterator<Item = (usize, Tensor)> {
    let len = snapshots.first().map_or(0, Tensor::numel);
    (0..len).step_by(BLOCK).map(move |start| {
        let part = |snapshot: &Tensor| snapshot.narrow(0, start as i64, BLOCK.min(len - start) as i64);
        (start, Tensor::stack(&snapshots.iter().map(part).collect::<Vec<_>>(), 0).to_kind(Kind::Double))
    })
}

/// Over the snapshots: `[1, coordinates]`.
fn mean(block: &Tensor) -> Tensor {
    block.mean_dim([0].as_slice(), true, Kind::Double)
}

/// A plane of weights; `[P]` each, float32. `first` and `second` have length 1 and are orthogonal.
pub struct PrincipalPlane {
    mean: Tensor,
    first: Tensor,
    second: Tensor,
}

impl PrincipalPlane {
    /// The plane in which `snapshots` lie at `coordinates`: component `a` is `Σ_i c_ia (w_i − mean) / Σ_i c_ia²`. A
    /// component along which none lies anywhere gets a direction that is drawn by `seed`.
    pub fn through(snapshots: &[Tensor], coordinates: &[[f64; 2]], seed: u64) -> Self {
        let lengths = [0, 1].map(|a| coordinates.iter().map(|place| place[a] * place[a]).sum::<f64>());
        // [2, snapshots]
        let shares: Vec<f64> = (0..2)
            .flat_map(|a| {
                coordinates.iter().map(move |place| if lengths[a] > 0.0 { place[a] / lengths[a] } else { 0.0 })
            })
            .collect();
        let shares = Tensor::from_slice(&shares).view([2, coordinates.len() as i64]);
        let empty = || snapshots[0].zeros_like();
        let plane = Self { mean: empty(), first: empty(), second: empty() };
        for (start, block) in blocks(snapshots) {
            let mean = mean(&block);
            let directions = shares.matmul(&(&block - &mean));
            for (whole, part) in
                [(&plane.mean, mean.get(0)), (&plane.first, directions.get(0)), (&plane.second, directions.get(1))]
            {
                whole.narrow(0, start as i64, part.size()[0]).copy_(&part);
            }
        }
        for (a, missing) in [&plane.first, &plane.second].into_iter().enumerate().filter(|&(a, _)| lengths[a] == 0.0) {
            let drawn = rewind_datasets::noise(seed, "plane", 0, a as u32, missing.numel());
            let mut drawn = Tensor::from_slice(&drawn).to_kind(Kind::Double);
            if a == 1 {
                let first = plane.first.to_kind(Kind::Double);
                drawn -= &first * first.dot(&drawn);
            }
            missing.shallow_clone().copy_(&(&drawn / drawn.norm()));
        }
        plane
    }

    /// The weights at a point, `[P]`.
    pub fn at(&self, [x, y]: [f64; 2]) -> Tensor {
        &self.mean + &self.first * x + &self.second * y
    }
}
