//! The IDX format of the MNIST files: big-endian sizes, then unsigned bytes.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

/// Labelled images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Sample after sample, row by row.
    pub images: Vec<u8>,
    pub labels: Vec<u8>,
}

impl Samples {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of one sample.
    pub fn image(&self, index: usize) -> &[u8] {
        let pixels = self.shape.iter().product::<usize>();
        &self.images[index * pixels..(index + 1) * pixels]
    }
}

/// Why data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("failed to read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {problem}", path.display())]
    Format { path: PathBuf, problem: String },
    #[error("{field}: {problem}")]
    Specification { field: String, problem: String },
}

/// What a pair of files holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdxSummary {
    pub count: usize,
    /// Channels, height, width.
    pub shape: [usize; 3],
    pub largest_label: u8,
}

/// Reads images and their labels. Files ending in `.gz` are unpacked on the way.
///
/// # Errors
/// Names the file: it cannot be read, is no IDX file of bytes, is too short or too long, or the counts differ.
pub fn read(images: &Path, labels: &Path) -> Result<Samples, DataError> {
    let (sizes, pixels) = read_file(images)?;
    let (label_sizes, label_bytes) = read_file(labels)?;
    let shape = match sizes[..] {
        [_, height, width] => [1, height, width],
        [_, channels, height, width] => [channels, height, width],
        _ => return Err(format_error(images, format!("expected 3 or 4 dimensions, found {}", sizes.len()))),
    };
    if label_sizes.len() != 1 {
        return Err(format_error(labels, format!("expected 1 dimension, found {}", label_sizes.len())));
    }
    if sizes[0] != label_sizes[0] {
        return Err(format_error(labels, format!("holds {} labels for {} images", label_sizes[0], sizes[0])));
    }
    if sizes[0] == 0 {
        return Err(format_error(images, "holds no images".into()));
    }
    Ok(Samples { shape, images: pixels, labels: label_bytes })
}

/// Says what a pair of files holds; they are read whole, so that a short file is found.
///
/// # Errors
/// As [`read`].
pub fn inspect(images: &Path, labels: &Path) -> Result<IdxSummary, DataError> {
    let samples = read(images, labels)?;
    Ok(IdxSummary {
        count: samples.len(),
        shape: samples.shape,
        largest_label: samples.labels.iter().copied().max().unwrap_or(0),
    })
}

/// Writes samples as a pair of files.
pub fn write(samples: &Samples, images: &Path, labels: &Path) -> Result<(), DataError> {
    let [channels, height, width] = samples.shape;
    let sizes: Vec<usize> =
        if channels == 1 { vec![samples.len(), height, width] } else { vec![samples.len(), channels, height, width] };
    write_file(images, &sizes, &samples.images)?;
    write_file(labels, &[samples.len()], &samples.labels)
}

fn write_file(path: &Path, sizes: &[usize], bytes: &[u8]) -> Result<(), DataError> {
    let io_error = |source| DataError::Io { path: path.to_owned(), source };
    let mut file = File::create(path).map_err(io_error)?;
    let mut header = vec![0, 0, UNSIGNED_BYTE, sizes.len() as u8];
    for &size in sizes {
        header.extend((size as u32).to_be_bytes());
    }
    file.write_all(&header).and_then(|()| file.write_all(bytes)).map_err(io_error)
}

const UNSIGNED_BYTE: u8 = 0x08;

fn read_file(path: &Path) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let io_error = |source| DataError::Io { path: path.to_owned(), source };
    let file = BufReader::new(File::open(path).map_err(io_error)?);
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        GzDecoder::new(file).read_to_end(&mut bytes).map_err(io_error)?;
    } else {
        let mut file = file;
        file.read_to_end(&mut bytes).map_err(io_error)?;
    }
    let [0, 0, UNSIGNED_BYTE, dimensions, rest @ ..] = &bytes[..] else {
        return Err(format_error(path, "is not an IDX file of unsigned bytes".into()));
    };
    let dimensions = usize::from(*dimensions);
    if rest.len() < 4 * dimensions {
        return Err(format_error(path, "ends inside its header".into()));
    }
    let (header, data) = rest.split_at(4 * dimensions);
    let sizes: Vec<usize> =
        header.chunks_exact(4).map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize).collect();
    let expected = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    if expected != Some(data.len()) {
        return Err(format_error(path, format!("its header {sizes:?} does not fit its {} bytes of data", data.len())));
    }
    Ok((sizes, data.to_vec()))
}

fn format_error(path: &Path, problem: String) -> DataError {
    DataError::Format { path: path.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(images: &[u8], labels: &[u8]) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let (i, l) = (folder.path().join("images"), folder.path().join("labels"));
        std::fs::write(&i, images).expect("writes");
        std::fs::write(&l, labels).expect("writes");
        (folder, i, l)
    }

    const IMAGES: [u8; 18] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 7, 9];
    const LABELS: [u8; 10] = [0, 0, 8, 1, 0, 0, 0, 2, 4, 5];

    #[test]
    fn reads_hand_written_files() {
        let (_folder, images, labels) = files(&IMAGES, &LABELS);
        let samples = read(&images, &labels).expect("reads");
        assert_eq!(samples, Samples { shape: [1, 1, 1], images: vec![7, 9], labels: vec![4, 5] });
        let summary = inspect(&images, &labels).expect("reads");
        assert_eq!(summary, IdxSummary { count: 2, shape: [1, 1, 1], largest_label: 5 });
    }

    #[test]
    fn writes_what_it_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let (images, labels) = (folder.path().join("i"), folder.path().join("l"));
        for shape in [[1, 2, 3], [3, 2, 1]] {
            let samples = Samples { shape, images: (0..12).collect(), labels: vec![0, 1] };
            write(&samples, &images, &labels).expect("writes");
            assert_eq!(read(&images, &labels).expect("reads"), samples);
        }
    }

    #[test]
    fn bad_files_are_refused_by_name() {
        let refusal = |images: &[u8], labels: &[u8]| {
            let (_folder, i, l) = files(images, labels);
            read(&i, &l).expect_err("refused").to_string()
        };
        let mut wrong_magic = IMAGES;
        wrong_magic[2] = 0x0d;
        assert!(refusal(&wrong_magic, &LABELS).ends_with("images: is not an IDX file of unsigned bytes"));
        assert!(refusal(&IMAGES[..17], &LABELS).contains("does not fit its 1 bytes"));
        assert!(refusal(&IMAGES[..9], &LABELS).contains("ends inside its header"));
        assert!(refusal(&IMAGES, &[0, 0, 8, 1, 0, 0, 0, 1, 4]).contains("labels: holds 1 labels for 2 images"));
        let huge = [0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(refusal(&huge, &LABELS).contains("does not fit"));
        let missing = read(Path::new("nowhere/images"), Path::new("nowhere/labels")).expect_err("refused");
        assert!(missing.to_string().starts_with("failed to read nowhere/images"));
    }
}
