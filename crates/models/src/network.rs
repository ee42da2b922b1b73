//! A network as the rest of the system sees it.

use std::ops::Range;

use rewind_job::{Architecture, Initialisation, Layout, Normalise, Segment};
use tch::{Device, Kind, Tensor, no_grad};

use crate::{
    convnext_tiny::ConvnextTiny,
    depthwise_small::DepthwiseSmall,
    layers::Mode,
    lenet::Lenet,
    mlp::Mlp,
    parameters::{Builder, Parameters},
    pvt_v2_b0::PvtV2B0,
    residual_plain_small::ResidualPlainSmall,
    residual_small::ResidualSmall,
    resnet18::Resnet18,
    resnet18_keras::Resnet18Keras,
    transformer_small::TransformerSmall,
    unet_small::UnetSmall,
    vgg_small::VggSmall,
};

/// The computation of an architecture.
pub(crate) trait Body: Send {
    /// `[N, C, H, W]` → what the last layer reads, `[N, features]`; where images are answered, `[N, features, H, W]`.
    /// Each architecture has either this, or `maps` and `features_of_maps`.
    fn features(&self, p: &Parameters, images: &Tensor, mode: Mode) -> Tensor {
        let maps = self.maps(p, images, mode);
        maps.and_then(|maps| self.features_of_maps(p, &maps)).expect("an architecture has features, or maps")
    }

    /// The first part of `features` where there are convolutions: `[N, C, H, W]` → what the last one gives after its
    /// nonlinearity, `[N, C', h, w]`.
    fn maps(&self, _: &Parameters, _images: &Tensor, _: Mode) -> Option<Tensor> {
        None
    }

    /// The rest of `features`: `[N, C', h, w]` → `[N, features]`. None where there are no `maps`.
    fn features_of_maps(&self, _: &Parameters, _maps: &Tensor) -> Option<Tensor> {
        None
    }

    /// The last layer: logits `[N, classes]`, or images `[N, C, H, W]`.
    fn answer(&self, p: &Parameters, features: &Tensor) -> Tensor;
}

/// An architecture with its weights in flat coordinates; float32, all on one device.
pub struct Network {
    parameters: Parameters,
    body: Box<dyn Body>,
    normalisation: Option<Normalisation>,
    /// Pixels a side that images are given before the first layer.
    side: Option<i64>,
}

/// Of each channel, `[C, 1, 1]`.
struct Normalisation {
    mean: Tensor,
    std: Tensor,
}

impl Network {
    /// Fresh weights as PyTorch, or the network's authors, draw them: a function of the seed and the tensors' names.
    /// `image` is channels, height, width. A network that gives images has as many outputs as an image has pixels,
    /// whatever `classes` is.
    pub fn build(architecture: Architecture, classes: u32, image: [u32; 3], seed: u64) -> Self {
        Self::build_on(Device::Cpu, architecture, classes, image, seed)
    }

    /// As [`Self::build`], on a device: the weights are drawn on the CPU, and are the same bits everywhere.
    pub fn build_on(device: Device, architecture: Architecture, classes: u32, image: [u32; 3], seed: u64) -> Self {
        Self::initialised_on(device, architecture, classes, image, Initialisation::Torch, seed)
    }

    /// As [`Self::build`], with fresh weights of another kind.
    pub fn initialised(
        architecture: Architecture,
        classes: u32,
        image: [u32; 3],
        initialisation: Initialisation,
        seed: u64,
    ) -> Self {
        Self::initialised_on(Device::Cpu, architecture, classes, image, initialisation, seed)
    }

    /// As [`Self::initialised`], on a device; drawn on the CPU as well.
    pub fn initialised_on(
        device: Device,
        architecture: Architecture,
        classes: u32,
        image: [u32; 3],
        initialisation: Initialisation,
        seed: u64,
    ) -> Self {
        let mut build = Builder::new(seed, initialisation, device);
        let classes = i64::from(classes);
        let image = image.map(i64::from);
        let body: Box<dyn Body> = match architecture {
            Architecture::ResidualSmall => Box::new(ResidualSmall::new(&mut build, image[0], classes)),
            Architecture::Mlp => Box::new(Mlp::new(&mut build, image.iter().product(), classes)),
            Architecture::Lenet => Box::new(Lenet::new(&mut build, image, classes)),
            Architecture::VggSmall => Box::new(VggSmall::new(&mut build, image[0], classes)),
            Architecture::DepthwiseSmall => Box::new(DepthwiseSmall::new(&mut build, image[0], classes)),
            Architecture::ResidualPlainSmall => Box::new(ResidualPlainSmall::new(&mut build, image[0], classes)),
            Architecture::TransformerSmall => Box::new(TransformerSmall::new(&mut build, image, classes)),
            Architecture::UnetSmall => Box::new(UnetSmall::new(&mut build, image[0])),
            Architecture::Resnet18 => Box::new(Resnet18::new(&mut build, image[0], classes)),
            Architecture::Resnet18Keras => Box::new(Resnet18Keras::new(&mut build, image[0], classes)),
            Architecture::PvtV2B0 => Box::new(PvtV2B0::new(&mut build, image[0], classes)),
            Architecture::ConvnextTiny => Box::new(ConvnextTiny::new(&mut build, image[0], classes)),
        };
        Self { parameters: build.finish(), body, normalisation: None, side: None }
    }

    /// The same, which normalises its images first; attacks on pixels then stay between 0 and 1.
    pub fn normalised(self, normalise: &Normalise) -> Self {
        let device = self.device();
        let channels =
            |values: &[f64]| Tensor::from_slice(values).to_kind(Kind::Float).view([-1, 1, 1]).to_device(device);
        let normalisation = Normalisation { mean: channels(&normalise.mean), std: channels(&normalise.std) };
        Self { normalisation: Some(normalisation), ..self }
    }

    /// The same, which resizes its images to squares of `side` pixels after it has normalised them: bilinear, where pixel `i`
    /// covers `i` to `i + 1`, without smoothing (PyTorch's `interpolate` with neither aligned corners nor antialiasing).
    pub fn resized(self, side: u32) -> Self {
        Self { side: Some(i64::from(side)), ..self }
    }

    /// Logits `[N, classes]` of images `[N, C, H, W]`, or images of the same size.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Tensor {
        self.answer(&self.features(images, mode))
    }

    /// What the last layer reads of images `[N, C, H, W]`: `[N, features]`; where images are answered
    /// `[N, features, H, W]`.
    pub fn features(&self, images: &Tensor, mode: Mode) -> Tensor {
        self.body.features(&self.parameters, &self.prepare(images), mode)
    }

    /// What the first layer reads of images `[N, C, H, W]`: normalised, then resized.
    fn prepare(&self, images: &Tensor) -> Tensor {
        let images = match &self.normalisation {
            Some(Normalisation { mean, std }) => (images - mean) / std,
            None => images.shallow_clone(),
        };
        match self.side {
            Some(side) => images.upsample_bilinear2d([side, side], false, None, None),
            None => images,
        }
    }

    /// The last layer on [`Self::features`]: logits `[N, classes]`, or images `[N, C, H, W]`.
    pub fn answer(&self, features: &Tensor) -> Tensor {
        self.body.answer(&self.parameters, features)
    }

    /// What the last convolution gives of images `[N, C, H, W]`, after its nonlinearity: `[N, C', h, w]`; none where an
    /// architecture has no such maps.
    pub fn maps(&self, images: &Tensor, mode: Mode) -> Option<Tensor> {
        self.body.maps(&self.parameters, &self.prepare(images), mode)
    }

    /// [`Self::features`] from [`Self::maps`]; none where an architecture has no such maps.
    pub fn features_of_maps(&self, maps: &Tensor) -> Option<Tensor> {
        self.body.features_of_maps(&self.parameters, maps)
    }

    pub fn layout(&self) -> &Layout {
        &self.parameters.layout
    }

    /// The tensors of the last layer, whose shapes hang on the number of classes.
    pub fn head(&self) -> Vec<&Segment> {
        let layer = |name: &str| name.rsplit_once('.').map_or(name, |(layer, _)| layer).to_owned();
        let last = self.layout().segments.last().map(|segment| layer(&segment.name));
        self.layout().segments.iter().filter(|segment| Some(layer(&segment.name)) == last).collect()
    }

    /// Where its weights are, and where its images must be.
    pub fn device(&self) -> Device {
        self.flat().device()
    }

    /// The storage of all parameters, `[P]`: changing it in place under `no_grad` moves the network.
    pub fn flat(&self) -> &Tensor {
        &self.parameters.flat
    }

    /// Replaces all weights; `weights` has `P` values.
    pub fn load(&self, weights: &[f32]) {
        // copy_ would spread a single value over all coordinates.
        assert_eq!(weights.len(), self.layout().coordinates(), "one weight a coordinate");
        no_grad(|| self.flat().shallow_clone().copy_(&Tensor::from_slice(weights)));
    }

    /// Copies every gradient into `into` (`[P]`), zero where there is none, and clears it.
    pub fn collect_gradients(&self, into: &Tensor) {
        self.parameters.collect_gradients(into);
    }

    /// BatchNorm's running statistics by torch's names; changing them in place moves the network.
    pub fn buffers(&self) -> Vec<(String, Tensor)> {
        self.parameters.buffers.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
    }

    /// Flat coordinates of the scale and shift of every layer that normalises, BatchNorm or LayerNorm, ascending.
    pub fn norm_coordinates(&self) -> Vec<Range<usize>> {
        self.parameters.norms().map(|segment| segment.offset..segment.offset + segment.len()).collect()
    }

    /// Flat coordinates of every BatchNorm's scale and shift, ascending: of `X.weight` and `X.bias` where there is a
    /// buffer `X.running_mean`. Empty where no layer keeps statistics; LayerNorm keeps none.
    pub fn batch_norm_coordinates(&self) -> Vec<Range<usize>> {
        let of_batch_norm = |tensor: &str| {
            let Some((layer, "weight" | "bias")) = tensor.rsplit_once('.') else { return false };
            let mean = |buffer: &str| buffer.strip_suffix(".running_mean") == Some(layer);
            self.parameters.buffers.iter().any(|(buffer, _)| mean(buffer))
        };
        let segments = self.layout().segments.iter().filter(|segment| of_batch_norm(&segment.name));
        segments.map(|segment| segment.offset..segment.offset + segment.len()).collect()
    }
}
