//! Test vocabulary: what a generation leaves to the next one.

use rewind_artifacts::Shard;
use rewind_unlearning::Learner;
use tch::Tensor;

/// The whole state from every rank's shard, as the artifact store gives it to the next generation.
pub fn whole_state(learner: &mut Learner) -> Shard {
    let own = learner.to_shard().expect("at rest");
    let total = learner.gang.layout().coordinates();
    let mut spread = |values: &[f32]| -> Vec<f32> {
        let mut padded = vec![0.0; total];
        padded[own.start..own.start + values.len()].copy_from_slice(values);
        let flat = Tensor::from_slice(&padded).to_device(learner.gang.device());
        learner.gang.gather_from_owners(&flat).expect("gathers");
        Vec::try_from(flat).expect("float32")
    };
    let weights = spread(&own.weights);
    let optimiser = own.optimiser.iter().map(|(name, values)| (name.clone(), spread(values))).collect();
    Shard { start: 0, weights, optimiser, ..own }
}
