//! The data sets of the papers in their own formats, and a network of their experiments: tiny ones, on a real fleet, to
//! the report. The files are written as the data sets are published.

mod drawn_files;

use std::fs;

use drawn_files::{records, write_cifar10, write_cifar100, write_tiny_imagenet};
use rewind_job::Report;
use rewind_tests::{Fleet, repository};

/// Trains, rewinds and measures.
fn job(architecture: &str, image: u32, pool: &str, settings: [&str; 3]) -> String {
    let predictor = repository().join("predictors/conditioned.safetensors");
    let predictor = predictor.display();
    let [training, augment, trajectory] = settings;
    format!(
        r#"
name = "formats"
[model]
architecture = "{architecture}"
classes = 3
image = [3, {image}, {image}]
normalise = {{ mean = [0.48, 0.45, 0.40], std = [0.27, 0.26, 0.28] }}
[data]
pool = {{ {pool} }}
split = {{ train = 30, test = 12, validation = 6, attack = 6 }}
forget = {{ label-noise = {{ share = 0.2, seed = 3 }} }}
[[step]]
name = "pretrained"
pretrain = {{ {training}, optimiser = {{ sgd = {{ learning-rate = 0.02, momentum = 0.9 }} }}, augment = {augment} }}
[[step]]
name = "rewinding"
[step.unlearn]
from = "pretrained"
method = {{ rewinding = {{ predictor = "{predictor}", horizon = 15, trajectory = {{ {trajectory} }} }} }}
forward = {{ optimiser = {{ adam = {{ learning-rate = 1e-4 }} }}, batch-size = 8, batch-norm = "frozen", augment = {augment} }}
stop = {{ rounds = 1 }}
[[step]]
name = "evaluation"
evaluate = {{}}
"#
    )
}

/// Sample counts, the files that were read, and that the network was moved.
fn holds_together(report: &Report, files: &[&str]) {
    assert_eq!((report.data.forget, report.data.remaining), (6, Some(24)));
    assert_eq!((report.data.test, report.data.validation, report.data.attack), (Some(12), Some(6), Some(6)));
    for file in files {
        assert!(report.data.files.iter().any(|(path, _)| path.ends_with(file)), "{file}: {:?}", report.data.files);
    }
    let (pretrained, unlearned) = (report.pretrained.as_ref().expect("was trained"), &report.methods[0]);
    assert!(pretrained.ta.is_some() && unlearned.ta.is_some() && unlearned.ua.is_some() && unlearned.ra.is_some());
    assert_ne!(pretrained.weights, unlearned.weights);
}

const SHORT: [&str; 3] = ["epochs = 2, batch-size = 16", "{ crop = 4, flip = true }", "snapshots = 5"];

#[test]
fn cifar_and_tiny_imagenet_are_read_and_unlearned_from_in_their_own_formats() {
    let fleet = Fleet::start(1);
    let at = |name: &str| fleet.folder.path().join(name);
    write_cifar10(&at("cifar-10-batches-bin"));
    write_cifar100(&at("cifar-100-binary"));
    write_tiny_imagenet(&at("tiny-imagenet-200"));

    // The network and the trajectory of the paper's experiment, on a handful of images.
    let paper = ["epochs = 1, batch-size = 16", "{ crop = 4, flip = true }", "snapshots = 15, warm-up-epochs = 2"];
    let report = fleet.report(&fleet.submit(&job("resnet18", 32, "cifar10 = \"cifar-10-batches-bin\"", paper)));
    holds_together(&report, &["data_batch_1.bin", "data_batch_5.bin", "test_batch.bin"]);

    let report = fleet.report(&fleet.submit(&job("residual-small", 32, "cifar100 = \"cifar-100-binary\"", SHORT)));
    holds_together(&report, &["train.bin", "test.bin"]);

    let tiny = job("residual-small", 64, "tiny-imagenet = \"tiny-imagenet-200\"", SHORT);
    let report = fleet.report(&fleet.submit(&tiny));
    holds_together(&report, &["wnids.txt", "val/val_annotations.txt", "tiny-imagenet-200"]);

    // A broken data set is refused at submission, by file.
    fs::write(at("cifar-100-binary/test.bin"), records(2, |class| vec![19, class as u8])).expect("writes");
    let refusal = fleet.refusal(&job("residual-small", 32, "cifar100 = \"cifar-100-binary\"", SHORT));
    assert!(refusal.contains("data.split: test, validation and attack sum to 24, but the data set has 2"), "{refusal}");
    fs::remove_file(at("cifar-10-batches-bin/data_batch_3.bin")).expect("removes");
    let refusal = fleet.refusal(&job("resnet18", 32, "cifar10 = \"cifar-10-batches-bin\"", paper));
    assert!(refusal.contains("data.pool.cifar10") && refusal.contains("data_batch_3.bin"), "{refusal}");
}
