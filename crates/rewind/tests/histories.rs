//! `rewind histories` about a store in a folder.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

use std::{
    path::Path,
    process::{Command, Output},
};

use rewind_artifacts::{ArtifactStore, SharedDirectory, digest_of};
use rewind_histories::*;
use rewind_job::{Adam, Digest, Layout, Optimiser, Schedule, Sgd};
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

fn rewind(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rewind"));
    command.arg("histories").args(arguments).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", complaint(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sgd(learning_rate: f64) -> Descent {
    let rule = Sgd { learning_rate, momentum: 0.9, weight_decay: 5e-4, nesterov: false };
    Descent { optimiser: Optimiser::Sgd(rule), schedule: Schedule::Constant, batch_size: 16 }
}

/// An unlearning run that learns and forgets, and an ordinary training; in `.rewind/artifacts`, as of a local fleet.
fn store() -> (TempDir, SharedDirectory, [Digest; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let store = SharedDirectory::open(folder.path().join(".rewind/artifacts")).unwrap();
    let layout = Layout::new([
        ("conv.weight".into(), vec![8, 3, 3, 3]),
        ("conv.bias".into(), vec![8]),
        ("fc.weight".into(), vec![70, 80]),
    ]);
    let adam = Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let adam = Descent { optimiser: Optimiser::Adam(adam), schedule: Schedule::Cosine, batch_size: 32 };
    let run = |kind: Kind, architecture: &str, phases: &[(Phase, u32)], training: Descent, forward| {
        let mut recorder = Recorder::new(&layout, Sample::AtMost { coordinates: 2048, seed: 7 });
        let mut count = 0.0;
        for &(phase, snapshots) in phases {
            for epoch in 0..snapshots {
                count += 1.0;
                let loss = 2.3 / count;
                let weight = |at: usize| (at as f32).sin() + 1e-3 * (at as f32 * count as f32).cos();
                let weights: Vec<f32> = (0..layout.coordinates()).map(weight).collect();
                let moment = Moment {
                    train: Some(Measure { loss, accuracy: Some(100.0 - 30.0 * loss) }),
                    held_out: Some(Measure { loss: loss + 0.1, accuracy: Some(97.0 - 30.0 * loss) }),
                    forget: (phase >= Phase::Both).then_some(Measure { loss, accuracy: Some(10.0 * count) }),
                    ..Moment::new(phase, epoch)
                };
                recorder.record(moment, &weights).unwrap();
            }
        }
        let is_unlearning = kind == Kind::Unlearning;
        let run = recorder.finish(Provenance {
            kind,
            architecture: architecture.into(),
            data: DataSet { name: "digits-8x8".into(), digest: digest_of(b"digits") },
            classes: 10,
            loss: Loss::Classification,
            initialisation: "kaiming-uniform".into(),
            seed: 7,
            samples: Samples { remaining: 800, forget: if is_unlearning { 200 } else { 0 }, held_out: 100 },
            wrong_labels: if is_unlearning { 0.2 } else { 0.0 },
            threads: 1,
            training,
            forward,
        });
        write(&store, &run.unwrap(), Options::default()).unwrap()
    };
    let phases = [(Phase::Remaining, 4), (Phase::Both, 3), (Phase::Forward, 3)];
    let unlearning = run(Kind::Unlearning, "lenet", &phases, adam, Some(sgd(1e-4)));
    let training = run(Kind::Training, "mlp", &[(Phase::Training, 6)], sgd(0.1), None);
    // What else lies in a fleet's store.
    store.put(&[0; 61]).unwrap();
    store.put(b"{\"version\":\"0.1.0\"}").unwrap();
    (folder, store, [unlearning, training])
}

#[test]
fn a_list_is_a_table_with_a_row_a_history() {
    let (folder, _, [unlearning, training]) = store();
    let table = said(&rewind(folder.path(), &["list"]));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    for word in ["history", "kind", "architecture", "data", "optimiser", "rate", "snapshots"] {
        assert!(lines[0].contains(word), "{table}");
    }
    let row = lines.iter().find(|line| line.starts_with(&unlearning.0[..12])).unwrap();
    for word in ["unlearning", "lenet", "digits-8x8", "adam", "0.001", "32", "10", "2272", "90.1 %"] {
        assert!(row.contains(word), "{word}: {table}");
    }
    assert!(lines.iter().any(|line| line.starts_with(&training.0[..12]) && line.contains("mlp")), "{table}");
}

#[test]
fn filters_narrow_the_list() {
    let (folder, _, [unlearning, training]) = store();
    for (filter, found) in [
        (&["--kind", "unlearning"][..], vec![&unlearning]),
        (&["--architecture", "mlp"], vec![&training]),
        (&["--optimiser", "adam"], vec![&unlearning]),
        (&["--data", "digits-8x8", "--learning-rate", "1e-2.."], vec![&training]),
        (&["--learning-rate", "..1e-2"], vec![&unlearning]),
        (&["--kind", "training", "--optimiser", "adam"], vec![]),
    ] {
        let json = said(&rewind(folder.path(), &[&["list", "--json"], filter].concat()));
        let list: Vec<Value> = serde_json::from_str(&json).unwrap();
        let digests: Vec<&str> = list.iter().map(|history| history["digest"].as_str().unwrap()).collect();
        assert_eq!(digests, found.iter().map(|digest| digest.0.as_str()).collect::<Vec<_>>(), "{filter:?}");
    }
    let nothing = rewind(folder.path(), &["list", "--architecture", "vgg-small"]);
    assert_eq!((said(&nothing).as_str(), complaint(&nothing).as_str()), ("", "no such histories\n"));
    assert_eq!(rewind(folder.path(), &["list", "--kind", "cooking"]).status.code(), Some(2));
    assert_eq!(rewind(folder.path(), &["list", "--learning-rate", "2..1"]).status.code(), Some(2));
}

#[test]
fn a_history_is_shown_by_the_beginning_of_its_digest() {
    let (folder, _, [unlearning, _]) = store();
    let text = said(&rewind(folder.path(), &["show", &unlearning.0[..8]]));
    for words in [
        unlearning.0.as_str(),
        "lenet, kaiming-uniform",
        "800 remaining, 200 to forget, 100 held out",
        "adam (beta1 0.9",
        "learning-rate 0.001",
        "sgd (learning-rate 0.0001, momentum 0.9",
        "cosine, batches of 32",
        "bfloat16-differences",
        "2272 of 5824 coordinates",
        "70×80",
        "forward",
        "0 to 3",
        "2.3000  █▄▃▂▂▂▁▁▁▁",
        "0.4600      █▆▄▃▂▁",
        "100.0 %",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    let json: Value = serde_json::from_str(&said(&rewind(folder.path(), &["show", &unlearning.0, "--json"]))).unwrap();
    assert_eq!(json["outline"]["provenance"]["threads"], 1);
    assert_eq!(json["outline"]["snapshots"][9]["phase"], "forward");
    assert_eq!(json["chunks"][0]["part"], "base");
}

#[test]
fn an_export_is_plain_float32_and_json() {
    let (folder, store, [unlearning, _]) = store();
    let output = said(&rewind(folder.path(), &["export", &unlearning.0[..12], "--out", "out"]));
    assert_eq!(output, "out/history.safetensors\nout/history.json\n");
    let bytes = std::fs::read(folder.path().join("out/history.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let run = read(&store, &unlearning).unwrap();
    let snapshots = file.tensor("snapshots/fc.weight").unwrap();
    assert_eq!((snapshots.dtype(), snapshots.shape()), (safetensors::Dtype::F32, &[10, 2048][..]));
    let expected: Vec<u8> = (0..10).flat_map(|j| run.values(j, 2)).flat_map(|weight| weight.to_le_bytes()).collect();
    assert_eq!(snapshots.data(), expected);
    assert_eq!(file.tensor("positions/fc.weight").unwrap().shape(), [2048]);
    assert_eq!(file.tensor("squares/conv.bias").unwrap().shape(), [9]);
    assert!(file.tensor("positions/conv.bias").is_err(), "all are kept");
    let json: Value = serde_json::from_slice(&std::fs::read(folder.path().join("out/history.json")).unwrap()).unwrap();
    assert_eq!(json["digest"], unlearning.0);
    assert_eq!(json["outline"]["tensors"][2]["name"], "fc.weight");
}

#[test]
fn verification_names_each_damaged_chunk_and_ends_with_1() {
    let (folder, store, [unlearning, training]) = store();
    let sound = said(&rewind(folder.path(), &["verify"]));
    assert_eq!(sound.lines().filter(|line| line.contains("sound")).count(), 2, "{sound}");

    let chunks = header(&store, &unlearning).unwrap().chunks;
    let damaged: Vec<&ChunkReference> = vec![&chunks[1], chunks.last().unwrap()];
    for chunk in &damaged {
        let path = folder.path().join(".rewind/artifacts").join(&chunk.sha256.0[..2]).join(&chunk.sha256.0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[120] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    for arguments in [&["verify"][..], &["verify", &unlearning.0[..12]]] {
        let output = rewind(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("damaged: 2 problems"), "{text}");
        for chunk in &damaged {
            assert!(text.contains(&format!("chunk {} ({})", chunk.sha256, chunk.part)), "{text}");
        }
        assert!(complaint(&output).contains("histories are damaged"), "{}", complaint(&output));
    }
    let other = rewind(folder.path(), &["verify", &training.0[..12]]);
    // Both runs sample the same coordinates: they share the chunk of positions.
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stdout).contains("damaged: 1 problem\n"));
}

#[test]
fn what_is_not_there_is_said() {
    let (folder, _, _) = store();
    let output = rewind(folder.path(), &["show", "abcdef0123"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(complaint(&output), "error: no history begins with `abcdef0123`\n");
    let output = rewind(folder.path(), &["show", "no"]);
    assert_eq!(output.status.code(), Some(2));
    let output = rewind(folder.path(), &["list", "--artifacts", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("there are no artifacts in nowhere"), "{}", complaint(&output));
    assert!(!folder.path().join("nowhere").exists(), "nothing is made");
    let output = rewind(folder.path(), &["list", "--artifacts", "gs://bucket"]);
    assert!(complaint(&output).contains("gs:// is neither"), "{}", complaint(&output));
}
