//! One assignment from its data to its report.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use rewind_artifacts::{ArtifactError, ArtifactStore, Shard, assemble};
use rewind_collective::{Collective, CollectiveError, GroupOptions, ProcessGroup, RendezvousStore, Solo};
use rewind_job::{
    Action, Assignment, BatchNormPolicy, Forget, Group, Layout, Manifest, Method, Optimiser, Part, Progress, Rank,
    RollBack, ShardPlan, Step, StepIndex, StepOutcome, Stop, Timeouts, Unlearn, WorkerEvent, WorldSize,
};
use rewind_models::Network;
use rewind_predictor::{Predictor, SnapshotsIn};
use rewind_telemetry::metrics::{Activity, worker::ACTIVITY};
use rewind_unlearning::{
    Gang, LabelledSamples, Learner, Materials, RoundMethod, StepRun, Training, UnlearningError, load_weights,
    method_for, run_rounds,
};
use tch::Device;

use crate::{
    commit::RoundCommitter,
    device::{Need, WorkerDevice},
    inputs::{self, InputError, JobData},
    link::Link,
    probes, report,
    run_error::RunError,
    train_predictor,
    watched::Watched,
};

/// Forget samples that one forward pass takes when BatchNorm's statistics are taken anew.
pub const RECOMPUTE_BATCH: usize = 200;

/// The store under which an assignment's gang meets.
type Meeting = dyn Fn(&Assignment) -> Arc<dyn RendezvousStore> + Send;

/// What a worker brings to every assignment.
pub struct Bench {
    pub artifacts: Arc<dyn ArtifactStore>,
    pub rendezvous: Box<Meeting>,
    /// Address that collectives bind.
    pub bind_address: String,
    pub device: WorkerDevice,
    /// Where flight recorders are dumped.
    pub flight_records: Option<PathBuf>,
    pub timeouts: Timeouts,
    /// Folders that files of a specification may lie in, resolved; none: anywhere.
    pub data_roots: Vec<PathBuf>,
}

/// A job as one rank sees it.
pub struct Run {
    pub assignment: Assignment,
    pub link: Link,
    pub artifacts: Arc<dyn ArtifactStore>,
    pub data: JobData,
    /// The weights of `model.weights`.
    given: Option<Shard>,
    /// The weights of each step that is given some.
    given_steps: BTreeMap<String, Shard>,
    /// The weights that trainings begin with, by step; those of others are fresh.
    starts: BTreeMap<String, Shard>,
    predictors: BTreeMap<String, Predictor>,
    /// What the rank computes on, as reports name it.
    pub device_name: String,
    device: Device,
    snapshots_in: SnapshotsIn,
    /// `P`.
    coordinates: usize,
}

/// Runs an assignment to its end.
pub fn run(assignment: Assignment, link: &Link, bench: &Bench) -> Result<(), RunError> {
    let specification = &assignment.specification;
    tch::set_num_threads(specification.fleet.threads as i32);
    inputs::require_inside(&bench.data_roots, specification)?;
    if specification.train_predictor().is_some() {
        return train_predictor::run(&assignment, link, bench);
    }
    let device = bench.device.device;
    let data = JobData::read(specification)?;
    probes::check(specification, &data).map_err(InputError::Bad)?;
    // On the CPU: the GPU's memory is touched when it is known to be enough.
    let network = build(&assignment, Device::Cpu);
    let layout = network.layout().clone();
    let given = inputs::given_weights(specification, &network, &*bench.artifacts)?;
    let given_steps = inputs::given_steps(specification, &network, &*bench.artifacts)?;
    let starts = inputs::starts(specification, &network, &*bench.artifacts)?;
    let predictors = inputs::predictors(specification, &*bench.artifacts)?;
    link.tell(WorkerEvent::Prepared {
        job: assignment.job.clone(),
        generation: assignment.generation,
        rank: assignment.rank,
        layout: layout.clone(),
    });
    let plan = deals(link.wait_for_plan()?, assignment.rank, assignment.world_size, &layout)?;
    let coordinates = layout.coordinates();
    let snapshots_in = bench.device.place(need(&assignment, &layout, &plan)).map_err(InputError::Bad)?;
    tracing::debug!(?snapshots_in, "trajectories");
    let predictors = predictors.into_iter().map(|(step, predictor)| (step, predictor.on(device))).collect();
    ACTIVITY.is(Activity::Rounds);
    let mut gang = Gang::new(form(&assignment, link, bench, device)?, layout, plan);
    inputs::same_on_every_rank(&data, &mut gang)??;
    let (link, artifacts) = (link.clone(), bench.artifacts.clone());
    let device_name = bench.device.name.clone();
    let run = Run {
        assignment,
        link,
        artifacts,
        data,
        given,
        given_steps,
        starts,
        predictors,
        device_name,
        device,
        snapshots_in,
        coordinates,
    };
    for index in 0..run.assignment.specification.steps.len() {
        gang = run.step(StepIndex(index as u32), gang)?;
    }
    report::make_and_send(&run, gang)
}

/// The plan, if it deals all of a model's tiles to the gang, and this rank is in it.
pub fn deals(plan: ShardPlan, rank: Rank, world: WorldSize, layout: &Layout) -> Result<ShardPlan, RunError> {
    let (ranks, tiles) = (plan.world_size(), layout.tiles().len());
    let dealt = plan.boundaries.last().copied().unwrap_or_default();
    if ranks == world && rank.0 < world.0 && dealt == tiles {
        return Ok(plan);
    }
    Err(RunError::Plan { dealt, ranks: ranks.0, rank: rank.0, world: world.0, tiles })
}

/// The whole state of a committed round of a model with so many coordinates.
pub fn load(manifest: &Manifest, artifacts: &dyn ArtifactStore, coordinates: usize) -> Result<Shard, ArtifactError> {
    let shards = manifest.shards.iter().map(|digest| Shard::from_bytes(&artifacts.get(digest)?));
    assemble(shards.collect::<Result<Vec<_>, _>>()?)?.expect_whole(coordinates)
}

/// What the job's hungriest step needs of the device.
fn need(assignment: &Assignment, layout: &Layout, plan: &ShardPlan) -> Need {
    let numbers = |optimiser: &Optimiser| match optimiser {
        Optimiser::Sgd(_) => 1,
        Optimiser::Adam(_) | Optimiser::Adamw(_) => 2,
    };
    let grid = layout.tiles();
    let of = |networks, optimiser, snapshots| Need::of(&grid, plan, assignment.rank, networks, optimiser, snapshots);
    let of_step = |step: &Step| match &step.action {
        Action::Pretrain(training) | Action::Retrain(training) => {
            let snapshots = training.nowcast.as_ref().map_or(0, |nowcast| u64::from(nowcast.snapshots));
            of(1, numbers(&training.optimiser) + snapshots, 0)
        }
        Action::Unlearn(unlearn) => {
            let snapshots = match &unlearn.method {
                Method::Rewinding(rewinding) => rewinding.trajectory.snapshots,
                Method::TaskVector(vector) => vector.trajectory.snapshots,
                _ => 0,
            };
            let networks = match &unlearn.method {
                // Beside the network a copy of it, or a number for each of its coordinates.
                Method::BoundaryShrink(_) | Method::Scrub(_) | Method::Fisher(_) => 2,
                _ => 1,
            };
            of(networks, numbers(&unlearn.forward.optimiser), u64::from(snapshots))
        }
        Action::Given(_) | Action::Evaluate(_) | Action::Collect(_) | Action::TrainPredictor(_) => of(1, 0, 0),
    };
    let needs = assignment.specification.steps.iter().map(of_step);
    needs.max_by_key(|need| need.without_trajectory + need.trajectory).unwrap_or_default()
}

/// A network with fresh weights on a device, the same on every rank.
pub fn build(assignment: &Assignment, device: Device) -> Network {
    let specification = &assignment.specification;
    let model = &specification.model;
    let (classes, seed) = (model.classes, specification.seed);
    let network = Network::initialised_on(device, model.architecture, classes, model.image, model.initialisation, seed);
    let network = match &model.normalise {
        Some(normalise) => network.normalised(normalise),
        None => network,
    };
    match model.resize {
        Some(side) => network.resized(side),
        None => network,
    }
}

/// The gang's collective for tensors on `device`.
pub fn form(
    assignment: &Assignment,
    link: &Link,
    bench: &Bench,
    device: Device,
) -> Result<Box<dyn Collective>, CollectiveError> {
    if assignment.world_size.0 == 1 {
        return Ok(Box::new(Solo::on(device)));
    }
    let group = ProcessGroup::connect(GroupOptions {
        rank: assignment.rank,
        world_size: assignment.world_size,
        store: (bench.rendezvous)(assignment),
        prefix: format!("{}/{}", assignment.job, assignment.generation),
        backend: bench.device.backend(device, &bench.bind_address),
        device,
        deadline: bench.timeouts.rendezvous,
        cancel: link.cancel.clone(),
        recorder: link.recorder.clone(),
    })?;
    // Only a test interrupts calls; others need no detour.
    if std::env::var_os(rewind_telemetry::FAIL_POINTS).is_some() {
        return Ok(Box::new(Watched(Box::new(group))));
    }
    Ok(Box::new(group))
}

/// Nothing can be unlearned from, or compared with, a training that came to nothing. What unlearning came to is for its
/// verdict to say.
fn expect_a_model(step: &Step, outcome: &StepOutcome) -> Result<(), RunError> {
    if outcome.stop.rule == "diverged" && !matches!(step.action, Action::Unlearn(_)) {
        return Err(UnlearningError::Diverged(format!("step `{}`: {}", step.name, outcome.stop.text)).into());
    }
    Ok(())
}

/// What a step trains, from where, and until when.
struct Work<'a> {
    optimiser: &'a Optimiser,
    start: Option<Shard>,
    step: StepRun<'a>,
    method: Box<dyn RoundMethod + 'a>,
}

impl Run {
    /// Runs one step, from its last committed round on; a finished one is left as it is.
    fn step(&self, index: StepIndex, gang: Gang) -> Result<Gang, RunError> {
        let step = &self.assignment.specification.steps[index.0 as usize];
        let manifests = self.manifests_of(index);
        let last = manifests.last();
        if let Some(outcome) = last.and_then(|manifest| manifest.outcome.as_ref()) {
            expect_a_model(step, outcome)?;
            return Ok(gang);
        }
        let watched = self.data.parts();
        let Some(mut work) = self.work(step, &watched)? else {
            return Ok(gang);
        };
        let seed = self.assignment.specification.seed;
        let cancel = self.link.cancel.clone();
        let purpose = if matches!(step.action, Action::Unlearn(_)) { "unlearning" } else { "training" };
        let (augment, batch_norm) = match &step.action {
            Action::Pretrain(training) | Action::Retrain(training) => (training.augment, training.batch_norm),
            Action::Unlearn(unlearn) => (unlearn.forward.augment, unlearn.forward.batch_norm),
            _ => (None, BatchNormPolicy::default()),
        };
        let mut learner = Learner::new(self.network(), gang, work.optimiser.clone(), seed, purpose, cancel)
            .with_augmentation(augment)
            .with_batch_norm(batch_norm)
            .with_snapshots_in(self.snapshots_in);
        let done = last.map_or(0, |manifest| manifest.round.0);
        tracing::info!(step = %step.name, "goes on after round {done}");
        match (last, &work.start) {
            (Some(manifest), _) => learner.restore(&self.load(manifest)?),
            (None, Some(start)) => learner.load_weights(start),
            (None, None) => {}
        }
        let rounds = work.step.stop.rounds;
        let mut committer = RoundCommitter::new(index, rounds, &self.assignment, &self.link, self.artifacts.clone());
        let records = manifests.iter().map(|manifest| manifest.record.clone()).collect();
        let finished = run_rounds(&mut learner, &mut *work.method, &work.step, records, &mut committer)?;
        committer.finish()?;
        expect_a_model(step, &finished.outcome)?;
        Ok(learner.into_gang())
    }

    /// None: the step makes no weights.
    fn work<'a>(
        &'a self,
        step: &'a Step,
        watched: &'a [(Part, &'a LabelledSamples)],
    ) -> Result<Option<Work<'a>>, RunError> {
        let data = &self.data;
        let expect = "the specification was checked: a job that trains has a pool";
        let predictor = self.predictors.get(&step.name);
        let training = |recipe: &'a rewind_job::Training, samples: &'a Option<LabelledSamples>, forget_epochs| {
            let method = Training::new(recipe, samples.as_ref().expect(expect), forget_epochs, predictor)?;
            Ok::<_, RunError>(Work {
                optimiser: &recipe.optimiser,
                start: self.starts.get(&step.name).cloned(),
                step: StepRun {
                    stop: Stop::after(recipe.epochs),
                    roll_back: RollBack::None,
                    recompute: None,
                    forget: &data.forget,
                    validation: data.validation.as_ref(),
                    unseen: data.class_apart.validation.as_ref(),
                    watched,
                },
                method: Box::new(method),
            })
        };
        Ok(match &step.action {
            Action::Pretrain(recipe) => Some(training(recipe, &data.train, 1.0)?),
            Action::Retrain(recipe) => Some(training(recipe, &data.remaining, 0.0)?),
            Action::Unlearn(unlearn) => Some(self.unlearning(unlearn, predictor, watched)?),
            Action::Given(_) | Action::Evaluate(_) | Action::Collect(_) | Action::TrainPredictor(_) => None,
        })
    }

    /// A forget-only method is handed no other samples; validation data is read by the loop around it.
    fn unlearning<'a>(
        &'a self,
        unlearn: &'a Unlearn,
        predictor: Option<&'a Predictor>,
        watched: &'a [(Part, &'a LabelledSamples)],
    ) -> Result<Work<'a>, RunError> {
        let data = &self.data;
        let start = self.start_of(unlearn)?;
        let original = || {
            let network = self.network();
            load_weights(&network, &start);
            network
        };
        let remaining = data.remaining.as_ref().filter(|_| unlearn.method.group() == Group::RetainUsing);
        let forgotten_class = match &self.assignment.specification.data.forget {
            Forget::Class(class) => Some(class.label),
            _ => None,
        };
        let classes = self.classes();
        let materials = Materials { forget: &data.forget, remaining, predictor, classes, forgotten_class };
        let method = method_for(&unlearn.method, &unlearn.forward, unlearn.stop.rounds, &materials, &original)?;
        let statistics_of = remaining.unwrap_or(&data.forget);
        Ok(Work {
            optimiser: &unlearn.forward.optimiser,
            step: StepRun {
                stop: unlearn.stop.clone(),
                roll_back: unlearn.roll_back,
                recompute: unlearn.forward.batch_norm.recomputes().then_some((statistics_of, RECOMPUTE_BATCH)),
                forget: &data.forget,
                validation: data.validation.as_ref(),
                unseen: data.class_apart.validation.as_ref(),
                watched,
            },
            method,
            start: Some(start),
        })
    }

    /// A network with fresh weights, where this rank computes.
    pub fn network(&self) -> Network {
        build(&self.assignment, self.device)
    }

    fn classes(&self) -> u32 {
        self.assignment.specification.model.classes
    }

    /// The weights an unlearning step starts from.
    pub fn start_of(&self, unlearn: &Unlearn) -> Result<Shard, RunError> {
        match &unlearn.from {
            Some(name) => {
                let step = self.assignment.specification.step_named(name).expect("the specification was checked");
                Ok(self.result_of(step)?)
            }
            None => Ok(self.given.clone().expect("the specification was checked: it has model.weights")),
        }
    }

    /// The result of a finished step: the weights that it was given, or those of the round that was selected.
    pub fn result_of(&self, step: StepIndex) -> Result<Shard, ArtifactError> {
        if let Some(given) = self.given_steps.get(&self.assignment.specification.steps[step.0 as usize].name) {
            return Ok(given.clone());
        }
        let manifests = self.manifests_of(step);
        let outcome = manifests.last().and_then(|manifest| manifest.outcome.clone());
        let selected = outcome.expect("steps run in order: an earlier one is finished").selected;
        let manifest = manifests.iter().find(|manifest| manifest.round == selected);
        self.load(manifest.expect("every round was committed"))
    }

    /// The whole state of a committed round, whatever world size wrote it.
    pub fn load(&self, manifest: &Manifest) -> Result<Shard, ArtifactError> {
        load(manifest, &*self.artifacts, self.coordinates)
    }

    /// A step's committed rounds, in order.
    pub fn manifests_of(&self, step: StepIndex) -> Vec<Manifest> {
        self.link.manifests().into_iter().filter(|manifest| manifest.step == step).collect()
    }

    /// Rank 0 tells the coordinator what is done for a step beside its rounds; `fraction` of it is done.
    pub fn mention(&self, step: StepIndex, what: &str, fraction: f64) {
        let Assignment { job, generation, rank, specification, .. } = &self.assignment;
        if rank.0 == 0 {
            let text = format!("{}: {what}", specification.steps[step.0 as usize].name);
            let progress = Progress { step, text, fraction };
            self.link.mention(WorkerEvent::Progress { job: job.clone(), generation: *generation, progress });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_another_gang_or_another_model_is_refused() {
        let layout = Layout::new([("weight".into(), vec![3, 4096])]);
        let of = |boundaries: &[usize], rank, world| {
            let plan = ShardPlan { boundaries: boundaries.to_vec() };
            deals(plan, Rank(rank), WorldSize(world), &layout).map(|plan| plan.range_of(Rank(rank), &layout.tiles()))
        };
        assert_eq!(of(&[0, 1, 3], 1, 2).expect("fits"), 4096..3 * 4096);
        assert_eq!(of(&[0, 3, 3], 1, 2).expect("has more ranks than it needs"), 3 * 4096..3 * 4096);
        for (boundaries, rank, world) in
            [(&[0, 3][..], 1, 2), (&[0, 1, 2, 3], 1, 2), (&[0, 1, 2], 1, 2), (&[0, 1, 4], 1, 2), (&[0, 1, 3], 2, 2)]
        {
            let refused = of(boundaries, rank, world).expect_err("cannot be run");
            assert!(!refused.is_retryable(), "{refused}");
        }
        let text = of(&[0, 1, 9], 1, 2).expect_err("is of another model").to_string();
        assert_eq!(text, "the plan deals 9 tiles to 2 ranks: rank 1 of 2 has a model of 3 tiles");
    }
}
