use std::{collections::BTreeMap, sync::Mutex, time::SystemTime};

use rewind_artifacts::{ArtifactError, ArtifactStore, Stored, digest_of};
use rewind_histories::{
    DataSet, Descent, Encoding, Filter, KeptTensor, Kind, Loss, Moment, Options, Outline, Phase, Provenance, Run,
    Sample, Samples, export, header, list, read, verify, write,
};
use rewind_hostile_bytes::{Answer, Parser};
use rewind_job::{Adam, Digest, OperationType, Optimiser, Schedule};

use crate::words;

/// Artifacts in memory, whose digests anybody may claim.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<Digest, Vec<u8>>>);

impl ArtifactStore for Memory {
    fn put(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = digest_of(bytes);
        self.0.lock().expect("nobody panics").insert(digest.clone(), bytes.to_vec());
        Ok(digest)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError> {
        let found = self.0.lock().expect("nobody panics").get(digest).cloned();
        found.ok_or_else(|| ArtifactError::Missing(digest.clone()))
    }

    fn delete_if_older(&self, digest: &Digest, _: SystemTime) -> Result<bool, ArtifactError> {
        Ok(self.0.lock().expect("nobody panics").remove(digest).is_some())
    }

    fn list(&self) -> Result<Vec<Stored>, ArtifactError> {
        let artifacts = self.0.lock().expect("nobody panics");
        let stored = |(digest, bytes): (&Digest, &Vec<u8>)| Stored {
            digest: digest.clone(),
            last_written: SystemTime::UNIX_EPOCH,
            bytes: bytes.len() as u64,
        };
        Ok(artifacts.iter().map(stored).collect())
    }
}

fn run() -> Run {
    let optimiser =
        Optimiser::Adam(Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 });
    let provenance = Provenance {
        kind: Kind::Training,
        architecture: "lenet".into(),
        data: DataSet { name: "digits".into(), digest: digest_of(b"digits") },
        classes: 10,
        loss: Loss::Classification,
        initialisation: "kaiming-uniform".into(),
        seed: 7,
        samples: Samples { remaining: 800, forget: 0, held_out: 100 },
        wrong_labels: 0.2,
        threads: 1,
        training: Descent { optimiser, schedule: Schedule::Cosine, batch_size: 32 },
        forward: None,
    };
    let tensor =
        |name: &str, operation, shape: Vec<i64>, kept| KeptTensor { name: name.into(), operation, shape, kept };
    Run {
        outline: Outline {
            provenance,
            sample: Sample::AtMost { coordinates: 4, seed: 1 },
            tensors: vec![
                tensor("fc.weight", OperationType::FullyConnected, vec![3, 3], 4),
                tensor("fc.bias", OperationType::Bias, vec![3], 3),
            ],
            snapshots: (0..3).map(|epoch| Moment::new(Phase::Training, epoch)).collect(),
        },
        positions: vec![vec![0, 2, 3, 8], Vec::new()],
        squares: vec![vec![0.5, 0.25]; 2],
        weights: (0..3_u8).map(|at| (0..7_u8).map(|i| f32::from(i) + f32::from(at) / 8.0).collect()).collect(),
    }
}

/// As every reader of histories does.
fn look(store: &Memory, record: &Digest) -> Answer {
    let listed = list(store, &Filter::default()).expect("damage of one history is no error of the list");
    for history in &listed.histories {
        assert!(history.header.bytes() > 0);
    }
    let verified = verify(store, record).expect("damage is no error");
    let found = header(store, record).map_err(words)?;
    let (bytes, kept) = (found.bytes(), found.outline.kept());
    let run = match read(store, record) {
        Ok(run) => run,
        Err(error) => {
            assert!(!verified.damage.is_empty(), "{error}");
            return Err(error.to_string());
        }
    };
    assert!(verified.damage.is_empty() && verified.bytes == bytes, "{verified:?}");
    assert!(run.weights.iter().all(|snapshot| snapshot.len() == kept));
    export(&run).map(drop).map_err(words)
}

fn stored(options: Options) -> (Memory, Vec<u8>) {
    let store = Memory::default();
    let record = write(&store, &run(), options).expect("writes");
    let bytes = store.get(&record).expect("is there");
    store.0.lock().expect("nobody panics").remove(&record);
    (store, bytes)
}

/// Its length tells where a record may be.
fn padded(record: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    while record.len() % 64 != 61 {
        record.push(b'\n');
    }
    record
}

#[test]
fn records_of_histories_are_refused_by_their_field_or_read() {
    for encoding in [Encoding::Bfloat16Differences, Encoding::Float32Snapshots] {
        let (store, record) = stored(Options { encoding, chunk_bytes: 16 });
        Parser::of("records of histories").cases(1500).memory(4 << 20).run(&[record], |bytes| {
            let digest = store.put(&padded(bytes)).expect("stores");
            let answer = look(&store, &digest);
            store.delete_if_older(&digest, SystemTime::UNIX_EPOCH).expect("deletes");
            answer.map_err(|problem| {
                assert!(problem.contains(&digest.0), "does not name {digest}: {problem}");
                problem
            })
        });
    }
}

#[test]
fn chunks_of_histories_are_refused_by_name_or_read() {
    let (store, record) = stored(Options { encoding: Encoding::Float32Snapshots, chunk_bytes: 1 << 20 });
    let record = store.put(&record).expect("stores");
    let chunks = header(&store, &record).expect("is valid").chunks;
    let text = String::from_utf8(store.get(&record).expect("is there")).expect("is JSON");
    for chunk in chunks {
        let good = store.get(&chunk.sha256).expect("is there");
        Parser::of("chunks of histories").cases(500).memory(4 << 20).run(std::slice::from_ref(&good), |bytes| {
            // A record that names the spoilt bytes: a writer that lies, not a disk that does.
            let spoilt = store.put(bytes).expect("stores");
            let lie = text.replace(&chunk.sha256.0, &spoilt.0);
            let lie = lie.replace(&format!("\"bytes\":{}", good.len()), &format!("\"bytes\":{}", bytes.len()));
            let lie = store.put(&padded(lie.trim_end().as_bytes())).expect("stores");
            let answer = look(&store, &lie);
            for digest in [&lie, &spoilt] {
                if *digest != chunk.sha256 && *digest != record {
                    store.delete_if_older(digest, SystemTime::UNIX_EPOCH).expect("deletes");
                }
            }
            answer
        });
    }
}

#[test]
fn chunks_that_claim_more_bytes_than_there_are_numbers_are_refused() {
    let (store, record) = stored(Options { encoding: Encoding::Float32Snapshots, chunk_bytes: 16 });
    let text = String::from_utf8(record).expect("is JSON");
    let parts: Vec<&str> = text.split("\"bytes\":").collect();
    let vast: Vec<String> = parts[1..]
        .iter()
        .map(|part| format!("{}{}", u64::MAX, part.trim_start_matches(|digit: char| digit.is_ascii_digit())))
        .collect();
    let lie = format!("{}\"bytes\":{}", parts[0], vast.join("\"bytes\":"));
    let lie = store.put(&padded(lie.trim_end().as_bytes())).expect("stores");
    let refusal = look(&store, &lie).expect_err("no store has so many");
    assert!(refusal.contains(&lie.0), "{refusal}");
}

#[test]
fn a_chunk_whose_name_is_no_digest_is_refused_by_its_field() {
    let (store, record) = stored(Options { encoding: Encoding::Float32Snapshots, chunk_bytes: 16 });
    let text = String::from_utf8(record).expect("is JSON");
    let digest = text.split("\"sha256\":\"").nth(1).and_then(|rest| rest.get(..64)).expect("names a chunk");
    let lie = text.replace(digest, &"../".repeat(1000));
    let lie = store.put(&padded(lie.trim_end().as_bytes())).expect("stores");
    let listed = list(&store, &Filter::default()).expect("damage of one history is no error of the list");
    assert!(listed.histories.is_empty() && listed.unreadable.len() == 1, "{listed:?}");
    let refusal = look(&store, &lie).expect_err("no such chunk");
    assert!(refusal.contains("chunks[0].sha256"), "{refusal}");
}
