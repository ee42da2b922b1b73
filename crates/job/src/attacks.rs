//! What attacks on a network find: whether samples were in its training, and whether a backdoor still opens.

use serde::{Deserialize, Serialize};

/// How often the trigger still brings the label that the backdoor was trained for, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackdoorSuccess {
    /// On the forget data, which the network was trained on: 100 − UA.
    pub forget: f64,
    /// On test samples of other classes with the trigger drawn on them, which no network has seen (BadNets; Gu et al.,
    /// 2017); null where test data was not read.
    pub held_out: Option<f64>,
}

/// What a logistic regression on losses makes of the forget data: can they be told from held-out samples of the same
/// classes? (The membership attack of SCRUB; Kurmanji et al., 2023.)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LossAttack {
    /// Mean accuracy over five folds, in percent; 50, guessing, is the best that unlearning can reach, unless the forget
    /// data were taught with wrong labels: held-out samples have true ones, and Retrain's value is the aim. Null: not
    /// measured.
    pub accuracy: Option<f64>,
    /// So many of the forget data, and as many held-out ones, were to be told apart.
    pub samples: u64,
    /// Why there is no accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Names of the tensors in an artifact of confidences (safetensors): `sample` (int64 `[n]`, ids of the training samples, of
/// forget samples that are not among them, and of the test samples), `confidence` (float64 `[n]`: logit-scaled,
/// `ln(p / (1 − p))` for the probability `p` of the label that was trained with; Carlini et al., 2022, equation 3) and
/// `forgotten` (uint8 `[n]`: 1 for samples of `D_f`).
pub const CONFIDENCES: [&str; 3] = ["sample", "confidence", "forgotten"];

/// Likelihood-ratio membership inference with shadow models (Carlini et al., 2022) against what a method left: can its
/// networks, from which a sample was unlearned, be told from networks that never saw the sample? Each seed's network is
/// attacked with what the networks of the other seeds taught about each sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LikelihoodRatio {
    /// Networks of each world from which the attack learned about a sample, on average.
    pub shadows: f64,
    /// Attacked pairs of a network and a sample: unlearned ones, and ones that were never in.
    pub unlearned: u64,
    pub never_in: u64,
    /// Area under the ROC curve; 0.5 is guessing.
    pub auc: f64,
    /// True-positive rates in percent at 1 % and at 0.1 % false positives.
    pub at_1: f64,
    pub at_01: f64,
    /// The samples that the attack finds most surely, the surest first.
    pub worst_off: Vec<WorstOff>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorstOff {
    /// Position in the pool.
    pub sample: u32,
    /// Mean over networks of the logarithm of the likelihood ratio, in nats: above 0 for "was in, and unlearned".
    pub ratio: f64,
    /// Networks that it was unlearned from.
    pub networks: u32,
}
