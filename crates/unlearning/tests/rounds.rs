//! The shared loop on a small network: what is recorded, what resumes, and the same bits twice.

mod gang;

use rewind_artifacts::{Shard, assemble};
use rewind_collective::CancelSignal;
use rewind_job::{
    Adam, Architecture, Figure, Forward, Lambda, Method, Optimiser, RollBack, Round, RoundRecord, Schedule,
    StepOutcome, Stop, TaskVector, Trajectory,
};
use rewind_models::Network;
use rewind_unlearning::{
    Commit, Descent, Gang, LabelledSamples, Learner, Materials, Pass, PassMode, StepRun, UnlearningError, accuracy,
    method_for, run_rounds,
};
use tch::{Device, Kind, Tensor};

const IMAGE: [u32; 3] = [1, 8, 8];

fn network() -> Network {
    network_on(Device::Cpu)
}

fn network_on(device: Device) -> Network {
    Network::build_on(device, Architecture::DepthwiseSmall, 4, IMAGE, 3)
}

/// Four blurred classes that a network can learn.
fn samples(count: i64) -> LabelledSamples {
    let labels = Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(4);
    let noise = (Tensor::arange(count * 64, (Kind::Float, Device::Cpu)) * 0.7).sin().view([count, 1, 8, 8]);
    let rows = Tensor::arange(8, (Kind::Int64, Device::Cpu)).floor_divide_scalar(2).view([1, 1, 8, 1]);
    let bars = rows.eq_tensor(&labels.view([-1, 1, 1, 1])).to_kind(Kind::Float).expand([count, 1, 8, 8], false);
    LabelledSamples::new(bars + noise * 0.2, labels)
}

/// Keeps what was committed.
#[derive(Default)]
struct Kept(Vec<(Shard, RoundRecord, Option<StepOutcome>)>);

impl Commit for Kept {
    fn commit(
        &mut self,
        shard: Shard,
        record: &RoundRecord,
        _: Round,
        outcome: Option<&StepOutcome>,
    ) -> Result<(), UnlearningError> {
        self.0.push((shard, record.clone(), outcome.cloned()));
        Ok(())
    }

    fn progress(&mut self, _: &RoundRecord, _: f64) {}
}

fn method() -> Method {
    Method::TaskVector(TaskVector {
        lambda: Lambda::One(0.5),
        trajectory: Trajectory { snapshots: 3, ..Trajectory::default() },
    })
}

fn forward() -> Forward {
    let adam = Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    Forward::with(Optimiser::Adam(adam), 8)
}

fn learner(gang: Gang) -> Learner {
    Learner::new(network_on(gang.device()), gang, forward().optimiser, 5, "step", CancelSignal::new())
}

fn run(learner: &mut Learner, rounds: u32, records: Vec<RoundRecord>) -> Kept {
    run_until(learner, Stop::after(rounds), records)
}

fn run_until(learner: &mut Learner, stop: Stop, records: Vec<RoundRecord>) -> Kept {
    let (forget, validation) = (samples(20), samples(12));
    let (method, forward) = (method(), forward());
    let materials = Materials::forget_only(&forget, 4);
    let device = learner.gang.device();
    let original = || network_on(device);
    let mut method = method_for(&method, &forward, stop.rounds, &materials, &original).expect("needs no predictor");
    let step = StepRun {
        stop,
        roll_back: RollBack::BestValidation,
        recompute: Some((&forget, 7)),
        forget: &forget,
        validation: Some(&validation),
        unseen: None,
        watched: &[],
    };
    let mut kept = Kept::default();
    run_rounds(learner, &mut *method, &step, records, &mut kept).expect("runs");
    kept
}

fn without_clock(record: &RoundRecord) -> RoundRecord {
    RoundRecord { seconds: 0.0, device_seconds: 0.0, peak_memory: 0, ..record.clone() }
}

fn three_rounds(gang: Gang) -> Kept {
    run(&mut learner(gang), 3, Vec::new())
}

/// Two rounds, then a fresh learner that takes up the second one's state and runs the third.
fn two_rounds_and_a_resumed_third(gang: Gang) -> Kept {
    let mut first = learner(gang);
    let mut kept = run(&mut first, 2, Vec::new());
    let mut shards: Vec<Shard> = Vec::new();
    let mut gang = first.into_gang();
    let (own, _, _) = &kept.0[1];
    let whole = share_with_everybody(&mut gang, own);
    shards.push(whole);
    let mut second = learner(gang);
    second.restore(&assemble(shards).expect("one whole shard"));
    let records = kept.0.iter().map(|(_, record, _)| record.clone()).collect();
    kept.0.extend(run(&mut second, 3, records).0);
    kept
}

/// What the artifact store does between processes: the whole state from every rank's shard.
fn share_with_everybody(gang: &mut Gang, own: &Shard) -> Shard {
    let total = gang.layout().coordinates();
    let mut whole = own.clone();
    whole.start = 0;
    let mut spread = |values: &[f32]| {
        let mut padded = vec![0.0; total];
        padded[own.start..own.start + values.len()].copy_from_slice(values);
        let flat = Tensor::from_slice(&padded).to_device(gang.device());
        gang.gather_from_owners(&flat).expect("gathers");
        Vec::try_from(flat).expect("float32")
    };
    whole.weights = spread(&own.weights);
    whole.optimiser = own.optimiser.iter().map(|(name, values)| (name.clone(), spread(values))).collect();
    whole
}

#[test]
fn the_same_world_gives_the_same_bits_twice() {
    tch::set_num_threads(1);
    let layout = network().layout().clone();
    for world in [1, 2, 3] {
        let (once, again) =
            (gang::on_every_rank(world, &layout, three_rounds), gang::on_every_rank(world, &layout, three_rounds));
        for (a, b) in once.iter().zip(&again) {
            for ((shard, record, outcome), (other, other_record, other_outcome)) in a.0.iter().zip(&b.0) {
                assert_eq!(shard, other);
                assert_eq!(without_clock(record), without_clock(other_record));
                assert_eq!(outcome, other_outcome);
            }
        }
        // Every rank records the same, and holds its own coordinates.
        for kept in &once[1..] {
            assert_eq!(kept.0[2].1, once[0].0[2].1);
        }
        let shards = once.iter().map(|kept| kept.0[2].0.clone()).collect();
        assert_eq!(assemble(shards).expect("they fit").weights.len(), layout.coordinates());
    }
}

#[test]
fn a_resumed_step_ends_in_the_bits_of_an_undisturbed_one() {
    tch::set_num_threads(1);
    let layout = network().layout().clone();
    for world in [1, 2] {
        let undisturbed = gang::on_every_rank(world, &layout, three_rounds);
        let resumed = gang::on_every_rank(world, &layout, two_rounds_and_a_resumed_third);
        for (a, b) in undisturbed.iter().zip(&resumed) {
            assert_eq!(a.0[2].0, b.0[2].0);
            assert_eq!(a.0[2].1.scores, b.0[2].1.scores);
        }
    }
}

#[test]
fn records_count_epochs_rounds_and_bytes() {
    let layout = network().layout().clone();
    let kept = gang::on_every_rank(2, &layout, three_rounds).swap_remove(0);
    let records: Vec<&RoundRecord> = kept.0.iter().map(|(_, record, _)| record).collect();
    assert_eq!(records.iter().map(|r| r.round).collect::<Vec<_>>(), [Round(1), Round(2), Round(3)]);
    // Three snapshots a round: two epochs.
    assert_eq!(records.iter().map(|r| r.forget_epochs).collect::<Vec<_>>(), [2.0, 4.0, 6.0]);
    assert!(records.windows(2).all(|pair| pair[0].bytes_moved < pair[1].bytes_moved));
    assert!(records.iter().all(|r| r.weight_change > 0.0 && r.loss.number().is_some()));
    let outcomes: Vec<bool> = kept.0.iter().map(|(_, _, outcome)| outcome.is_some()).collect();
    assert_eq!(outcomes, [false, false, true]);
}

#[test]
fn a_round_that_diverges_is_taken_back_and_ends_the_step() {
    let layout = network().layout().clone();
    let kept = gang::on_every_rank(1, &layout, |gang| {
        let adam = Adam { learning_rate: 1e30, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
        let mut learner =
            Learner::new(network_on(gang.device()), gang, Optimiser::Adam(adam), 5, "step", CancelSignal::new());
        run(&mut learner, 3, Vec::new())
    });
    let (shard, record, outcome) = &kept[0].0[0];
    assert_eq!(outcome.as_ref().expect("the step ended").stop.rule, "diverged");
    assert!(shard.weights.iter().all(|weight| weight.is_finite()));
    assert_eq!(record.weight_change, 0.0);
}

/// BatchNorm's statistics after they were taken anew on samples sorted by class.
fn statistics_on_sorted_data(gang: Gang) -> Vec<f32> {
    let sorted = samples(60);
    let by_class: Vec<i64> = (0..4).flat_map(|class| (0..15).map(move |index| 4 * index + class)).collect();
    let (images, labels) = sorted.select(&by_class);
    let mut learner = learner(gang);
    learner.recompute_batch_norm(&LabelledSamples::new(images, labels), 10).expect("recomputes");
    learner.to_shard().expect("reads").buffers["features.0.1.running_var"].1.clone()
}

#[test]
fn recomputed_statistics_are_those_of_all_samples_even_when_data_is_sorted_by_class() {
    tch::set_num_threads(1);
    let layout = network().layout().clone();
    // The stem sees the images themselves: its statistics by one batch of everything.
    let whole = gang::on_every_rank(1, &layout, |gang| {
        let mut learner = learner(gang);
        learner.recompute_batch_norm(&samples(60), 60).expect("recomputes");
        learner.to_shard().expect("reads").buffers["features.0.1.running_var"].1.clone()
    });
    for world in [1, 2] {
        for found in gang::on_every_rank(world, &layout, statistics_on_sorted_data) {
            for (a, b) in found.iter().zip(&whole[0]) {
                assert!((a / b - 1.0).abs() < 0.1, "world of {world}: {a} against {b}");
            }
        }
    }
}

#[test]
fn statistics_that_are_not_finite_are_gone_when_they_are_taken_anew() {
    let layout = network().layout().clone();
    let found = gang::on_every_rank(1, &layout, |gang| {
        let mut learner = learner(gang);
        let mut taken = |poison: f64| {
            for (_, buffer) in learner.network.buffers() {
                let _ = tch::no_grad(|| buffer.shallow_clone().fill_(poison));
            }
            learner.recompute_batch_norm(&samples(60), 10).expect("recomputes");
            learner.to_shard().expect("reads").buffers["features.0.1.running_var"].1.clone()
        };
        (taken(1.0), taken(f64::NAN), taken(f64::INFINITY))
    });
    let (clean, after_nan, after_infinity) = &found[0];
    assert!(clean.iter().all(|value| value.is_finite()));
    assert_eq!((after_nan, after_infinity), (clean, clean));
}

/// Trained until the samples are known; then unlearned to a UA of 30 %, whose last round is bisected so often.
fn unlearned_to_30(gang: Gang, bisections: u32) -> (RoundRecord, Shard, f64) {
    let mut learner = learner(gang);
    let pass = Pass {
        batch_size: 8,
        descent: Descent::Down,
        mode: PassMode::BatchStatistics,
        schedule: Schedule::Constant,
        epochs: 1,
    };
    for _ in 0..30 {
        learner.epoch(&samples(20), &pass).expect("trains");
    }
    let stop = Stop { ua_at_least: Some(30.0), bisections, ..Stop::after(40) };
    let (shard, record, outcome) = run_until(&mut learner, stop, Vec::new()).0.pop().expect("has rounds");
    assert_eq!(outcome.expect("is the last").stop.rule, "ua-at-least");
    let now = accuracy(&learner.network, &mut learner.gang, &samples(20)).expect("measures");
    (record, shard, now)
}

#[test]
fn the_last_round_is_shortened_to_what_is_wanted_on_every_rank() {
    tch::set_num_threads(1);
    let layout = network().layout().clone();
    for world in [1, 2] {
        let whole = gang::on_every_rank(world, &layout, |gang| unlearned_to_30(gang, 0));
        let short = gang::on_every_rank(world, &layout, |gang| unlearned_to_30(gang, 5));
        assert_eq!(whole[0].0.step_length, None);
        let (record, _, now) = &short[0];
        let length = record.step_length.expect("was bisected");
        // One of 32 lengths, and what is recorded is what the weights that are left do.
        assert!(length > 0.0 && length <= 1.0 && (length * 32.0).fract() == 0.0, "{length}");
        assert_eq!(record.round, whole[0].0.round);
        assert_eq!(record.number(Figure::FORGET_ACCURACY), Some(*now));
        assert!(*now <= 70.0 && *now >= whole[0].2, "{now} and {}", whole[0].2);
        assert!(record.weight_change <= whole[0].0.weight_change);
        for (other, _, _) in &short[1..] {
            assert_eq!(without_clock(other), without_clock(record));
        }
        // Half as long would not do: the length is the shortest of the bisection's.
        assert!(length < 1.0 || short[0].1.weights == whole[0].1.weights);
    }
}

#[test]
fn records_say_how_alike_forget_and_validation_data_are() {
    let kept = gang::on_every_rank(1, network().layout(), three_rounds).swap_remove(0);
    for (_, record, _) in &kept.0 {
        assert!(record.number(Figure::LIKE_UNSEEN).is_some_and(|p| (0.0..=1.0).contains(&p)));
        assert!(record.number(Figure::MEMBERSHIP_AUC).is_some_and(|auc| (0.0..=1.0).contains(&auc)));
    }
}

/// After a round on forget data of two classes of four: what is noted of validation samples of these classes, and what
/// they give by hand; likewise where no round is chosen by it.
fn noted_of_forget_classes(gang: Gang) -> (Option<f64>, f64, f64, Option<f64>) {
    let (all, validation) = (samples(20), samples(12));
    let of_two = |count: i64| (0..count).filter(|position| position % 4 < 2).collect::<Vec<_>>();
    let forget = all.at(&of_two(20));
    let mut gang = Some(gang);
    let mut noted = |roll_back| {
        let mut learner = learner(gang.take().expect("was given back"));
        let (method, forward) = (method(), forward());
        let materials = Materials::forget_only(&forget, 4);
        let device = learner.gang.device();
        let original = || network_on(device);
        let mut method = method_for(&method, &forward, 1, &materials, &original).expect("needs no predictor");
        let step = StepRun {
            stop: Stop::after(1),
            roll_back,
            recompute: None,
            forget: &forget,
            validation: Some(&validation),
            unseen: None,
            watched: &[],
        };
        let mut kept = Kept::default();
        run_rounds(&mut learner, &mut *method, &step, Vec::new(), &mut kept).expect("runs");
        let of_classes = validation.at(&of_two(12));
        let by_hand = accuracy(&learner.network, &mut learner.gang, &of_classes).expect("measures");
        gang = Some(learner.into_gang());
        let record = kept.0.remove(0).1;
        (
            record.number(Figure::VALIDATION_ACCURACY_OF_FORGET_CLASSES),
            by_hand,
            record.number(Figure::VALIDATION_ACCURACY).expect("is measured"),
        )
    };
    let (found, by_hand, of_all) = noted(RollBack::HoldOutForgetError);
    (found, by_hand, of_all, noted(RollBack::HoldOutErrorOfAll).0)
}

#[test]
fn where_a_round_is_chosen_by_it_the_accuracy_on_unseen_samples_of_the_forget_datas_classes_is_noted() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        for (found, by_hand, of_all, elsewhere) in
            gang::on_every_rank(world, network().layout(), noted_of_forget_classes)
        {
            assert_eq!((found, elsewhere), (Some(by_hand), None));
            assert_ne!(by_hand, of_all, "the other classes would make a difference");
        }
    }
}
