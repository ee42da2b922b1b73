//! Python reads histories with its standard library and safetensors alone, to the bits that Rust reads.

use std::process::Command;

use rewind_artifacts::{ArtifactStore, SharedDirectory, digest_of};
use rewind_histories::*;
use rewind_job::{Layout, Optimiser, Schedule, Sgd};
use rewind_tests::{complaint, repository, rewind};
use serde_json::Value;
use tempfile::TempDir;

fn run() -> Run {
    let layout = Layout::new([("conv.weight".into(), vec![4, 3, 3, 3]), ("bias".into(), vec![7])]);
    let mut recorder = Recorder::new(&layout, Sample::AtMost { coordinates: 30, seed: 1 });
    for epoch in 0..12 {
        let moment =
            Moment { train: Some(Measure { loss: 1.0, accuracy: None }), ..Moment::new(Phase::Training, epoch) };
        let weight = |at: usize| (at as f32).sin() + (1e-3 * at as f32 * epoch as f32).cos();
        let weights: Vec<f32> = (0..layout.coordinates()).map(weight).collect();
        recorder.record(moment, &weights).expect("finite");
    }
    let optimiser = Optimiser::Sgd(Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false });
    let provenance = Provenance {
        kind: Kind::Training,
        architecture: "mlp".into(),
        data: DataSet { name: "waves".into(), digest: digest_of(b"waves") },
        classes: 0,
        loss: Loss::Denoising,
        initialisation: "sines".into(),
        seed: 1,
        samples: Samples { remaining: 100, forget: 0, held_out: 10 },
        wrong_labels: 0.0,
        threads: 1,
        training: Descent { optimiser, schedule: Schedule::Constant, batch_size: 10 },
        forward: None,
    };
    recorder.finish(provenance).expect("a run")
}

/// `scripts/read-history`: its answer, or what it complains about.
fn read_by_python(folder: &TempDir, history: &str) -> Result<Value, String> {
    let output = Command::new("python3")
        .arg("scripts/read-history")
        .arg(folder.path())
        .arg(history)
        .current_dir(repository())
        .env("PYTHONPATH", ".python")
        .output()
        .expect("python3 runs");
    let said = complaint(&output);
    assert!(!said.contains("No module named 'safetensors'"), "run scripts/setup --for test: {said}");
    if output.status.success() { Ok(serde_json::from_slice(&output.stdout).expect("JSON")) } else { Err(said) }
}

#[test]
fn python_reads_the_bits_that_rust_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SharedDirectory::open(folder.path()).expect("a store");
    for encoding in [Encoding::Bfloat16Differences, Encoding::Float32Snapshots] {
        for chunk_bytes in [4 << 20, 100, 24] {
            let digest = write(&store, &run(), Options { encoding, chunk_bytes }).expect("stores");
            let run = read(&store, &digest).expect("reads");
            let found = read_by_python(&folder, &digest.0).expect("Python reads it");
            let numbers = |value: &Value| -> Vec<f64> {
                value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
            };
            let tensors = found["tensors"].as_array().expect("tensors");
            assert_eq!(tensors.len(), run.outline.tensors.len());
            for (index, tensor) in tensors.iter().enumerate() {
                assert_eq!(tensor["name"], run.outline.tensors[index].name);
                for (snapshot, values) in tensor["snapshots"].as_array().expect("snapshots").iter().enumerate() {
                    let expected: Vec<f64> = run.values(snapshot, index).iter().copied().map(f64::from).collect();
                    assert_eq!(numbers(values), expected);
                }
                let squares: Vec<f64> = run.squares.iter().map(|step| step[index]).collect();
                assert_eq!(numbers(&tensor["squares"]), squares);
            }
            let positions: Vec<f64> = run.positions[0].iter().copied().map(f64::from).collect();
            assert_eq!(numbers(&tensors[0]["positions"]), positions);
            assert_eq!(tensors[1]["positions"], Value::Null, "all are kept");
            assert_eq!(found["record"]["outline"]["snapshots"][11]["epoch"], 11);
        }
    }
}

#[test]
fn python_refuses_an_altered_chunk() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SharedDirectory::open(folder.path()).expect("a store");
    let digest = write(&store, &run(), Options::default()).expect("stores");
    let chunk = header(&store, &digest).expect("reads").chunks[0].sha256.clone();
    let mut bytes = store.get(&chunk).expect("reads");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(folder.path().join(&chunk.0[..2]).join(&chunk.0), bytes).expect("alters");
    let complaint = read_by_python(&folder, &digest.0).expect_err("altered");
    assert!(complaint.contains(&format!("artifact {chunk} was altered")), "{complaint}");
}

#[test]
fn python_reads_what_the_command_line_exports() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SharedDirectory::open(folder.path()).expect("a store");
    let digest = write(&store, &run(), Options::default()).expect("stores");
    let out = folder.path().join("out");
    let (artifacts, out) = (folder.path().to_str().expect("printable"), out.to_str().expect("printable"));
    let output = rewind(&["histories", "export", &digest.0[..12], "--artifacts", artifacts, "--out", out]);
    assert!(output.status.success(), "{}", complaint(&output));
    let program = "import sys, safetensors; file = open(sys.argv[1], 'rb').read(); \
                   print(sorted((name, t['dtype'], t['shape']) for name, t in safetensors.deserialize(file)))";
    let output = Command::new("python3")
        .args(["-c", program, &format!("{out}/history.safetensors")])
        .current_dir(repository())
        .env("PYTHONPATH", ".python")
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", complaint(&output));
    let expected = "[('positions/conv.weight', 'I64', [30]), ('snapshots/bias', 'F32', [12, 7]), \
                    ('snapshots/conv.weight', 'F32', [12, 30]), ('squares/bias', 'F64', [11]), \
                    ('squares/conv.weight', 'F64', [11])]\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
