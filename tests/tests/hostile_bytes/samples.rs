use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use image::{DynamicImage, ImageFormat, RgbImage};
use rewind_datasets::{Samples, idx, inspect_pool, read_pool, tiny_imagenet};
use rewind_hostile_bytes::{Answer, Parser};
use rewind_job::Pool;

use crate::naming;

fn samples(channels: usize) -> Samples {
    let pixels = channels * 9 * 8;
    Samples { shape: [channels, 9, 8], images: (0..5 * pixels).map(|i| i as u8).collect(), labels: vec![3, 1, 4, 1, 5] }
}

/// Images and labels as files, and as bytes.
fn idx_seeds(folder: &Path, channels: usize) -> [Vec<u8>; 2] {
    let [images, labels] = ["images", "labels"].map(|name| folder.join(name));
    idx::write(&samples(channels), &images, &labels).expect("writes");
    [images, labels].map(|path| fs::read(path).expect("reads"))
}

/// Reads both files, and looks into them; the answers agree.
fn read_idx(images: &Path, labels: &Path) -> Answer {
    let looked = idx::inspect(images, labels).map_err(|error| {
        let both = format!("{error} {} {}", images.display(), labels.display());
        assert!(error.to_string().contains(&images.parent().expect("a folder").display().to_string()), "{error}");
        both
    });
    let read = idx::read(images, labels);
    assert_eq!(read.is_ok(), looked.is_ok(), "{read:?} {looked:?}");
    let (read, looked) = (read.map_err(|error| error.to_string())?, looked?);
    assert_eq!((&read.labels, read.shape), (&looked.labels, looked.shape));
    assert_eq!(read.images.len(), looked.labels.len() * looked.shape.iter().product::<usize>());
    Ok(())
}

#[test]
fn idx_images_and_labels_are_refused_by_name_or_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let [images, labels] = ["images", "labels"].map(|name| folder.path().join(name));
    for channels in [1, 3] {
        let [good_images, good_labels] = idx_seeds(folder.path(), channels);
        fs::write(&labels, &good_labels).expect("writes");
        Parser::of("IDX images").cases(1500).run(std::slice::from_ref(&good_images), |bytes| {
            fs::write(&images, bytes).expect("writes");
            read_idx(&images, &labels)
        });
        fs::write(&images, &good_images).expect("writes");
        Parser::of("IDX labels").cases(1500).run(&[good_labels], |bytes| {
            fs::write(&labels, bytes).expect("writes");
            read_idx(&images, &labels)
        });
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("packs")
}

#[test]
fn packed_idx_files_are_refused_by_name_or_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let [images, labels] = ["images.gz", "labels"].map(|name| folder.path().join(name));
    let [good_images, _] = idx_seeds(folder.path(), 1);
    Parser::of("packed IDX images").cases(1500).run(&[packed(&good_images)], |bytes| {
        fs::write(&images, bytes).expect("writes");
        read_idx(&images, &labels)
    });
    Parser::of("IDX images, packed").cases(1500).run(&[good_images], |bytes| {
        fs::write(&images, packed(bytes)).expect("writes");
        read_idx(&images, &labels)
    });
}

/// A file that unpacks to a thousand times its size, with a header that promises less, or far more.
#[test]
fn a_packed_file_that_swells_is_refused_before_it_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let [images, labels] = ["images.gz", "labels"].map(|name| folder.path().join(name));
    idx_seeds(folder.path(), 1);
    let swollen = |sizes: [u32; 3]| {
        let mut bytes = vec![0, 0, 8, 3];
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes.resize(64 << 20, 7);
        packed(&bytes)
    };
    let (small, vast) = (swollen([5, 9, 8]), swollen([5, u32::MAX, 8]));
    fs::write(&images, &small).expect("writes");
    let memory = allocation_counter::measure(|| {
        let refusal = read_idx(&images, &labels).expect_err("too long");
        assert!(refusal.contains("holds more than the 360 bytes"), "{refusal}");
    });
    assert!(memory.bytes_max < 256 << 10, "took {} bytes", memory.bytes_max);
    fs::write(&images, &vast).expect("writes");
    let refusal = idx::inspect(&images, &labels).expect_err("too short").to_string();
    assert!(refusal.contains("images.gz: holds"), "{refusal}");
}

fn read_folder(pool: &Pool, folder: &Path) -> Answer {
    let looked = inspect_pool(pool).map_err(|error| naming(folder, error));
    let read = read_pool(pool).map_err(|error| naming(folder, error))?;
    let looked = looked.expect("what is read whole can be looked into");
    let samples = read.samples;
    assert_eq!((&samples.labels, samples.shape, read.training), (&looked.labels, looked.shape, looked.training));
    assert_eq!(samples.images.len(), samples.len() * samples.shape.iter().product::<usize>());
    Ok(())
}

#[test]
fn cifar_files_are_refused_by_name_or_whole() {
    let record = |labels: &[u8]| [labels, &[9; 3072]].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let ten = Pool::Cifar10(folder.path().to_owned());
    for name in (1..=5).map(|number| format!("data_batch_{number}.bin")).chain(["test_batch.bin".to_owned()]) {
        fs::write(folder.path().join(name), record(&[3])).expect("writes");
    }
    let spoilt = folder.path().join("data_batch_2.bin");
    Parser::of("CIFAR-10").cases(300).memory(4 << 20).run(&[[record(&[3]), record(&[9])].concat()], |bytes| {
        fs::write(&spoilt, bytes).expect("writes");
        read_folder(&ten, folder.path())
    });
    let hundred = Pool::Cifar100(folder.path().to_owned());
    fs::write(folder.path().join("train.bin"), record(&[3, 42])).expect("writes");
    let spoilt = folder.path().join("test.bin");
    Parser::of("CIFAR-100").cases(300).memory(4 << 20).run(&[[record(&[3, 42]), record(&[9, 99])].concat()], |bytes| {
        fs::write(&spoilt, bytes).expect("writes");
        read_folder(&hundred, folder.path())
    });
}

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8 * 9, y as u8 * 7, 90]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Jpeg).expect("writes");
    bytes.into_inner()
}

const NAMES: &str = "n01\nn02\n";
const TABLE: &str = "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n";

/// Two classes of one image, and two test images.
fn tiny() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let at = |below: &str| root.path().join(below);
    for folder in ["train/n01/images", "train/n02/images", "val/images"] {
        fs::create_dir_all(at(folder)).expect("makes it");
    }
    for name in ["train/n01/images/a.JPEG", "train/n02/images/b.JPEG", "val/images/val_0.JPEG", "val/images/val_1.JPEG"]
    {
        fs::write(at(name), jpeg(16, 16)).expect("writes");
    }
    fs::write(at("val/val_annotations.txt"), TABLE).expect("writes");
    fs::write(at("wnids.txt"), NAMES).expect("writes");
    root
}

#[test]
fn tiny_imagenets_tables_are_refused_by_name_or_followed() {
    let root = tiny();
    let pool = Pool::TinyImagenet(root.path().to_owned());
    for (name, seed) in [("wnids.txt", NAMES), ("val/val_annotations.txt", TABLE)] {
        let file = root.path().join(name);
        Parser::of("TinyImageNet's tables").cases(700).memory(16 << 20).run(&[seed.into()], |bytes| {
            fs::write(&file, bytes).expect("writes");
            let listed = tiny_imagenet::image_files(root.path()).map_err(|error| naming(root.path(), error));
            assert!(listed.iter().flatten().all(|path| path.starts_with(root.path())), "{listed:?}");
            read_folder(&pool, root.path())
        });
        fs::write(&file, seed).expect("writes");
    }
}

#[test]
fn jpeg_files_are_refused_by_name_or_drawn() {
    let root = tiny();
    let pool = Pool::TinyImagenet(root.path().to_owned());
    // The first one, which says how large all others are, and one of the others.
    for name in ["train/n01/images/a.JPEG", "val/images/val_1.JPEG"] {
        let file = root.path().join(name);
        Parser::of("JPEG").cases(800).memory(64 << 20).run(&[jpeg(16, 16)], |bytes| {
            fs::write(&file, bytes).expect("writes");
            // A spoilt header may be another size of image than the others have, which reading alone finds.
            read_pool(&pool).map_err(|error| naming(root.path(), error))?;
            read_folder(&pool, root.path())
        });
        fs::write(&file, jpeg(16, 16)).expect("writes");
    }
}

/// A header says how large an image is, before there is any of it.
#[test]
fn a_jpeg_that_claims_to_be_vast_takes_no_memory() {
    let root = tiny();
    let pool = Pool::TinyImagenet(root.path().to_owned());
    // What is claimed of one is claimed of all.
    for number in 0..100 {
        fs::write(root.path().join(format!("train/n02/images/{number}.JPEG")), jpeg(16, 16)).expect("writes");
    }
    let file = root.path().join("train/n01/images/a.JPEG");
    let claiming = |height: u16, width: u16| {
        let mut bytes = jpeg(16, 16);
        let frame = bytes.windows(2).position(|marker| marker == [0xFF, 0xC0]).expect("has a frame");
        bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
        bytes
    };
    for (height, width) in [(u16::MAX, u16::MAX), (4096, 4096), (16, u16::MAX), (1024, 1024)] {
        fs::write(&file, claiming(height, width)).expect("writes");
        let memory = allocation_counter::measure(|| {
            let refusal = naming(root.path(), read_pool(&pool).expect_err("no such image"));
            // A size that images have is found to be a lie where the next one has another.
            assert_eq!(refusal.contains("a.JPEG"), height != 1024, "{refusal}");
        });
        assert!(memory.bytes_max < 64 << 20, "{height} by {width} took {} bytes", memory.bytes_max);
    }
}
