//! The data sets of the papers in their own formats, and a network of their experiments: tiny ones, on a real fleet, to
//! the report. The files are written here as the data sets are published.

use std::{fs, path::Path};

use image::{GrayImage, Luma, Rgb, RgbImage};
use rewind_job::Report;
use rewind_tests::{Fleet, repository};

/// A pixel of a sample: classes differ in brightness and in colour.
fn pixel(class: u32, sample: u32, channel: u32, place: u32) -> u8 {
    let noise = (place * 31 + sample * 17 + channel * 7) % 40;
    (40 + 60 * ((class + channel) % 3) + noise) as u8
}

/// A record of CIFAR's binary version: label bytes, then 32×32 red, green and blue ones.
fn record(labels: &[u8], class: u32, sample: u32) -> Vec<u8> {
    let pixels = (0..3).flat_map(|channel| (0..1024).map(move |place| pixel(class, sample, channel, place)));
    labels.iter().copied().chain(pixels).collect()
}

/// `count` records of three classes in turn.
fn records(count: u32, label_of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|sample| record(&label_of(sample % 3), sample % 3, sample)).collect()
}

fn write_cifar10(folder: &Path) {
    fs::create_dir_all(folder).expect("makes it");
    for batch in 1..=5 {
        let batch = folder.join(format!("data_batch_{batch}.bin"));
        fs::write(batch, records(6, |class| vec![class as u8])).expect("writes");
    }
    fs::write(folder.join("test_batch.bin"), records(24, |class| vec![class as u8])).expect("writes");
}

fn write_cifar100(folder: &Path) {
    fs::create_dir_all(folder).expect("makes it");
    let labels = |class: u32| vec![19, class as u8];
    fs::write(folder.join("train.bin"), records(30, labels)).expect("writes");
    fs::write(folder.join("test.bin"), records(24, labels)).expect("writes");
}

fn write_tiny_imagenet(folder: &Path) {
    let classes = ["n01443537", "n01629819", "n01641577"];
    let colour = |class: u32, sample: u32| {
        RgbImage::from_fn(64, 64, |x, y| Rgb([0, 1, 2].map(|channel| pixel(class, sample, channel, y * 64 + x))))
    };
    for (class, name) in (0..).zip(classes) {
        let images = folder.join("train").join(name).join("images");
        fs::create_dir_all(&images).expect("makes it");
        for sample in 0..10 {
            colour(class, sample).save(images.join(format!("{name}_{sample}.JPEG"))).expect("writes");
        }
        // A grey one, as the data set has some.
        let grey = GrayImage::from_fn(64, 64, |x, y| Luma([pixel(class, 10, 0, y * 64 + x)]));
        grey.save(images.join(format!("{name}_10.JPEG"))).expect("writes");
    }
    fs::create_dir_all(folder.join("val/images")).expect("makes it");
    let mut table = String::new();
    for sample in 0..24_u32 {
        let (class, name) = (sample % 3, format!("val_{sample}.JPEG"));
        colour(class, sample).save(folder.join("val/images").join(&name)).expect("writes");
        table += &format!("{name}\t{}\t0\t0\t63\t63\n", classes[class as usize]);
    }
    fs::write(folder.join("val/val_annotations.txt"), table).expect("writes");
    fs::write(folder.join("wnids.txt"), classes.map(|name| name.to_owned() + "\n").concat()).expect("writes");
}

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
