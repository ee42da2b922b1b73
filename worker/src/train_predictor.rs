//! A job that trains a predictor: each worker learns from its part of the histories, and rank 0 measures the result.

use rewind_artifacts::{ArtifactStore, digest_of};
use rewind_histories::{Kind, Outline, Provenance};
use rewind_job::{
    Assignment, DataSummary, Digest, Families, FittedLambda, FittedRivals, HeldOut, HistoryKind, HistoryPack,
    HistorySource, Manifest, PredictorError, PredictorReading, PredictorReport, REPORT_FORMAT, Report, Specification,
    SpecificationError, StepIndex, StepWeights, TrainPredictor, WorkerEvent,
};
use rewind_predictor::{
    Card, Fit, FittedTaskVector, History, Penalties, Reading, Recipe, Trainee, Training, ValidationRow, fits, join,
    readings, validate,
};
use rewind_unlearning::{Course, PredictorLearner, UnlearningError, add_windows, load_trainee, train_predictor};
use tch::Device;

use crate::{
    commit::RoundCommitter,
    inputs::InputError,
    link::Link,
    machine,
    run::{Bench, deals, form, load},
    run_error::RunError,
};

/// The job's only step.
const STEP: StepIndex = StepIndex(0);

/// Pairs of true and predicted residuals that the report shows of each network.
const POINTS: usize = 300;

/// Runs an assignment of such a job to its end.
pub fn run(assignment: &Assignment, link: &Link, bench: &Bench) -> Result<(), RunError> {
    let specification = &assignment.specification;
    let (name, wanted) = specification.train_predictor().expect("the specification was checked: it trains a predictor");
    wanted.check_architecture("step[0].train-predictor").map_err(InputError::Bad)?;
    tch::set_num_threads(specification.fleet.threads as i32);
    let artifacts = &*bench.artifacts;
    let names = names_of(&wanted.histories, artifacts)?;
    let (rank, world) = (assignment.rank.0 as usize, assignment.world_size.0 as usize);
    let mine = names.iter().skip(rank).step_by(world);
    let mine = read(wanted, mine, artifacts)?;
    let trainee = Trainee::new(recipes(specification, wanted)).map_err(UnlearningError::from)?;
    link.tell(WorkerEvent::Prepared {
        job: assignment.job.clone(),
        generation: assignment.generation,
        rank: assignment.rank,
        layout: trainee.layout().clone(),
    });
    let plan = deals(link.wait_for_plan()?, assignment.rank, assignment.world_size, trainee.layout())?;
    let coordinates = trainee.layout().coordinates();
    let gang =
        rewind_unlearning::Gang::new(form(assignment, link, bench, Device::Cpu)?, trainee.layout().clone(), plan);
    let course = Course {
        epochs: wanted.epochs,
        patience: wanted.patience,
        batch_size: wanted.batch_size,
        learning_rate: wanted.learning_rate,
        seed: specification.seed,
    };
    let manifests = link.manifests();
    let last = manifests.last();
    if last.is_none_or(|manifest| manifest.outcome.is_none()) {
        let mut learner =
            PredictorLearner::new(trainee, gang, course, &mine.train, mine.held_out, link.cancel.clone())?;
        if let Some(manifest) = last {
            tracing::info!("goes on after epoch {}", manifest.round);
            learner.restore(&load(manifest, artifacts, coordinates)?);
        }
        let records = manifests.iter().map(|manifest| manifest.record.clone()).collect();
        let mut committer = RoundCommitter::new(STEP, wanted.epochs, assignment, link, bench.artifacts.clone());
        train_predictor(&mut learner, records, &mut committer)?;
        committer.finish()?;
    }
    if rank == 0 {
        let (report, weights) = measure(assignment, name, wanted, &link.manifests(), &names, artifacts)?;
        let report = serde_json::to_vec(&report).expect("a report is made of structures, strings and finite numbers");
        let weights = vec![StepWeights { step: name.to_owned(), weights }];
        let (job, generation) = (assignment.job.clone(), assignment.generation);
        link.tell(WorkerEvent::Finished { job, generation, report: artifacts.put(&report)?, weights, verdict: None });
    }
    Ok(())
}

/// One for each number of snapshots.
fn recipes(specification: &Specification, wanted: &TrainPredictor) -> Vec<Recipe> {
    let recipe = |&snapshots: &u32| Recipe {
        architecture: wanted.architecture,
        snapshots: snapshots as usize,
        horizons: wanted.horizons.clone(),
        direction: wanted.direction,
        epochs: wanted.epochs,
        batch_size: wanted.batch_size as usize,
        learning_rate: wanted.learning_rate,
        loss: wanted.loss,
        linear: wanted.linear,
        smoothing: wanted.smoothing,
        penalties: match wanted.architecture {
            rewind_job::PredictorArchitecture::Paper | rewind_job::PredictorArchitecture::Wnn => {
                Recipe::paper(2, 1).penalties
            }
            _ => Penalties { kernel: 0.0, bias: 0.0 },
        },
        seed: specification.seed,
    };
    wanted.snapshots.iter().map(recipe).collect()
}

/// Every history, once, in an order of their own: the same histories make the same predictor, however they are named.
pub(crate) fn names_of(sources: &[HistorySource], artifacts: &dyn ArtifactStore) -> Result<Vec<Digest>, InputError> {
    let field = |index: usize| format!("step[0].train-predictor.histories[{index}]");
    let mut names: Vec<Digest> = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let HistorySource::Artifact(digest) = source else {
            let problem = "is a job: the coordinator replaces jobs by what they made";
            return Err(SpecificationError::new(field(index), problem).into());
        };
        let bytes = artifacts.get(digest).map_err(|error| InputError::of_artifact(&field(index), error))?;
        // What is no pack is one history; what is neither is found when it is read.
        let found = match serde_json::from_slice::<HistoryPack>(&bytes) {
            Ok(pack) => pack.histories,
            Err(_) => vec![digest.clone()],
        };
        names.extend(found);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The windows of histories, by what they are for.
#[derive(Default)]
struct Read {
    train: Vec<History>,
    /// The epoch is chosen by them.
    held_out: Vec<History>,
    /// Nothing is chosen by them.
    test: Vec<History>,
    /// Histories that gave no windows.
    left_out: u64,
    families: Families,
}

impl Read {
    /// What the result is measured on.
    fn measured_on(&self) -> &[History] {
        if self.test.is_empty() { &self.held_out } else { &self.test }
    }
}

fn read<'a>(
    wanted: &TrainPredictor,
    names: impl Iterator<Item = &'a Digest>,
    artifacts: &dyn ArtifactStore,
) -> Result<Read, RunError> {
    let mut read = Read::default();
    for name in names {
        let run = rewind_histories::read(artifacts, name).map_err(|error| match error {
            rewind_histories::HistoryError::Artifact(error) => {
                RunError::Input(InputError::of_artifact("step[0].train-predictor.histories", error))
            }
            error => RunError::Input(InputError::Bad(SpecificationError::new(
                "step[0].train-predictor.histories",
                format!("{name}: {error}"),
            ))),
        })?;
        let Outline { provenance, .. } = &run.outline;
        let kind = match provenance.kind {
            Kind::Training => HistoryKind::Training,
            Kind::Unlearning => HistoryKind::Unlearning,
        };
        let mut history = History::default();
        for &snapshots in wanted.snapshots.iter().filter(|_| wanted.kinds.contains(&kind)) {
            add_windows(&mut history, &run, snapshots as usize, &wanted.horizons, wanted.direction, wanted.learned)
                .map_err(UnlearningError::from)?;
        }
        if history.windows().is_empty() {
            read.left_out += 1;
            continue;
        }
        read.families.architectures.insert(provenance.architecture.clone());
        read.families.data.insert(provenance.data.name.clone());
        read.families.optimisers.insert(rule_of(provenance).to_owned());
        if names_any(&wanted.test, provenance) {
            read.test.push(history);
        } else if names_any(&wanted.held_out, provenance) {
            read.held_out.push(history);
        } else {
            read.train.push(history);
        }
    }
    Ok(read)
}

/// The optimiser of forward training.
fn rule_of(provenance: &Provenance) -> &'static str {
    provenance.forward.as_ref().unwrap_or(&provenance.training).rule()
}

fn names_any(lists: &HeldOut, provenance: &Provenance) -> bool {
    lists.architectures.iter().any(|architecture| architecture.name() == provenance.architecture)
        || lists.data.contains(&provenance.data.name)
        || lists.optimisers.iter().any(|wanted| wanted == rule_of(provenance))
}

/// The predictor of the epoch that was selected, measured on all histories that were held out.
fn measure(
    assignment: &Assignment,
    name: &str,
    wanted: &TrainPredictor,
    manifests: &[Manifest],
    names: &[Digest],
    artifacts: &dyn ArtifactStore,
) -> Result<(Report, Digest), RunError> {
    let specification = &assignment.specification;
    let last = manifests.last().expect("training has committed its epochs");
    let outcome = last.outcome.clone().expect("training has ended");
    let selected = manifests.iter().find(|manifest| manifest.round == outcome.selected);
    let trainee = Trainee::new(recipes(specification, wanted)).map_err(UnlearningError::from)?;
    let selected = selected.expect("every round was committed");
    load_trainee(&trainee, &load(selected, artifacts, trainee.layout().coordinates())?);
    let read = read(wanted, names.iter(), artifacts)?;
    let (histories, measured_on) = (&read.train[..], read.measured_on());
    let digests = |histories: &[History]| histories.iter().map(History::digest).collect::<Result<Vec<_>, _>>();
    let (mut cards, mut errors, mut rivals, mut read_by) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (networks, recipe) in trainee.networks() {
        let fitted = fits(&networks, histories).map_err(UnlearningError::from)?;
        let validation = validate(&networks, &fitted, measured_on);
        let snapshots = recipe.snapshots as u32;
        errors.extend(validation.rows.iter().map(|row| error_of(snapshots, row)));
        rivals.extend(fitted.iter().map(|fit| rivals_of(snapshots, fit)));
        read_by
            .extend(readings(&networks, measured_on, POINTS).into_iter().map(|reading| reading_of(snapshots, reading)));
        let training = Training {
            recipe: recipe.clone(),
            histories: digests(histories).map_err(UnlearningError::from)?,
            validation_histories: digests(measured_on).map_err(UnlearningError::from)?,
            validation,
        };
        cards.push((networks, Card::new(recipe, Some(training))));
    }
    let predictor = join(cards).and_then(|predictor| predictor.to_bytes()).map_err(UnlearningError::from)?;
    let weights = artifacts.put(&predictor)?;
    tracing::info!(predictor = %digest_of(&predictor), "measured on {} histories", measured_on.len());
    let report = Report {
        format: REPORT_FORMAT,
        version: rewind_version::VERSION.into(),
        commit: Some(rewind_version::COMMIT.into()),
        job: assignment.job.0.clone(),
        world_size: assignment.world_size,
        specification: specification.clone(),
        data: DataSummary::default(),
        machine: machine::describe(specification.fleet.threads, "cpu"),
        pretrained: None,
        retrain: None,
        methods: Vec::new(),
        stop: Vec::new(),
        recovered: Vec::new(),
        events: Vec::new(),
        warnings: assignment.warnings.clone(),
        predictor: Some(PredictorReport {
            name: name.to_owned(),
            weights: weights.clone(),
            histories: histories.len() as u64,
            held_out: measured_on.len() as u64,
            left_out: read.left_out,
            families: read.families.clone(),
            selected: outcome.selected,
            stop: outcome.stop,
            rounds: manifests.iter().map(|manifest| manifest.record.clone()).collect(),
            errors,
            readings: read_by,
            fits: rivals,
        }),
        activation: None,
        landscape: None,
        samples: None,
        search: crate::inputs::search_log(specification)?,
    };
    Ok((report, weights))
}

fn error_of(snapshots: u32, row: &ValidationRow) -> PredictorError {
    let fitted = |fit: FittedTaskVector| FittedLambda { lambda: fit.lambda, error: fit.error };
    PredictorError {
        snapshots,
        horizon: row.horizon,
        operation: row.operation,
        coordinates: row.coordinates as u64,
        predictor: row.predictor,
        linear_extrapolation: row.linear_extrapolation,
        task_vector: fitted(row.task_vector),
        task_vector_per_operation: fitted(row.task_vector_per_operation),
        task_vector_per_layer: row.task_vector_per_layer.map(|fit| fit.error),
        oracle: row.oracle,
    }
}

fn rivals_of(snapshots: u32, fit: &Fit) -> FittedRivals {
    FittedRivals {
        snapshots,
        horizon: fit.horizon,
        operation: fit.operation,
        one: fit.one,
        per_operation: fit.per_operation,
        per_layer: fit.per_layer.map(|lambda| lambda.unwrap_or(fit.per_operation)),
    }
}

fn reading_of(snapshots: u32, reading: Reading) -> PredictorReading {
    let Reading { operation, horizon, jacobian, resting, correlation, points } = reading;
    PredictorReading { snapshots, horizon, operation, jacobian, resting, correlation, points }
}
