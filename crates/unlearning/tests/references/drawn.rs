//! What a method draws, as files: in the order in which the method comes by it.

use rewind_job::{LabelsDrawn, LastEpoch, Layout, Method, RemainingPass};
use rewind_unlearning::{LabelledSamples, RandomLabels};
use tch::Tensor;

use crate::{
    drawing::SEED,
    methods::PURPOSE,
    networks::{CLASSES, positions},
    reference::Case,
};

/// What a method draws over all its rounds, each with the learner's epoch by which it is drawn.
#[derive(Default)]
struct Draws {
    /// Samples of the data that it goes over, pass by pass.
    orders: Vec<(u32, usize)>,
    labels: Option<(RandomLabels, Vec<u32>)>,
    noise: Vec<(u32, &'static str)>,
    /// The learner's.
    epoch: u32,
}

impl Draws {
    /// `forget` and `remaining` are numbers of samples.
    fn of(method: &Method, rounds: u32, [forget, remaining]: [usize; 2]) -> Self {
        // The mask's gradient counts as an epoch.
        let epoch = u32::from(matches!(method, Method::Salun(_) | Method::SalunForgetOnly(_)));
        let mut draws = Self { epoch, ..Self::default() };
        for round in 0..rounds {
            draws.add_round(method, round, forget, remaining);
        }
        draws
    }

    fn add_round(&mut self, method: &Method, round: u32, forget: usize, remaining: usize) {
        match method {
            Method::NegGrad {} | Method::BoundaryShrink(_) | Method::BoundaryExpand {} => self.pass(forget),
            Method::FineTune {} => self.pass(remaining),
            Method::Rewinding(_) | Method::TaskVector(_) => {
                let trajectory = method.trajectory().expect("these have one");
                let last = u32::from(trajectory.last_epoch == LastEpoch::Paper);
                for _ in 0..trajectory.warm_up_epochs + trajectory.snapshots - 1 + last {
                    self.pass(forget);
                }
            }
            Method::Scrub(settings) => {
                if round < settings.ascent_rounds() {
                    self.pass(forget);
                }
                self.pass(remaining);
            }
            Method::RandomLabel(m) => self.labelled(m.wrong_only, m.labels, Some(m.remaining), forget, remaining),
            Method::RandomLabelForgetOnly(m) => self.labelled(m.wrong_only, m.labels, None, forget, remaining),
            Method::Salun(m) => self.labelled(m.wrong_only, m.labels, Some(m.remaining), forget, remaining),
            Method::SalunForgetOnly(m) => self.labelled(m.wrong_only, m.labels, None, forget, remaining),
            Method::WeightNoise(_) => self.noised("weight-noise"),
            Method::Fisher(_) => self.noised("fisher"),
        }
    }

    fn pass(&mut self, samples: usize) {
        self.orders.push((self.epoch, samples));
        self.epoch += 1;
    }

    fn labelled(
        &mut self,
        wrong_only: bool,
        drawn: LabelsDrawn,
        pass: Option<RemainingPass>,
        forget: usize,
        remaining: usize,
    ) {
        let labels = RandomLabels { classes: CLASSES, wrong_only, drawn };
        self.labels.get_or_insert((labels, Vec::new())).1.push(self.epoch);
        match pass {
            None => self.pass(forget),
            Some(RemainingPass::After) => {
                self.pass(forget);
                self.pass(remaining);
            }
            Some(RemainingPass::Mixed) => self.pass(forget + remaining),
        }
    }

    /// What comes before it, a gradient or Fisher information, counts as an epoch.
    fn noised(&mut self, purpose: &'static str) {
        self.epoch += 1;
        self.noise.push((self.epoch, purpose));
    }
}

/// The case with everything that the method draws.
pub fn with_draws(
    mut case: Case,
    method: &Method,
    rounds: u32,
    [forget, remaining]: [&LabelledSamples; 2],
    layout: &Layout,
) -> Case {
    let draws = Draws::of(method, rounds, [forget.len(), remaining.len()]);
    for (pass, &(epoch, samples)) in draws.orders.iter().enumerate() {
        case = with_order(case, pass, epoch, samples);
    }
    if let Some((labels, epochs)) = &draws.labels {
        let all: Vec<i64> = (0..forget.len() as i64).collect();
        for (index, &epoch) in epochs.iter().enumerate() {
            let drawn = labels.draw(SEED, epoch, forget.len());
            case = case.with(format!("labels.{index}"), &labels.given(&drawn, &all, forget.labels()));
        }
    }
    for (index, &(epoch, purpose)) in draws.noise.iter().enumerate() {
        let of_tile =
            |tile: &rewind_job::Tile| rewind_datasets::noise(SEED, purpose, epoch, tile.index as u32, tile.len);
        let flat = Tensor::from_slice(&layout.tiles().iter().flat_map(of_tile).collect::<Vec<f32>>());
        for segment in &layout.segments {
            let of_tensor = flat.narrow(0, segment.offset as i64, segment.len() as i64).view(&segment.shape[..]);
            case = case.with(format!("noise.{index}.{}", segment.name), &of_tensor);
        }
    }
    case
}

/// The case with the order in which a learner goes over so many samples in an epoch.
pub fn with_order(case: Case, pass: usize, epoch: u32, samples: usize) -> Case {
    case.with(format!("order.{pass}"), &positions(&rewind_datasets::order(SEED, PURPOSE, epoch, samples)))
}
