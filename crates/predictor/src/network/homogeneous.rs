use tch::Tensor;

use super::{
    conditioned::{ConditionedNetwork, HIDDEN, ratios},
    dense::{Dense, Initial, Source},
    softsign,
};
use crate::{PredictorError, Statistics};

/// Shapes of a path that the network tells apart.
const SHAPES: i64 = 8;

/// What the [`ConditionedNetwork`] answers, and beside it an answer to the shape of each coordinate's own path.
///
/// With `x` a coordinate's differences in units of the drift scale, `m` their root mean square, and `h(c)` the
/// conditions' hidden layer, it answers
///
/// ```text
/// drift = conditioned(x) + m · (v(h) · φ(W x/m))        v(h) = V h + b        φ(z) = z / (1 + |z|)
/// ```
///
/// So a path `s > 0` times as long gets an answer `s` times as long, coordinate by coordinate: direct paths can be
/// answered otherwise than wandering ones without blowing up small drifts. Still, shift, scale and odd as the others.
/// About 70 multiply-adds a coordinate at `K = 5`.
#[derive(Debug)]
pub(super) struct HomogeneousNetwork {
    conditioned: ConditionedNetwork,
    /// `W`, `[shapes, snapshots − 1]`.
    shapes: Tensor,
    mixture: Dense,
}

impl HomogeneousNetwork {
    pub(super) fn build(snapshots: usize, source: Source) -> Result<Self, PredictorError> {
        let steps = snapshots as i64 - 1;
        Ok(Self {
            conditioned: ConditionedNetwork::build(snapshots, source)?,
            shapes: source("shapes.kernel", &[SHAPES, steps], Initial::VarianceScaling(1.0))?,
            mixture: Dense::build(source, "shape_mixture", HIDDEN, SHAPES)?,
        })
    }

    /// What [`ConditionedNetwork::input`] makes → drift an epoch, `[coordinates]`.
    pub(super) fn forward(&self, input: &Tensor, horizon: u32) -> Tensor {
        let (x, ratios) = self.conditioned.parts(input);
        self.answer(&x, &self.conditioned.hidden(&ratios, horizon))
    }

    /// As [`forward`](Self::forward), where all coordinates are of one tensor.
    pub(super) fn forward_one(&self, x: &Tensor, statistics: &Statistics, horizon: u32) -> Tensor {
        self.answer(x, &self.conditioned.hidden(&ratios(x, statistics), horizon))
    }

    fn answer(&self, x: &Tensor, hidden: &Tensor) -> Tensor {
        let squares = x.square().mean_dim([1_i64].as_slice(), true, x.kind());
        let length = squares.sqrt(); // [coordinates, 1]
        let path = x / length.clamp_min(f64::from(f32::MIN_POSITIVE));
        let seen = softsign(&path.matmul(&self.shapes.tr())); // [coordinates, shapes]
        let wanted = self.mixture.forward(hidden); // [coordinates or 1, shapes]
        let of_shape = (seen * wanted).sum_dim_intlist([1_i64].as_slice(), false, x.kind());
        self.conditioned.answer(x, hidden) + of_shape * length.squeeze_dim(1)
    }
}
