//! The small networks and the samples that cases are made of.

use rewind_job::Architecture;
use rewind_models::{Mode, Network};
use rewind_unlearning::LabelledSamples;
use tch::{Kind, Tensor, no_grad};

use crate::{
    drawing::{SEED, uniform},
    reference::Case,
};

pub const CLASSES: u32 = 10;

/// Images of 8×8 from 0.1 to 0.9, with drawn labels: a step of 0.1 leaves them between 0 and 1.
pub fn samples(name: &str, count: i64) -> LabelledSamples {
    let labels = uniform(&format!("{name} labels"), &[count], 0.0, CLASSES as f32).floor().to_kind(Kind::Int64);
    LabelledSamples::new(uniform(name, &[count, 1, 8, 8], 0.1, 0.9), labels)
}

/// With BatchNorms whose scales and shifts are not those of the beginning, and whose statistics are like those of data.
pub fn network(architecture: Architecture) -> Network {
    let network = Network::build(architecture, CLASSES, [1, 8, 8], SEED);
    let norms = network.batch_norm_coordinates();
    let segments = network.layout().segments.iter();
    for segment in segments.filter(|segment| norms.iter().any(|norm| norm.contains(&segment.offset))) {
        let (low, high) = if segment.name.ends_with(".weight") { (0.7, 1.3) } else { (-0.2, 0.2) };
        let mut place = network.flat().narrow(0, segment.offset as i64, segment.len() as i64);
        no_grad(|| place.copy_(&uniform(&segment.name, &segment.shape, low, high)));
    }
    let _ = no_grad(|| network.forward(samples("before", 32).images(), Mode::Train { momentum: 1.0 }));
    for (name, buffer) in network.buffers() {
        no_grad(|| {
            let factor = uniform(&name, &buffer.size(), 0.8, 1.25);
            let other =
                if name.ends_with("var") { buffer.shallow_clone() * factor } else { &buffer + (factor - 1.0) * 0.1 };
            buffer.shallow_clone().copy_(&other);
        });
    }
    network
}

/// The case with the network's tensors in it.
pub fn input_of(mut case: Case, network: &Network) -> Case {
    for segment in &network.layout().segments {
        let weights = network.flat().narrow(0, segment.offset as i64, segment.len() as i64);
        case = case.with(format!("weights.{}", segment.name), &weights.view(&segment.shape[..]));
        case.names.push(segment.name.clone());
    }
    network.buffers().iter().fold(case, |case, (name, buffer)| case.with(format!("buffers.{name}"), buffer))
}

/// An order of samples, `[samples]`, int64.
pub fn positions(order: &[u32]) -> Tensor {
    Tensor::from_slice(&order.iter().map(|&position| i64::from(position)).collect::<Vec<_>>())
}
