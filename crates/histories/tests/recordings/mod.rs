//! Runs to store, and stores to put them in.

#![allow(dead_code, reason = "each test uses some of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Mutex,
    time::SystemTime,
};

use rewind_artifacts::{ArtifactError, ArtifactStore, SharedDirectory, Stored, digest_of};
use rewind_histories::*;
use rewind_job::{Adam, Digest, Layout, Optimiser, Schedule, Sgd};
use tempfile::TempDir;

/// A store in a folder that goes when it is dropped.
pub struct Folder {
    pub folder: TempDir,
    pub store: SharedDirectory,
}

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SharedDirectory::open(folder.path()).unwrap();
        Self { folder, store }
    }

    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        self.folder.path().join(&digest.0[..2]).join(&digest.0)
    }

    /// Replaces an artifact's bytes behind the store's back.
    pub fn alter(&self, digest: &Digest, alter: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path_of(digest);
        let mut bytes = std::fs::read(&path).unwrap();
        alter(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
}

/// A store in memory that remembers which artifacts were read.
#[derive(Default)]
pub struct Memory {
    pub artifacts: Mutex<BTreeMap<Digest, Vec<u8>>>,
    pub read: Mutex<BTreeSet<Digest>>,
}

impl ArtifactStore for Memory {
    fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = digest_of(bytes);
        self.artifacts.lock().unwrap().insert(digest.clone(), bytes.to_vec());
        Ok(digest)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError> {
        self.read.lock().unwrap().insert(digest.clone());
        let found = self.artifacts.lock().unwrap().get(digest).cloned();
        found.ok_or_else(|| ArtifactError::Missing(digest.clone()))
    }

    fn delete_if_older(&self, digest: &Digest, _: SystemTime) -> Result<bool, ArtifactError> {
        Ok(self.artifacts.lock().unwrap().remove(digest).is_some())
    }

    fn list(&self) -> Result<Vec<Stored>, ArtifactError> {
        let artifacts = self.artifacts.lock().unwrap();
        let stored = artifacts.iter().map(|(digest, bytes)| Stored {
            digest: digest.clone(),
            last_written: SystemTime::UNIX_EPOCH,
            bytes: bytes.len() as u64,
        });
        Ok(stored.collect())
    }
}

pub fn adam(learning_rate: f64) -> Optimiser {
    Optimiser::Adam(Adam { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 })
}

pub fn sgd(learning_rate: f64) -> Optimiser {
    Optimiser::Sgd(Sgd { learning_rate, momentum: 0.9, weight_decay: 5e-4, nesterov: true })
}

pub fn provenance(kind: Kind) -> Provenance {
    let forward = Descent { optimiser: sgd(1e-4), schedule: Schedule::Constant, batch_size: 16 };
    Provenance {
        kind,
        architecture: "lenet".into(),
        data: DataSet { name: "digits".into(), digest: digest_of(b"digits") },
        classes: 10,
        loss: Loss::Classification,
        initialisation: "kaiming-uniform".into(),
        seed: 7,
        samples: Samples { remaining: 800, forget: if kind == Kind::Unlearning { 200 } else { 0 }, held_out: 100 },
        wrong_labels: 0.2,
        threads: 1,
        training: Descent { optimiser: adam(1e-3), schedule: Schedule::Cosine, batch_size: 32 },
        forward: (kind == Kind::Unlearning).then_some(forward),
    }
}

/// One tensor of each operation type.
pub fn layout() -> Layout {
    Layout::new([
        ("conv.weight".into(), vec![8, 3, 3, 3]),
        ("conv.bias".into(), vec![8]),
        ("fc.weight".into(), vec![70, 80]),
    ])
}

/// Numbers from −1 to 1 that look random; the same for the same seed.
pub fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// Snapshots `[count][coordinates]` of weights of size 1 that drift by steps of a size.
pub fn drifting(coordinates: usize, count: usize, step: f32, seed: u64) -> Vec<Vec<f32>> {
    let mut noise = noise(seed);
    let mut snapshots = vec![(0..coordinates).map(|_| noise()).collect::<Vec<f32>>()];
    for _ in 1..count {
        let last = &snapshots[snapshots.len() - 1];
        let next = last.iter().map(|weight| weight + step * noise()).collect();
        snapshots.push(next);
    }
    snapshots
}

/// The moments of an unlearning run: phases of so many snapshots.
pub fn moments(remaining: u32, both: u32, forward: u32) -> Vec<Moment> {
    let phases = [(Phase::Remaining, remaining), (Phase::Both, both), (Phase::Forward, forward)];
    phases.into_iter().flat_map(|(phase, count)| (0..count).map(move |epoch| Moment::new(phase, epoch))).collect()
}

pub fn record(layout: &Layout, moments: Vec<Moment>, snapshots: &[Vec<f32>], sample: Sample) -> Run {
    let mut recorder = Recorder::new(layout, sample);
    let kind = if moments[0].phase == Phase::Training { Kind::Training } else { Kind::Unlearning };
    for (moment, snapshot) in moments.into_iter().zip(snapshots) {
        recorder.record(moment, snapshot).unwrap();
    }
    recorder.finish(provenance(kind)).unwrap()
}

/// A run of nine snapshots with curves, of which at most 100 coordinates a tensor are kept.
pub fn unlearning(seed: u64) -> Run {
    let layout = layout();
    let mut moments = moments(3, 2, 4);
    for (index, moment) in moments.iter_mut().enumerate() {
        let loss = 2.0 / (index + 1) as f64;
        moment.train = Some(Measure { loss, accuracy: Some(100.0 - 10.0 * loss) });
        moment.forget = Some(Measure { loss: loss + 0.1, accuracy: Some(90.0 - 10.0 * loss) });
    }
    let snapshots = drifting(layout.coordinates(), moments.len(), 1e-3, seed);
    record(&layout, moments, &snapshots, Sample::AtMost { coordinates: 100, seed: 3 })
}

/// An ordinary training of five snapshots, all coordinates.
pub fn training(seed: u64) -> Run {
    let layout = layout();
    let moments = (0..5).map(|epoch| Moment::new(Phase::Training, epoch)).collect();
    record(&layout, moments, &drifting(layout.coordinates(), 5, 1e-2, seed), Sample::All)
}

pub const LOSSLESS: Options = Options { encoding: Encoding::Float32Snapshots, chunk_bytes: 4 << 20 };
