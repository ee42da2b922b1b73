//! The binary version of CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): records of labels and a 32×32 image, channel by channel.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{
    DataError, PoolSamples, PoolSummary, Samples,
    pool::{unreadable, wrong},
};

/// Channels, height, width.
const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = SHAPE[0] * SHAPE[1] * SHAPE[2];

/// One of the two data sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cifar {
    training: &'static [&'static str],
    test: &'static str,
    /// Bytes before a record's pixels; the last one is the label.
    label_bytes: usize,
    classes: u8,
}

pub(crate) const CIFAR10: Cifar = Cifar {
    training: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    label_bytes: 1,
    classes: 10,
};

/// Its records hold the coarse label and then the fine one.
pub(crate) const CIFAR100: Cifar = Cifar { training: &["train.bin"], test: "test.bin", label_bytes: 2, classes: 100 };

impl Cifar {
    fn record(self) -> usize {
        self.label_bytes + PIXELS
    }

    /// Its files, training samples first, and how many records each holds.
    fn files(self, folder: &Path) -> Result<Vec<(PathBuf, usize)>, DataError> {
        let files = self.training.iter().copied().chain([self.test]);
        files
            .map(|name| {
                let path = folder.join(name);
                let bytes = fs::metadata(&path).map_err(unreadable(&path))?.len() as usize;
                let record = self.record();
                if bytes == 0 || !bytes.is_multiple_of(record) {
                    return Err(wrong(&path, format!("has {bytes} bytes, which are no records of {record} bytes")));
                }
                Ok((path, bytes / record))
            })
            .collect()
    }

    /// Visits a file's records: label and pixels.
    fn for_each_record(self, path: &Path, records: usize, mut visit: impl FnMut(u8, &[u8])) -> Result<(), DataError> {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable(path))?);
        let mut record = vec![0; self.record()];
        for index in 0..records {
            reader.read_exact(&mut record).map_err(unreadable(path))?;
            let (labels, pixels) = record.split_at(self.label_bytes);
            let label = labels[self.label_bytes - 1];
            if label >= self.classes {
                let problem = format!("label {label} of record {index} is not one of {} classes", self.classes);
                return Err(wrong(path, problem));
            }
            visit(label, pixels);
        }
        Ok(())
    }
}

/// Records of the training files, then of the test file.
fn training_of(files: &[(PathBuf, usize)]) -> usize {
    files[..files.len() - 1].iter().map(|&(_, records)| records).sum()
}

pub(crate) fn read(folder: &Path, set: Cifar) -> Result<PoolSamples, DataError> {
    let files = set.files(folder)?;
    let count: usize = files.iter().map(|&(_, records)| records).sum();
    let mut samples =
        Samples { shape: SHAPE, images: Vec::with_capacity(count * PIXELS), labels: Vec::with_capacity(count) };
    for (path, records) in &files {
        set.for_each_record(path, *records, |label, pixels| {
            samples.labels.push(label);
            samples.images.extend_from_slice(pixels);
        })?;
    }
    Ok(PoolSamples { samples, training: Some(training_of(&files)) })
}

pub(crate) fn inspect(folder: &Path, set: Cifar) -> Result<PoolSummary, DataError> {
    let files = set.files(folder)?;
    let mut labels = Vec::new();
    for (path, records) in &files {
        set.for_each_record(path, *records, |label, _| labels.push(label))?;
    }
    Ok(PoolSummary { labels, training: Some(training_of(&files)), shape: SHAPE })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Label bytes, then pixels that follow from `seed`.
    fn record(labels: &[u8], seed: u8) -> Vec<u8> {
        let pixels = (0..PIXELS).map(|at| (at as u8).wrapping_mul(7).wrapping_add(seed));
        labels.iter().copied().chain(pixels).collect()
    }

    fn cifar10() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (index, name) in (0_u8..).zip(CIFAR10.training) {
            let two = [record(&[index], index), record(&[9 - index], 100 + index)].concat();
            std::fs::write(folder.path().join(name), two).expect("writes");
        }
        std::fs::write(folder.path().join("test_batch.bin"), record(&[7], 200)).expect("writes");
        folder
    }

    #[test]
    fn the_batches_of_cifar10_come_in_their_order_and_the_test_batch_last() {
        let folder = cifar10();
        let PoolSamples { samples, training } = read(folder.path(), CIFAR10).expect("reads");
        assert_eq!(samples.labels, [0, 9, 1, 8, 2, 7, 3, 6, 4, 5, 7]);
        assert_eq!((samples.shape, training), ([3, 32, 32], Some(10)));
        assert_eq!(samples.image(3), &record(&[8], 101)[1..]);
        assert_eq!(samples.image(10), &record(&[7], 200)[1..]);
        let summary = inspect(folder.path(), CIFAR10).expect("reads");
        assert_eq!(summary, PoolSummary { labels: samples.labels, training: Some(10), shape: [3, 32, 32] });
    }

    #[test]
    fn cifar100_is_read_with_its_fine_labels() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("train.bin"), [record(&[19, 99], 1), record(&[3, 42], 2)].concat())
            .expect("writes");
        std::fs::write(folder.path().join("test.bin"), record(&[0, 5], 3)).expect("writes");
        let PoolSamples { samples, training } = read(folder.path(), CIFAR100).expect("reads");
        assert_eq!((samples.labels.as_slice(), training), (&[99, 42, 5][..], Some(2)));
        assert_eq!(samples.image(1), &record(&[3, 42], 2)[2..]);
        assert_eq!(inspect(folder.path(), CIFAR100).expect("reads").largest_label(), 99);
    }

    #[test]
    fn bad_files_are_refused_by_name_and_alike_when_only_looked_into() {
        let refusal = |spoil: &dyn Fn(&Path)| {
            let folder = cifar10();
            spoil(folder.path());
            let refusal = read(folder.path(), CIFAR10).expect_err("refused").to_string();
            assert_eq!(inspect(folder.path(), CIFAR10).expect_err("refused").to_string(), refusal);
            refusal
        };
        let missing = refusal(&|folder| std::fs::remove_file(folder.join("data_batch_3.bin")).expect("removes"));
        assert!(missing.contains("failed to read") && missing.contains("data_batch_3.bin"), "{missing}");
        let short = refusal(&|folder| std::fs::write(folder.join("test_batch.bin"), vec![0; 3000]).expect("writes"));
        assert!(short.ends_with("test_batch.bin: has 3000 bytes, which are no records of 3073 bytes"), "{short}");
        let label = refusal(&|folder| {
            let two = [record(&[1], 0), record(&[10], 0)].concat();
            std::fs::write(folder.join("data_batch_2.bin"), two).expect("writes");
        });
        assert!(label.ends_with("data_batch_2.bin: label 10 of record 1 is not one of 10 classes"), "{label}");
    }
}
