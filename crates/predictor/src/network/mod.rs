//! The networks that look at the trajectory of one coordinate and say how far back its weight lay.

mod activation;
mod conditioned;
mod dense;
mod equivariant;
mod paper;
mod wnn;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::{Architecture, PredictorError, Statistics};
use conditioned::ConditionedNetwork;
use dense::Initial;
use equivariant::EquivariantNetwork;
use paper::PaperNetwork;
use wnn::WnnNetwork;

/// In which order a published network takes the differences of the values that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Differences {
    /// Of `paper`, whose trajectory is reversed: the negative of the drift.
    OlderMinusNewer,
    /// Of `wnn`; and of `paper` in version 0.1, by mistake.
    NewerMinusOlder,
}

impl Differences {
    /// As published; none for our own networks, which are of one kind only.
    pub fn published(architecture: Architecture) -> Option<Self> {
        match architecture {
            Architecture::Paper => Some(Self::OlderMinusNewer),
            Architecture::Wnn => Some(Self::NewerMinusOlder),
            Architecture::Equivariant | Architecture::Lopsided | Architecture::Conditioned => None,
        }
    }
}

/// InvWNN for one operation type and one number of snapshots.
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    snapshots: usize,
    /// Only `paper` can have another order than the published one.
    differences: Differences,
    form: Form,
    /// Everything trained, by its name in the file. Shares memory with `form`.
    parameters: Vec<(String, Tensor)>,
}

#[derive(Debug)]
enum Form {
    Paper(PaperNetwork),
    Equivariant(EquivariantNetwork),
    Conditioned(ConditionedNetwork),
    Wnn(WnnNetwork),
}

impl Network {
    /// Builds the network from what `source` gives for each name, shape and initial distribution.
    fn build(
        architecture: Architecture,
        snapshots: usize,
        mut source: impl FnMut(&str, &[i64], Initial) -> Result<Tensor, PredictorError>,
    ) -> Result<Self, PredictorError> {
        let mut parameters = Vec::new();
        let mut take = |name: &str, shape: &[i64], initial| {
            let tensor = source(name, shape, initial)?;
            parameters.push((name.to_owned(), tensor.shallow_clone()));
            Ok(tensor)
        };
        let form = match architecture {
            Architecture::Paper => Form::Paper(PaperNetwork::build(snapshots, &mut take)?),
            Architecture::Wnn => Form::Wnn(WnnNetwork::build(snapshots, &mut take)?),
            Architecture::Equivariant => Form::Equivariant(EquivariantNetwork::build(snapshots, true, &mut take)?),
            Architecture::Lopsided => Form::Equivariant(EquivariantNetwork::build(snapshots, false, &mut take)?),
            Architecture::Conditioned => Form::Conditioned(ConditionedNetwork::build(snapshots, &mut take)?),
        };
        let differences = Differences::published(architecture).unwrap_or(Differences::NewerMinusOlder);
        Ok(Self { architecture, snapshots, differences, form, parameters })
    }

    /// The same, reading the differences in this order: a `paper` network reads those that it was trained for.
    pub(crate) fn with_differences(self, differences: Differences) -> Self {
        Self { differences, ..self }
    }

    /// The network with the parameters that `read` gives for each name, `{prefix}{parameter}`.
    ///
    /// # Errors
    /// Those of `read`, and a tensor of another shape.
    pub fn from_parameters(
        architecture: Architecture,
        snapshots: usize,
        prefix: &str,
        mut read: impl FnMut(&str) -> Result<Tensor, PredictorError>,
    ) -> Result<Self, PredictorError> {
        Self::build(architecture, snapshots, |parameter, shape, _| {
            let name = format!("{prefix}{parameter}");
            let tensor = read(&name)?;
            match tensor.size() == shape {
                true => Ok(tensor),
                false => Err(PredictorError::TensorShape { name, found: tensor.size(), expected: shape.to_vec() }),
            }
        })
    }

    /// An untrained network on the CPU; the same `draw` gives the same bits.
    pub(crate) fn initial(architecture: Architecture, snapshots: usize, draw: &mut ChaCha8Rng) -> Self {
        Self::build(architecture, snapshots, |_, shape, initial| Ok(initial.draw(shape, draw)))
            .expect("drawing parameters cannot fail")
    }

    /// The predicted residual, `[coordinates]`, in units of the weights: `θ_i^{t−U} − Φ_0,i` where the network looks
    /// back, `θ_i^{t+U} − Φ_{K−1},i` where it looks ahead.
    ///
    /// `window` holds the snapshots, oldest first, `[coordinates, snapshots]`; `statistics` are of their whole
    /// tensor, `horizon` is `U`. The published networks know neither: the scale of `paper` is that of the weights, that
    /// of `wnn` each coordinate's own range, and the horizon is the one that they were trained for.
    pub fn residual(&self, window: &Tensor, statistics: &Statistics, horizon: u32) -> Tensor {
        if self.is_still(statistics.scale) {
            return window.select(1, 0).zeros_like();
        }
        let steps = || differences(window) / statistics.scale;
        let answer = match &self.form {
            Form::Conditioned(network) => network.forward_one(&steps(), statistics, horizon),
            _ => self.forward(&self.input(window, statistics), horizon),
        };
        answer * self.unit(window, statistics.scale, horizon)
    }

    /// Whether a tensor of this drift scale gets the residual 0, unseen.
    pub(crate) fn is_still(&self, scale: f64) -> bool {
        match self.form {
            // The published networks answer a tensor at rest, too.
            Form::Paper(_) | Form::Wnn(_) => false,
            // Dividing by a subnormal float32 would not keep the symmetries, and 0 / 0 is no number.
            _ => scale < f64::from(f32::MIN_POSITIVE),
        }
    }

    /// What the network reads, computed once a window: `[coordinates, inputs]`.
    pub(crate) fn input(&self, window: &Tensor, statistics: &Statistics) -> Tensor {
        match self.form {
            Form::Paper(_) => window.shallow_clone(),
            Form::Wnn(_) => WnnNetwork::input(window),
            Form::Equivariant(_) => differences(window) / statistics.scale,
            Form::Conditioned(_) => ConditionedNetwork::input(&(differences(window) / statistics.scale), statistics),
        }
    }

    /// What the network answers, in its own unit: `[coordinates]`.
    pub(crate) fn forward(&self, input: &Tensor, horizon: u32) -> Tensor {
        match &self.form {
            Form::Paper(network) => network.forward(input, self.differences),
            Form::Wnn(network) => network.forward(input),
            Form::Equivariant(network) => network.forward(input, horizon),
            Form::Conditioned(network) => network.forward(input, horizon),
        }
    }

    /// The size of the network's unit, `[coordinates]` or one for all: its answer times this is the residual.
    pub(crate) fn unit(&self, window: &Tensor, scale: f64, horizon: u32) -> Tensor {
        match self.form {
            Form::Paper(_) => Tensor::from(1.0_f32),
            Form::Wnn(_) => wnn::unit(window),
            _ => Tensor::from((scale * f64::from(horizon)) as f32),
        }
    }

    /// Names and values of everything trained.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// The same network with each parameter replaced.
    pub(crate) fn map(&self, mut change: impl FnMut(&Tensor) -> Tensor) -> Self {
        let mut parameters = self.parameters.iter();
        Self::build(self.architecture, self.snapshots, |_, _, _| {
            Ok(change(&parameters.next().expect("the same parameters in the same order").1))
        })
        .expect("changing parameters cannot fail")
        .with_differences(self.differences)
    }
}

/// Each value minus the one before it: `[coordinates, n]` → `[coordinates, n − 1]`. Of snapshots, oldest first, the steps
/// `Φ_{j+1} − Φ_j`.
fn differences(values: &Tensor) -> Tensor {
    let differences = values.size()[1] - 1;
    values.narrow(1, 1, differences) - values.narrow(1, 0, differences)
}
