//! What a job reads: samples, trained weights, predictors. Every error names the field it came from.

use std::{collections::BTreeMap, path::Path};

use rewind_artifacts::{ArtifactStore, Shard, digest_of, read_weights};
use rewind_datasets::{DataError, Partition, Subset, idx};
use rewind_job::{
    Action, DataSummary, Digest, Forget, IdxFiles, Method, Source, Specification, SpecificationError, Unlearn,
};
use rewind_models::Network;
use rewind_predictor::Predictor;
use rewind_unlearning::LabelledSamples;

/// A job's data as tensors. What the specification has no data for is absent.
pub struct JobData {
    pub forget: LabelledSamples,
    pub train: Option<LabelledSamples>,
    pub remaining: Option<LabelledSamples>,
    pub validation: Option<LabelledSamples>,
    pub test: Option<LabelledSamples>,
    pub attack: Option<LabelledSamples>,
    pub summary: DataSummary,
}

impl JobData {
    pub fn read(specification: &Specification) -> Result<Self, SpecificationError> {
        let partition = partition_of(specification)?;
        let tensors = |subset: Option<&Subset>| subset.map(|subset| labelled(&partition, subset));
        let summary = DataSummary {
            forget: partition.forget().len() as u64,
            remaining: partition.remaining().map(|s| s.len() as u64),
            test: partition.test().map(|s| s.len() as u64),
            validation: partition.validation().map(|s| s.len() as u64),
            attack: partition.attack().map(|s| s.len() as u64),
            files: file_digests(specification)?,
        };
        Ok(Self {
            forget: labelled(&partition, partition.forget()),
            train: tensors(partition.train()),
            remaining: tensors(partition.remaining()),
            validation: tensors(partition.validation()),
            test: tensors(partition.test()),
            attack: tensors(partition.attack()),
            summary,
        })
    }
}

/// Reads a job's samples and says which are which.
pub fn partition_of(specification: &Specification) -> Result<Partition, SpecificationError> {
    let data = &specification.data;
    let read = |files: &IdxFiles, field: &str| {
        idx::read(&files.images, &files.labels).map_err(|error| SpecificationError::new(field, error.to_string()))
    };
    let pool = data.pool.as_ref().map(|files| read(files, "data.pool")).transpose()?;
    let own = match &data.forget {
        Forget::Files(files) => Some(read(files, "data.forget.files")?),
        _ => None,
    };
    let expected = specification.model.image.map(|side| side as usize);
    for (field, samples) in [("data.pool", &pool), ("data.forget.files", &own)] {
        if let Some(samples) = samples
            && samples.shape != expected
        {
            return Err(SpecificationError::new(
                field,
                format!("images are {:?}, but model.image is {expected:?}", samples.shape),
            ));
        }
    }
    Partition::new(data, specification.model.classes, pool, own).map_err(|error| match error {
        DataError::Specification { field, problem } => SpecificationError { field, problem },
        other => SpecificationError::new("data", other.to_string()),
    })
}

fn labelled(partition: &Partition, subset: &Subset) -> LabelledSamples {
    LabelledSamples::of(subset, |id| partition.image(id), partition.shape())
}

fn file_digests(specification: &Specification) -> Result<Vec<(String, Digest)>, SpecificationError> {
    specification
        .files()
        .into_iter()
        .map(|(field, path)| {
            let bytes = read_file(&field, &path)?;
            Ok((path.display().to_string(), digest_of(&bytes)))
        })
        .collect()
}

fn read_file(field: &str, path: &Path) -> Result<Vec<u8>, SpecificationError> {
    std::fs::read(path)
        .map_err(|error| SpecificationError::new(field, format!("failed to read {}: {error}", path.display())))
}

fn read_source(field: &str, source: &Source, artifacts: &dyn ArtifactStore) -> Result<Vec<u8>, SpecificationError> {
    match source {
        Source::File(path) => read_file(field, path),
        Source::Artifact(digest) => {
            artifacts.get(digest).map_err(|error| SpecificationError::new(field, error.to_string()))
        }
    }
}

/// The weights of `model.weights` as a whole state, checked against the model's layout.
pub fn given_weights(
    specification: &Specification,
    network: &Network,
    artifacts: &dyn ArtifactStore,
) -> Result<Option<Shard>, SpecificationError> {
    let Some(source) = &specification.model.weights else {
        return Ok(None);
    };
    let field = "model.weights";
    let bytes = read_source(field, source, artifacts)?;
    let (weights, buffers) =
        read_weights(&bytes, network.layout()).map_err(|error| SpecificationError::new(field, error.to_string()))?;
    for (name, buffer) in network.buffers() {
        let (shape, values) = buffers.get(&name).ok_or_else(|| {
            SpecificationError::new(field, format!("tensor `{name}` (BatchNorm's statistics) is not in the file"))
        })?;
        if *shape != buffer.size() {
            let problem = format!("tensor `{name}` has shape {shape:?}, but the model's is {:?}", buffer.size());
            return Err(SpecificationError::new(field, problem));
        }
        require_finite(field, &name, values)?;
    }
    require_finite(field, "the weights", &weights)?;
    Ok(Some(Shard { start: 0, weights, optimiser: BTreeMap::new(), buffers, counters: BTreeMap::new() }))
}

fn require_finite(field: &str, name: &str, values: &[f32]) -> Result<(), SpecificationError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(SpecificationError::new(field, format!("`{name}` holds {value}"))),
        None => Ok(()),
    }
}

/// The predictor of each rewinding step, by the step's name.
pub fn predictors(
    specification: &Specification,
    artifacts: &dyn ArtifactStore,
) -> Result<BTreeMap<String, Predictor>, SpecificationError> {
    let mut predictors = BTreeMap::new();
    for (index, step) in specification.steps.iter().enumerate() {
        if let Action::Unlearn(Unlearn { method: Method::Rewinding(rewinding), .. }) = &step.action {
            let field = format!("step[{index}].unlearn.method.rewinding.predictor");
            let refuse = |error: rewind_predictor::PredictorError| SpecificationError::new(&field, error.to_string());
            let bytes = read_source(&field, &rewinding.predictor, artifacts)?;
            let set = Predictor::from_bytes(&bytes).map_err(refuse)?;
            set.for_snapshots(rewinding.trajectory.snapshots as usize)
                .and_then(|networks| networks.check_horizon(rewinding.horizon))
                .map_err(refuse)?;
            predictors.insert(step.name.clone(), set);
        }
    }
    Ok(predictors)
}

/// The JSON of `search-log`.
pub fn search_log(specification: &Specification) -> Result<Option<serde_json::Value>, SpecificationError> {
    let Some(path) = &specification.search_log else {
        return Ok(None);
    };
    let bytes = read_file("search-log", path)?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| SpecificationError::new("search-log", format!("{} is not JSON: {error}", path.display())))
}
