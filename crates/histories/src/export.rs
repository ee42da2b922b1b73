use rewind_artifacts::ArtifactError;
use safetensors::{Dtype, tensor::TensorView};

use crate::{HistoryError, Run};

/// A run as one plain safetensors file. Of each tensor of the network:
///
/// - `snapshots/NAME`: float32, `[snapshots, kept]`;
/// - `positions/NAME`: int64, `[kept]`, where not all coordinates are kept;
/// - `squares/NAME`: float64, `[snapshots − 1]`, over the whole tensor.
///
/// # Errors
/// What [`Run::check`] refuses.
pub fn export(run: &Run) -> Result<Vec<u8>, HistoryError> {
    run.check()?;
    let (snapshots, steps) = (run.weights.len(), run.squares.len());
    let mut arrays: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (index, tensor) in run.outline.tensors.iter().enumerate() {
        let weights = (0..snapshots).flat_map(|snapshot| run.values(snapshot, index)).flat_map(|w| w.to_le_bytes());
        let shape = vec![snapshots, tensor.kept];
        arrays.push((format!("snapshots/{}", tensor.name), Dtype::F32, shape, weights.collect()));
        let squares = run.squares.iter().flat_map(|step| step[index].to_le_bytes());
        arrays.push((format!("squares/{}", tensor.name), Dtype::F64, vec![steps], squares.collect()));
        if tensor.is_sampled() {
            let positions = run.positions[index].iter().flat_map(|&position| i64::from(position).to_le_bytes());
            arrays.push((format!("positions/{}", tensor.name), Dtype::I64, vec![tensor.kept], positions.collect()));
        }
    }
    let views: Result<Vec<_>, _> = arrays
        .iter()
        .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
        .collect();
    let bytes = views.and_then(|views| safetensors::serialize(views, None));
    bytes.map_err(|error| HistoryError::Artifact(ArtifactError::Safetensors(error)))
}
