//! `rewind predictor`.

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, Subcommand};
use rewind_job::{Families, HeldOut};

use super::Where;
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub enum Predictor {
    /// Turn the published Keras networks (.h5), InvWNN or WNN, into a predictor.
    ///
    /// Reads what Keras 2 and 3 write with `save_weights`, or with `save` to a name that ends with .h5. Which network it is,
    /// and which layer, is told by shapes and order, whatever the names. Each network is measured: InvWNN by the λ of the
    /// Task Vector that it resembles for a small, even drift around 0, WNN by how far ahead it sees an even drift of 1e-6,
    /// 1e-5, 1e-4 and 1e-3 (from the oldest snapshot to the newest, and in units of it), both by how much they move a
    /// weight that rests. A network that walks forward where it should look back (λ below 0), or back where it should
    /// look ahead, is refused. The rewinding of a job takes InvWNN as `predictor = "paper.safetensors"`, a training
    /// takes WNN as `nowcast = { predictor = "wnn.safetensors" }`.
    Convert(Convert),
    /// Measure how good a predictor is on families of histories that it has never seen, and at unlearning.
    ///
    /// Trains what a specification with a train-predictor step describes: once a seed on all of its histories, and once a
    /// seed and family without that family, which is then measured on. Beside it stand no change, linear extrapolation,
    /// and Task Vectors with λ fitted on the same histories: one, one an operation type, one a layer (a third of the
    /// depth), and one a tensor fitted on the answers themselves (oracle). With --unlearn the predictors of all histories
    /// and the Task Vectors unlearn, each with the same factors; the factor is chosen on validation data. An
    /// evaluation that was interrupted goes on where it was.
    Evaluate(EvaluatePredictor),
    /// Print what a predictor is: architecture, snapshots, horizons, training, validation.
    Show(ShowPredictor),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rewind predictor convert network.h5 --out paper.safetensors\n  rewind predictor convert --convolution c.h5 --fully-connected f.h5 --bias b.h5 --out paper.safetensors"
)]
pub struct Convert {
    /// The network of every operation type that has no file of its own.
    #[arg(value_name = "FILE.h5")]
    pub file: Option<PathBuf>,
    /// The network for convolutions.
    #[arg(long, value_name = "FILE.h5")]
    pub convolution: Option<PathBuf>,
    /// The network for fully connected layers.
    #[arg(long, value_name = "FILE.h5")]
    pub fully_connected: Option<PathBuf>,
    /// The network for biases and scales.
    #[arg(long, value_name = "FILE.h5")]
    pub bias: Option<PathBuf>,
    /// How many epochs back (InvWNN) or ahead (WNN) the networks were trained to look; the `horizon` of the jobs that use
    /// them. Without it that of the released networks: 3 and 5.
    #[arg(long, value_name = "U", value_parser = clap::value_parser!(u32).range(1..))]
    pub horizon: Option<u32>,
    /// The file's order of the layers in A(h) = shift + scale * exp(gate * h), where it does not tell.
    #[arg(long, value_name = "shift,scale,gate")]
    pub block_order: Option<rewind_keras::BlockOrder>,
    /// Write the predictor although a network walks the wrong way, and only warn of it.
    #[arg(long)]
    pub accept_wrong_way: bool,
    /// Where to write the predictor.
    #[arg(long, value_name = "OUT.safetensors")]
    pub out: PathBuf,
    /// Print as JSON what was converted, and from which dataset each layer came.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rewind predictor evaluate examples/predictor.toml --seeds 1,2,3\n  rewind predictor evaluate examples/predictor.toml --unlearn predictors/label-noise.toml --out out/evaluation"
)]
pub struct EvaluatePredictor {
    /// A specification with a train-predictor step.
    #[arg(value_name = "SPEC.toml")]
    pub specification: PathBuf,
    /// What a family is.
    #[arg(long, value_enum, default_value_t = Axis::Architectures)]
    pub leave_out: Axis,
    /// Families to leave out; without it all that the histories have.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub families: Vec<String>,
    /// Seeds of the predictors' training, and of unlearning.
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', default_values_t = [1, 2, 3, 4, 5])]
    pub seeds: Vec<u64>,
    /// Also unlearn, as this specification does in its step that rewinds; may be given several times.
    #[arg(long, value_name = "SPEC.toml")]
    pub unlearn: Vec<PathBuf>,
    /// Factors on what a method takes back in a round, times the scale of the protocol's step; every method tries all.
    #[arg(long, value_name = "FACTORS", value_delimiter = ',', default_values_t = [0.1, 0.2, 0.4])]
    pub factors: Vec<f64>,
    /// Run everything anew, also what an earlier evaluation has run.
    #[arg(long)]
    pub fresh: bool,
    /// Where to write evaluation.json, unlearning.json and evaluation.html.
    #[arg(long, value_name = "DIR", default_value = "out/evaluation")]
    pub out: PathBuf,
    /// Print the figures as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: Where,
}

/// By what histories are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Axis {
    Architectures,
    Data,
    Optimisers,
}

impl Axis {
    pub fn name(self) -> &'static str {
        match self {
            Self::Architectures => "architectures",
            Self::Data => "data sets",
            Self::Optimisers => "optimisers",
        }
    }

    /// The names on this axis.
    pub fn of(self, families: &Families) -> &BTreeSet<String> {
        match self {
            Self::Architectures => &families.architectures,
            Self::Data => &families.data,
            Self::Optimisers => &families.optimisers,
        }
    }

    /// One family, as a specification holds it out.
    ///
    /// # Errors
    /// There is no such architecture.
    pub fn held_out(self, family: &str) -> Result<HeldOut, Error> {
        let mut lists = HeldOut::default();
        match self {
            Self::Architectures => {
                let unknown = |error| Error::Usage(format!("--families: {family}: {error}"));
                let name = serde_json::Value::from(family);
                lists.architectures.push(serde_json::from_value(name).map_err(unknown)?);
            }
            Self::Data => lists.data.push(family.to_owned()),
            Self::Optimisers => lists.optimisers.push(family.to_owned()),
        }
        Ok(lists)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  rewind predictor show predictors/equivariant.safetensors")]
pub struct ShowPredictor {
    /// A predictor.
    #[arg(value_name = "FILE.safetensors")]
    pub file: PathBuf,
    /// Print its card as JSON.
    #[arg(long)]
    pub json: bool,
}
