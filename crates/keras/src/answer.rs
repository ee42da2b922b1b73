//! What a network computes, in plain float64: a few answers, by which a user recognises it.

use crate::{
    network::{Network, Published, Stream},
    weights::Dense,
};

/// Figures to compare with what is known of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figures {
    /// Of InvWNN.
    Back {
        /// The λ of the Task Vector that it resembles for a small, even drift around 0: its residual is about
        /// `−λ (Φ_{K−1} − Φ_0)`. Above 0 it looks back, below it walks forward.
        lambda: f64,
        /// By how much it moves a weight that rested at 0.5.
        resting_at_half: f64,
        /// The same at −0.5.
        resting_at_minus_half: f64,
    },
    /// Of WNN.
    Ahead {
        /// How far ahead of the newest snapshot it sees a weight that drifts evenly by [`DRIFTS`] over the `K` snapshots,
        /// in units of that drift: `(Φ_predicted − Φ_{K−1}) / (Φ_{K−1} − Φ_0)`.
        drifts_ahead: [f64; DRIFTS.len()],
        /// The same of a weight that drifts down by the largest of them: about as far ahead. Where it is behind instead,
        /// the answer hardly depends on the trajectory.
        down_ahead: f64,
        /// By how much it moves a weight that rested at 0.5.
        resting_at_half: f64,
    },
}

/// From the oldest snapshot to the newest.
pub const DRIFTS: [f64; 4] = [1e-6, 1e-5, 1e-4, 1e-3];

/// Small beside weights, large beside the rounding of the answer.
const SMALL_DRIFT: f64 = 1e-4;

/// Large beside WNN's floor.
const LARGE_DRIFT: f64 = DRIFTS[DRIFTS.len() - 1];

impl Figures {
    /// Whether it looks back, or ahead, as it should. Of WNN the largest drift counts, up and down: below its floor of
    /// 1e-5 the released network for convolutions answers with noise, and a network whose layers are misplaced can answer
    /// much the same to either, which is ahead of one of them.
    pub fn look_the_right_way(&self) -> bool {
        match self {
            Self::Back { lambda, .. } => *lambda > 0.0,
            Self::Ahead { drifts_ahead, down_ahead, .. } => drifts_ahead[DRIFTS.len() - 1] > 0.0 && *down_ahead > 0.0,
        }
    }
}

impl Network {
    pub fn figures(&self) -> Figures {
        let resting = |weight: f64| self.residual(&vec![weight; self.snapshots()]);
        let drifting = |drift: f64| {
            let last = (self.snapshots() - 1) as f64;
            let window: Vec<f64> = (0..self.snapshots()).map(|j| drift * j as f64 / last).collect();
            self.residual(&window)
        };
        match self.published {
            Published::InvWnn => Figures::Back {
                lambda: -(drifting(SMALL_DRIFT) - drifting(-SMALL_DRIFT)) / (2.0 * SMALL_DRIFT),
                resting_at_half: resting(0.5),
                resting_at_minus_half: resting(-0.5),
            },
            Published::Wnn => Figures::Ahead {
                drifts_ahead: DRIFTS.map(|drift| drifting(drift) / drift),
                down_ahead: drifting(-LARGE_DRIFT) / -LARGE_DRIFT,
                resting_at_half: resting(0.5),
            },
        }
    }

    /// What the network adds to the oldest of one coordinate's snapshots where it looks back, to the newest where it looks
    /// ahead. `window`: oldest first.
    fn residual(&self, window: &[f64]) -> f64 {
        match self.published {
            // The trajectory is reversed first; d_j = w_{j+1} − w_j, older minus newer.
            Published::InvWnn => {
                let newest_first: Vec<f64> = window.iter().rev().copied().collect();
                self.answer(&newest_first)
            }
            // In units of the coordinate's own range, from its oldest value.
            Published::Wnn => {
                let from_oldest: Vec<f64> = window.iter().map(|value| value - window[0]).collect();
                let most = from_oldest.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let least = from_oldest.iter().copied().fold(f64::INFINITY, f64::min);
                let unit = 2.0 * (most - least + 1e-8 + 1e-5);
                let x: Vec<f64> = from_oldest.iter().map(|value| value / unit).collect();
                self.answer(&x) * unit
            }
        }
    }

    /// Of the values in the network's own order and unit.
    fn answer(&self, values: &[f64]) -> f64 {
        let sign = if self.negated_differences { -1.0 } else { 1.0 };
        let differences: Vec<f64> = values.windows(2).map(|pair| sign * (pair[1] - pair[0])).collect();
        let mut both = self.weights_stream.forward(values);
        both.extend(self.differences_stream.forward(&differences));
        self.out.forward(&both)[0].tanh()
    }
}

impl Stream {
    fn forward(&self, x: &[f64]) -> Vec<f64> {
        let first = self.dense1.forward(x);
        let h = match &self.before {
            Some(before) => before.forward(&leaky_relu(first)),
            None => first,
        };
        let c: Vec<f64> = self.a_c.forward(&h).into_iter().map(|value| value.max(0.0)).collect();
        let (shift, scale, gate) = (self.a_shift.forward(&c), self.a_scale.forward(&c), self.a_gate.forward(&c));
        let a: Vec<f64> = (0..h.len()).map(|i| shift[i] + scale[i] * (gate[i] * h[i]).exp()).collect();
        leaky_relu(self.leaving.forward(&a))
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
