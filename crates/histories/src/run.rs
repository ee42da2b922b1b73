use std::ops::Range;

use crate::{HistoryError, Outline};

/// A recorded training in memory. [`Recorder`](crate::Recorder) makes one, [`read`](crate::read) brings one back.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub outline: Outline,
    /// Of each tensor: the kept coordinates, ascending positions in the tensor laid out row by row; empty where all
    /// are kept.
    pub positions: Vec<Vec<u32>>,
    /// `Σ (θ_{j+1} − θ_j)²` over the whole tensor, kept or not: `[steps][tensors]`.
    pub squares: Vec<Vec<f64>>,
    /// Kept coordinates, tensor by tensor: `[snapshots][kept]`.
    pub weights: Vec<Vec<f32>>,
}

impl Run {
    /// The kept coordinates of a tensor in a snapshot, `[kept]`.
    ///
    /// # Panics
    /// There is no such tensor or snapshot.
    pub fn values(&self, snapshot: usize, tensor: usize) -> &[f32] {
        &self.weights[snapshot][self.outline.range(tensor)]
    }

    /// The drift scale of the whole tensor over a window of snapshots: the root mean square of all differences of all
    /// its coordinates. It is that of the weights as they were, in either encoding.
    ///
    /// # Panics
    /// There is no such tensor, or the window has fewer than two snapshots or reaches beyond the last.
    pub fn drift_scale(&self, tensor: usize, window: Range<usize>) -> f64 {
        assert!(window.len() >= 2 && window.end <= self.weights.len(), "a window has at least two snapshots");
        let steps = window.start..window.end - 1;
        let differences = (self.outline.tensors[tensor].len() * steps.len()) as f64;
        (self.squares[steps].iter().map(|step| step[tensor]).sum::<f64>() / differences).sqrt()
    }

    /// # Errors
    /// Names the field and what is wrong with it: numbers that do not go together or are not finite, phases out of
    /// order, positions that do not ascend or leave their tensor.
    pub fn check(&self) -> Result<(), HistoryError> {
        let Self { outline, positions, squares, weights } = self;
        outline.check()?;
        let count = |field: &str, found: usize, expected: usize| {
            if found == expected {
                return Ok(());
            }
            Err(HistoryError::run(field, format!("{found}, but {expected} are expected")))
        };
        count("positions", positions.len(), outline.tensors.len())?;
        for (index, (positions, tensor)) in positions.iter().zip(&outline.tensors).enumerate() {
            let field = format!("positions[{index}]");
            count(&field, positions.len(), if tensor.is_sampled() { tensor.kept } else { 0 })?;
            let ascend = positions.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascend || positions.last().is_some_and(|&last| last as usize >= tensor.len()) {
                let problem = format!("they do not ascend within the {} of `{}`", tensor.len(), tensor.name);
                return Err(HistoryError::run(field, problem));
            }
        }
        count("squares", squares.len(), outline.snapshots.len() - 1)?;
        for (step, squares) in squares.iter().enumerate() {
            count(&format!("squares[{step}]"), squares.len(), outline.tensors.len())?;
            if let Some(tensor) = squares.iter().position(|sum| !sum.is_finite() || *sum < 0.0) {
                let problem = format!("{} is no sum of squares", squares[tensor]);
                return Err(HistoryError::run(format!("squares[{step}][{tensor}]"), problem));
            }
        }
        count("weights", weights.len(), outline.snapshots.len())?;
        for (snapshot, weights) in weights.iter().enumerate() {
            count(&format!("weights[{snapshot}]"), weights.len(), outline.kept())?;
            if let Some(at) = weights.iter().position(|weight| !weight.is_finite()) {
                return Err(HistoryError::run(format!("weights[{snapshot}][{at}]"), format!("is {}", weights[at])));
            }
        }
        Ok(())
    }
}
