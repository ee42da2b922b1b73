//! What is refused at submission: bad specifications, and files that are not what they must be.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rewind_artifacts::ArtifactStore;
use rewind_datasets::{DataError, check_class, check_split, idx, inspect_pool};
use rewind_job::{Action, ClassApart, Forget, Source, Specification, SpecificationError};

/// Bytes of a specification: stores keep values small, and JSON is longer than TOML.
const LARGEST_SPECIFICATION: usize = 256 << 10;

/// What specifications are checked against.
pub struct Admission {
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Folders that files may lie in, resolved; none: anywhere.
    pub roots: Vec<PathBuf>,
}

impl Admission {
    /// Reads a specification and looks into every file that it names.
    ///
    /// # Errors
    /// Names the field and what is wrong with it.
    pub fn check(&self, text: &str) -> Result<Specification, SpecificationError> {
        if text.len() > LARGEST_SPECIFICATION {
            let problem = format!("has {} bytes, and may have {LARGEST_SPECIFICATION}", text.len());
            return Err(refuse("specification", problem));
        }
        let specification = Specification::parse(text, Path::new("/"))?;
        for (field, path) in specification.files() {
            self.require_inside(&field, &path)?;
        }
        check(specification, &*self.artifacts)
    }

    /// Links are followed first: a path is where its file lies.
    fn require_inside(&self, field: &str, path: &Path) -> Result<(), SpecificationError> {
        if self.roots.is_empty() {
            return Ok(());
        }
        // Whether there is such a file outside is nobody's business.
        let outside = || refuse(field, format!("{} does not lie in a data root of the coordinator", path.display()));
        let resolved = fs::canonicalize(path).map_err(|_| outside())?;
        if self.roots.iter().any(|root| resolved.starts_with(root)) { Ok(()) } else { Err(outside()) }
    }
}

fn check(specification: Specification, artifacts: &dyn ArtifactStore) -> Result<Specification, SpecificationError> {
    for (field, path) in specification.files() {
        let found = fs::metadata(&path).map_err(|error| refuse(&field, format!("{}: {error}", path.display())))?;
        if !found.is_file() {
            return Err(refuse(&field, format!("{} is not a file", path.display())));
        }
    }
    if let Some(pool) = &specification.data.pool {
        let field = pool.folder().map_or("data.pool", |(field, _)| field);
        let found = inspect_pool(pool).map_err(|error| of_data(field, error))?;
        fits_model(&specification, found.shape, pool.images_field(), &found.labels, pool.labels_field())?;
        if let Some(split) = &specification.data.split {
            check_split(split, found.labels.len(), found.training).map_err(|error| of_data("data.split", error))?;
            forget_share(&specification.data.forget, split.train)?;
            if let Forget::Class(class) = &specification.data.forget {
                let apart = check_class(class, &found.labels, found.training, split)
                    .map_err(|error| of_data("data.forget.class", error))?;
                rules_have_samples(&specification, apart)?;
            }
        }
    }
    if let Forget::Files(files) = &specification.data.forget {
        let field = "data.forget.files";
        let found = idx::inspect(&files.images, &files.labels).map_err(|error| of_data(field, error))?;
        let (images, labels) = ("data.forget.files.images", "data.forget.files.labels");
        fits_model(&specification, found.shape, images, &found.labels, labels)?;
    }
    if let Some(path) = &specification.search_log {
        let unreadable = |error: String| refuse("search-log", format!("{}: {error}", path.display()));
        let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).map_err(|error| unreadable(error.to_string()))?;
    }
    if let Some(source) = &specification.model.weights {
        safetensors(source, "model.weights", artifacts)?;
    }
    for (index, step) in specification.steps.iter().enumerate() {
        if let Action::Given(given) = &step.action {
            safetensors(&given.weights, &format!("step[{index}].given.weights"), artifacts)?;
        }
        if let Some((field, start)) = step.start() {
            safetensors(&start.weights, &format!("step[{index}].{field}"), artifacts)?;
        }
        if let Some(wanted) = step.predictor() {
            let field = format!("step[{index}].{}", wanted.field);
            let metadata = safetensors(wanted.source, &field, artifacts)?;
            if !metadata.contains_key("predictor") {
                return Err(refuse(&field, "is a safetensors file, but no predictor"));
            }
        }
    }
    Ok(specification)
}

fn refuse(field: &str, problem: impl Into<String>) -> SpecificationError {
    SpecificationError::new(field, problem)
}

/// An error that names a field of its own keeps it.
fn of_data(field: &str, error: DataError) -> SpecificationError {
    match error {
        DataError::Specification { field, problem } => SpecificationError { field, problem },
        error => refuse(field, error.to_string()),
    }
}

fn fits_model(
    specification: &Specification,
    shape: [usize; 3],
    images: &str,
    found_labels: &[u8],
    labels: &str,
) -> Result<(), SpecificationError> {
    let model = &specification.model;
    let image = model.image.map(|side| side as usize);
    if shape != image {
        return Err(refuse(images, format!("images are {shape:?}, but model.image is {image:?}")));
    }
    let largest_label = found_labels.iter().copied().max().unwrap_or(0);
    if u32::from(largest_label) >= model.classes {
        let problem = format!("label {largest_label} is not below model.classes ({})", model.classes);
        return Err(refuse(labels, problem));
    }
    Ok(())
}

/// A share of the training samples is some of them, and not all.
fn forget_share(forget: &Forget, train: u32) -> Result<(), SpecificationError> {
    let (field, share) = match forget {
        Forget::Backdoor(backdoor) => ("data.forget.backdoor.share", backdoor.share),
        Forget::LabelNoise { share, .. } => ("data.forget.label-noise.share", *share),
        Forget::Random { share, .. } => ("data.forget.random.share", *share),
        Forget::Class(_) | Forget::Everything | Forget::Files(_) | Forget::Nothing => return Ok(()),
    };
    let count = (share * f64::from(train)).round();
    if count < 1.0 || count >= f64::from(train) {
        let problem =
            format!("{share} of {train} training samples are {count}: some must be forgotten and some remain");
        return Err(refuse(field, problem));
    }
    Ok(())
}

/// Rules that compare a forgotten class with unseen samples of it need some.
fn rules_have_samples(specification: &Specification, apart: Option<ClassApart>) -> Result<(), SpecificationError> {
    let Some(ClassApart { label, validation: 0, .. }) = apart else { return Ok(()) };
    for (index, step) in specification.steps.iter().enumerate() {
        let Action::Unlearn(unlearn) = &step.action else { continue };
        if let Some(goal) = unlearn.stop.goals().find(|goal| goal.rule.needs_unseen()) {
            let rule = goal.rule.name();
            let problem = format!("compares with validation samples of class {label}, and there are none");
            return Err(refuse(&format!("step[{index}].unlearn.stop.{rule}"), problem));
        }
    }
    Ok(())
}

/// A file's metadata: whether its tensors fit the model is found by the workers, before anything is trained.
fn safetensors(
    source: &Source,
    field: &str,
    artifacts: &dyn ArtifactStore,
) -> Result<HashMap<String, String>, SpecificationError> {
    match source {
        Source::File(path) => header_of(path).map_err(|error| refuse(field, format!("{}: {error}", path.display()))),
        Source::Artifact(digest) => {
            let bytes = artifacts.get(digest).map_err(|error| refuse(field, error.to_string()))?;
            rewind_artifacts::read_header(&mut &bytes[..], bytes.len() as u64)
                .map_err(|error| refuse(field, format!("{digest}: {error}")))
        }
    }
}

fn header_of(path: &Path) -> io::Result<HashMap<String, String>> {
    let mut file = fs::File::open(path)?;
    let bytes = file.metadata()?.len();
    rewind_artifacts::read_header(&mut file, bytes)
}
