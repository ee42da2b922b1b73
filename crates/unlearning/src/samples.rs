//! Samples as tensors, ready for a network.

use rewind_datasets::{Samples, Subset};
use rewind_models::{Mode, Network};
use tch::{Kind, Tensor};

use crate::Batch;

/// Images scaled to 0…1 and the labels to train with.
pub struct LabelledSamples {
    /// `[samples, channels, height, width]`, float32.
    pub images: Tensor,
    /// `[samples]`, int64.
    pub labels: Tensor,
}

impl LabelledSamples {
    /// A subset's samples; `image` gives the pixels of an id, `shape` is channels, height, width.
    pub fn of<'a>(subset: &Subset, image: impl Fn(u32) -> &'a [u8], shape: [usize; 3]) -> Self {
        let [channels, height, width] = shape.map(|side| side as i64);
        let pixels: Vec<u8> = subset.ids.iter().flat_map(|&id| image(id).iter().copied()).collect();
        let images =
            Tensor::from_slice(&pixels).view([subset.ids.len() as i64, channels, height, width]).to_kind(Kind::Float)
                / 255.0;
        let labels: Vec<i64> = subset.labels.iter().map(|&label| i64::from(label)).collect();
        Self { images, labels: Tensor::from_slice(&labels) }
    }

    /// All of these samples, with their own labels.
    pub fn all(samples: &Samples) -> Self {
        let everyone = Subset { ids: (0..samples.len() as u32).collect(), labels: samples.labels.clone() };
        Self::of(&everyone, |id| samples.image(id as usize), samples.shape)
    }

    /// These samples and then the others.
    pub fn with(&self, others: &Self) -> Self {
        Self {
            images: Tensor::cat(&[&self.images, &others.images], 0),
            labels: Tensor::cat(&[&self.labels, &others.labels], 0),
        }
    }

    /// The samples at these positions, in this order.
    pub fn at(&self, positions: &[i64]) -> Self {
        let (images, labels) = self.select(positions);
        Self { images, labels }
    }

    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples at these positions, for a network to learn from.
    pub fn batch<'a>(&self, positions: &'a [i64], network: &'a Network, mode: Mode) -> Batch<'a> {
        let (images, labels) = self.select(positions);
        Batch { network, mode, images, labels, positions }
    }

    /// The samples at these positions, in this order.
    pub fn subset(&self, positions: &[i64]) -> Self {
        let (images, labels) = self.select(positions);
        Self { images, labels }
    }

    /// The images and labels at these positions.
    pub fn select(&self, positions: &[i64]) -> (Tensor, Tensor) {
        let positions = Tensor::from_slice(positions);
        (self.images.index_select(0, &positions), self.labels.index_select(0, &positions))
    }
}
