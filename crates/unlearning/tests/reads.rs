//! What rounds note of the samples that were read: nothing too much, nothing too little, the same on every rank.

mod gang;

use rewind_artifacts::Shard;
use rewind_collective::CancelSignal;
use rewind_job::{
    Adam, Architecture, BoundaryShrink, Fisher, FisherForm, Forward, Lambda, Method, Optimiser, Part, RandomLabel,
    RandomLabelForgetOnly, Ranges, Read, Reader, RemainingPass, RollBack, Round, RoundRecord, Salun, SalunForgetOnly,
    Scrub, StepOutcome, Stop, TaskVector, Trajectory, WeightNoise,
};
use rewind_models::Network;
use rewind_unlearning::{
    Commit, Gang, LabelledSamples, Learner, Materials, StepRun, UnlearningError, method_for, run_rounds,
};
use tch::{Device, Kind, Tensor};

const FORGET: u32 = 22;
const REMAINING: u32 = 70;
const VALIDATION: u32 = 12;
/// Fewer than `REMAINING`.
const DRAWN: u32 = 20;

fn network() -> Network {
    network_on(Device::Cpu)
}

fn network_on(device: Device) -> Network {
    Network::build_on(device, Architecture::DepthwiseSmall, 4, [1, 8, 8], 3)
}

fn samples(count: u32) -> LabelledSamples {
    let count = i64::from(count);
    let images = (Tensor::arange(count * 64, (Kind::Float, Device::Cpu)) * 0.7).sin().view([count, 1, 8, 8]);
    LabelledSamples::new(images, Tensor::arange(count, (Kind::Int64, Device::Cpu)).remainder(4))
}

#[derive(Default)]
struct Kept(Vec<(Shard, RoundRecord)>);

impl Commit for Kept {
    fn commit(
        &mut self,
        shard: Shard,
        record: &RoundRecord,
        _: Round,
        _: Option<&StepOutcome>,
    ) -> Result<(), UnlearningError> {
        self.0.push((shard, record.clone()));
        Ok(())
    }

    fn progress(&mut self, _: &RoundRecord, _: f64) {}
}

/// Runs a method to its end, on samples of its own; BatchNorm's statistics are taken anew on `D_r` if `retains`.
fn run(learner: &mut Learner, method: &Method, stop: Stop, retains: bool, records: Vec<RoundRecord>) -> Kept {
    let (forget, remaining, validation) = (samples(FORGET), samples(REMAINING), samples(VALIDATION));
    let watched = [(Part::Forget, &forget), (Part::Remaining, &remaining), (Part::Validation, &validation)];
    let forward = Forward::with(adam(), 8);
    let materials = Materials { remaining: Some(&remaining), ..Materials::forget_only(&forget, 4) };
    let device = learner.gang.device();
    let original = || network_on(device);
    let mut method = method_for(method, &forward, stop.rounds, &materials, &original).expect("needs no predictor");
    let step = StepRun {
        stop,
        roll_back: RollBack::BestValidation,
        recompute: retains.then_some((&remaining, 7)),
        forget: &forget,
        validation: Some(&validation),
        unseen: None,
        watched: &watched,
    };
    let mut kept = Kept::default();
    run_rounds(learner, &mut *method, &step, records, &mut kept).expect("runs");
    kept
}

fn adam() -> Optimiser {
    Optimiser::Adam(Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 })
}

fn learner(gang: Gang) -> Learner {
    Learner::new(network_on(gang.device()), gang, adam(), 5, "unlearning", CancelSignal::new())
}

fn task_vector() -> Method {
    let trajectory = Trajectory { snapshots: 3, ..Trajectory::default() };
    Method::TaskVector(TaskVector { lambda: Lambda::One(0.5), trajectory })
}

fn forget_only() -> [Method; 7] {
    [
        task_vector(),
        Method::NegGrad {},
        Method::RandomLabelForgetOnly(RandomLabelForgetOnly::default()),
        Method::SalunForgetOnly(SalunForgetOnly::default()),
        Method::BoundaryShrink(BoundaryShrink { step: 0.1 }),
        Method::BoundaryExpand {},
        Method::WeightNoise(WeightNoise { sigma: 1e-3, share: 0.5 }),
    ]
}

/// The reads of two rounds of every method that is handed `D_f` alone.
fn forget_only_reads(gang: Gang) -> Vec<Vec<Vec<Read>>> {
    let mut gang = Some(gang);
    let reads_of = |method: &Method| {
        let mut learner = learner(gang.take().expect("was given back"));
        let kept = run(&mut learner, method, Stop::after(2), false, Vec::new());
        gang = Some(learner.into_gang());
        kept.0.into_iter().map(|(_, record)| record.reads).collect()
    };
    forget_only().iter().map(reads_of).collect()
}

fn whole(part: Part, by: Reader, samples: u32) -> Read {
    Read { part, by, positions: Ranges(vec![[0, samples]]) }
}

fn by(reads: &[Read], reader: Reader) -> Vec<Read> {
    reads.iter().filter(|read| read.by == reader).cloned().collect()
}

#[test]
fn a_forget_only_method_reads_d_f_and_nothing_else_and_the_rules_are_told_apart() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        let ranks = gang::on_every_rank(world, network().layout(), forget_only_reads);
        for (index, method) in forget_only().iter().enumerate() {
            for reads in &ranks[0][index] {
                let name = method.name();
                let own = [whole(Part::Forget, Reader::Method, FORGET)];
                assert_eq!(by(reads, Reader::Method), own, "{name} on {world}");
                let rules =
                    [whole(Part::Forget, Reader::Rules, FORGET), whole(Part::Validation, Reader::Rules, VALIDATION)];
                assert_eq!(by(reads, Reader::Rules), rules, "{name} on {world}");
            }
        }
        assert!(ranks.iter().all(|rank| *rank == ranks[0]), "every rank notes the same");
    }
}

/// Random labels with a pass over the remaining data, after or mixed in, and SCRUB.
fn retain_using() -> [Method; 5] {
    let mixed = RemainingPass::Mixed;
    [
        Method::RandomLabel(RandomLabel::default()),
        Method::RandomLabel(RandomLabel { remaining: mixed, ..RandomLabel::default() }),
        Method::Salun(Salun::default()),
        Method::Salun(Salun { remaining: mixed, ..Salun::default() }),
        Method::Scrub(Scrub { forget_batch_size: Some(5), ..Scrub::default() }),
    ]
}

fn retain_using_reads(gang: Gang) -> Vec<Vec<Vec<Read>>> {
    let mut gang = Some(gang);
    let reads_of = |method: &Method| {
        let mut learner = learner(gang.take().expect("was given back"));
        let kept = run(&mut learner, method, Stop::after(2), false, Vec::new());
        gang = Some(learner.into_gang());
        kept.0.into_iter().map(|(_, record)| record.reads).collect()
    };
    retain_using().iter().map(reads_of).collect()
}

#[test]
fn published_random_labels_and_scrub_read_all_of_both_in_every_round() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        let found = gang::on_every_rank(world, network().layout(), retain_using_reads).swap_remove(0);
        for (index, method) in retain_using().iter().enumerate() {
            for reads in &found[index] {
                let both =
                    [whole(Part::Forget, Reader::Method, FORGET), whole(Part::Remaining, Reader::Method, REMAINING)];
                assert_eq!(by(reads, Reader::Method), both, "{} on {world}", method.name());
            }
        }
    }
}

fn fisher_reads(gang: Gang) -> Vec<Vec<Vec<Read>>> {
    let mut gang = Some(gang);
    [FisherForm::Clamped, FisherForm::Empirical, FisherForm::Expected]
        .map(|form| {
            let method = Method::Fisher(Fisher { form: Some(form), alpha: 1e-7, clamp: None, samples: Some(DRAWN) });
            let mut learner = learner(gang.take().expect("was given back"));
            let kept = run(&mut learner, &method, Stop::after(2), false, Vec::new());
            gang = Some(learner.into_gang());
            kept.0.into_iter().map(|(_, record)| record.reads).collect()
        })
        .into()
}

#[test]
fn fisher_reads_as_many_remaining_samples_as_it_was_allowed() {
    tch::set_num_threads(1);
    let found = [1, 2, 3].map(|world| gang::on_every_rank(world, network().layout(), fisher_reads).swap_remove(0));
    for rounds in found.iter().flatten() {
        for reads in rounds {
            let own = by(reads, Reader::Method);
            assert_eq!((own.len(), own[0].part, own[0].positions.len()), (1, Part::Remaining, u64::from(DRAWN)));
            assert!(own[0].positions.iter().all(|position| position < REMAINING));
        }
        assert_ne!(rounds[0], rounds[1], "each round draws anew");
        assert_eq!(*rounds, found[0][0], "which are read depends neither on the form nor on the number of ranks");
    }
}

/// Fine-tuning that is stopped at once and bisected, with BatchNorm's statistics of `D_r`.
fn bisected_reads(gang: Gang) -> (Option<f64>, Vec<Read>) {
    let stop = Stop { ua_at_least: Some(1.0), bisections: 3, ..Stop::after(3) };
    let mut kept = run(&mut learner(gang), &Method::NegGrad {}, stop, true, Vec::new());
    let (_, record) = kept.0.pop().expect("has a round");
    (record.step_length, record.reads)
}

#[test]
fn shortening_a_round_mixes_nobodys_reads() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        let (length, reads) = gang::on_every_rank(world, network().layout(), bisected_reads).swap_remove(0);
        assert!(length.is_some(), "the round was bisected");
        let own = [whole(Part::Forget, Reader::Method, FORGET), whole(Part::Remaining, Reader::Method, REMAINING)];
        assert_eq!(by(&reads, Reader::Method), own);
        assert!(by(&reads, Reader::Rules).iter().all(|read| read.part != Part::Remaining));
    }
}

fn undisturbed(gang: Gang) -> Vec<Vec<Read>> {
    let kept =
        run(&mut learner(gang), &Method::BoundaryShrink(BoundaryShrink { step: 0.1 }), Stop::after(3), false, vec![]);
    kept.0.into_iter().map(|(_, record)| record.reads).collect()
}

/// Two rounds, then samples, method and learner anew for the third.
fn resumed(gang: Gang) -> Vec<Vec<Read>> {
    let method = Method::BoundaryShrink(BoundaryShrink { step: 0.1 });
    let mut first = learner(gang);
    let mut kept = run(&mut first, &method, Stop::after(2), false, Vec::new());
    let records = kept.0.iter().map(|(_, record)| record.clone()).collect();
    let mut second = learner(first.into_gang());
    kept.0.extend(run(&mut second, &method, Stop::after(3), false, records).0);
    kept.0.into_iter().map(|(_, record)| record.reads).collect()
}

#[test]
fn a_resumed_step_notes_what_an_undisturbed_one_does() {
    tch::set_num_threads(1);
    for world in [1, 2] {
        let expected = gang::on_every_rank(world, network().layout(), undisturbed);
        assert_eq!(gang::on_every_rank(world, network().layout(), resumed), expected);
    }
}
