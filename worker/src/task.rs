//! One task of a job that makes histories: a pack of small networks, trained side by side and recorded.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Mutex,
    thread,
};

use rewind_artifacts::{ArtifactStore, digest_of};
use rewind_datasets::{Samples, idx, synthesise};
use rewind_histories::Options;
use rewind_job::{
    Digest, HistoryData, HistoryPack, IdxFiles, NetworkRecipe, Pool, SkippedNetwork, Specification, SpecificationError,
    TaskAssignment, WorkerEvent,
};
use rewind_unlearning::{
    UnlearningError,
    histories::{Source, record},
};

use crate::{
    compute::text_of,
    inputs::{InputError, partition_of, require_inside},
    link::Link,
    run::Bench,
    run_error::RunError,
};

/// Makes the task's histories and stores them. Their bytes are a function of the specification and of the network's
/// number, however they are packed.
pub fn run(assignment: &TaskAssignment, link: &Link, bench: &Bench) -> Result<(), RunError> {
    let TaskAssignment { job, generation, task, specification } = assignment;
    require_inside(&bench.data_roots, specification)?;
    let wanted = specification.collect().expect("the specification was checked: it collects");
    let recipes: Vec<(u64, NetworkRecipe)> = wanted
        .networks_of(*task)
        .map(|network| (network, wanted.recipe(network, specification.model.architecture, specification.seed)))
        .collect();
    let sources = Sources::read(specification, &recipes)?;
    let artifacts = &*bench.artifacts;
    let open = Mutex::new(recipes.iter());
    let made = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    let work = || {
        tch::set_num_threads(1);
        loop {
            let next = open.lock().expect("nobody panics with it").next();
            let Some((network, recipe)) = next.filter(|_| !link.cancel.is_cancelled()) else { return };
            let outcome = one(recipe, sources.of(&recipe.data), link, artifacts);
            match outcome {
                Ok(outcome) => made.lock().expect("nobody panics with it").push((*network, outcome)),
                Err(error) => *failed.lock().expect("nobody panics with it") = Some(error),
            }
        }
    };
    let threads = (specification.fleet.threads as usize).min(recipes.len()).max(1);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    if let Some(ended) = link.ended() {
        return Err(ended.into());
    }
    if let Some(error) = failed.into_inner().expect("nobody panics with it") {
        return Err(error);
    }
    let mut made = made.into_inner().expect("nobody panics with it");
    made.sort_by_key(|(network, _)| *network);
    let mut pack = HistoryPack::default();
    for (network, outcome) in made {
        match outcome {
            Ok(history) => pack.histories.push(history),
            Err(reason) => pack.skipped.push(SkippedNetwork { network, reason }),
        }
    }
    tracing::info!("{} histories, {} skipped", pack.histories.len(), pack.skipped.len());
    rewind_telemetry::metrics::worker::HISTORIES_MADE.add(pack.histories.len() as u64);
    let output = bench.artifacts.put(&serde_json::to_vec(&pack).expect("words and numbers"))?;
    link.tell(WorkerEvent::TaskDone { job: job.clone(), generation: *generation, task: *task, output });
    Ok(())
}

/// One network's history; or why there is none, if the network came to nothing.
fn one(
    recipe: &NetworkRecipe,
    source: &Source,
    link: &Link,
    artifacts: &dyn ArtifactStore,
) -> Result<Result<Digest, String>, RunError> {
    let recorded = catch_unwind(AssertUnwindSafe(|| record(recipe, source, &link.cancel)));
    let run = match recorded {
        Ok(Ok(run)) => run,
        Ok(Err(UnlearningError::Diverged(reason))) => return Ok(Err(reason)),
        Ok(Err(error)) => return Err(error.into()),
        Err(panic) => return Err(RunError::Panicked(text_of(&*panic))),
    };
    let history = rewind_histories::write(artifacts, &run, Options::default());
    history.map(Ok).map_err(|error| match error {
        rewind_histories::HistoryError::Artifact(error) => RunError::Artifact(error),
        error => RunError::History(error.to_string()),
    })
}

/// What the networks of a pack draw their samples from, each read once.
struct Sources(Vec<(HistoryData, Source)>);

impl Sources {
    fn read(specification: &Specification, recipes: &[(u64, NetworkRecipe)]) -> Result<Self, InputError> {
        let mut sources: Vec<(HistoryData, Source)> = Vec::new();
        for (_, recipe) in recipes {
            if sources.iter().all(|(data, _)| *data != recipe.data) {
                sources.push((recipe.data.clone(), read(specification, &recipe.data)?));
            }
        }
        Ok(Self(sources))
    }

    fn of(&self, wanted: &HistoryData) -> &Source {
        let found = self.0.iter().find(|(data, _)| data == wanted);
        &found.expect("every recipe's data was read").1
    }
}

fn read(specification: &Specification, data: &HistoryData) -> Result<Source, InputError> {
    match data {
        HistoryData::Pool => pool(specification),
        HistoryData::Synthetic(synthetic) => {
            let task = serde_json::to_value(synthetic.task).expect("a word");
            let samples = synthesise(synthetic).map_err(|error| SpecificationError::new("data", error.to_string()))?;
            let description = serde_json::to_vec(synthetic).expect("words and numbers");
            Ok(Source {
                name: format!("synthetic-{}", task.as_str().unwrap_or_default()),
                digest: digest_of(&description),
                classes: synthetic.classes,
                samples,
            })
        }
        HistoryData::Files(files) => {
            let samples = idx::read(&files.images, &files.labels)
                .map_err(|error| InputError::of_data("step[0].collect.data", error))?;
            Ok(source(folder_of(files), samples)?)
        }
    }
}

/// The training part of the job's pool, with the labels that its files give: histories have wrong labels of their own.
fn pool(specification: &Specification) -> Result<Source, InputError> {
    let partition = partition_of(specification)?;
    let pool = specification.data.pool.as_ref().expect("the specification was checked: it has a pool");
    let name = match pool {
        Pool::Idx(files) => folder_of(files),
        Pool::Cifar10(_) => "cifar10".into(),
        Pool::Cifar100(_) => "cifar100".into(),
        Pool::TinyImagenet(_) => "tiny-imagenet".into(),
    };
    let train = partition.train().expect("a pool has a training part");
    let images = train.ids.iter().flat_map(|&id| partition.image(id)).copied().collect();
    let labels = train.ids.iter().map(|&id| partition.file_label(id)).collect();
    Ok(source(name, Samples { shape: partition.shape(), images, labels })?)
}

fn source(name: String, samples: Samples) -> Result<Source, SpecificationError> {
    let classes = samples.labels.iter().max().map_or(0, |&label| u32::from(label) + 1);
    if classes < 2 {
        return Err(SpecificationError::new("data", format!("{name} has fewer than two classes")));
    }
    let digest = digest_of(&[&samples.images[..], &samples.labels[..]].concat());
    Ok(Source { name, digest, classes, samples })
}

/// Files are called after their folder: `digits` of `data/digits/images-idx3-ubyte`.
fn folder_of(files: &IdxFiles) -> String {
    let folder = files.images.parent().and_then(Path::file_name);
    folder.map_or_else(|| "files".into(), |name| name.to_string_lossy().into_owned())
}
