//! Drawn images of three classes, in files as CIFAR and TinyImageNet are published.

use std::{fs, path::Path};

use image::{GrayImage, Luma, Rgb, RgbImage};

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
pub fn records(count: u32, label_of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|sample| record(&label_of(sample % 3), sample % 3, sample)).collect()
}

/// CIFAR-10's binary version: five batches of 6 samples, 24 to test on.
pub fn write_cifar10(folder: &Path) {
    fs::create_dir_all(folder).expect("makes it");
    for batch in 1..=5 {
        let batch = folder.join(format!("data_batch_{batch}.bin"));
        fs::write(batch, records(6, |class| vec![class as u8])).expect("writes");
    }
    fs::write(folder.join("test_batch.bin"), records(24, |class| vec![class as u8])).expect("writes");
}

/// CIFAR-100's: 30 samples, 24 to test on.
pub fn write_cifar100(folder: &Path) {
    fs::create_dir_all(folder).expect("makes it");
    let labels = |class: u32| vec![19, class as u8];
    fs::write(folder.join("train.bin"), records(30, labels)).expect("writes");
    fs::write(folder.join("test.bin"), records(24, labels)).expect("writes");
}

/// TinyImageNet's folders: 33 samples of three classes, 24 to test on.
pub fn write_tiny_imagenet(folder: &Path) {
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
