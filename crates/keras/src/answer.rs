//! What a network computes, in plain float64: a few answers, by which a user recognises it.

use crate::{
    network::{Network, Stream},
    weights::Dense,
};

/// Figures to compare with what is known of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The λ of the Task Vector that it resembles for a small, even drift around 0.
    pub lambda: f64,
    /// By how much it moves a weight that rested at 0.5.
    pub resting_at_half: f64,
    /// The same at −0.5.
    pub resting_at_minus_half: f64,
}

/// Small beside weights, large beside the rounding of the answer.
const SMALL_DRIFT: f64 = 1e-4;

impl Network {
    pub fn figures(&self) -> Figures {
        let resting = |weight: f64| self.residual(&vec![weight; self.snapshots()]);
        let drifting = |drift: f64| {
            let last = (self.snapshots() - 1) as f64;
            let window: Vec<f64> = (0..self.snapshots()).map(|j| drift * j as f64 / last).collect();
            self.residual(&window)
        };
        Figures {
            lambda: -(drifting(SMALL_DRIFT) - drifting(-SMALL_DRIFT)) / (2.0 * SMALL_DRIFT),
            resting_at_half: resting(0.5),
            resting_at_minus_half: resting(-0.5),
        }
    }

    /// `InvWNN(W, dW)` of one coordinate's snapshots, oldest first.
    fn residual(&self, window: &[f64]) -> f64 {
        let newest_first: Vec<f64> = window.iter().rev().copied().collect();
        let differences: Vec<f64> = newest_first.windows(2).map(|pair| pair[0] - pair[1]).collect();
        let mut both = self.weights_stream.forward(&newest_first);
        both.extend(self.differences_stream.forward(&differences));
        self.out.forward(&both)[0].tanh()
    }
}

impl Stream {
    fn forward(&self, x: &[f64]) -> Vec<f64> {
        let h = self.dense2.forward(&leaky_relu(self.dense1.forward(x)));
        let c: Vec<f64> = self.a_c.forward(&h).into_iter().map(|value| value.max(0.0)).collect();
        let (shift, scale, gate) = (self.a_shift.forward(&c), self.a_scale.forward(&c), self.a_gate.forward(&c));
        let a: Vec<f64> = (0..h.len()).map(|i| shift[i] + scale[i] * (gate[i] * h[i]).exp()).collect();
        leaky_relu(self.dense3.forward(&a))
    }
}

impl Dense {
    fn forward(&self, x: &[f64]) -> Vec<f64> {
        let mut y: Vec<f64> = self.bias.iter().map(|&bias| f64::from(bias)).collect();
        for (x, row) in x.iter().zip(self.kernel.chunks_exact(self.outputs)) {
            for (y, &weight) in y.iter_mut().zip(row) {
                *y += x * f64::from(weight);
            }
        }
        y
    }
}

fn leaky_relu(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|value| value.max(0.3 * value)).collect()
}
