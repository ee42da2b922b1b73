//! Who is who: training, test, validation, attack; to be forgotten, remaining. Drawn once, by seeds.

use std::collections::BTreeSet;

use rand::{RngExt, seq::SliceRandom};
use rewind_job::{Backdoor, Data, Forget, Pool};

use crate::{
    ClassApart, DataError, PoolSamples, Samples,
    class_apart::{self, check_forgotten},
    generator,
    split::{Parts, split_pool},
    trigger::draw_trigger,
};

/// Some samples, and the labels to use for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    /// Position in the pool; samples of forget files of their own are numbered after the pool.
    pub ids: Vec<u32>,
    /// The labels that were trained with.
    pub labels: Vec<u8>,
}

impl Subset {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The samples whose id and label are wanted, in the same order.
    pub(crate) fn filter(&self, keep: impl Fn(u32, u8) -> bool) -> Self {
        let all = self.ids.iter().zip(&self.labels).map(|(&id, &label)| (id, label));
        let (ids, labels) = all.filter(|&(id, label)| keep(id, label)).unzip();
        Self { ids, labels }
    }
}

/// All samples of a job and the parts they play.
#[derive(Debug)]
pub struct Partition {
    samples: Vec<Samples>,
    forget: Subset,
    true_forget_labels: Vec<u8>,
    pooled: Option<Pooled>,
    backdoor: Option<Backdoor>,
}

#[derive(Debug)]
struct Pooled {
    parts: Parts,
    remaining: Subset,
    class_apart: Option<ClassApart>,
}

impl Partition {
    /// Splits the pool and picks the forget data, as the specification says.
    ///
    /// # Errors
    /// Names the field: a label that is no class, images of two sizes, a split larger than the pool, forget data
    /// that are none or all of the training samples, held-out parts that a class leaves empty.
    pub fn new(data: &Data, classes: u32, pool: Option<PoolSamples>, own: Option<Samples>) -> Result<Self, DataError> {
        let (mut pool, training) = pool.map_or((None, None), |pool| (Some(pool.samples), pool.training));
        let pool_labels = data.pool.as_ref().map_or("data.pool.labels", Pool::labels_field);
        for (field, samples) in [(pool_labels, &pool), ("data.forget.files.labels", &own)] {
            let largest = samples.iter().flat_map(|s| &s.labels).copied().max().unwrap_or(0);
            if u32::from(largest) >= classes {
                return Err(refuse(field, format!("label {largest} is not below model.classes ({classes})")));
            }
        }
        if let (Some(pool), Some(own)) = (&pool, &own)
            && pool.shape != own.shape
        {
            let problem = format!("its images are {:?}, but those of data.pool are {:?}", own.shape, pool.shape);
            return Err(refuse("data.forget.files.images", problem));
        }
        let offset = pool.as_ref().map_or(0, Samples::len) as u32;
        let mut parts = match (&pool, &data.split) {
            (Some(pool), Some(split)) => Some(split_pool(&pool.labels, training, split)?),
            _ => None,
        };
        let (forget, true_forget_labels) = match (&data.forget, &own, &mut parts) {
            (Forget::Files(_), Some(own), _) => {
                let ids = (0..own.len() as u32).map(|index| offset + index).collect();
                (Subset { ids, labels: own.labels.clone() }, own.labels.clone())
            }
            (forget, _, Some(parts)) => choose_forget(forget, classes, parts)?,
            _ => return Err(refuse("data.forget", "needs data.pool, or forget data in files of its own".into())),
        };
        let backdoor = match &data.forget {
            Forget::Backdoor(backdoor) => Some(backdoor.clone()),
            _ => None,
        };
        if let (Some(backdoor), Some(pool)) = (&backdoor, &mut pool) {
            let shape = pool.shape;
            forget.ids.iter().for_each(|&id| draw_trigger(pool.image_mut(id as usize), shape, backdoor));
        }
        let pooled = parts.map(|mut parts| {
            let class_apart = data.forget.class_apart().map(|label| class_apart::set_apart(label, &mut parts));
            let chosen: BTreeSet<u32> = forget.ids.iter().copied().collect();
            let remaining = parts.train.filter(|id, _| !chosen.contains(&id));
            Ok(Pooled { parts, remaining, class_apart: class_apart.transpose()? })
        });
        let samples = pool.into_iter().chain(own).collect();
        Ok(Self { samples, forget, true_forget_labels, pooled: pooled.transpose()?, backdoor })
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [usize; 3] {
        self.samples[0].shape
    }

    /// The pixels of a sample. Panics on an id that no subset of this partition has.
    pub fn image(&self, id: u32) -> &[u8] {
        let (samples, index) = self.place_of(id);
        samples.image(index)
    }

    /// A sample's label in its file, whatever it is trained with. Panics on an id that no subset of this partition has.
    pub fn file_label(&self, id: u32) -> u8 {
        let (samples, index) = self.place_of(id);
        samples.labels[index]
    }

    fn place_of(&self, id: u32) -> (&Samples, usize) {
        let mut index = id as usize;
        for samples in &self.samples {
            if index < samples.len() {
                return (samples, index);
            }
            index -= samples.len();
        }
        panic!("{id} is not the id of a sample of this partition");
    }

    /// `D_f`, with the labels that were trained with.
    pub fn forget(&self) -> &Subset {
        &self.forget
    }

    /// What the forget samples really show, where the job knows it.
    pub fn true_forget_labels(&self) -> &[u8] {
        &self.true_forget_labels
    }

    /// All training samples, wrong labels included.
    pub fn train(&self) -> Option<&Subset> {
        self.pooled.as_ref().map(|p| &p.parts.train)
    }

    /// `D_r`: training samples that are not forgotten; none where all are.
    pub fn remaining(&self) -> Option<&Subset> {
        self.pooled.as_ref().map(|p| &p.remaining).filter(|remaining| !remaining.is_empty())
    }

    pub fn test(&self) -> Option<&Subset> {
        self.pooled.as_ref().map(|p| &p.parts.test)
    }

    pub fn validation(&self) -> Option<&Subset> {
        self.pooled.as_ref().map(|p| &p.parts.validation)
    }

    pub fn attack(&self) -> Option<&Subset> {
        self.pooled.as_ref().map(|p| &p.parts.attack)
    }

    /// Held-out samples of a class that is forgotten whole; none where there is no such class, or where they have stayed
    /// in the parts that they were drawn for.
    pub fn class_apart(&self) -> Option<&ClassApart> {
        self.pooled.as_ref()?.class_apart.as_ref()
    }

    /// Test samples of other classes than a backdoor's target, labelled with the target: what
    /// [`Self::triggered_image`] makes of them opens the backdoor, where there still is one. None without a backdoor.
    pub fn triggered(&self) -> Option<Subset> {
        let target = self.backdoor.as_ref()?.label;
        let mut others = self.test()?.filter(|_, label| u32::from(label) != target);
        others.labels.fill(target as u8);
        Some(others)
    }

    /// The pixels of a sample with the trigger drawn on them, as on the forget data; as they are without a backdoor.
    /// Panics on an id that no subset of this partition has.
    pub fn triggered_image(&self, id: u32) -> Vec<u8> {
        let mut image = self.image(id).to_vec();
        if let Some(backdoor) = &self.backdoor {
            draw_trigger(&mut image, self.shape(), backdoor);
        }
        image
    }
}

pub(crate) fn refuse(field: &str, problem: String) -> DataError {
    DataError::Specification { field: field.into(), problem }
}

/// Picks `D_f` out of the training samples; label noise changes their labels there too.
fn choose_forget(forget: &Forget, classes: u32, parts: &mut Parts) -> Result<(Subset, Vec<u8>), DataError> {
    let train = &mut parts.train;
    // In the order of the draw: where some are passed over, others take their place.
    let share_among = |share: f64, seed: u64, purpose: &str, is_eligible: &dyn Fn(usize) -> bool| {
        let count = (share * train.len() as f64).round() as usize;
        let mut positions: Vec<usize> = (0..train.len()).collect();
        positions.shuffle(&mut generator(seed, purpose));
        positions.retain(|&at| is_eligible(at));
        let eligible = positions.len();
        if eligible < count {
            return Err((count, eligible));
        }
        positions.truncate(count);
        positions.sort_unstable();
        Ok(positions)
    };
    let share_of_train = |share, seed, purpose| {
        share_among(share, seed, purpose, &|_| true).expect("a share of all is there: shares are below 1")
    };
    let (field, positions) = match forget {
        Forget::LabelNoise { share, seed } => ("data.forget.label-noise", share_of_train(*share, *seed, "label-noise")),
        Forget::Backdoor(backdoor) => {
            let is_other = |at: usize| u32::from(train.labels[at]) != backdoor.label;
            let positions = share_among(backdoor.share, backdoor.seed, "backdoor", &is_other);
            let refused = |(count, others)| {
                let problem = format!("asks for {count} samples, but only {others} have another label than the target");
                refuse("data.forget.backdoor.share", problem)
            };
            ("data.forget.backdoor", positions.map_err(refused)?)
        }
        Forget::Random { share, seed } => ("data.forget.random", share_of_train(*share, *seed, "random-forget")),
        Forget::Class(class) => {
            let positions = (0..train.len()).filter(|&at| u32::from(train.labels[at]) == class.label).collect();
            ("data.forget.class", positions)
        }
        Forget::Everything => return Ok((train.clone(), train.labels.clone())),
        Forget::Nothing => return Ok((Subset::default(), Vec::new())),
        Forget::Files(_) => return Err(refuse("data.forget.files", "its files were not read".into())),
    };
    check_forgotten(field, positions.len(), train.len())?;
    let true_labels = positions.iter().map(|&at| train.labels[at]).collect();
    if let Forget::LabelNoise { seed, .. } = forget {
        if !(2..=256).contains(&classes) {
            return Err(refuse("model.classes", format!("must be from 2 to 256 for label noise, but is {classes}")));
        }
        let mut rng = generator(*seed, "wrong-labels");
        for &at in &positions {
            // Uniform among the other classes.
            let shift = rng.random_range(1..classes);
            train.labels[at] = ((u32::from(train.labels[at]) + shift) % classes) as u8;
        }
    }
    if let Forget::Backdoor(backdoor) = forget {
        positions.iter().for_each(|&at| train.labels[at] = backdoor.label as u8);
    }
    let ids = positions.iter().map(|&at| train.ids[at]).collect();
    let labels = positions.iter().map(|&at| train.labels[at]).collect();
    Ok((Subset { ids, labels }, true_labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind_job::{ForgottenClass, HeldOutClass, IdxFiles, Split};

    fn samples(count: usize) -> Samples {
        Samples {
            shape: [1, 1, 1],
            images: (0..count).map(|i| i as u8).collect(),
            labels: (0..count).map(|i| (i % 5) as u8).collect(),
        }
    }

    fn pool(count: usize) -> PoolSamples {
        samples(count).into()
    }

    fn data(forget: Forget) -> Data {
        Data {
            pool: Some(Pool::Idx(IdxFiles { images: "i".into(), labels: "l".into() })),
            split: Some(Split { seed: 3, train: 100, test: 20, validation: 10, attack: 10 }),
            forget,
        }
    }

    fn class(label: u32) -> Forget {
        Forget::Class(ForgottenClass { label, held_out: HeldOutClass::Apart })
    }

    fn kept(label: u32) -> Forget {
        Forget::Class(ForgottenClass { label, held_out: HeldOutClass::Kept })
    }

    fn noise() -> Forget {
        Forget::LabelNoise { share: 0.2, seed: 1 }
    }

    #[test]
    fn where_everything_is_forgotten_nothing_remains() {
        let partition = Partition::new(&data(Forget::Everything), 5, Some(pool(150)), None).expect("splits");
        assert_eq!(Some(partition.forget()), partition.train());
        assert_eq!(partition.remaining(), None);
        assert_eq!(partition.true_forget_labels(), partition.forget().labels);
    }

    #[test]
    fn parts_are_stratified_and_do_not_overlap() {
        let partition = Partition::new(&data(noise()), 5, Some(pool(150)), None).expect("splits");
        let parts =
            [partition.train(), partition.test(), partition.validation(), partition.attack()].map(Option::unwrap);
        let mut seen = BTreeSet::new();
        for (part, size) in parts.iter().zip([100, 20, 10, 10]) {
            assert_eq!(part.len(), size);
            assert!(part.ids.iter().all(|&id| seen.insert(id)));
            for class in 0..5 {
                assert_eq!(part.ids.iter().filter(|&&id| id % 5 == class).count(), size / 5);
            }
        }
    }

    #[test]
    fn where_the_data_set_has_a_test_part_held_out_samples_come_from_it_alone() {
        let mut whole = data(noise());
        whole.pool = Some(Pool::Cifar10("folder".into()));
        let divided = |training| Some(PoolSamples { samples: samples(150), training: Some(training) });
        let partition = Partition::new(&whole, 5, divided(105), None).expect("splits");
        assert!(partition.train().unwrap().ids.iter().all(|&id| id < 105));
        assert_eq!(partition.train().unwrap().len(), 100);
        let mut seen = BTreeSet::new();
        for (part, size) in [(partition.test(), 20), (partition.validation(), 10), (partition.attack(), 10)] {
            let part = part.unwrap();
            assert_eq!(part.len(), size);
            assert!(part.ids.iter().all(|&id| id >= 105 && seen.insert(id)));
            for class in 0..5 {
                assert_eq!(part.ids.iter().filter(|&&id| id % 5 == class).count(), size / 5);
            }
        }
        let refusal = |training| Partition::new(&whole, 5, divided(training), None).expect_err("refused").to_string();
        assert_eq!(refusal(99), "data.split.train: is 100, but the data set has 99 training samples");
        assert_eq!(
            refusal(115),
            "data.split: test, validation and attack sum to 40, but the data set has 35 test samples to take them from"
        );
        let few = Partition::new(&whole, 4, divided(105), None).expect_err("refused").to_string();
        assert!(few.starts_with("data.pool.cifar10: label 4"), "{few}");
    }

    #[test]
    fn label_noise_makes_wrong_labels_wherever_they_are_trained_with() {
        let partition = Partition::new(&data(noise()), 5, Some(pool(150)), None).expect("splits");
        let (forget, train) = (partition.forget(), partition.train().unwrap());
        assert_eq!(forget.len(), 20);
        assert_eq!(partition.remaining().unwrap().len(), 80);
        assert_eq!(partition.triggered(), None);
        for ((&id, &label), &truth) in forget.ids.iter().zip(&forget.labels).zip(partition.true_forget_labels()) {
            assert_eq!(u32::from(truth), id % 5);
            assert_eq!(partition.file_label(id), truth);
            assert_ne!(label, truth);
            let at = train.ids.iter().position(|&other| other == id).unwrap();
            assert_eq!(train.labels[at], label);
            assert!(!partition.remaining().unwrap().ids.contains(&id));
        }
        let remaining = partition.remaining().unwrap();
        assert!(remaining.ids.iter().zip(&remaining.labels).all(|(&id, &label)| u32::from(label) == id % 5));
    }

    #[test]
    fn a_backdoor_is_a_line_and_the_target_label_on_samples_of_other_classes() {
        let mut pool = pool(150);
        pool.samples.shape = [1, 2, 3];
        pool.samples.images = (0..150).flat_map(|i| [i as u8; 6]).collect();
        let backdoor = Backdoor { share: 0.2, seed: 1, label: 2, width: 1, value: 255 };
        let partition = Partition::new(&data(Forget::Backdoor(backdoor)), 5, Some(pool), None).expect("splits");
        let forget = partition.forget();
        assert_eq!((forget.len(), partition.remaining().unwrap().len()), (20, 80));
        assert!(forget.labels.iter().all(|&label| label == 2));
        assert!(partition.true_forget_labels().iter().zip(&forget.ids).all(|(&truth, &id)| u32::from(truth) == id % 5));
        assert!(partition.true_forget_labels().iter().all(|&truth| truth != 2));
        for &id in &forget.ids {
            let old = id as u8;
            assert_eq!(partition.image(id), [255, old, old, 255, old, old]);
            let train = partition.train().unwrap();
            assert_eq!(train.labels[train.ids.iter().position(|&other| other == id).unwrap()], 2);
        }
        let greedy = Backdoor { share: 0.9, seed: 1, label: 2, width: 1, value: 255 };
        let refusal =
            Partition::new(&data(Forget::Backdoor(greedy)), 5, Some(self::pool(150)), None).expect_err("refused");
        assert!(refusal.to_string().contains("asks for 90 samples, but only 80 have another label"), "{refusal}");
        // Unseen samples of other classes, with the same line; in their own part they stay as they are.
        let triggered = partition.triggered().expect("there is a backdoor");
        assert_eq!(triggered.ids, partition.test().unwrap().filter(|id, _| id % 5 != 2).ids);
        assert_eq!((triggered.len(), triggered.labels), (16, vec![2; 16]));
        for id in triggered.ids {
            let old = id as u8;
            assert_eq!(partition.triggered_image(id), [255, old, old, 255, old, old]);
        }
        for part in [partition.remaining(), partition.test(), partition.validation()] {
            let clean = |&id: &u32| partition.image(id) == [id as u8; 6];
            assert!(part.unwrap().ids.iter().all(clean));
        }
    }

    #[test]
    fn a_partition_is_a_function_of_its_specification() {
        let draw = |seed| {
            Partition::new(&data(Forget::Random { share: 0.5, seed }), 5, Some(pool(150)), None)
                .expect("splits")
                .forget()
                .clone()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(draw(1).len(), 50);
    }

    #[test]
    fn wrong_labels_are_uniform_among_the_other_classes() {
        let data = Data {
            split: Some(Split { seed: 0, train: 50_000, test: 1, validation: 1, attack: 0 }),
            ..data(Forget::LabelNoise { share: 0.2, seed: 4 })
        };
        let partition = Partition::new(&data, 5, Some(pool(50_002)), None).expect("splits");
        let mut counts = [[0_u32; 5]; 5];
        for (&wrong, &truth) in partition.forget().labels.iter().zip(partition.true_forget_labels()) {
            counts[usize::from(truth)][usize::from(wrong)] += 1;
        }
        for (truth, counts) in counts.iter().enumerate() {
            for (wrong, &count) in counts.iter().enumerate() {
                // 500 expected, standard deviation about 22.
                let plausible = if truth == wrong { 0..1 } else { 390..610 };
                assert!(plausible.contains(&count), "{count} samples of {truth} became {wrong}");
            }
        }
    }

    #[test]
    fn uneven_classes_keep_their_proportions_within_one_sample() {
        let mut pool = samples(150);
        // 90 of class 0, and 15 of each other one.
        pool.labels = (0..150).map(|i| if i < 90 { 0 } else { (1 + i % 4) as u8 }).collect();
        let total = |class: u8| pool.labels.iter().filter(|&&label| label == class).count() as f64;
        let partition = Partition::new(&data(kept(1)), 5, Some(pool.clone().into()), None).expect("splits");
        for part in [partition.train(), partition.test(), partition.validation(), partition.attack()] {
            let part = part.expect("there is a pool");
            for class in 0..5 {
                let found = part.labels.iter().filter(|&&label| label == class).count() as f64;
                let wanted = total(class) * part.len() as f64 / 150.0;
                assert!((found - wanted).abs() <= 1.0, "{found} of class {class} where {wanted} are due");
            }
        }
    }

    #[test]
    fn the_split_does_not_depend_on_the_forget_data() {
        let test = |forget| {
            Partition::new(&data(forget), 5, Some(pool(150)), None).expect("splits").test().cloned().expect("a pool")
        };
        assert_eq!(test(noise()), test(kept(1)));
    }

    #[test]
    fn forget_files_beside_a_pool_are_numbered_after_it() {
        let files = IdxFiles { images: "i".into(), labels: "l".into() };
        let data = data(Forget::Files(files));
        let own = Samples { shape: [1, 1, 1], images: vec![201, 202], labels: vec![3, 4] };
        let partition = Partition::new(&data, 5, Some(pool(150)), Some(own.clone())).expect("splits");
        assert_eq!(partition.forget(), &Subset { ids: vec![150, 151], labels: vec![3, 4] });
        assert_eq!((partition.image(149), partition.image(150)), (&[149_u8][..], &[201_u8][..]));
        assert_eq!(partition.train(), partition.remaining());

        let larger = Samples { shape: [1, 2, 1], images: vec![0; 4], ..own };
        let refusal = Partition::new(&data, 5, Some(pool(150)), Some(larger)).expect_err("refused").to_string();
        assert!(refusal.starts_with("data.forget.files.images: its images are [1, 2, 1]"));
    }

    #[test]
    fn a_class_is_forgotten_whole_and_its_held_out_samples_lie_apart() {
        let new = |forget| Partition::new(&data(forget), 5, Some(pool(150)), None).expect("splits");
        let partition = new(class(2));
        assert!(partition.forget().ids.iter().all(|id| id % 5 == 2));
        assert_eq!(partition.forget().len(), 20);
        let apart = partition.class_apart().expect("they lie apart");
        assert_eq!([&apart.test, &apart.validation, &apart.attack].map(Subset::len), [4, 2, 2]);
        let before = new(kept(2));
        assert_eq!((before.forget(), before.class_apart()), (partition.forget(), None));
        for (left, apart, drawn) in [
            (partition.test(), &apart.test, before.test()),
            (partition.validation(), &apart.validation, before.validation()),
            (partition.attack(), &apart.attack, before.attack()),
        ] {
            assert!(apart.labels.iter().all(|&label| label == 2));
            let of_others = drawn.unwrap().filter(|_, label| label != 2);
            assert_eq!(left, Some(&of_others));
        }
        assert_eq!(partition.remaining(), before.remaining());
        assert!(partition.remaining().unwrap().labels.iter().all(|&label| label != 2));
        assert_eq!(new(noise()).class_apart(), None);
    }

    #[test]
    fn a_class_that_is_most_of_the_data_is_refused_by_field() {
        let mut pool = samples(150);
        pool.labels = (0..150).map(|i| if i < 148 { 1 } else { 0 }).collect();
        let refusal = |forget| Partition::new(&data(forget), 5, Some(pool.clone().into()), None).expect_err("refused");
        let text = refusal(class(1)).to_string();
        assert!(text.starts_with("data.forget.class: class 1 leaves ") || text.contains("every training"), "{text}");
    }

    #[test]
    fn forget_files_alone_are_enough() {
        let files = IdxFiles { images: "i".into(), labels: "l".into() };
        let data = Data { pool: None, split: None, forget: Forget::Files(files) };
        let partition = Partition::new(&data, 5, None, Some(samples(7))).expect("splits");
        assert_eq!(partition.forget().len(), 7);
        assert_eq!(partition.image(6), [6]);
        assert!(partition.train().is_none() && partition.test().is_none());
    }

    #[test]
    fn impossible_parts_are_refused_by_field() {
        let refusal = |forget, classes, count| {
            Partition::new(&data(forget), classes, Some(pool(count)), None).expect_err("refused").to_string()
        };
        assert!(refusal(noise(), 5, 139).starts_with("data.split: its parts sum to 140"));
        assert!(refusal(noise(), 4, 150).starts_with("data.pool.labels: label 4"));
        let tiny = Forget::Random { share: 0.001, seed: 0 };
        assert!(refusal(tiny, 5, 150).starts_with("data.forget.random: no training sample"));
        let most = Forget::LabelNoise { share: 0.999, seed: 0 };
        assert!(refusal(most, 5, 150).starts_with("data.forget.label-noise: every training sample"));
        assert!(refusal(class(7), 8, 150).starts_with("data.forget.class: no training sample"));
        assert!(refusal(noise(), 300, 150).starts_with("model.classes: must be from 2 to 256"));
    }
}
