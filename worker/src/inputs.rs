//! What a job reads: samples, trained weights, predictors. Every error names the field it came from.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use rewind_artifacts::{ArtifactError, ArtifactStore, Shard, digest_of, read_weights};
use rewind_datasets::{DataError, Partition, Samples, Subset, idx, read_pool, tiny_imagenet};
use rewind_job::{
    Action, DataSummary, Digest, Forget, Given, Layout, Part, Pool, RollBack, SampleDigest, Segment, Source,
    Specification, SpecificationError, Unlearn,
};
use rewind_models::Network;
use rewind_predictor::Predictor;
use rewind_unlearning::{Gang, LabelledSamples, UnlearningError};

use crate::sample_record::{self, Ids};

/// Why an input cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// What is there is wrong, or it is not there.
    #[error("{0}")]
    Bad(#[from] SpecificationError),
    /// It could not be read this time: a disk or a store was away.
    #[error("{0}")]
    Away(SpecificationError),
}

impl InputError {
    fn of_file(field: &str, text: String, error: &io::Error) -> Self {
        let is_final = matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::IsADirectory
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidData
                | ErrorKind::InvalidInput
                | ErrorKind::UnexpectedEof
        );
        let error = SpecificationError::new(field, text);
        if is_final { Self::Bad(error) } else { Self::Away(error) }
    }

    pub fn of_artifact(field: &str, error: ArtifactError) -> Self {
        let text = error.to_string();
        match error {
            ArtifactError::Io { source, .. } => Self::of_file(field, text, &source),
            error if error.is_retryable() => Self::Away(SpecificationError::new(field, text)),
            _ => Self::Bad(SpecificationError::new(field, text)),
        }
    }

    pub fn of_data(field: &str, error: DataError) -> Self {
        match error {
            DataError::Io { ref source, .. } => Self::of_file(field, error.to_string(), source),
            DataError::Specification { field, problem } => Self::Bad(SpecificationError { field, problem }),
            DataError::Format { .. } => Self::Bad(SpecificationError::new(field, error.to_string())),
        }
    }
}

/// Refuses what does not lie in one of the data roots; none: anywhere. Links are followed first.
pub fn require_inside(roots: &[PathBuf], specification: &Specification) -> Result<(), InputError> {
    for (field, path) in specification.files() {
        let lies_in = |resolved: PathBuf| roots.iter().any(|root| resolved.starts_with(root));
        if !roots.is_empty() && !std::fs::canonicalize(&path).is_ok_and(lies_in) {
            let problem = format!("{} does not lie in a data root of this worker", path.display());
            return Err(SpecificationError::new(field, problem).into());
        }
    }
    Ok(())
}

/// A job's data as tensors. What the specification has no data for is absent.
pub struct JobData {
    pub forget: LabelledSamples,
    /// The same samples with the labels that they really have, where those are others.
    pub forget_truth: Option<LabelledSamples>,
    pub train: Option<LabelledSamples>,
    pub remaining: Option<LabelledSamples>,
    pub validation: Option<LabelledSamples>,
    pub test: Option<LabelledSamples>,
    pub attack: Option<LabelledSamples>,
    /// Held-out samples of a class that is forgotten whole.
    pub class_apart: ClassApart,
    /// Test samples of other classes with a backdoor's trigger on them, labelled with its target.
    pub triggered: Option<LabelledSamples>,
    pub summary: DataSummary,
    /// What the positions in each part stand for.
    pub ids: Ids,
    pub forget_digests: Vec<SampleDigest>,
}

/// Samples of a class that has left the parts that they were drawn for; absent where there are none.
#[derive(Default)]
pub struct ClassApart {
    pub test: Option<LabelledSamples>,
    pub validation: Option<LabelledSamples>,
    pub attack: Option<LabelledSamples>,
}

impl JobData {
    pub fn read(specification: &Specification) -> Result<Self, InputError> {
        let partition = partition_of(specification)?;
        check_roll_back(specification, &partition)?;
        let labelled = |subset: &Subset| LabelledSamples::of(subset, |id| partition.image(id), partition.shape());
        let tensors = |subset: Option<&Subset>| subset.map(labelled);
        let forget = partition.forget();
        let truth = (forget.labels != partition.true_forget_labels())
            .then(|| Subset { ids: forget.ids.clone(), labels: partition.true_forget_labels().to_vec() });
        let summary = DataSummary {
            forget: partition.forget().len() as u64,
            remaining: partition.remaining().map(|s| s.len() as u64),
            test: partition.test().map(|s| s.len() as u64),
            validation: partition.validation().map(|s| s.len() as u64),
            attack: partition.attack().map(|s| s.len() as u64),
            class_apart: partition.class_apart().map(rewind_datasets::ClassApart::counts),
            triggered: partition.triggered().map(|s| s.len() as u64),
            files: file_digests(specification)?,
        };
        // They follow what is left of their part: see `sample_record::ids_of`.
        let behind = |subset: &Subset, part: Option<&Subset>| {
            (!subset.is_empty()).then(|| labelled(subset).after(part.map_or(0, Subset::len)))
        };
        let class_apart = partition.class_apart().map(|apart| ClassApart {
            test: behind(&apart.test, partition.test()),
            validation: behind(&apart.validation, partition.validation()),
            attack: behind(&apart.attack, partition.attack()),
        });
        let triggered = partition.triggered().filter(|triggered| !triggered.is_empty()).map(|triggered| {
            let samples = LabelledSamples::of(&triggered, |id| partition.triggered_image(id), partition.shape());
            samples.after(partition.test().map_or(0, Subset::len))
        });
        Ok(Self {
            forget: labelled(partition.forget()),
            forget_truth: tensors(truth.as_ref()),
            train: tensors(partition.train()),
            remaining: tensors(partition.remaining()),
            validation: tensors(partition.validation()),
            test: tensors(partition.test()),
            attack: tensors(partition.attack()),
            class_apart: class_apart.unwrap_or_default(),
            triggered,
            summary,
            ids: sample_record::ids_of(&partition),
            forget_digests: sample_record::digests_of(&partition, partition.forget()),
        })
    }

    /// Everything that can be read, and the part that it belongs to.
    pub fn parts(&self) -> Vec<(Part, &LabelledSamples)> {
        let parts = [
            (Part::Forget, Some(&self.forget)),
            (Part::Forget, self.forget_truth.as_ref()),
            (Part::Train, self.train.as_ref()),
            (Part::Remaining, self.remaining.as_ref()),
            (Part::Validation, self.validation.as_ref()),
            (Part::Test, self.test.as_ref()),
            (Part::Attack, self.attack.as_ref()),
            (Part::Test, self.class_apart.test.as_ref()),
            (Part::Validation, self.class_apart.validation.as_ref()),
            (Part::Attack, self.class_apart.attack.as_ref()),
            (Part::Test, self.triggered.as_ref()),
        ];
        parts.into_iter().filter_map(|(part, samples)| Some((part, samples?))).collect()
    }
}

/// Refuses to choose a round by comparing `D_f` with validation data of its classes where its labels are not the true
/// ones, or where there is no such data.
fn check_roll_back(specification: &Specification, partition: &Partition) -> Result<(), SpecificationError> {
    let forget = partition.forget();
    let is_like_forget = |label: &u8| forget.labels.contains(label);
    let in_validation = partition.validation().is_some_and(|validation| validation.labels.iter().any(is_like_forget));
    // A class that is forgotten whole has left validation data.
    let lies_apart = partition.class_apart().is_some_and(|apart| !apart.validation.is_empty());
    let problem = if forget.labels != partition.true_forget_labels() {
        "compares errors on the forget data and on validation data of its classes, but the forget data has other labels \
         than its true ones"
    } else if !in_validation && !lies_apart {
        "needs validation data of the classes that occur in the forget data"
    } else {
        return Ok(());
    };
    for (index, step) in specification.steps.iter().enumerate() {
        if let Action::Unlearn(Unlearn { roll_back: RollBack::HoldOutForgetError, .. }) = &step.action {
            let problem = format!("hold-out-forget-error {problem}");
            return Err(SpecificationError::new(format!("step[{index}].unlearn.roll-back"), problem));
        }
    }
    Ok(())
}

/// SHA-256 as eight numbers that are exact as float64.
fn words(digest: &Digest) -> impl Iterator<Item = f64> {
    let word = |at: usize| digest.0.get(8 * at..8 * at + 8).and_then(|word| u32::from_str_radix(word, 16).ok());
    (0..8).map(move |at| f64::from(word(at).expect("a digest has 64 hexadecimal digits")))
}

/// Whether every rank has read the same: workers on other machines may have files of their own under the same path.
pub fn same_on_every_rank(data: &JobData, gang: &mut Gang) -> Result<Result<(), InputError>, UnlearningError> {
    let forget = serde_json::to_vec(&data.forget_digests).expect("numbers and words");
    let forget = ("the forget data".to_owned(), digest_of(&forget));
    let read: Vec<&(String, Digest)> = data.summary.files.iter().chain([&forget]).collect();
    let numbers: Vec<f64> = read.iter().flat_map(|(_, digest)| words(digest)).collect();
    let ranks = gang.gather_rows(&numbers, numbers.len())?;
    Ok(first_difference(&read, &ranks))
}

fn first_difference(read: &[&(String, Digest)], ranks: &[Vec<f64>]) -> Result<(), InputError> {
    for (place, (what, _)) in read.iter().enumerate() {
        let of = |rank: &Vec<f64>| rank[8 * place..8 * place + 8].to_vec();
        if let Some(other) = ranks.iter().position(|rank| of(rank) != of(&ranks[0])) {
            let problem = format!("rank {other} has read other content than rank 0: {what}");
            return Err(SpecificationError::new("data", problem).into());
        }
    }
    Ok(())
}

/// Reads a job's samples and says which are which.
pub fn partition_of(specification: &Specification) -> Result<Partition, InputError> {
    let data = &specification.data;
    let pool_field = data.pool.as_ref().and_then(Pool::folder).map_or("data.pool", |(field, _)| field);
    let pool = data.pool.as_ref().map(read_pool).transpose().map_err(|error| InputError::of_data(pool_field, error))?;
    let own = match &data.forget {
        Forget::Files(files) => Some(
            idx::read(&files.images, &files.labels).map_err(|error| InputError::of_data("data.forget.files", error))?,
        ),
        _ => None,
    };
    let expected = specification.model.image.map(|side| side as usize);
    let is_other = |samples: &Samples| samples.shape != expected;
    for (field, samples) in [(pool_field, pool.as_ref().map(|pool| &pool.samples)), ("data.forget.files", own.as_ref())]
    {
        if let Some(samples) = samples.filter(|samples| is_other(samples)) {
            let problem = format!("images are {:?}, but model.image is {expected:?}", samples.shape);
            return Err(SpecificationError::new(field, problem).into());
        }
    }
    Partition::new(data, specification.model.classes, pool, own).map_err(|error| InputError::of_data("data", error))
}

fn file_digests(specification: &Specification) -> Result<Vec<(String, Digest)>, InputError> {
    let digest = |(field, path): (String, PathBuf)| {
        let bytes = read_file(&field, &path)?;
        Ok((path.display().to_string(), digest_of(&bytes)))
    };
    let mut digests = specification.files().into_iter().map(digest).collect::<Result<Vec<_>, InputError>>()?;
    if let Some(Pool::TinyImagenet(folder)) = &specification.data.pool {
        digests.push((folder.display().to_string(), digest_of_images(folder)?));
    }
    Ok(digests)
}

/// One digest for all image files of TinyImageNet: over lines of their path in the folder and their own digest, in the
/// order in which they are read.
fn digest_of_images(folder: &Path) -> Result<Digest, InputError> {
    let field = "data.pool.tiny-imagenet";
    let files = tiny_imagenet::image_files(folder).map_err(|error| InputError::of_data(field, error))?;
    let mut lines = String::new();
    for path in files {
        let digest = digest_of(&read_file(field, &path)?);
        lines += &format!("{} {digest}\n", path.strip_prefix(folder).unwrap_or(&path).display());
    }
    Ok(digest_of(lines.as_bytes()))
}

fn read_file(field: &str, path: &Path) -> Result<Vec<u8>, InputError> {
    let text = |error: &io::Error| format!("failed to read {}: {error}", path.display());
    std::fs::read(path).map_err(|error| InputError::of_file(field, text(&error), &error))
}

fn read_source(field: &str, source: &Source, artifacts: &dyn ArtifactStore) -> Result<Vec<u8>, InputError> {
    match source {
        Source::File(path) => read_file(field, path),
        Source::Artifact(digest) => artifacts.get(digest).map_err(|error| InputError::of_artifact(field, error)),
    }
}

/// The weights of `model.weights` as a whole state, checked against the model's layout.
pub fn given_weights(
    specification: &Specification,
    network: &Network,
    artifacts: &dyn ArtifactStore,
) -> Result<Option<Shard>, InputError> {
    let source = specification.model.weights.as_ref();
    source.map(|source| weights_of("model.weights", source, network, artifacts)).transpose()
}

/// The weights of each step that is given some, by the step's name.
pub fn given_steps(
    specification: &Specification,
    network: &Network,
    artifacts: &dyn ArtifactStore,
) -> Result<BTreeMap<String, Shard>, InputError> {
    let mut given = BTreeMap::new();
    for (index, step) in specification.steps.iter().enumerate() {
        if let Action::Given(Given { weights }) = &step.action {
            let field = format!("step[{index}].given.weights");
            given.insert(step.name.clone(), weights_of(&field, weights, network, artifacts)?);
        }
    }
    Ok(given)
}

/// The weights that each training begins with which is given some, by the step's name.
pub fn starts(
    specification: &Specification,
    network: &Network,
    artifacts: &dyn ArtifactStore,
) -> Result<BTreeMap<String, Shard>, InputError> {
    let mut starts = BTreeMap::new();
    for (index, step) in specification.steps.iter().enumerate() {
        if let Some((field, start)) = step.start() {
            let field = format!("step[{index}].{field}");
            let spared = if start.without_head { network.head() } else { Vec::new() };
            let weights = weights_beside(&spared, &field, &start.weights, network, artifacts)?;
            starts.insert(step.name.clone(), weights);
        }
    }
    Ok(starts)
}

fn weights_of(
    field: &str,
    source: &Source,
    network: &Network,
    artifacts: &dyn ArtifactStore,
) -> Result<Shard, InputError> {
    weights_beside(&[], field, source, network, artifacts)
}

/// The tensors in `fresh` are the network's own.
fn weights_beside(
    fresh: &[&Segment],
    field: &str,
    source: &Source,
    network: &Network,
    artifacts: &dyn ArtifactStore,
) -> Result<Shard, InputError> {
    let bytes = read_source(field, source, artifacts)?;
    let taken = || network.layout().segments.iter().filter(|segment| !fresh.contains(segment));
    let wanted = Layout::new(taken().map(|segment| (segment.name.clone(), segment.shape.clone())));
    let (read, mut buffers) =
        read_weights(&bytes, &wanted).map_err(|error| SpecificationError::new(field, error.to_string()))?;
    buffers.retain(|name, _| !fresh.iter().any(|segment| segment.name == *name));
    let mut weights: Vec<f32> = Vec::try_from(network.flat()).expect("a network's weights are float32");
    for (segment, place) in taken().zip(&wanted.segments) {
        weights[segment.offset..][..segment.len()].copy_from_slice(&read[place.offset..][..place.len()]);
    }
    for (name, buffer) in network.buffers() {
        let (shape, values) = buffers.get(&name).ok_or_else(|| {
            SpecificationError::new(field, format!("tensor `{name}` (BatchNorm's statistics) is not in the file"))
        })?;
        if *shape != buffer.size() {
            let problem = format!("tensor `{name}` has shape {shape:?}, but the model's is {:?}", buffer.size());
            return Err(SpecificationError::new(field, problem).into());
        }
        require_finite(field, &name, values)?;
    }
    require_finite(field, "the weights", &weights)?;
    Ok(Shard { weights, buffers, ..Shard::default() })
}

fn require_finite(field: &str, name: &str, values: &[f32]) -> Result<(), SpecificationError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(SpecificationError::new(field, format!("`{name}` holds {value}"))),
        None => Ok(()),
    }
}

/// The predictor of each step that uses one, by the step's name.
pub fn predictors(
    specification: &Specification,
    artifacts: &dyn ArtifactStore,
) -> Result<BTreeMap<String, Predictor>, InputError> {
    let mut predictors = BTreeMap::new();
    for (index, step) in specification.steps.iter().enumerate() {
        if let Some(wanted) = step.predictor() {
            let field = format!("step[{index}].{}", wanted.field);
            let refuse = |error: rewind_predictor::PredictorError| SpecificationError::new(&field, error.to_string());
            let bytes = read_source(&field, wanted.source, artifacts)?;
            let set = Predictor::from_bytes(&bytes).map_err(refuse)?;
            set.for_snapshots(wanted.snapshots as usize)
                .and_then(|networks| networks.check_horizon(wanted.direction, wanted.horizon))
                .map_err(refuse)?;
            predictors.insert(step.name.clone(), set);
        }
    }
    Ok(predictors)
}

/// The JSON of `search-log`.
pub fn search_log(specification: &Specification) -> Result<Option<serde_json::Value>, InputError> {
    let Some(path) = &specification.search_log else {
        return Ok(None);
    };
    let bytes = read_file("search-log", path)?;
    let refuse = |error| SpecificationError::new("search-log", format!("{} is not JSON: {error}", path.display()));
    Ok(serde_json::from_slice(&bytes).map(Some).map_err(refuse)?)
}

#[cfg(test)]
mod tests {
    use rewind_artifacts::{Buffers, SharedDirectory, write_weights};
    use rewind_job::Architecture;

    use super::*;

    /// A network, a specification that trains it from a file, and what is read of the file.
    fn begun(file: &Path, classes: u32, without_head: bool) -> (Network, Result<Vec<f32>, String>) {
        let specification = format!(
            r#"
            name = "start"
            model = {{ architecture = "mlp", classes = {classes} }}
            data.pool = {{ images = "i", labels = "l" }}
            data.split = {{ train = 10, test = 4, validation = 4, attack = 4 }}
            data.forget = {{ random = {{ share = 0.5, seed = 1 }} }}
            [[step]]
            name = "pretrained"
            [step.pretrain]
            start = {{ weights = "{}", without-head = {without_head} }}
            epochs = 1
            batch-size = 4
            optimiser = {{ sgd = {{ learning-rate = 0.1 }} }}
            "#,
            file.display()
        );
        let specification = Specification::parse(&specification, Path::new("/")).expect("is valid");
        let network = Network::build(Architecture::Mlp, classes, [1, 28, 28], 7);
        let store = tempfile::tempdir().expect("a folder");
        let read = starts(&specification, &network, &SharedDirectory::open(store.path()).expect("opens"));
        (network, read.map(|starts| starts["pretrained"].weights.clone()).map_err(|error| error.to_string()))
    }

    #[test]
    fn a_training_begins_with_given_weights_and_where_it_is_said_with_a_head_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("trained.safetensors");
        let trained = Network::build(Architecture::Mlp, 100, [1, 28, 28], 1);
        let weights: Vec<f32> = Vec::try_from(trained.flat()).expect("float32");
        let bytes = write_weights(trained.layout(), &weights, &Buffers::new(), &BTreeMap::new()).expect("writes");
        std::fs::write(&file, bytes).expect("writes");

        let (_, whole) = begun(&file, 100, false);
        assert_eq!(whole, Ok(weights.clone()));
        let (_, refusal) = begun(&file, 10, false);
        let refusal = refusal.expect_err("has another head");
        assert!(refusal.contains("step[0].pretrain.start.weights") && refusal.contains("[100, "), "{refusal}");

        let (network, begun) = begun(&file, 10, true);
        let (begun, fresh) = (begun.expect("reads"), Vec::<f32>::try_from(network.flat()).expect("float32"));
        let head: Vec<usize> = network.head().iter().flat_map(|s| s.offset..s.offset + s.len()).collect();
        assert_eq!(head.len(), 10 * 64 + 10);
        for (at, (&begun, &fresh)) in begun.iter().zip(&fresh).enumerate() {
            assert_eq!(begun, if head.contains(&at) { fresh } else { weights[at] }, "coordinate {at}");
        }
    }

    #[test]
    fn files_outside_the_data_roots_are_refused_wherever_links_lead() {
        let (inside, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for folder in [&inside, &outside] {
            std::fs::write(folder.path().join("images"), "").expect("writes");
            std::fs::write(folder.path().join("labels"), "").expect("writes");
        }
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).expect("links");
        let root = std::fs::canonicalize(inside.path()).expect("is there");
        let outcome = |folder: PathBuf| {
            let specification = format!(
                r#"
                name = "roots"
                model = {{ architecture = "mlp", weights = "{0}/images" }}
                data = {{ forget = {{ files = {{ images = "{0}/images", labels = "{0}/labels" }} }} }}
                [[step]]
                name = "unlearned"
                [step.unlearn]
                method = {{ neg-grad = {{}} }}
                forward = {{ optimiser = {{ sgd = {{ learning-rate = 0.1 }} }}, batch-size = 8 }}
                stop = {{ rounds = 2 }}
                "#,
                folder.display()
            );
            let specification = Specification::parse(&specification, Path::new("/")).expect("is valid");
            require_inside(std::slice::from_ref(&root), &specification).map_err(|error| error.to_string())
        };
        assert_eq!(outcome(root.clone()), Ok(()));
        for folder in [outside.path().to_path_buf(), root.join("link"), root.join("absent")] {
            let error = outcome(folder).expect_err("refused");
            assert!(error.ends_with("does not lie in a data root of this worker"), "{error}");
        }
    }

    #[test]
    fn a_round_is_not_chosen_by_the_error_on_forget_data_where_nothing_like_it_is_held_out() {
        let samples = |labels: Vec<u8>| Samples { shape: [1, 1, 1], images: vec![0; labels.len()], labels };
        let check = |roll_back: &str, forget: Forget, pool: Vec<u8>, own: Vec<u8>| {
            let text = format!(
                r#"
                format = 2
                name = "chosen"
                model = {{ architecture = "mlp", weights = "w" }}
                [data]
                pool = {{ images = "i", labels = "l" }}
                split = {{ train = 40, validation = 20, test = 10, attack = 10 }}
                forget = {{ files = {{ images = "i", labels = "l" }} }}
                [[step]]
                name = "unlearned"
                [step.unlearn]
                method = {{ neg-grad = {{}} }}
                forward = {{ optimiser = {{ sgd = {{ learning-rate = 0.1 }} }}, batch-size = 8 }}
                stop = {{ rounds = 2 }}
                roll-back = "{roll_back}"
                "#
            );
            let mut specification = Specification::parse(&text, Path::new("/")).expect("is valid");
            specification.data.forget = forget;
            let partition = Partition::new(&specification.data, 5, Some(samples(pool).into()), Some(samples(own)));
            check_roll_back(&specification, &partition.expect("splits")).map_err(|error| error.to_string())
        };
        let mixed: Vec<u8> = (0..80).map(|at| at % 4).collect();
        let files = Forget::Files(rewind_job::IdxFiles { images: "i".into(), labels: "l".into() });
        let noise = Forget::LabelNoise { share: 0.2, seed: 1 };
        let (rule, field) = ("hold-out-forget-error", "step[0].unlearn.roll-back: hold-out-forget-error ");
        assert_eq!(check(rule, files.clone(), mixed.clone(), vec![3, 3]), Ok(()));
        let refused = check(rule, files.clone(), mixed.clone(), vec![4]).expect_err("has no such class");
        assert_eq!(refused, format!("{field}needs validation data of the classes that occur in the forget data"));
        let refused = check(rule, noise.clone(), mixed.clone(), vec![]).expect_err("has wrong labels");
        assert!(refused.starts_with(field) && refused.ends_with("other labels than its true ones"), "{refused}");
        assert_eq!(check("best-validation", noise, mixed.clone(), vec![]), Ok(()));
        assert_eq!(check("hold-out-error-of-all", files, mixed, vec![4]), Ok(()));
    }

    #[test]
    fn ranks_that_read_other_files_are_told_which() {
        let digests = [b"images", b"labels"].map(|bytes| digest_of(bytes));
        let read = [("/data/images".to_owned(), digests[0].clone()), ("/data/labels".to_owned(), digests[1].clone())];
        let own: Vec<f64> = digests.iter().flat_map(words).collect();
        let read: Vec<_> = read.iter().collect();
        assert!(first_difference(&read, &[own.clone(), own.clone()]).is_ok());
        let mut other = own.clone();
        other[15] += 1.0;
        let error = first_difference(&read, &[own.clone(), own, other]).expect_err("rank 2 read other labels");
        assert!(matches!(error, InputError::Bad(_)), "another generation would read the same");
        let text = error.to_string();
        assert!(text.contains("rank 2") && text.contains("/data/labels"), "{text}");
    }

    #[test]
    fn what_could_not_be_read_this_time_is_worth_another_try() {
        let of = |error: io::Error| InputError::of_file("data.pool", "failed".into(), &error);
        assert!(matches!(of(ErrorKind::NotFound.into()), InputError::Bad(_)));
        assert!(matches!(of(io::Error::from_raw_os_error(5)), InputError::Away(_)), "EIO");
        assert!(matches!(of(io::Error::from_raw_os_error(116)), InputError::Away(_)), "ESTALE");
    }
}
