//! TinyImageNet (Le and Yang, 2015): folders of JPEG files, one a class; the labels of `val` in a table.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use image::{ImageReader, Limits};

use crate::{
    DataError, PoolSamples, PoolSummary, Samples,
    pool::{unreadable, wrong},
};

/// The files of the data set in their order: training samples by class and name, then those of `val` by name.
struct Listing {
    /// Path and label.
    training: Vec<(PathBuf, u8)>,
    test: Vec<(PathBuf, u8)>,
}

/// Every image file of the data set, in the order in which it is read.
///
/// # Errors
/// Names the file or folder: it is not there, is a link, or names no class.
pub fn image_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(list(folder)?.all().map(|(path, _)| path.clone()).collect())
}

impl Listing {
    fn all(&self) -> impl Iterator<Item = &(PathBuf, u8)> {
        self.training.iter().chain(&self.test)
    }

    fn training_count(&self) -> usize {
        self.training.len()
    }
}

fn list(folder: &Path) -> Result<Listing, DataError> {
    let names = folder.join("wnids.txt");
    let text = fs::read_to_string(&names).map_err(unreadable(&names))?;
    let mut classes: Vec<&str> = text.split_whitespace().collect();
    classes.sort_unstable();
    if classes.is_empty() || classes.len() > 256 {
        return Err(wrong(&names, format!("names {} classes: from 1 to 256 are possible", classes.len())));
    }
    if let Some(twice) = classes.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong(&names, format!("names `{}` twice", twice[0])));
    }
    if let Some(strange) = classes.iter().find(|name| !name.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        return Err(wrong(&names, format!("`{strange}` is no name of a class")));
    }
    let label_of: BTreeMap<&str, u8> = classes.iter().enumerate().map(|(label, &name)| (name, label as u8)).collect();
    let mut training = Vec::new();
    for (&class, &label) in &label_of {
        let images = images_in(folder, &format!("train/{class}/images"))?;
        training.extend(images.into_iter().map(|(_, path)| (path, label)));
    }
    Ok(Listing { training, test: labelled_test_images(folder, &label_of)? })
}

/// The images of `val` with the labels of its table.
fn labelled_test_images(folder: &Path, label_of: &BTreeMap<&str, u8>) -> Result<Vec<(PathBuf, u8)>, DataError> {
    let table = folder.join("val/val_annotations.txt");
    let text = fs::read_to_string(&table).map_err(unreadable(&table))?;
    let mut labels: BTreeMap<&str, u8> = BTreeMap::new();
    for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
        let mut columns = row.split('\t');
        let (Some(image), Some(class)) = (columns.next(), columns.next()) else {
            return Err(wrong(&table, format!("line {line} has no class: `{row}`")));
        };
        let label =
            label_of.get(class).ok_or_else(|| wrong(&table, format!("line {line}: `{class}` is not in wnids.txt")))?;
        if labels.insert(image, *label).is_some() {
            return Err(wrong(&table, format!("line {line}: `{image}` is there twice")));
        }
    }
    let images = images_in(folder, "val/images")?;
    if images.len() < labels.len() {
        let is_there = |name: &&&str| images.iter().any(|(image, _)| image == **name);
        let missing = labels.keys().find(|name| !is_there(name)).copied().unwrap_or_default();
        return Err(wrong(&folder.join("val/images").join(missing), "is missing, but val_annotations.txt names it"));
    }
    images
        .into_iter()
        .map(|(name, path)| match labels.get(name.as_str()) {
            Some(&label) => Ok((path, label)),
            None => Err(wrong(&path, "is not in val_annotations.txt")),
        })
        .collect()
}

/// The JPEG files of a folder by name. Links are refused: whoever lets a folder be read has not let others be read.
fn images_in(root: &Path, below: &str) -> Result<Vec<(String, PathBuf)>, DataError> {
    let folder = root.join(below);
    let resolve = |path: &Path| fs::canonicalize(path).map_err(unreadable(path));
    if resolve(&folder)? != resolve(root)?.join(below) {
        return Err(wrong(&folder, "is reached by a link: only the data set's own folder may be one"));
    }
    let mut images = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
        let entry = entry.map_err(unreadable(&folder))?;
        let path = entry.path();
        let is_jpeg = path.extension().is_some_and(|end| ["jpeg", "jpg"].iter().any(|e| end.eq_ignore_ascii_case(e)));
        if !is_jpeg {
            continue;
        }
        if !entry.file_type().map_err(unreadable(&path))?.is_file() {
            return Err(wrong(&path, "is no file (links are not followed)"));
        }
        let name = entry.file_name().into_string().map_err(|_| wrong(&path, "has a name that is no text"))?;
        images.push((name, path));
    }
    if images.is_empty() {
        return Err(wrong(&folder, "holds no JPEG files"));
    }
    images.sort_unstable();
    Ok(images)
}

/// Pixels of an image's height and width: no model takes larger ones. A file of a few bytes may claim to be vast.
const LARGEST_SIDE: u32 = 1024;

fn open(path: &Path) -> Result<ImageReader<BufReader<File>>, DataError> {
    let mut reader = ImageReader::open(path).map_err(unreadable(path))?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(LARGEST_SIDE), Some(LARGEST_SIDE));
    reader.limits(limits);
    Ok(reader)
}

/// Height and width, from the header.
fn size_of(path: &Path) -> Result<[usize; 2], DataError> {
    let reader = open(path)?;
    let (width, height) = reader.into_dimensions().map_err(|error| wrong(path, error.to_string()))?;
    Ok([height as usize, width as usize])
}

/// Three channels, one after another; grey images have three equal ones.
fn decode(path: &Path, [height, width]: [usize; 2], into: &mut Vec<u8>) -> Result<(), DataError> {
    let image = open(path)?.decode().map_err(|error| wrong(path, error.to_string()))?.to_rgb8();
    if [image.height() as usize, image.width() as usize] != [height, width] {
        let (found_width, found_height) = image.dimensions();
        return Err(wrong(path, format!("has {found_height}×{found_width} pixels, but the others {height}×{width}")));
    }
    // Rows of red, green, blue → planes.
    let pixels = image.into_raw();
    for channel in 0..3 {
        into.extend(pixels.iter().skip(channel).step_by(3));
    }
    Ok(())
}

pub(crate) fn read(folder: &Path) -> Result<PoolSamples, DataError> {
    let listing = list(folder)?;
    let size = size_of(&listing.training[0].0)?;
    let [height, width] = size;
    // Grows as images are decoded: the first one's header says how large all are before any is.
    let mut images = Vec::new();
    for (path, _) in listing.all() {
        decode(path, size, &mut images)?;
    }
    let labels = listing.all().map(|&(_, label)| label).collect();
    let samples = Samples { shape: [3, height, width], images, labels };
    Ok(PoolSamples { samples, training: Some(listing.training_count()) })
}

pub(crate) fn inspect(folder: &Path) -> Result<PoolSummary, DataError> {
    let listing = list(folder)?;
    let [height, width] = size_of(&listing.training[0].0)?;
    let labels = listing.all().map(|&(_, label)| label).collect();
    Ok(PoolSummary { labels, training: Some(listing.training_count()), shape: [3, height, width] })
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    /// One colour, which JPEG keeps within rounding.
    fn colour(red: u8, green: u8, blue: u8) -> DynamicImage {
        RgbImage::from_pixel(16, 16, Rgb([red, green, blue])).into()
    }

    fn save(image: DynamicImage, folder: &Path, name: &str) {
        fs::create_dir_all(folder).expect("makes it");
        image.save(folder.join(name)).expect("writes");
    }

    /// Two classes of two training images, one of them grey, and three test images.
    fn tiny() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let at = |below: &str| root.path().join(below);
        save(colour(200, 10, 10), &at("train/n02/images"), "n02_1.JPEG");
        save(colour(10, 200, 10), &at("train/n02/images"), "n02_0.JPEG");
        save(colour(10, 10, 200), &at("train/n01/images"), "n01_0.JPEG");
        save(GrayImage::from_pixel(16, 16, Luma([90])).into(), &at("train/n01/images"), "n01_1.JPEG");
        fs::write(at("train/n01/n01_boxes.txt"), "n01_0.JPEG\t0\t0\t9\t9\n").expect("writes");
        for (name, shade) in [("val_1.JPEG", 30), ("val_0.JPEG", 60), ("val_2.JPEG", 90)] {
            save(colour(shade, shade, shade), &at("val/images"), name);
        }
        let rows = "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\nval_2.JPEG\tn02\t0\t0\t9\t9\n";
        fs::write(at("val/val_annotations.txt"), rows).expect("writes");
        fs::write(at("wnids.txt"), "n02\nn01\n").expect("writes");
        root
    }

    #[test]
    fn classes_are_numbered_by_name_and_images_come_in_order_with_val_last() {
        let root = tiny();
        let PoolSamples { samples, training } = read(root.path()).expect("reads");
        assert_eq!(samples.labels, [0, 0, 1, 1, 1, 0, 1]);
        assert_eq!((samples.shape, training), ([3, 16, 16], Some(4)));
        // Mean of each channel's plane, against the colour that was written.
        let expected =
            [[10, 10, 200], [90, 90, 90], [10, 200, 10], [200, 10, 10], [60, 60, 60], [30, 30, 30], [90, 90, 90]];
        for (index, colour) in expected.iter().enumerate() {
            for (plane, &value) in samples.image(index).chunks(256).zip(colour) {
                assert!(plane.iter().all(|pixel| pixel.abs_diff(value) <= 4), "image {index}: {plane:?} for {value}");
            }
        }
        let summary = inspect(root.path()).expect("reads");
        assert_eq!(summary, PoolSummary { labels: samples.labels, training: Some(4), shape: [3, 16, 16] });
        let files = image_files(root.path()).expect("lists");
        assert_eq!(files.len(), 7);
        assert!(files[0].ends_with("train/n01/images/n01_0.JPEG") && files[6].ends_with("val/images/val_2.JPEG"));
    }

    fn refusal(spoil: &dyn Fn(&Path)) -> String {
        let root = tiny();
        spoil(root.path());
        read(root.path()).expect_err("refused").to_string()
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let class = refusal(&|root| fs::write(root.join("wnids.txt"), "n01 n02 n03").expect("writes"));
        assert!(class.contains("failed to read") && class.contains("train/n03/images"), "{class}");
        let unknown = refusal(&|root| fs::write(root.join("val/val_annotations.txt"), "val_0.JPEG\tn09").expect("ok"));
        assert!(unknown.ends_with("val_annotations.txt: line 1: `n09` is not in wnids.txt"), "{unknown}");
        let unlisted = refusal(&|root| save(colour(1, 1, 1), &root.join("val/images"), "val_9.JPEG"));
        assert!(unlisted.ends_with("val_9.JPEG: is not in val_annotations.txt"), "{unlisted}");
        let gone = refusal(&|root| fs::remove_file(root.join("val/images/val_1.JPEG")).expect("removes"));
        assert!(gone.ends_with("val_1.JPEG: is missing, but val_annotations.txt names it"), "{gone}");
        let outside = refusal(&|root| fs::write(root.join("wnids.txt"), "n01 ../n02").expect("writes"));
        assert!(outside.ends_with("`../n02` is no name of a class"), "{outside}");
    }

    #[test]
    fn broken_and_unequal_images_are_refused_by_name() {
        let broken = refusal(&|root| fs::write(root.join("train/n02/images/n02_1.JPEG"), "no JPEG").expect("writes"));
        assert!(broken.contains("train/n02/images/n02_1.JPEG: "), "{broken}");
        let cut = refusal(&|root| {
            let path = root.join("val/images/val_0.JPEG");
            let whole = fs::read(&path).expect("reads");
            fs::write(&path, &whole[..whole.len() / 4]).expect("writes");
        });
        assert!(cut.contains("val/images/val_0.JPEG: "), "{cut}");
        let large = RgbImage::from_pixel(24, 16, Rgb([0, 0, 0]));
        let unequal = refusal(&|root| save(large.clone().into(), &root.join("train/n02/images"), "n02_0.JPEG"));
        assert!(unequal.ends_with("n02_0.JPEG: has 16×24 pixels, but the others 16×16"), "{unequal}");
    }

    #[test]
    fn links_out_of_the_folder_are_not_followed() {
        let other = tiny();
        let linked = refusal(&|root| {
            let link = root.join("train/n01/images/n01_2.JPEG");
            std::os::unix::fs::symlink(other.path().join("train/n01/images/n01_0.JPEG"), link).expect("links");
        });
        assert!(linked.ends_with("n01_2.JPEG: is no file (links are not followed)"), "{linked}");
        let folder = refusal(&|root| {
            fs::remove_dir_all(root.join("val/images")).expect("removes");
            std::os::unix::fs::symlink(other.path().join("val/images"), root.join("val/images")).expect("links");
        });
        assert!(folder.contains("val/images: is reached by a link"), "{folder}");
    }
}
