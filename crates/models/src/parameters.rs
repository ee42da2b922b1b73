//! Parameters as views of one flat tensor, and the buffers beside them.

use rewind_job::{Initialisation, Layout, Segment};
use tch::{Device, Kind, Tensor, no_grad};

use crate::initial::Initial;

/// Collects an architecture's tensors before their storage exists.
pub struct Builder {
    seed: u64,
    initialisation: Initialisation,
    device: Device,
    tensors: Vec<(String, Vec<i64>, Initial)>,
    norms: Vec<Parameter>,
    buffers: Vec<(String, Tensor)>,
}

/// A parameter's place, before and after its storage exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter(usize);

impl Builder {
    pub fn new(seed: u64, initialisation: Initialisation, device: Device) -> Self {
        Self { seed, initialisation, device, tensors: Vec::new(), norms: Vec::new(), buffers: Vec::new() }
    }

    pub fn parameter(&mut self, name: &str, shape: &[i64], initial: Initial) -> Parameter {
        self.tensors.push((name.to_owned(), shape.to_vec(), initial));
        Parameter(self.tensors.len() - 1)
    }

    /// Scale or shift of a layer that normalises, of one value a channel.
    pub fn norm_parameter(&mut self, name: &str, len: i64, value: f32) -> Parameter {
        let parameter = self.parameter(name, &[len], Initial::Constant(value));
        self.norms.push(parameter);
        parameter
    }

    /// The tensor begins so instead.
    pub fn begin_as(&mut self, Parameter(place): Parameter, initial: Initial) {
        self.tensors[place].2 = initial;
    }

    /// `[outputs, inputs / groups, ..]` of a weight.
    pub fn shape(&self, Parameter(place): Parameter) -> &[i64] {
        &self.tensors[place].1
    }

    /// Instead of what the tensor began as.
    pub fn draw_normally(&mut self, Parameter(place): Parameter, deviation: f64) {
        let (_, _, initial) = &mut self.tensors[place];
        if let Initial::FanIn(fan_in) = *initial {
            *initial = Initial::Normal { fan_in, deviation };
        }
    }

    /// Likewise.
    pub fn begin_at_zero(&mut self, Parameter(place): Parameter) {
        self.tensors[place].2 = Initial::Constant(0.0);
    }

    /// A tensor that training does not change by gradients.
    pub fn buffer(&mut self, name: &str, len: i64, value: f64) -> Tensor {
        let buffer = Tensor::full([len], value, (Kind::Float, self.device));
        self.buffers.push((name.to_owned(), buffer.shallow_clone()));
        buffer
    }

    /// Makes the storage and draws the weights: each tensor's are a function of the seed and its name.
    pub fn finish(self) -> Parameters {
        let layout = Layout::new(self.tensors.iter().map(|(name, shape, _)| (name.clone(), shape.clone())));
        let mut values: Vec<f32> = Vec::with_capacity(layout.coordinates());
        for (name, shape, initial) in &self.tensors {
            values.extend(initial.draw(self.initialisation, shape, self.seed, name));
        }
        let flat = Tensor::from_slice(&values).to_device(self.device);
        let views = layout
            .segments
            .iter()
            .map(|s| {
                // detach() shares the storage, and the view becomes a leaf of its own.
                let view = flat.narrow(0, s.offset as i64, s.len() as i64).view(&s.shape[..]).detach();
                view.set_requires_grad(true)
            })
            .collect();
        Parameters { layout, flat, views, norms: self.norms, buffers: self.buffers }
    }
}

/// The storage of a network.
pub struct Parameters {
    pub layout: Layout,
    /// `[P]`.
    pub flat: Tensor,
    views: Vec<Tensor>,
    norms: Vec<Parameter>,
    pub buffers: Vec<(String, Tensor)>,
}

impl Parameters {
    pub fn get(&self, parameter: Parameter) -> &Tensor {
        &self.views[parameter.0]
    }

    /// Segments of the scales and shifts of layers that normalise, ascending.
    pub fn norms(&self) -> impl Iterator<Item = &Segment> {
        self.norms.iter().map(|parameter| &self.layout.segments[parameter.0])
    }

    /// Copies every gradient into `into` (`[P]`), zero where there is none, and clears it.
    pub fn collect_gradients(&self, into: &Tensor) {
        assert_eq!(into.size(), self.flat.size(), "one gradient a coordinate");
        no_grad(|| {
            for (segment, view) in self.layout.segments.iter().zip(&self.views) {
                let mut place = into.narrow(0, segment.offset as i64, segment.len() as i64);
                let mut gradient = view.grad();
                if gradient.defined() {
                    place.copy_(&gradient.view([-1]));
                    let _ = gradient.zero_();
                } else {
                    let _ = place.zero_();
                }
            }
        });
    }
}
