//! A training that jumps ahead: every tensor jumps but the scales and shifts of layers that normalise.

mod gang;

use rewind_collective::CancelSignal;
use rewind_job::{Adam, Architecture, BatchNormPolicy, Nowcast, Optimiser, Schedule, Source};
use rewind_models::Network;
use rewind_predictor::Predictor;
use rewind_unlearning::{Gang, LabelledSamples, Learner, RoundMethod, Training};
use tch::{Device, Kind, Tensor};

/// Epochs from jump to jump, and snapshots that are read.
const EVERY: u32 = 3;
const AHEAD: u32 = 2;

fn network_on(device: Device, architecture: Architecture) -> Network {
    Network::build_on(device, architecture, 4, [1, 8, 8], 3)
}

fn samples() -> LabelledSamples {
    let images = (Tensor::arange(24 * 64, (Kind::Float, Device::Cpu)) * 0.7).sin().view([24, 1, 8, 8]);
    LabelledSamples::new(images, Tensor::arange(24, (Kind::Int64, Device::Cpu)).remainder(4))
}

/// The weights after the epoch that a jump follows, where there are jumps.
fn trained(gang: Gang, architecture: Architecture, jumps: bool) -> Vec<f32> {
    let device = gang.device();
    let predictor = Predictor::untrained(rewind_predictor::Architecture::Wnn, EVERY as usize, &[AHEAD], 1).on(device);
    let adam = Adam { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let nowcast = Nowcast {
        predictor: Source::File("wnn.safetensors".into()),
        every: EVERY,
        horizon: AHEAD,
        snapshots: EVERY,
        scale: 1.0,
        norms_jump: false,
    };
    let recipe = rewind_job::Training {
        start: None,
        epochs: EVERY + 1,
        batch_size: 8,
        optimiser: Optimiser::Adam(adam),
        schedule: Schedule::default(),
        batch_norm: BatchNormPolicy::Train,
        augment: None,
        nowcast: jumps.then_some(nowcast),
    };
    let network = network_on(device, architecture);
    let mut learner = Learner::new(network, gang, recipe.optimiser.clone(), 5, "pretrain", CancelSignal::new());
    let samples = samples();
    let mut training = Training::new(&recipe, &samples, 1.0, Some(&predictor)).expect("the predictor looks ahead");
    for _ in 0..EVERY {
        training.round(&mut learner).expect("runs");
    }
    Vec::try_from(learner.network.flat()).expect("float32")
}

#[test]
fn every_tensor_jumps_but_the_scales_and_shifts_of_norms() {
    tch::set_num_threads(1);
    for architecture in [Architecture::DepthwiseSmall, Architecture::TransformerSmall] {
        let network = network_on(Device::Cpu, architecture);
        let (layout, norms) = (network.layout().clone(), network.norm_coordinates());
        assert!(!norms.is_empty(), "{architecture:?}");
        for world in [1, 2] {
            let run = |jumps: bool| {
                let of_ranks = gang::on_every_rank(world, &layout, move |gang| trained(gang, architecture, jumps));
                assert!(of_ranks.iter().all(|weights| *weights == of_ranks[0]), "every rank has the same weights");
                of_ranks[0].clone()
            };
            let (jumped, stayed) = (run(true), run(false));
            for segment in &layout.segments {
                let range = segment.offset..segment.offset + segment.len();
                let is_norm = norms.contains(&range);
                assert_eq!(jumped[range.clone()] == stayed[range], is_norm, "{architecture:?} {}", segment.name);
            }
        }
    }
}
