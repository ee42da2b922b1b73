//! Collects histories on this machine and trains the predictor that the repository ships.
//!
//! A simple local collection: a few dozen small networks, none of the demonstration's architecture, on training digits
//! alone.

mod histories;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};
use rand::RngExt;
use rewind_collective::CancelSignal;
use rewind_datasets::{Partition, Subset, generator, idx};
use rewind_job::{Architecture, Data, Forget, IdxFiles, Pool, Split};
use rewind_predictor::{History, Loss, Recipe, train};
use rewind_unlearning::LabelledSamples;

use histories::{HistoryRecipe, Target, adam, collect, sgd};

/// Collects histories for unlearning and trains the shipped predictor on them.
#[derive(Debug, Parser)]
#[command(name = "train-predictor", version)]
struct Arguments {
    /// Folder with the digits (IDX files).
    #[arg(long, value_name = "DIR", default_value = ".data/digits")]
    data: PathBuf,
    /// Where the predictor goes (safetensors).
    #[arg(long, value_name = "FILE", default_value = "out/predictor/equivariant.safetensors")]
    out: PathBuf,
    /// Networks to train.
    #[arg(long, default_value_t = 40)]
    networks: u32,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What the weights are to be rewound to.
    #[arg(long, value_enum, default_value_t = To::Before)]
    target: To,
    /// What the predictor's training makes small.
    #[arg(long, value_enum, default_value_t = LossName::L2)]
    loss: LossName,
    /// Let the network bend: better on histories, worse at unlearning.
    #[arg(long)]
    non_linear: bool,
    /// How much the coefficients of different epochs are held together.
    #[arg(long, default_value_t = 100.0)]
    smoothing: f64,
    /// Folder where histories are kept, and taken from when they are there.
    #[arg(long, value_name = "DIR", default_value = "out/predictor/histories")]
    histories: PathBuf,
    /// Learning rate of the predictor's training.
    #[arg(long, default_value_t = 5e-3)]
    learning_rate: f64,
    /// Passes over the histories.
    #[arg(long, default_value_t = 20)]
    epochs: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum To {
    /// The weights before the forget data came in.
    Before,
    /// The weights of a twin that never saw it.
    Twin,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossName {
    L1,
    L2,
}

/// Trained on; the last one is held out to measure on.
const FAMILIES: [Architecture; 4] =
    [Architecture::Mlp, Architecture::Lenet, Architecture::VggSmall, Architecture::DepthwiseSmall];
const HELD_OUT: Architecture = Architecture::DepthwiseSmall;
/// Epochs that the forget data was trained with (`U`).
const HORIZONS: [u32; 2] = [8, 15];
/// A network that has learned less of its forget data (percent) has nothing to rewind: its history is dropped.
const LEARNED: f64 = 50.0;
/// Digits to keep and to forget.
const REMAINING: usize = 500;
const FORGET: usize = 150;
/// Numbers of snapshots (`K`) that the predictor covers.
const SNAPSHOTS: [usize; 2] = [5, 15];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("train-predictor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    tch::set_num_threads(1);
    std::fs::create_dir_all(&arguments.histories)?;
    if let Some(folder) = arguments.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let files =
        IdxFiles { images: arguments.data.join("images-idx3-ubyte"), labels: arguments.data.join("labels-idx1-ubyte") };
    let pool = idx::read(&files.images, &files.labels)?;
    // The demonstration's split: its held-out digits stay out of every history.
    let split = Split { seed: 0, train: 4000, test: 500, validation: 250, attack: 250 };
    let forget = Forget::Random { share: 0.5, seed: 0 };
    let partition = Partition::new(
        &Data { pool: Some(Pool::Idx(files)), split: Some(split), forget },
        10,
        Some(pool.into()),
        None,
    )?;
    let train_digits = partition.train().ok_or("the pool has no training part")?;

    let (mut histories, mut held_out): (Vec<History>, Vec<History>) = (Vec::new(), Vec::new());
    for index in 0..arguments.networks {
        let mut draw = generator(arguments.seed, &format!("history/{index}"));
        let architecture = FAMILIES[index as usize % FAMILIES.len()];
        let (remaining, forget) = draw_data(&partition, train_digits, &mut draw);
        let convolutional = architecture != Architecture::Mlp;
        let rates = if convolutional { [2e-3, 3e-3] } else { [1e-3, 2e-3] };
        let pretraining = if draw.random_bool(0.75) { adam(rates[draw.random_range(0..2)]) } else { sgd(0.05) };
        let recipe = HistoryRecipe {
            architecture,
            seed: arguments.seed * 1_000_003 + u64::from(index),
            pretraining,
            batch_size: 32,
            epochs_before: draw.random_range(4..=8),
            horizon: HORIZONS[(index as usize / FAMILIES.len()) % HORIZONS.len()],
            forward: adam([3e-4, 5e-4, 1e-3][draw.random_range(0..3)]),
            forward_batch_size: 16,
            snapshots: 15,
            target: match arguments.target {
                To::Before => Target::Before,
                To::Twin => Target::Twin,
            },
            kept: 2048,
        };
        // Named by everything that makes it: another recipe is another history.
        let name = rewind_artifacts::digest_of(format!("{recipe:?} {REMAINING} {FORGET} {index}").as_bytes());
        let kept = arguments.histories.join(format!("{}.safetensors", &name.0[..16]));
        let history = if kept.exists() {
            History::load(&kept)?
        } else {
            let recorded = collect(&recipe, 10, &remaining, &forget, &SNAPSHOTS, &CancelSignal::new())?;
            println!(
                "history {} of {}: {architecture:?}, U = {}, {:.0} % of D_f learned, {:.0} s",
                index + 1,
                arguments.networks,
                recipe.horizon,
                recorded.forget_accuracy,
                begun.elapsed().as_secs_f64()
            );
            // Nothing to rewind: an empty history is kept.
            let learned = recorded.forget_accuracy >= LEARNED;
            let history = if learned { recorded.history } else { History::default() };
            history.save(&kept)?;
            history
        };
        if history.windows().is_empty() {
            continue;
        }
        if architecture == HELD_OUT { held_out.push(history) } else { histories.push(history) }
    }

    let mut predictor = None;
    for k in SNAPSHOTS {
        let recipe = Recipe {
            epochs: arguments.epochs,
            learning_rate: arguments.learning_rate,
            linear: !arguments.non_linear,
            smoothing: arguments.smoothing,
            loss: match arguments.loss {
                LossName::L1 => Loss::L1,
                LossName::L2 => Loss::L2,
            },
            seed: arguments.seed,
            ..Recipe::equivariant(k, &HORIZONS)
        };
        let trained = train(&recipe, &histories, &held_out)?;
        println!("K = {k}: L1 error on {HELD_OUT:?}, held out, relative to no change");
        for row in &trained.validation.rows {
            println!(
                "  {:<15} U = {}: predictor {:.3}, linear {:.3}, task vector {:.3} (λ {:.2}), per type {:.3} (λ {:.2})",
                row.operation.name(),
                row.horizon,
                row.predictor,
                row.linear_extrapolation,
                row.task_vector.error,
                row.task_vector.lambda,
                row.task_vector_per_operation.error,
                row.task_vector_per_operation.lambda
            );
        }
        predictor = Some(match predictor {
            None => trained.predictor,
            Some(first) => rewind_predictor::Predictor::join(first, trained.predictor)?,
        });
    }
    let predictor = predictor.ok_or("no number of snapshots was asked for")?;
    predictor.save(&arguments.out)?;
    println!("wrote {} in {:.0} s", arguments.out.display(), begun.elapsed().as_secs_f64());
    Ok(())
}

/// Digits to keep, and digits to forget: mostly with wrong labels.
fn draw_data(partition: &Partition, digits: &Subset, draw: &mut impl rand::Rng) -> (LabelledSamples, LabelledSamples) {
    let chosen = rand::seq::index::sample(draw, digits.len(), REMAINING + FORGET).into_vec();
    let wrong_labels = draw.random_bool(0.75);
    let mut subset = |positions: &[usize], wrong: bool| {
        let ids = positions.iter().map(|&at| digits.ids[at]).collect();
        let labels = positions
            .iter()
            .map(|&at| {
                let shift = if wrong { draw.random_range(1..10) } else { 0 };
                (digits.labels[at] + shift) % 10
            })
            .collect();
        LabelledSamples::of(&Subset { ids, labels }, |id| partition.image(id), partition.shape())
    };
    let remaining = subset(&chosen[..REMAINING], false);
    (remaining, subset(&chosen[REMAINING..], wrong_labels))
}
