//! Histories: one small network each, trained in this process and recorded.

use rand::{RngExt, seq::index};
use rewind_collective::{CancelSignal, Solo};
use rewind_datasets::{Samples, Subset, generator};
use rewind_histories::{DataSet, Descent as Recipe, Kind, Measure, Moment, Phase, Provenance, Recorder, Run, Sample};
use rewind_job::{Digest, NetworkRecipe, Objective, Optimiser, Schedule, ShardPlan, UnlearningRecipe, WorldSize};
use rewind_models::Network;

use crate::{Descent, Gang, LabelledSamples, Learner, Pass, PassMode, UnlearningError, predictions};

/// Samples on which a network's accuracy is measured and that it never trains on.
pub const HELD_OUT: usize = 200;

/// Samples from which each network draws its own.
pub struct Source {
    /// As the specification calls it.
    pub name: String,
    /// SHA-256 of what it was read from, or of the description it was drawn by.
    pub digest: Digest,
    pub classes: u32,
    pub samples: Samples,
}

/// Trains the recipe's network and records it. The same recipe and source give the same bits.
///
/// # Errors
/// The source has too few samples; the training was cancelled, or left weights that are not finite.
pub fn record(recipe: &NetworkRecipe, source: &Source, cancel: &CancelSignal) -> Result<Run, UnlearningError> {
    let drawn = Drawn::of(recipe, source)?;
    let mut recording = Recording::begin(recipe, source, drawn, cancel);
    match &recipe.unlearning {
        None => recording.training(recipe)?,
        Some(unlearning) => recording.unlearning(recipe, unlearning)?,
    }
    let run = recording.recorder.finish(provenance(recipe, source));
    run.map_err(|error| UnlearningError::Diverged(error.to_string()))
}

/// The samples of one network.
struct Drawn {
    remaining: LabelledSamples,
    forget: Option<LabelledSamples>,
    held_out: LabelledSamples,
}

impl Drawn {
    fn of(recipe: &NetworkRecipe, source: &Source) -> Result<Self, UnlearningError> {
        let samples = &source.samples;
        let remaining = recipe.samples as usize;
        let forget = recipe.unlearning.as_ref().map_or(0, |unlearning| unlearning.forget as usize);
        let wanted = remaining + forget + HELD_OUT;
        if wanted > samples.len() {
            let Source { name, .. } = source;
            return Err(UnlearningError::TooFewSamples(format!(
                "{name} has {} samples, and a network draws {remaining} to train, {forget} to forget and {HELD_OUT} to \
                 measure on",
                samples.len()
            )));
        }
        let mut draw = generator(recipe.seed, "history/samples");
        let chosen = index::sample(&mut draw, samples.len(), wanted).into_vec();
        let wrong_labels = recipe.unlearning.as_ref().map_or(0.0, |unlearning| unlearning.wrong_labels);
        let mut subset = |positions: &[usize], wrong: f64| {
            let labels = positions.iter().map(|&position| {
                let label = u32::from(samples.labels[position]);
                let is_wrong = wrong > 0.0 && draw.random_bool(wrong);
                let shift = if is_wrong { draw.random_range(1..source.classes) } else { 0 };
                ((label + shift) % source.classes) as u8
            });
            let labels = labels.collect();
            let ids = positions.iter().map(|&position| position as u32).collect();
            LabelledSamples::of(&Subset { ids, labels }, |id| samples.image(id as usize), samples.shape)
        };
        Ok(Self {
            remaining: subset(&chosen[..remaining], 0.0),
            held_out: subset(&chosen[remaining..remaining + HELD_OUT], 0.0),
            forget: (forget > 0).then(|| subset(&chosen[remaining + HELD_OUT..], wrong_labels)),
        })
    }
}

struct Recording {
    learner: Learner,
    recorder: Recorder,
    objective: Objective,
    samples: Drawn,
}

impl Recording {
    fn begin(recipe: &NetworkRecipe, source: &Source, samples: Drawn, cancel: &CancelSignal) -> Self {
        let image = source.samples.shape.map(|side| side as u32);
        let outputs = recipe.objective.outputs(source.classes, image);
        let network = Network::initialised(recipe.architecture, outputs, image, recipe.initialisation, recipe.seed);
        let layout = network.layout().clone();
        let sample = Sample::AtMost { coordinates: recipe.kept as usize, seed: recipe.seed };
        let recorder = Recorder::new(&layout, sample);
        let gang = Gang::new(Box::new(Solo::new()), layout.clone(), ShardPlan::balanced(&layout, WorldSize(1)));
        let learner = Learner::new(network, gang, recipe.optimiser.clone(), recipe.seed, "history", cancel.clone())
            .with_objective(recipe.objective);
        Self { learner, recorder, objective: recipe.objective, samples }
    }

    /// An ordinary training: a snapshot before it, and one after each epoch.
    fn training(&mut self, recipe: &NetworkRecipe) -> Result<(), UnlearningError> {
        let pass = pass(recipe.batch_size, &recipe.schedule, recipe.epochs);
        self.snapshot(Phase::Training, 0)?;
        for epoch in 1..=recipe.epochs {
            self.learner.epoch(&self.samples.remaining, &pass)?;
            self.snapshot(Phase::Training, epoch)?;
        }
        Ok(())
    }

    /// The samples that stay; then those to forget come in; then those alone, with fresh optimiser state.
    fn unlearning(&mut self, recipe: &NetworkRecipe, then: &UnlearningRecipe) -> Result<(), UnlearningError> {
        let forget = self.samples.forget.take().expect("the recipe has samples to forget");
        let both = self.samples.remaining.with(&forget);
        let pretraining = pass(recipe.batch_size, &recipe.schedule, recipe.epochs + then.horizon);
        for _ in 0..recipe.epochs {
            self.learner.epoch(&self.samples.remaining, &pretraining)?;
        }
        self.samples.forget = Some(forget);
        self.snapshot(Phase::Remaining, recipe.epochs)?;
        for epoch in 1..=then.horizon {
            self.learner.epoch(&both, &pretraining)?;
            self.snapshot(Phase::Both, epoch)?;
        }
        self.learner.begin_anew(then.forward.clone());
        let forward = pass(then.forward_batch_size, &Schedule::Constant, then.snapshots);
        for epoch in 0..then.snapshots {
            if epoch > 0 {
                let forget = self.samples.forget.as_ref().expect("they are there");
                self.learner.epoch(forget, &forward)?;
            }
            self.snapshot(Phase::Forward, epoch)?;
        }
        Ok(())
    }

    fn snapshot(&mut self, phase: Phase, epoch: u32) -> Result<(), UnlearningError> {
        let Drawn { remaining, forget, held_out } = &self.samples;
        let (learner, objective) = (&mut self.learner, self.objective);
        let moment = Moment {
            train: Some(measure(learner, objective, remaining)?),
            held_out: Some(measure(learner, objective, held_out)?),
            forget: forget.as_ref().map(|forget| measure(learner, objective, forget)).transpose()?,
            ..Moment::new(phase, epoch)
        };
        let weights: Vec<f32> = Vec::try_from(self.learner.network.flat())?;
        self.recorder.record(moment, &weights).map_err(|error| UnlearningError::Diverged(error.to_string()))
    }
}

fn measure(learner: &mut Learner, objective: Objective, data: &LabelledSamples) -> Result<Measure, UnlearningError> {
    Ok(match objective {
        Objective::Classification => {
            let predictions = predictions(&learner.network, &mut learner.gang, data)?;
            Measure { loss: predictions.loss(), accuracy: Some(predictions.accuracy()) }
        }
        Objective::Denoising { .. } => Measure { loss: learner.loss(data)?, accuracy: None },
    })
}

fn pass(batch_size: u32, schedule: &Schedule, epochs: u32) -> Pass {
    Pass {
        batch_size: batch_size as usize,
        descent: Descent::Down,
        mode: PassMode::BatchStatistics,
        schedule: schedule.clone(),
        epochs,
    }
}

fn provenance(recipe: &NetworkRecipe, source: &Source) -> Provenance {
    let descent = |optimiser: &Optimiser, schedule: &Schedule, batch_size| Recipe {
        optimiser: optimiser.clone(),
        schedule: schedule.clone(),
        batch_size,
    };
    Provenance {
        kind: if recipe.unlearning.is_some() { Kind::Unlearning } else { Kind::Training },
        architecture: recipe.architecture.name().into(),
        data: DataSet { name: source.name.clone(), digest: source.digest.clone() },
        classes: match recipe.objective {
            Objective::Classification => source.classes,
            Objective::Denoising { .. } => 0,
        },
        loss: match recipe.objective {
            Objective::Classification => rewind_histories::Loss::Classification,
            Objective::Denoising { .. } => rewind_histories::Loss::Denoising,
        },
        initialisation: recipe.initialisation.name(),
        seed: recipe.seed,
        samples: rewind_histories::Samples {
            remaining: u64::from(recipe.samples),
            forget: recipe.unlearning.as_ref().map_or(0, |unlearning| u64::from(unlearning.forget)),
            held_out: HELD_OUT as u64,
        },
        wrong_labels: recipe.unlearning.as_ref().map_or(0.0, |unlearning| unlearning.wrong_labels),
        threads: 1,
        training: descent(&recipe.optimiser, &recipe.schedule, recipe.batch_size),
        forward: recipe
            .unlearning
            .as_ref()
            .map(|unlearning| descent(&unlearning.forward, &Schedule::Constant, unlearning.forward_batch_size)),
    }
}
