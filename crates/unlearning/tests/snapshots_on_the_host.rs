//! A trajectory that is kept in the host's memory rewinds to the same bits as one that is kept on the device.

mod gang;

use rewind_collective::CancelSignal;
use rewind_job::{
    Adam, Architecture, BatchNormPolicy, Forward, Lambda, LastEpoch, Method, Optimiser, Rewinding, TaskVector,
    Trajectory,
};
use rewind_models::Network;
use rewind_predictor::{Predictor, SnapshotsIn};
use rewind_unlearning::{Gang, LabelledSamples, Learner, Materials, method_for};
use tch::{Device, Kind, Tensor};

const PREDICTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../predictors/conditioned.safetensors");

fn network_on(device: Device) -> Network {
    Network::build_on(device, Architecture::DepthwiseSmall, 4, [1, 8, 8], 3)
}

fn forget() -> LabelledSamples {
    let images = (Tensor::arange(24 * 64, (Kind::Float, Device::Cpu)) * 0.7).sin().view([24, 1, 8, 8]);
    LabelledSamples::new(images, Tensor::arange(24, (Kind::Int64, Device::Cpu)).remainder(4))
}

fn methods() -> [Method; 2] {
    let trajectory = Trajectory { snapshots: 15, last_epoch: LastEpoch::Paper, ..Trajectory::default() };
    [
        Method::Rewinding(Rewinding {
            predictor: rewind_job::Source::File(PREDICTOR.into()),
            horizon: 8,
            scale: 0.5,
            trajectory: trajectory.clone(),
        }),
        Method::TaskVector(TaskVector { lambda: Lambda::One(0.3), trajectory }),
    ]
}

/// The weights after two rounds of each method.
fn weights(gang: Gang, snapshots_in: SnapshotsIn) -> Vec<Vec<f32>> {
    let device = gang.device();
    let predictor = Predictor::load(PREDICTOR).expect("is shipped").on(device);
    let forget = forget();
    let materials = Materials { predictor: Some(&predictor), ..Materials::forget_only(&forget, 4) };
    let adam = Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let optimiser = Optimiser::Adam(adam);
    let forward = Forward { batch_norm: BatchNormPolicy::Frozen, ..Forward::with(optimiser.clone(), 8) };
    let original = || network_on(device);
    let mut gang = Some(gang);
    methods()
        .iter()
        .map(|method| {
            let gang_now = gang.take().expect("was given back");
            let mut learner =
                Learner::new(network_on(device), gang_now, optimiser.clone(), 5, "unlearning", CancelSignal::new())
                    .with_batch_norm(forward.batch_norm)
                    .with_snapshots_in(snapshots_in);
            let mut rounds = method_for(method, &forward, 2, &materials, &original).expect("fits");
            for _ in 0..2 {
                rounds.round(&mut learner).expect("runs");
            }
            let weights = Vec::try_from(learner.network.flat()).expect("float32");
            gang = Some(learner.into_gang());
            weights
        })
        .collect()
}

#[test]
fn where_snapshots_wait_changes_no_bit() {
    tch::set_num_threads(1);
    let layout = network_on(Device::Cpu).layout().clone();
    for world in [1, 2] {
        let on_device = gang::on_every_rank(world, &layout, |gang| weights(gang, SnapshotsIn::Device));
        let on_host = gang::on_every_rank(world, &layout, |gang| weights(gang, SnapshotsIn::Host));
        assert_eq!(on_device, on_host);
        assert_ne!(on_device[0][0], on_device[0][1], "the methods go other ways");
    }
}
