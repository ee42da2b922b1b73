//! Predictors and histories as files: what is written is what is read, and a bad file says what is wrong with it.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use rewind_job::{Layout, OperationType};
use rewind_predictor::{Architecture, Direction, History, Predictor, PredictorError, Sample};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use tch::Tensor;

fn predictor(architecture: Architecture) -> Predictor {
    Predictor::untrained(architecture, 5, &[3], 1).join(Predictor::untrained(architecture, 15, &[3, 5], 2)).unwrap()
}

fn parameters(predictor: &Predictor) -> Vec<(String, Vec<u32>)> {
    let mut all = Vec::new();
    for snapshots in predictor.snapshots() {
        for operation in OperationType::ALL {
            for (name, tensor) in predictor.for_snapshots(snapshots).unwrap().of(operation).parameters() {
                let values = Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap();
                all.push((format!("{snapshots} {operation:?} {name}"), values.into_iter().map(f32::to_bits).collect()));
            }
        }
    }
    all
}

/// A file as a list of tensors and its metadata document, to be spoiled.
struct Parts {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Self {
        let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
        let file = SafeTensors::deserialize(bytes).unwrap();
        Self {
            tensors: file
                .tensors()
                .into_iter()
                .map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()))
                .collect(),
            metadata: header.metadata().clone().unwrap(),
        }
    }

    fn tensor(&mut self, name: &str) -> &mut (String, Dtype, Vec<usize>, Vec<u8>) {
        self.tensors.iter_mut().find(|(n, ..)| n == name).unwrap()
    }

    fn replace(&mut self, from: &str, to: &str) {
        let document = self.metadata.values_mut().next().unwrap();
        assert!(document.contains(from), "{document}");
        *document = document.replace(from, to);
    }

    fn bytes(&self) -> Vec<u8> {
        let views = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }
}

/// What loading says after `spoil` has changed a good file.
fn error_after(spoil: impl Fn(&mut Parts)) -> String {
    let mut parts = Parts::of(&predictor(Architecture::Equivariant).to_bytes().unwrap());
    spoil(&mut parts);
    Predictor::from_bytes(&parts.bytes()).unwrap_err().to_string()
}

#[test]
fn a_saved_predictor_loads_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    for architecture in [Architecture::Paper, Architecture::Equivariant, Architecture::Wnn] {
        let saved = predictor(architecture);
        let path = dir.path().join(architecture.to_string());
        saved.save(&path).unwrap();
        let loaded = Predictor::load(&path).unwrap();
        assert_eq!(loaded.architecture(), architecture);
        assert_eq!(loaded.snapshots().collect::<Vec<_>>(), [5, 15]);
        assert_eq!(loaded.for_snapshots(15).unwrap().card().horizons, [3, 5]);
        assert_eq!(parameters(&loaded), parameters(&saved));
        assert_eq!(loaded.to_bytes().unwrap(), std::fs::read(&path).unwrap(), "equal predictors give equal bytes");
    }
}

#[test]
fn tensors_are_named_by_snapshots_operation_and_parameter() {
    let bytes = predictor(Architecture::Paper).to_bytes().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("k5.fully-connected.weights_stream.dense1.kernel").unwrap().shape(), [128, 5]);
    assert_eq!(file.tensor("k15.convolution.differences_stream.dense1.kernel").unwrap().shape(), [128, 14]);
}

#[test]
fn published_networks_say_in_which_order_they_read_differences() {
    let document = |architecture| {
        let parts = Parts::of(&predictor(architecture).to_bytes().unwrap());
        parts.metadata["predictor"].clone()
    };
    let said = |document: &str, order: &str| document.matches(&format!("\"differences\":\"{order}\"")).count();
    assert_eq!(said(&document(Architecture::Paper), "older-minus-newer"), 2, "one for each K");
    assert_eq!(said(&document(Architecture::Wnn), "newer-minus-older"), 2);
    assert!(!document(Architecture::Equivariant).contains("differences"));

    let changed = |architecture, from: &str, to: &str| {
        let mut parts = Parts::of(&predictor(architecture).to_bytes().unwrap());
        parts.replace(from, to);
        Predictor::from_bytes(&parts.bytes()).unwrap_err().to_string()
    };
    assert_eq!(
        changed(Architecture::Wnn, "newer-minus-older", "older-minus-newer"),
        "metadata key `predictor` is not understood: the networks for 5 snapshots have `differences` that no `wnn` has"
    );
    assert_eq!(
        changed(
            Architecture::Equivariant,
            "{\"horizons\":[3]",
            "{\"differences\":\"older-minus-newer\",\"horizons\":[3]"
        ),
        "metadata key `predictor` is not understood: the networks for 5 snapshots have `differences`, which only \
         published networks have"
    );
}

#[test]
fn bad_files_say_what_is_wrong() {
    assert!(matches!(Predictor::from_bytes(b"not a predictor"), Err(PredictorError::Format(_))));
    assert!(Predictor::load("/no/such/file").unwrap_err().to_string().starts_with("failed to read /no/such/file: "));

    assert_eq!(error_after(|file| file.metadata.clear()), "metadata key `predictor` is missing");
    assert!(
        error_after(|file| file.replace("\"architecture\":\"equivariant\",", ""))
            .starts_with("metadata key `predictor` is not understood: missing field `architecture`")
    );
    assert!(
        error_after(|file| file.replace("equivariant", "convolutional"))
            .starts_with("metadata key `predictor` is not understood: unknown variant `convolutional`")
    );
    assert_eq!(
        error_after(|file| file.replace("\"version\":1", "\"version\":2")),
        "metadata key `predictor` is not understood: version 2 of the format, this program reads 1"
    );
    assert_eq!(
        error_after(|file| file.replace("\"5\":", "\"1\":")),
        "metadata key `predictor` is not understood: networks for 1 snapshots; they need from 2 to 10000"
    );
    assert_eq!(
        error_after(|file| file.tensors.retain(|(name, ..)| name != "k15.bias.dense2.kernel")),
        "tensor `k15.bias.dense2.kernel` is missing"
    );
    assert_eq!(
        error_after(|file| file.tensors.push(("k5.bias.dense9.kernel".into(), Dtype::F32, vec![1], vec![0; 4]))),
        "tensor `k5.bias.dense9.kernel` belongs to no network of this file"
    );
    assert_eq!(
        error_after(|file| file.tensor("k5.bias.dense1.kernel").2 = vec![4, 16]),
        "tensor `k5.bias.dense1.kernel` has shape [4, 16], expected [16, 4]"
    );
    assert_eq!(
        error_after(|file| {
            let (_, dtype, shape, _) = file.tensor("k5.bias.dense1.kernel");
            (*dtype, *shape) = (Dtype::BF16, vec![16, 8]);
        }),
        "tensor `k5.bias.dense1.kernel` has element type BF16, expected F32"
    );
    assert_eq!(
        error_after(|file| {
            file.tensor("k5.bias.dense1.kernel").3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        }),
        "tensor `k5.bias.dense1.kernel` holds values that are not finite"
    );
}

#[test]
fn a_predictor_says_which_snapshots_and_horizons_it_serves() {
    let equivariant = predictor(Architecture::Equivariant);
    assert_eq!(
        equivariant.for_snapshots(7).unwrap_err().to_string(),
        "no network for 7 snapshots; this predictor has networks for [5, 15]"
    );
    let networks = equivariant.for_snapshots(15).unwrap();
    assert!(networks.check_horizon(Direction::Past, 4).is_ok(), "between trained horizons");
    assert_eq!(
        networks.check_horizon(Direction::Past, 6).unwrap_err().to_string(),
        "horizon 6 is outside of what the networks for 15 snapshots were trained for: [3, 5]"
    );
    let paper = predictor(Architecture::Paper);
    assert!(
        paper.for_snapshots(15).unwrap().check_horizon(Direction::Past, 4).is_err(),
        "the paper's network has no such input"
    );
}

#[test]
fn predictors_join_only_when_they_go_together() {
    let one = |architecture| Predictor::untrained(architecture, 5, &[3], 1);
    let same = one(Architecture::Paper).join(one(Architecture::Paper)).unwrap_err();
    assert_eq!(same.to_string(), "both predictors have networks for 5 snapshots");
    let mixed = one(Architecture::Paper).join(one(Architecture::Equivariant)).unwrap_err();
    assert_eq!(mixed.to_string(), "predictors of different architectures cannot share a file");
}

#[test]
fn a_saved_history_loads_bit_for_bit() {
    let layout = Layout::new([("fc.weight".to_owned(), vec![4, 3]), ("fc.bias".to_owned(), vec![4])]);
    let run: Vec<Tensor> =
        (0..6).map(|epoch| Tensor::from_slice(&[0.1f32; 16]) * (f64::from(epoch) + 0.1).sqrt()).collect();
    let mut history = History::default();
    history.record(&layout, &run[1..6], &run[0], 1, Sample::All).unwrap();
    history.record(&layout, &run[3..6], &run[1], 2, Sample::AtMost { coordinates: 5, seed: 9 }).unwrap();
    let short = Tensor::from_slice(&[0.1f32]);
    assert_eq!(
        history.record(&layout, &run[1..6], &short, 1, Sample::All).unwrap_err().to_string(),
        "a snapshot of this shard holds 16 float32 values, found Float of shape [1]"
    );
    let shapes: Vec<_> = history.windows().iter().map(|window| window.snapshots.size()).collect();
    assert_eq!(shapes, [[12, 5], [4, 5], [5, 3], [4, 3]]);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.safetensors");
    history.save(&path).unwrap();
    let loaded = History::load(&path).unwrap();
    assert_eq!(loaded.digest().unwrap(), history.digest().unwrap());
    for (loaded, saved) in loaded.windows().iter().zip(history.windows()) {
        assert_eq!((loaded.operation, loaded.horizon), (saved.operation, saved.horizon));
        assert_eq!((loaded.scale, loaded.weight), (saved.scale, saved.weight));
        assert_eq!(loaded.snapshots, saved.snapshots);
        assert_eq!(loaded.residual, saved.residual);
    }
}

#[test]
fn a_bad_history_says_what_is_wrong() {
    let layout = Layout::new([("fc.bias".to_owned(), vec![2])]);
    let run: Vec<Tensor> = (0..4).map(|epoch| Tensor::from_slice(&[epoch as f32, 1.0])).collect();
    let mut history = History::default();
    history.record(&layout, &run[1..4], &run[0], 1, Sample::All).unwrap();
    let error_after = |spoil: &dyn Fn(&mut Parts)| {
        let mut parts = Parts::of(&history.to_bytes().unwrap());
        spoil(&mut parts);
        History::from_bytes(&parts.bytes()).unwrap_err().to_string()
    };
    assert_eq!(
        error_after(&|file| file.tensors.retain(|(name, ..)| name != "window.0.residual")),
        "tensor `window.0.residual` is missing"
    );
    assert_eq!(
        error_after(&|file| file.tensor("window.0.snapshots").2 = vec![3, 2]),
        "window 0: snapshots of shape [3, 2] do not go with a residual of [2]"
    );
    assert_eq!(
        error_after(&|file| file.replace("\"horizon\":1", "\"horizon\":0")),
        "window 0: the horizon must be at least 1"
    );
}
