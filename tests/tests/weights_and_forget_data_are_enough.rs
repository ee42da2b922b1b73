//! The product's case: trained weights, the samples to forget, and nothing else (examples/forget-only.toml).

use std::fs;

use rewind_tests::{Fleet, complaint, first_of, repository, small_job};

#[test]
fn weights_and_forget_data_are_enough_and_the_rest_is_null() {
    let fleet = Fleet::start(2);
    let pretraining = small_job(1).replace("depthwise-small", "residual-small");
    let cut_at = pretraining.find("[[step]]\nname = \"retrain\"").expect("a retrain step");
    let job = fleet.submit(&pretraining[..cut_at]);
    let pretrained = fleet.report(&job).pretrained.expect("a pretrained network").weights;

    let folder = fleet.folder.path();
    fs::copy(fleet.report_folder(&job).join("weights/pretrained.safetensors"), folder.join("weights.safetensors"))
        .expect("the weights were written");
    fs::write(folder.join("forget-images-idx3-ubyte"), first_of("images-idx3-ubyte", 16, 784, 60)).expect("writes");
    fs::write(folder.join("forget-labels-idx1-ubyte"), first_of("labels-idx1-ubyte", 8, 1, 60)).expect("writes");
    let example = fs::read_to_string(repository().join("examples/forget-only.toml")).expect("reads");
    let job = fleet.submit(&example);
    let report = fleet.report(&job);

    let unlearned = &report.methods[0];
    assert!(unlearned.ua.is_some());
    assert_eq!((unlearned.ra, unlearned.ta, unlearned.mia, unlearned.average_gap), (None, None, None, None));
    assert!(report.pretrained.is_none() && report.retrain.is_none());
    assert!(report.data.remaining.is_none() && report.data.test.is_none());
    assert_eq!(report.data.forget, 60);
    let (before, after) = (unlearned.curve[0].forget_accuracy, unlearned.curve.last().expect("rounds").forget_accuracy);
    assert!(after < before, "{before} % of the forget data was known, now {after} %");

    // The same weights by their digest, out of the artifact store.
    let job = fleet.submit(&example.replace("\"weights.safetensors\"", &format!("\"sha256:{pretrained}\"")));
    assert_eq!(fleet.report(&job).methods[0].weights, unlearned.weights);

    // Weights of another model are refused with the tensor's name, before anything is trained.
    let job = fleet.submit(&example.replace("residual-small", "mlp"));
    let status = fleet.eventually("the job ends", || Some(fleet.status(&job)).filter(|s| s.state.is_final()));
    assert!(status.reason.contains("model.weights: tensor `fc1.weight`"), "{}", status.reason);
    // So are weights without BatchNorm's statistics, or with broken ones.
    let whole = fs::read(folder.join("weights.safetensors")).expect("reads");
    let renamed = String::from_utf8_lossy(&whole[..20_000.min(whole.len())]).find("bn1.running_mean").expect("a name");
    let broken = [&whole[..renamed], b"xn1", &whole[renamed + 3..]].concat();
    fs::write(folder.join("broken.safetensors"), broken).expect("writes");
    let job = fleet.submit(&example.replace("weights.safetensors", "broken.safetensors"));
    let status = fleet.eventually("the job ends", || Some(fleet.status(&job)).filter(|s| s.state.is_final()));
    assert!(status.reason.contains("bn1.running_mean"), "{}", status.reason);
    let output = fleet.ask(&["report", &job, "--out", folder.to_str().expect("printable")]);
    assert!(!output.status.success() && complaint(&output).contains("no report"), "{}", complaint(&output));
}
