//! The Dense layers of a Keras file, in the order of its model.
//!
//! Three layouts are read: `save_weights` of Keras 2 (attributes `layer_names` and `weight_names`), `save` of Keras 2
//! and 3 (the same below a group `model_weights`), and `save_weights` of Keras 3 (`layers/{name}/vars/{number}`).

use std::cmp::Ordering;

use hdf5_pure::{AttrValue, DType, Dataset, File, Group};

use crate::KerasError;

/// The published networks have 250 KB; with the optimiser's state three times as much.
const LARGEST_FILE: usize = 64 << 20;
/// No array of the network is larger: it bounds what a damaged file can make us allocate.
const LARGEST_ARRAY: usize = 1 << 20;
/// Groups within groups of a Keras 3 file.
const DEEPEST_GROUP: usize = 16;

/// `y = x · kernel + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// The layer of the model that it belongs to: itself, or a block of several.
    pub layer: String,
    /// Path of its kernel's dataset in the file.
    pub dataset: String,
    pub inputs: usize,
    pub outputs: usize,
    /// `[inputs, outputs]`, row by row.
    pub kernel: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
}

/// An array of the file, not yet read.
struct Array {
    layer: String,
    /// Its path in the file.
    path: String,
    shape: Vec<usize>,
    dataset: Dataset,
}

/// The length that the superblock gives, where it stands at the start of the file and has addresses of eight bytes
/// (HDF5 file format, II.A). A file that lacks but its last bytes may read well, and yet is not whole.
fn end_of_file(bytes: &[u8]) -> Option<u64> {
    let (size_of_addresses, at) = match bytes.get(8)? {
        0 => (bytes.get(13)?, 40),
        1 => (bytes.get(13)?, 44),
        2 | 3 => (bytes.get(9)?, 28),
        _ => return None,
    };
    let address: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
    (*size_of_addresses == 8).then(|| u64::from_le_bytes(address))
}

/// # Errors
/// Not HDF5, not Keras, damaged, or an array that belongs to no Dense layer: each error names the place.
pub fn read(bytes: Vec<u8>) -> Result<Vec<Dense>, KerasError> {
    if bytes.len() > LARGEST_FILE {
        return Err(KerasError::TooLarge { bytes: bytes.len(), limit: LARGEST_FILE });
    }
    if !hdf5_pure::is_hdf5_bytes(&bytes) {
        return Err(KerasError::NotHdf5);
    }
    if let Some(whole) = end_of_file(&bytes).filter(|&whole| whole > bytes.len() as u64) {
        let reason = format!("it is truncated: {} of its {whole} bytes are there", bytes.len());
        return Err(KerasError::Damaged { place: "the file".to_owned(), reason });
    }
    let file = File::from_bytes(bytes).map_err(damaged("the file"))?;
    let arrays = arrays(&file)?;
    let mut dense = Vec::new();
    let mut arrays = arrays.iter();
    while let Some(first) = arrays.next() {
        dense.push(pair(first, arrays.next())?);
    }
    Ok(dense)
}

/// The arrays of all layers, in the model's order.
fn arrays(file: &File) -> Result<Vec<Array>, KerasError> {
    let root = file.root();
    let groups = root.groups().map_err(damaged("the root group"))?;
    let (model, above) = match groups.iter().any(|name| name == "model_weights") {
        true => (file.group("model_weights").map_err(damaged("model_weights"))?, "model_weights/"),
        false => (file.root(), ""),
    };
    let mut arrays = Vec::new();
    match names(&model, "layer_names", "the model")? {
        Some(layers) => {
            for layer in layers {
                let place = format!("{above}{layer}");
                let group = model.group(&layer).map_err(damaged(&place))?;
                for weight in names(&group, "weight_names", &place)?.unwrap_or_default() {
                    let path = format!("{place}/{weight}");
                    let dataset = group.dataset(&weight).map_err(damaged(&path))?;
                    arrays.push(Array::new(&layer, path, dataset)?);
                }
            }
        }
        None if groups.iter().any(|name| name == "layers") => {
            let layers = root.group("layers").map_err(damaged("layers"))?;
            for name in in_order(layers.groups().map_err(damaged("layers"))?) {
                let path = format!("layers/{name}");
                let layer = layers.group(&name).map_err(damaged(&path))?;
                walk(&layer, &name, &path, DEEPEST_GROUP, &mut arrays)?;
            }
        }
        None => return Err(KerasError::NotKeras),
    }
    Ok(arrays)
}

/// All arrays below a group, those of `vars` first.
fn walk(group: &Group, layer: &str, path: &str, depth: usize, arrays: &mut Vec<Array>) -> Result<(), KerasError> {
    if depth == 0 {
        return Err(KerasError::Damaged { place: path.to_owned(), reason: "too many groups within groups".to_owned() });
    }
    for name in in_order(group.datasets().map_err(damaged(path))?) {
        let path = format!("{path}/{name}");
        let dataset = group.dataset(&name).map_err(damaged(&path))?;
        arrays.push(Array::new(layer, path, dataset)?);
    }
    for name in in_order(group.groups().map_err(damaged(path))?) {
        let path = format!("{path}/{name}");
        let below = group.group(&name).map_err(damaged(&path))?;
        walk(&below, layer, &path, depth - 1, arrays)?;
    }
    Ok(())
}

/// The strings of an attribute; `None` without one, and none where it is empty (h5py writes that as an array of float64).
fn names(group: &Group, attribute: &str, place: &str) -> Result<Option<Vec<String>>, KerasError> {
    let attributes = group.attrs().map_err(damaged(place))?;
    let Some(value) = attributes.get(attribute) else { return Ok(None) };
    if matches!(value, AttrValue::F64Array(values) if values.is_empty()) {
        return Ok(Some(Vec::new()));
    }
    match value.as_strings() {
        Some(names) => Ok(Some(names.to_vec())),
        None => Err(KerasError::Damaged {
            place: place.to_owned(),
            reason: format!("the attribute `{attribute}` is no list of names"),
        }),
    }
}

impl Array {
    fn new(layer: &str, path: String, dataset: Dataset) -> Result<Self, KerasError> {
        let shape = dataset.shape().map_err(damaged(&path))?;
        let shape = shape.into_iter().map(|side| usize::try_from(side).unwrap_or(usize::MAX)).collect();
        Ok(Self { layer: layer.to_owned(), path, shape, dataset })
    }

    fn values(&self) -> Result<Vec<f32>, KerasError> {
        let elements = self.shape.iter().try_fold(1usize, |all, &side| all.checked_mul(side));
        let Some(elements) = elements.filter(|&elements| elements <= LARGEST_ARRAY) else {
            return Err(KerasError::NotDense { dataset: self.path.clone(), found: self.shape.clone() });
        };
        let values: Vec<f32> = match self.dataset.dtype().map_err(damaged(&self.path))? {
            DType::F32 => self.dataset.read_f32().map_err(damaged(&self.path))?,
            DType::F64 => {
                let values = self.dataset.read_f64().map_err(damaged(&self.path))?;
                values.into_iter().map(|value| value as f32).collect()
            }
            other => return Err(KerasError::ElementType { dataset: self.path.clone(), found: other.to_string() }),
        };
        if values.len() != elements {
            let reason = format!("{} values for shape {:?}", values.len(), self.shape);
            return Err(KerasError::Damaged { place: self.path.clone(), reason });
        }
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(KerasError::NotFinite { dataset: self.path.clone() }),
        }
    }
}

/// A kernel and the bias beside it.
fn pair(first: &Array, second: Option<&Array>) -> Result<Dense, KerasError> {
    let (kernel, bias) = match (first.shape.len(), second.map(|second| second.shape.len())) {
        (2, Some(1)) => (first, second),
        (1, Some(2)) => (second.unwrap_or(first), Some(first)),
        (2, _) => return Err(KerasError::NoBias { dataset: first.path.clone() }),
        (1, _) => return Err(KerasError::NoKernel { dataset: first.path.clone() }),
        _ => return Err(KerasError::NotDense { dataset: first.path.clone(), found: first.shape.clone() }),
    };
    let Some(bias) = bias.filter(|bias| bias.layer == kernel.layer) else {
        return Err(KerasError::NoBias { dataset: kernel.path.clone() });
    };
    let (inputs, outputs) = (kernel.shape[0], kernel.shape[1]);
    if bias.shape != [outputs] {
        return Err(KerasError::BiasShape {
            dataset: bias.path.clone(),
            found: bias.shape.clone(),
            kernel: kernel.path.clone(),
            outputs,
        });
    }
    Ok(Dense {
        layer: kernel.layer.clone(),
        dataset: kernel.path.clone(),
        inputs,
        outputs,
        kernel: kernel.values()?,
        bias: bias.values()?,
    })
}

fn damaged<E: std::fmt::Display>(place: &str) -> impl Fn(E) -> KerasError + '_ {
    move |reason| KerasError::Damaged { place: place.to_owned(), reason: reason.to_string() }
}

/// `dense`, `dense_1`, `dense_2`, …, `dense_10`: HDF5 lists them by their letters.
fn in_order(mut names: Vec<String>) -> Vec<String> {
    names.sort_by(|a, b| compare(a, b));
    names
}

fn compare(a: &str, b: &str) -> Ordering {
    let parts = |name: &str| -> (String, Option<u64>) {
        let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
        (letters.trim_end_matches('_').to_owned(), name[letters.len()..].parse().ok())
    };
    parts(a).cmp(&parts(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbered_names_are_in_the_order_of_their_numbers() {
        let names = ["dense_10", "dense", "a_1", "dense_2", "a", "1", "0", "10", "2"].map(str::to_owned).to_vec();
        assert_eq!(super::in_order(names), ["0", "1", "2", "10", "a", "a_1", "dense", "dense_2", "dense_10"]);
    }
}
