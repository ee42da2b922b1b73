//! Times the parts of Rewind for `scripts/bench`, which asks in turn with PyTorch.
//!
//! The first line on stdout is the configuration. Then each line on stdin names a part, with the number of snapshots
//! where it has one, and is answered by one line: `{"part": "recording 15", "seconds": [0.0004]}`.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rewind_collective::{CancelSignal, Collective, CollectiveError, GroupOptions, InMemoryStore, ProcessGroup, Solo};
use rewind_job::{Adam, Architecture, Optimiser, Rank, Schedule, ShardPlan, WorldSize};
use rewind_models::Network;
use rewind_predictor::{
    Architecture as Predicting, Predictor, Statistics, Trajectory, partial_sums, rewind, statistics,
};
use rewind_unlearning::{Descent, Gang, LabelledSamples, Learner, Pass, PassMode};
use serde_json::json;
use tch::{Device, Kind, Tensor};

const ARCHITECTURE: Architecture = Architecture::ResidualSmall;
const CLASSES: u32 = 10;
/// Channels, height, width.
const IMAGE: [u32; 3] = [1, 28, 28];
const BATCH: usize = 64;
/// Training steps an answer.
const STEPS: usize = 20;
/// Floats that two ranks sum, or gather from halves.
const FLOATS: i64 = 100_000;
/// Collective operations an answer.
const OPERATIONS: usize = 200;
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

fn main() -> Result<(), Box<dyn Error>> {
    tch::set_num_threads(1);
    let mut training = Training::new();
    println!("{}", configuration(&training.learner.network));
    for line in io::stdin().lines() {
        let part = line?;
        let seconds = match part.split(' ').collect::<Vec<_>>()[..] {
            ["training-step"] => vec![training.step()?],
            ["recording", snapshots] => vec![Round::new(snapshots.parse()?)?.recording()?],
            ["drift-scale", snapshots] => vec![Round::new(snapshots.parse()?)?.drift_scale()?],
            ["equivariant", snapshots] => vec![Round::new(snapshots.parse()?)?.prediction(Predicting::Equivariant)?],
            ["paper", snapshots] => vec![Round::new(snapshots.parse()?)?.prediction(Predicting::Paper)?],
            ["all-reduce"] => on_two_ranks(&Tensor::zeros([FLOATS], FLOAT), |gloo, sum| gloo.all_reduce(sum))?,
            ["all-gather"] => {
                on_two_ranks(&Tensor::zeros([FLOATS / 2], FLOAT), |gloo, shard| gloo.all_gather(shard).map(drop))?
            }
            _ => return Err(format!("no part is named {part:?}").into()),
        };
        println!("{}", json!({ "part": part, "seconds": seconds }));
    }
    Ok(())
}

fn configuration(network: &Network) -> serde_json::Value {
    let segments = network.layout().segments.iter();
    json!({
        "architecture": ARCHITECTURE,
        "tensors": segments.map(|s| (s.name.clone(), json!(s.shape))).collect::<serde_json::Map<_, _>>(),
        "classes": CLASSES,
        "image": IMAGE,
        "batch": BATCH,
        "steps": STEPS,
        "tile": rewind_job::TILE_COORDINATES,
        "floats": FLOATS,
        "operations": OPERATIONS,
    })
}

fn network() -> Network {
    Network::build(ARCHITECTURE, CLASSES, IMAGE, 1)
}

/// A learner alone in its world, with random images.
struct Training {
    learner: Learner,
    data: LabelledSamples,
    pass: Pass,
}

impl Training {
    fn new() -> Self {
        let network = network();
        let plan = ShardPlan::balanced(network.layout(), WorldSize(1));
        let gang = Gang::new(Box::new(Solo::new()), network.layout().clone(), plan);
        let adam = Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let learner = Learner::new(network, gang, Optimiser::Adam(adam), 1, "bench", CancelSignal::new());
        let samples = (BATCH * STEPS) as i64;
        let [channels, height, width] = IMAGE.map(i64::from);
        let data = LabelledSamples::new(
            Tensor::rand([samples, channels, height, width], FLOAT),
            Tensor::randint(i64::from(CLASSES), [samples], (Kind::Int64, Device::Cpu)),
        );
        let pass = Pass {
            batch_size: BATCH,
            descent: Descent::Down,
            mode: PassMode::BatchStatistics,
            schedule: Schedule::Constant,
            epochs: 1,
        };
        Self { learner, data, pass }
    }

    /// Seconds a step of one epoch.
    fn step(&mut self) -> Result<f64, Box<dyn Error>> {
        let begun = Instant::now();
        self.learner.epoch(&self.data, &self.pass)?;
        Ok(begun.elapsed().as_secs_f64() / STEPS as f64)
    }
}

/// What follows forward training in a round: weights that wander, read by one rank that owns them all.
struct Round {
    network: Network,
    snapshots: Vec<Tensor>,
    trajectory: Trajectory,
}

impl Round {
    fn new(snapshots: usize) -> Result<Self, Box<dyn Error>> {
        let network = network();
        let mut weights = network.flat().copy();
        let snapshots: Vec<Tensor> = (0..snapshots)
            .map(|_| {
                weights += weights.randn_like() * 0.01;
                weights.copy()
            })
            .collect();
        let mut round = Self { trajectory: empty_trajectory(&network), network, snapshots };
        round.recording()?;
        Ok(round)
    }

    /// Seconds to record all snapshots.
    fn recording(&mut self) -> Result<f64, Box<dyn Error>> {
        self.trajectory = empty_trajectory(&self.network);
        let begun = Instant::now();
        for snapshot in &self.snapshots {
            self.trajectory.record(snapshot)?;
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    fn drift_scale(&self) -> Result<f64, Box<dyn Error>> {
        let begun = Instant::now();
        self.statistics()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Untrained networks cost what trained ones do.
    fn prediction(&self, architecture: Predicting) -> Result<f64, Box<dyn Error>> {
        let horizon = self.snapshots.len() as u32;
        let predictor = Predictor::untrained(architecture, self.snapshots.len(), &[horizon], 1);
        let scales = self.statistics()?;
        let begun = Instant::now();
        let _ = rewind(&self.trajectory, &predictor, &scales, horizon, 1.0)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn statistics(&self) -> Result<Vec<Statistics>, Box<dyn Error>> {
        let sums = partial_sums(&self.trajectory)?;
        Ok(statistics(self.network.layout(), &sums, self.trajectory.len())?)
    }
}

fn empty_trajectory(network: &Network) -> Trajectory {
    Trajectory::new(network.layout(), &network.layout().tiles())
}

/// Seconds of each operation as rank 0 sees it; two ranks as threads, over TCP. Zeros stay zeros under any sum.
fn on_two_ranks(
    zeros: &Tensor,
    operation: fn(&mut ProcessGroup, &Tensor) -> Result<(), CollectiveError>,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let store = Arc::new(InMemoryStore::new());
    let world = WorldSize(2);
    let rank = |rank: Rank, tensor: Tensor| {
        let options = GroupOptions::loopback(rank, world, store.clone(), "bench", Duration::from_secs(60));
        move || -> Result<Vec<f64>, CollectiveError> {
            tch::set_num_threads(1);
            let mut gloo = ProcessGroup::connect(options)?;
            let mut seconds = Vec::with_capacity(OPERATIONS);
            for _ in 0..OPERATIONS {
                let begun = Instant::now();
                operation(&mut gloo, &tensor)?;
                seconds.push(begun.elapsed().as_secs_f64());
            }
            gloo.barrier()?;
            Ok(seconds)
        }
    };
    let peer = thread::spawn(rank(Rank(1), zeros.copy()));
    let seconds = rank(Rank(0), zeros.copy())();
    peer.join().map_err(|_| "the peer's thread panicked")??;
    Ok(seconds?)
}
