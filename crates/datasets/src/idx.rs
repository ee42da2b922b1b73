//! The IDX format of the MNIST files: big-endian sizes, then unsigned bytes.

use std::{
    cmp::Ordering,
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

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

    pub(crate) fn image_mut(&mut self, index: usize) -> &mut [u8] {
        let pixels = self.shape.iter().product::<usize>();
        &mut self.images[index * pixels..(index + 1) * pixels]
    }
}

/// Why data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("failed to {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: {problem}", path.display())]
    Format { path: PathBuf, problem: String },
    #[error("{field}: {problem}")]
    Specification { field: String, problem: String },
}

/// What a pair of files holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxSummary {
    pub labels: Vec<u8>,
    /// Channels, height, width.
    pub shape: [usize; 3],
}

/// Reads images (`[n, height, width]` or `[n, channels, height, width]`) and their labels (`[n]`).
/// Files ending in `.gz` are unpacked on the way.
///
/// # Errors
/// Names the file: it cannot be read, is no IDX file of bytes, is too short or too long, or the counts differ.
pub fn read(images: &Path, labels: &Path) -> Result<Samples, DataError> {
    let mut image_file = IdxFile::open(images)?;
    let mut label_file = IdxFile::open(labels)?;
    let shape = check_pair(&image_file, &label_file)?;
    Ok(Samples { shape, images: image_file.data()?, labels: label_file.data()? })
}

/// Says what a pair of files holds, without keeping the pixels in memory.
///
/// Labels are read; of images that are not packed, the header and the file's length.
///
/// # Errors
/// As [`read`].
pub fn inspect(images: &Path, labels: &Path) -> Result<IdxSummary, DataError> {
    let mut image_file = IdxFile::open(images)?;
    let mut label_file = IdxFile::open(labels)?;
    let shape = check_pair(&image_file, &label_file)?;
    image_file.check_length()?;
    Ok(IdxSummary { labels: label_file.data()?, shape })
}

/// The images' channels, height and width, if these are images and labels of the same samples.
fn check_pair(images: &IdxFile, labels: &IdxFile) -> Result<[usize; 3], DataError> {
    let shape = match images.sizes[..] {
        [_, height, width] => [1, height, width],
        [_, channels, height, width] => [channels, height, width],
        _ => return Err(images.wrong(format!("expected 3 or 4 dimensions, found {}", images.sizes.len()))),
    };
    let [count] = labels.sizes[..] else {
        return Err(labels.wrong(format!("expected 1 dimension, found {}", labels.sizes.len())));
    };
    if images.sizes[0] != count {
        return Err(labels.wrong(format!("holds {count} labels for {} images", images.sizes[0])));
    }
    if images.expected == 0 {
        return Err(images.wrong("holds no images".into()));
    }
    Ok(shape)
}

/// Writes samples as a pair of files, not packed.
///
/// # Errors
/// Names the file that cannot be written.
pub fn write(samples: &Samples, images: &Path, labels: &Path) -> Result<(), DataError> {
    let [channels, height, width] = samples.shape;
    let sizes: Vec<usize> =
        if channels == 1 { vec![samples.len(), height, width] } else { vec![samples.len(), channels, height, width] };
    write_file(images, &sizes, &samples.images)?;
    write_file(labels, &[samples.len()], &samples.labels)
}

fn write_file(path: &Path, sizes: &[usize], bytes: &[u8]) -> Result<(), DataError> {
    let io_error = |source| DataError::Io { action: "write", path: path.to_owned(), source };
    let mut file = File::create(path).map_err(io_error)?;
    let mut header = vec![0, 0, UNSIGNED_BYTE, sizes.len() as u8];
    for &size in sizes {
        header.extend((size as u32).to_be_bytes());
    }
    file.write_all(&header).and_then(|()| file.write_all(bytes)).map_err(io_error)
}

const UNSIGNED_BYTE: u8 = 0x08;

/// A file whose header has been read.
struct IdxFile {
    path: PathBuf,
    reader: Box<dyn Read>,
    sizes: Vec<usize>,
    /// Bytes of data that the header promises.
    expected: usize,
    /// Bytes after the header; known where the file is not packed.
    stored: Option<u64>,
}

impl IdxFile {
    fn open(path: &Path) -> Result<Self, DataError> {
        let io_error = |source| DataError::Io { action: "read", path: path.to_owned(), source };
        let format_error = |problem: &str| DataError::Format { path: path.to_owned(), problem: problem.to_owned() };
        let file = File::open(path).map_err(io_error)?;
        let packed = path.extension().is_some_and(|extension| extension == "gz");
        let on_disk = file.metadata().map_err(io_error)?.len();
        let mut reader: Box<dyn Read> =
            if packed { Box::new(MultiGzDecoder::new(BufReader::new(file))) } else { Box::new(BufReader::new(file)) };
        let mut read_some = |bytes: &mut [u8]| {
            reader.read_exact(bytes).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => format_error("ends inside its header"),
                _ => io_error(error),
            })
        };
        let mut magic = [0; 4];
        read_some(&mut magic)?;
        let [0, 0, UNSIGNED_BYTE, dimensions] = magic else {
            return Err(format_error("is not an IDX file of unsigned bytes"));
        };
        let mut header = vec![0; 4 * usize::from(dimensions)];
        read_some(&mut header)?;
        let sizes: Vec<usize> = header
            .chunks_exact(4)
            .map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize)
            .collect();
        let expected = sizes
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(size))
            .ok_or_else(|| format_error(&format!("its header {sizes:?} does not fit any file")))?;
        let stored = (!packed).then(|| on_disk.saturating_sub((magic.len() + header.len()) as u64));
        Ok(Self { path: path.to_owned(), reader, sizes, expected, stored })
    }

    /// Everything after the header.
    fn data(&mut self) -> Result<Vec<u8>, DataError> {
        // One byte more than promised: a file that is too long is found without reading all of it.
        let mut data = Vec::new();
        let source = (&mut self.reader).take((self.expected as u64).saturating_add(1)).read_to_end(&mut data);
        source.map_err(|source| DataError::Io { action: "read", path: self.path.clone(), source })?;
        self.check_stored(data.len() as u64)?;
        Ok(data)
    }

    fn check_length(&mut self) -> Result<(), DataError> {
        let stored = match self.stored {
            Some(stored) => stored,
            None => io::copy(&mut (&mut self.reader).take((self.expected as u64).saturating_add(1)), &mut io::sink())
                .map_err(|source| DataError::Io { action: "read", path: self.path.clone(), source })?,
        };
        self.check_stored(stored)
    }

    fn check_stored(&self, found: u64) -> Result<(), DataError> {
        let (expected, sizes) = (self.expected as u64, &self.sizes);
        match found.cmp(&expected) {
            Ordering::Equal => Ok(()),
            Ordering::Less => Err(self.wrong(format!("holds {found} of the {expected} bytes of its header {sizes:?}"))),
            Ordering::Greater => {
                Err(self.wrong(format!("holds more than the {expected} bytes of its header {sizes:?}")))
            }
        }
    }

    fn wrong(&self, problem: String) -> DataError {
        DataError::Format { path: self.path.clone(), problem }
    }
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
        assert_eq!(summary, IdxSummary { labels: vec![4, 5], shape: [1, 1, 1] });
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
    fn packed_files_are_unpacked_in_one_or_several_members() {
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("packs");
            encoder.finish().expect("packs")
        };
        let folder = tempfile::tempdir().expect("a folder");
        let (images, labels) = (folder.path().join("images.gz"), folder.path().join("labels.gz"));
        std::fs::write(&images, [gzip(&IMAGES[..10]), gzip(&IMAGES[10..])].concat()).expect("writes");
        std::fs::write(&labels, gzip(&LABELS)).expect("writes");
        assert_eq!(read(&images, &labels).expect("reads").images, [7, 9]);
        assert_eq!(inspect(&images, &labels).expect("reads").labels.len(), 2);

        std::fs::write(&images, gzip(&IMAGES[..17])).expect("writes");
        let refusal = inspect(&images, &labels).expect_err("refused").to_string();
        assert!(refusal.ends_with("images.gz: holds 1 of the 2 bytes of its header [2, 1, 1]"), "{refusal}");
        std::fs::write(&images, &gzip(&IMAGES)[..20]).expect("writes");
        assert!(read(&images, &labels).expect_err("refused").to_string().contains("images.gz"));
    }

    #[test]
    fn bad_files_are_refused_by_name() {
        let refusal = |images: &[u8], labels: &[u8]| {
            let (_folder, i, l) = files(images, labels);
            let refusal = read(&i, &l).expect_err("refused").to_string();
            assert_eq!(inspect(&i, &l).expect_err("refused").to_string(), refusal);
            refusal
        };
        let mut wrong_magic = IMAGES;
        wrong_magic[2] = 0x0d;
        assert!(refusal(&wrong_magic, &LABELS).ends_with("images: is not an IDX file of unsigned bytes"));
        assert!(refusal(&IMAGES[..17], &LABELS).ends_with("images: holds 1 of the 2 bytes of its header [2, 1, 1]"));
        assert!(refusal(&IMAGES[..9], &LABELS).contains("ends inside its header"));
        assert!(refusal(&IMAGES, &[0, 0, 8, 1, 0, 0, 0, 1, 4]).contains("labels: holds 1 labels for 2 images"));
        let huge = [0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(refusal(&huge, &LABELS).contains("does not fit any file"));
        assert!(
            refusal(&[&IMAGES[..], &[1]].concat(), &LABELS)
                .ends_with("images: holds more than the 2 bytes of its header [2, 1, 1]")
        );
        assert!(refusal(&LABELS, &LABELS).contains("images: expected 3 or 4 dimensions, found 1"));
        assert!(refusal(&IMAGES, &IMAGES).contains("labels: expected 1 dimension, found 3"));
        let missing = read(Path::new("nowhere/images"), Path::new("nowhere/labels")).expect_err("refused");
        assert!(missing.to_string().starts_with("failed to read nowhere/images"));
    }
}
