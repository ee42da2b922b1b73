//! Samples as tensors, ready for a network. All reading goes through here, and is noted.

use std::{cell::RefCell, ops::Range};

use rewind_datasets::{Samples, Subset};
use rewind_models::{Mode, Network};
use tch::{Kind, Tensor};

use crate::{Batch, ledger::Positions};

/// What an epoch goes over.
pub(crate) trait TrainingData {
    /// Samples in all.
    fn count(&self) -> usize;

    /// The samples at these positions, in this order, where the network is.
    fn batch_of<'a>(&self, positions: &'a [i64], network: &'a Network, mode: Mode) -> Batch<'a>;
}

impl TrainingData for LabelledSamples {
    fn count(&self) -> usize {
        self.len()
    }

    fn batch_of<'a>(&self, positions: &'a [i64], network: &'a Network, mode: Mode) -> Batch<'a> {
        self.batch(positions, network, mode)
    }
}

/// The positions of the first samples, and after them those of the others.
pub(crate) struct Both<'a>(pub &'a LabelledSamples, pub &'a LabelledSamples);

impl TrainingData for Both<'_> {
    fn count(&self) -> usize {
        self.0.len() + self.1.len()
    }

    fn batch_of<'a>(&self, positions: &'a [i64], network: &'a Network, mode: Mode) -> Batch<'a> {
        let first = self.0.len() as i64;
        let (ones, others): (Vec<i64>, Vec<i64>) = positions.iter().partition(|&&position| position < first);
        let others: Vec<i64> = others.into_iter().map(|position| position - first).collect();
        let (mut next_one, mut next_other) = (0, ones.len() as i64);
        // Where each position's sample is, ones before others.
        let places: Vec<i64> = positions
            .iter()
            .map(|&position| {
                let next = if position < first { &mut next_one } else { &mut next_other };
                *next += 1;
                *next - 1
            })
            .collect();
        let ((images, labels), (more_images, more_labels)) = (self.0.select(&ones), self.1.select(&others));
        let places = Tensor::from_slice(&places);
        let join = |one: &Tensor, other: &Tensor| {
            Tensor::cat(&[one, other], 0).index_select(0, &places).to_device(network.device())
        };
        let (images, labels) = (join(&images, &more_images), join(&labels, &more_labels));
        Batch { network, mode, images, labels, positions }
    }
}

/// Images scaled to 0…1 and the labels to train with, on the CPU; remembers which of them were read.
pub struct LabelledSamples {
    /// `[samples, channels, height, width]`, float32.
    images: Tensor,
    /// `[samples]`, int64.
    labels: Tensor,
    /// The first one's position in its part.
    first: usize,
    read: RefCell<Positions>,
}

impl LabelledSamples {
    /// `images` are `[samples, channels, height, width]`, float32; `labels` are `[samples]`, int64.
    pub fn new(images: Tensor, labels: Tensor) -> Self {
        let read = RefCell::new(Positions::none(labels.size()[0] as usize));
        Self { images, labels, first: 0, read }
    }

    /// The same samples, which follow so many others in their part: what is read of them is noted at these positions.
    pub fn after(mut self, others: usize) -> Self {
        self.first = others;
        self.take_read();
        self
    }

    /// A subset's samples; `image` gives the pixels of an id, `shape` is channels, height, width.
    pub fn of<P: AsRef<[u8]>>(subset: &Subset, image: impl Fn(u32) -> P, shape: [usize; 3]) -> Self {
        let [channels, height, width] = shape.map(|side| side as i64);
        let mut pixels: Vec<u8> = Vec::with_capacity(subset.len() * shape.iter().product::<usize>());
        subset.ids.iter().for_each(|&id| pixels.extend_from_slice(image(id).as_ref()));
        let images =
            Tensor::from_slice(&pixels).view([subset.ids.len() as i64, channels, height, width]).to_kind(Kind::Float)
                / 255.0;
        let labels: Vec<i64> = subset.labels.iter().map(|&label| i64::from(label)).collect();
        Self::new(images, Tensor::from_slice(&labels))
    }

    /// All of these samples, with their own labels.
    pub fn all(samples: &Samples) -> Self {
        let everyone = Subset { ids: (0..samples.len() as u32).collect(), labels: samples.labels.clone() };
        Self::of(&everyone, |id| samples.image(id as usize), samples.shape)
    }

    /// These samples and then the others; reads all of both.
    pub fn with(&self, others: &Self) -> Self {
        let join = |one: &Tensor, other: &Tensor| Tensor::cat(&[one, other], 0);
        Self::new(join(self.images(), others.images()), join(self.labels(), others.labels()))
    }

    /// The samples at these positions, in this order.
    pub fn at(&self, positions: &[i64]) -> Self {
        let (images, labels) = self.select(positions);
        Self::new(images, labels)
    }

    pub fn len(&self) -> usize {
        self.labels.size()[0] as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [u32; 3] {
        let size = self.images.size();
        [size[1], size[2], size[3]].map(|side| side as u32)
    }

    /// All images, `[samples, channels, height, width]`.
    pub fn images(&self) -> &Tensor {
        self.note(0..self.len());
        &self.images
    }

    /// All labels, `[samples]`.
    pub fn labels(&self) -> &Tensor {
        self.note(0..self.len());
        &self.labels
    }

    /// The samples at these positions, where the network that is to learn from them computes.
    pub fn batch<'a>(&self, positions: &'a [i64], network: &'a Network, mode: Mode) -> Batch<'a> {
        let (images, labels) = self.select(positions);
        let (images, labels) = (images.to_device(network.device()), labels.to_device(network.device()));
        Batch { network, mode, images, labels, positions }
    }

    /// The images and labels at these positions.
    pub fn select(&self, positions: &[i64]) -> (Tensor, Tensor) {
        let mut read = self.read.borrow_mut();
        positions.iter().for_each(|&position| read.insert(self.first + position as usize));
        drop(read);
        let positions = Tensor::from_slice(positions);
        (self.images.index_select(0, &positions), self.labels.index_select(0, &positions))
    }

    /// The images and labels from one position up to another, as views.
    pub fn range(&self, range: Range<usize>) -> (Tensor, Tensor) {
        self.note(range.clone());
        let cut = |tensor: &Tensor| tensor.narrow(0, range.start as i64, range.len() as i64);
        (cut(&self.images), cut(&self.labels))
    }

    fn note(&self, range: Range<usize>) {
        self.read.borrow_mut().insert_range(self.first + range.start..self.first + range.end);
    }

    /// Positions in the part that were read since the last call.
    pub(crate) fn take_read(&self) -> Positions {
        self.read.replace(Positions::none(self.first + self.len()))
    }
}
