//! 20 steps of every optimiser, sharded over 1, 2 and 3 ranks, against torch.optim in Python
//! (tests/golden/optimisers.py), to 1e-5.

mod gang;

use rewind_job::{Adam, Adamw, Layout, Optimiser, Sgd};
use rewind_unlearning::{Gang, ShardOptimiser};
use safetensors::SafeTensors;
use tch::{Device, Kind, Tensor, no_grad};

static GOLDEN: &[u8] = include_bytes!("../../../tests/golden/optimisers.safetensors");

const NAMES: [&str; 4] = ["layer1.weight", "layer1.bias", "layer2.weight", "layer2.bias"];

fn tensor(file: &SafeTensors, name: &str) -> Tensor {
    let view = file.tensor(name).unwrap_or_else(|_| panic!("{name} is in the golden file"));
    let kind = match view.dtype() {
        safetensors::Dtype::F32 => Kind::Float,
        safetensors::Dtype::I64 => Kind::Int64,
        other => panic!("{name} is {other:?}"),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
    Tensor::from_data_size(view.data(), &shape, kind)
}

fn layout(file: &SafeTensors) -> Layout {
    Layout::new(NAMES.map(|name| (name.to_owned(), tensor(file, &format!("initial.{name}")).size())))
}

fn flat(file: &SafeTensors, prefix: &str) -> Tensor {
    let parts: Vec<Tensor> = NAMES.iter().map(|name| tensor(file, &format!("{prefix}.{name}")).view([-1])).collect();
    Tensor::cat(&parts, 0)
}

fn optimisers() -> Vec<(&'static str, Optimiser)> {
    let sgd = |learning_rate, momentum, weight_decay, nesterov| {
        Optimiser::Sgd(Sgd { learning_rate, momentum, weight_decay, nesterov })
    };
    let adam = |weight_decay| Adam { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay };
    vec![
        ("sgd", sgd(0.1, 0.0, 0.0, false)),
        ("sgd_momentum", sgd(0.05, 0.9, 5e-4, false)),
        ("sgd_nesterov", sgd(0.05, 0.9, 5e-4, true)),
        ("adam", Optimiser::Adam(adam(0.0))),
        ("adam_weight_decay", Optimiser::Adam(adam(5e-3))),
        ("adamw", Optimiser::Adamw(adam(0.05).into())),
    ]
}

/// Trains the golden network on this rank's part of each batch; returns the largest distance from torch, by optimiser.
fn train(mut gang: Gang) -> Vec<(&'static str, f64)> {
    let file = SafeTensors::deserialize(GOLDEN).expect("the golden file is valid");
    let (inputs, labels) = (tensor(&file, "inputs"), tensor(&file, "labels"));
    let mut distances = Vec::new();
    for (name, rule) in optimisers() {
        let weights = flat(&file, "initial");
        let mut optimiser = ShardOptimiser::of_shard(Device::Cpu, rule, &gang);
        for step in 0..20 {
            let part = gang.part_of(16);
            let rows = |t: &Tensor| t.get(step).narrow(0, part.start as i64, part.len() as i64);
            let leaf = weights.copy().set_requires_grad(true);
            let views: Vec<Tensor> = gang
                .layout()
                .segments
                .iter()
                .map(|s| leaf.narrow(0, s.offset as i64, s.len() as i64).view(&s.shape[..]))
                .collect();
            let hidden = rows(&inputs).linear(&views[0], Some(&views[1])).tanh();
            let logits = hidden.linear(&views[2], Some(&views[3]));
            let loss = logits.cross_entropy_loss::<Tensor>(&rows(&labels), None, tch::Reduction::Sum, -100, 0.0);
            (loss / 16.0).backward();
            let gradient = gang.reduce_to_owner(&leaf.grad()).expect("reduces");
            optimiser.step(&gang.shard(&weights), &gradient, 1.0);
            no_grad(|| gang.gather_from_owners(&weights)).expect("gathers");
        }
        distances.push((name, (weights - flat(&file, name)).abs().max().double_value(&[])));
    }
    distances
}

#[test]
fn sharded_optimisers_agree_with_torch() {
    let layout = layout(&SafeTensors::deserialize(GOLDEN).expect("the golden file is valid"));
    for world in [1, 2, 3] {
        for distances in gang::on_every_rank(world, &layout, train) {
            for (name, distance) in distances {
                assert!(distance < 1e-5, "{name} over {world} ranks is {distance:e} from torch");
            }
        }
    }
}

/// With gradients of 0 only the decay is left: factors of 1 − rate · decay a step.
fn decayed_alone(gang: Gang) -> (usize, Vec<f32>) {
    let layout = gang.layout().clone();
    let weights = Tensor::ones([layout.coordinates() as i64], (Kind::Float, Device::Cpu));
    let adam = Adam { learning_rate: 0.5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.5 };
    let rule = Optimiser::Adamw(Adamw { decay_one_dimensional: false, ..adam.into() });
    let mut optimiser = ShardOptimiser::of_shard(Device::Cpu, rule, &gang);
    let shard = gang.shard(&weights);
    for _ in 0..2 {
        optimiser.step(&shard, &shard.zeros_like(), 1.0);
    }
    (gang.range().start, Vec::try_from(shard).expect("float32"))
}

#[test]
fn tensors_of_one_dimension_are_spared_by_decay_where_the_rule_says_so() {
    let layout = layout(&SafeTensors::deserialize(GOLDEN).expect("the golden file is valid"));
    for world in [1, 2, 3] {
        let mut found = vec![f32::NAN; layout.coordinates()];
        for (start, shard) in gang::on_every_rank(world, &layout, decayed_alone) {
            found[start..start + shard.len()].copy_from_slice(&shard);
        }
        for segment in &layout.segments {
            let expected = if segment.shape.len() == 1 { 1.0 } else { 0.5625 };
            let values = &found[segment.offset..segment.offset + segment.len()];
            assert!(values.iter().all(|&value| value == expected), "{} of {world}: {:?}", segment.name, &values[..3]);
        }
    }
}
