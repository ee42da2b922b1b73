//! What each step's network looks at, in some samples of `D_f` for the label that was trained with.

use rewind_job::{ActivationMap, ActivationReport, Part, Pictured, StepMaps};
use rewind_models::{Network, class_activation};
use rewind_unlearning::{UnlearningError, load_weights};
use tch::{Kind, Tensor};

use super::{drawn, last_wish};
use crate::{run::Run, run_error::RunError};

/// Maps for the evaluation that asks for them; `network` is left with other weights. One rank alone can do it.
pub fn measure(run: &Run, network: &Network) -> Result<Option<ActivationReport>, RunError> {
    let specification = &run.assignment.specification;
    let Some(wish) = last_wish(specification, |evaluate| evaluate.activation_maps.as_ref()) else {
        return Ok(None);
    };
    let forget = &run.data.forget;
    let positions = drawn(specification, "activation-maps", forget.len(), wish.options.samples);
    let (images, labels) = forget.select(&positions);
    let truth =
        run.data.forget_truth.as_ref().map_or_else(|| labels.shallow_clone(), |truth| truth.select(&positions).1);
    let ids: Vec<u32> = positions.iter().map(|&position| run.data.ids[&Part::Forget][position as usize]).collect();
    let mut report = ActivationReport { samples: pictured(&ids, &images, &labels, &truth)?, steps: Vec::new() };
    for step in wish.of {
        load_weights(network, &run.result_of(step)?);
        report.steps.push(StepMaps {
            name: specification.steps[step.0 as usize].name.clone(),
            maps: maps(network, &images, &labels)?,
        });
    }
    Ok(Some(report))
}

/// `images` is `[N, C, H, W]` from 0 to 1, `labels` and `truth` are `[N]`.
fn pictured(ids: &[u32], images: &Tensor, labels: &Tensor, truth: &Tensor) -> Result<Vec<Pictured>, UnlearningError> {
    let size = images.size();
    let shape = [1, 2, 3].map(|side| size[side] as u32);
    let pictured = |(&id, place): (&u32, i64)| -> Result<Pictured, UnlearningError> {
        let pixels: Vec<f32> = Vec::try_from(images.get(place).contiguous().view([-1]))?;
        Ok(Pictured {
            id,
            label: labels.int64_value(&[place]) as u32,
            truth: truth.int64_value(&[place]) as u32,
            shape,
            pixels: pixels.iter().map(|pixel| (255.0 * pixel).round() as u8).collect(),
        })
    };
    ids.iter().zip(0..).map(pictured).collect()
}

/// One a sample. `images` is `[N, C, H, W]`, `labels` is `[N]`.
fn maps(network: &Network, images: &Tensor, labels: &Tensor) -> Result<Vec<ActivationMap>, UnlearningError> {
    let (images, labels) = (images.to_device(network.device()), labels.to_device(network.device()));
    let seen = class_activation(network, &images, &labels).expect("the specification was checked: there are maps");
    let probability = seen.logits.to_kind(Kind::Double).softmax(1, Kind::Double);
    let size = seen.maps.size();
    let map = |place: i64| -> Result<ActivationMap, UnlearningError> {
        let values: Vec<f32> = Vec::try_from(seen.maps.get(place).contiguous().view([-1]))?;
        let probability = probability.double_value(&[place, labels.int64_value(&[place])]);
        Ok(ActivationMap {
            answer: seen.logits.get(place).argmax(0, false).int64_value(&[]) as u32,
            // Weights that are finite may still answer with what is not.
            probability: if probability.is_finite() { probability } else { 0.0 },
            shape: [size[1] as u32, size[2] as u32],
            values: scaled(&values),
        })
    };
    (0..size[0]).map(map).collect()
}

/// From 0 to 255, the largest value; all 0 where none is above 0.
fn scaled(values: &[f32]) -> Vec<u8> {
    let largest = values.iter().fold(0.0_f32, |most, &value| most.max(value));
    let scale = if largest > 0.0 { 255.0 / f64::from(largest) } else { 0.0 };
    values.iter().map(|&value| (f64::from(value) * scale).round() as u8).collect()
}

#[cfg(test)]
mod tests {
    use rewind_job::Architecture;

    use super::*;

    #[test]
    fn maps_are_scaled_by_their_own_maximum() {
        assert_eq!(scaled(&[0.0, 0.5, 2.0, 1.0]), [0, 64, 255, 128]);
        assert_eq!(scaled(&[1e-40, 0.0]), [255, 0]);
        assert_eq!(scaled(&[0.0, 0.0]), [0, 0]);
        assert_eq!(scaled(&[f32::NAN, 1.0]), [0, 255]);
    }

    #[test]
    fn samples_are_pictured_as_the_network_sees_them_with_both_labels() {
        let pixels: Vec<f32> = (0..24).map(|value| value as f32 / 255.0).collect();
        let images = Tensor::from_slice(&pixels).view([2, 3, 2, 2]);
        let (labels, truth) = (Tensor::from_slice(&[4_i64, 5]), Tensor::from_slice(&[6_i64, 5]));
        let found = pictured(&[70, 8], &images, &labels, &truth).expect("are pictured");
        let facts = |p: &Pictured| (p.id, p.label, p.truth, p.shape);
        assert_eq!(found.iter().map(facts).collect::<Vec<_>>(), [(70, 4, 6, [3, 2, 2]), (8, 5, 5, [3, 2, 2])]);
        assert_eq!(found[1].pixels, (12..24).collect::<Vec<u8>>());
    }

    #[test]
    fn a_map_says_what_the_network_answers_and_how_sure_it_is_of_the_label() {
        let network = Network::build(Architecture::Lenet, 4, [1, 8, 8], 3);
        let images = Tensor::from_slice(&(0..128).map(|v| (v as f32 * 0.7).sin().abs()).collect::<Vec<_>>());
        let images = images.view([2, 1, 8, 8]);
        let found = maps(&network, &images, &Tensor::from_slice(&[1_i64, 3])).expect("are drawn");
        let chances = network.forward(&images, rewind_models::Mode::Inference).softmax(1, Kind::Double);
        for (place, (map, label)) in found.iter().zip([1, 3]).enumerate() {
            let chances: Vec<f64> = Vec::try_from(chances.get(place as i64)).expect("numbers");
            assert!((map.probability - chances[label]).abs() < 1e-6);
            assert!(chances.iter().all(|&chance| chance <= chances[map.answer as usize]));
            assert_eq!((map.shape, map.values.len()), ([4, 4], 16));
        }
    }
}
