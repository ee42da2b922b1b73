//! Who is who: training, test, validation, attack; to be forgotten, remaining. Drawn once, by seeds.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use rand::{RngExt, seq::SliceRandom};
use rewind_job::{Backdoor, Data, Forget, Pool, Split};

use crate::{DataError, PoolSamples, Samples, check_split, generator};

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
}

/// All samples of a job and the parts they play.
#[derive(Debug)]
pub struct Partition {
    samples: Vec<Samples>,
    forget: Subset,
    true_forget_labels: Vec<u8>,
    pooled: Option<Pooled>,
}

#[derive(Debug)]
struct Pooled {
    train: Subset,
    remaining: Subset,
    test: Subset,
    validation: Subset,
    attack: Subset,
}

impl Partition {
    /// Splits the pool and picks the forget data, as the specification says.
    ///
    /// # Errors
    /// Names the field: a label that is no class, images of two sizes, a split larger than the pool, forget data
    /// that are none or all of the training samples.
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
            (Some(pool), Some(split)) => Some(split_pool(pool, training, split)?),
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
        if let (Forget::Backdoor(backdoor), Some(pool)) = (&data.forget, &mut pool) {
            forget.ids.iter().for_each(|&id| draw_line(pool, id, backdoor));
        }
        if let Some(parts) = &mut parts {
            let chosen: BTreeSet<u32> = forget.ids.iter().copied().collect();
            parts.remaining = filter(&parts.train, |id| !chosen.contains(&id));
        }
        Ok(Self { samples: pool.into_iter().chain(own).collect(), forget, true_forget_labels, pooled: parts })
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
        self.pooled.as_ref().map(|p| &p.train)
    }

    /// `D_r`: training samples that are not forgotten; none where all are.
    pub fn remaining(&self) -> Option<&Subset> {
        self.pooled.as_ref().map(|p| &p.remaining).filter(|remaining| !remaining.is_empty())
    }

    pub fn test(&self) -> Option<&Subset> {
        self.pooled.as_ref().map(|p| &p.test)
    }

    pub fn validation(&self) -> Option<&Subset> {
        self.pooled.as_ref().map(|p| &p.validation)
    }

    pub fn attack(&self) -> Option<&Subset> {
        self.pooled.as_ref().map(|p| &p.attack)
    }
}

pub(crate) fn refuse(field: &str, problem: String) -> DataError {
    DataError::Specification { field: field.into(), problem }
}

fn filter(subset: &Subset, keep: impl Fn(u32) -> bool) -> Subset {
    let (ids, labels) =
        subset.ids.iter().zip(&subset.labels).filter(|&(&id, _)| keep(id)).map(|(&id, &label)| (id, label)).unzip();
    Subset { ids, labels }
}

/// The line along the left edge, in all channels.
fn draw_line(pool: &mut Samples, id: u32, backdoor: &Backdoor) {
    let [channels, height, width] = pool.shape;
    let len = channels * height * width;
    let image = &mut pool.images[id as usize * len..][..len];
    for row in image.chunks_mut(width) {
        row[..(backdoor.width as usize).min(width)].fill(backdoor.value);
    }
}

/// Stratified by label: every part has the classes in the proportions of what it is taken from, within rounding. Where the
/// first `training` samples are the data set's training samples, those alone give the training part, and the others
/// the held-out parts.
fn split_pool(pool: &Samples, training: Option<usize>, split: &Split) -> Result<Pooled, DataError> {
    check_split(split, pool.len(), training)?;
    let mut rng = generator(split.seed, "split");
    // Classes interleaved by relative position: any run of such a list is stratified.
    let mut spread = |from: Range<usize>| {
        let mut by_class: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        for id in from.clone() {
            by_class.entry(pool.labels[id]).or_default().push(id as u32);
        }
        let mut spread: Vec<(f64, u8, u32)> = Vec::with_capacity(from.len());
        for (&label, ids) in &mut by_class {
            ids.shuffle(&mut rng);
            let count = ids.len() as f64;
            spread.extend(ids.iter().enumerate().map(|(i, &id)| ((i as f64 + 0.5) / count, label, id)));
        }
        spread.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        spread.into_iter().map(|(_, _, id)| id).collect::<Vec<u32>>()
    };
    let mut ids = spread(0..training.unwrap_or(pool.len()));
    let mut rest = match training {
        Some(training) => spread(training..pool.len()),
        None => ids.split_off(split.train as usize),
    };
    ids.truncate(split.train as usize);
    let subset = |mut ids: Vec<u32>| {
        ids.sort_unstable();
        let labels = ids.iter().map(|&id| pool.labels[id as usize]).collect();
        Subset { ids, labels }
    };
    let [test, validation, attack] =
        [split.test, split.validation, split.attack].map(|size| subset(rest.drain(..size as usize).collect()));
    Ok(Pooled { train: subset(ids), remaining: Subset::default(), test, validation, attack })
}

/// Picks `D_f` out of the training samples; label noise changes their labels there too.
fn choose_forget(forget: &Forget, classes: u32, parts: &mut Pooled) -> Result<(Subset, Vec<u8>), DataError> {
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
        Forget::Class { label } => {
            let positions = (0..train.len()).filter(|&at| u32::from(train.labels[at]) == *label).collect();
            ("data.forget.class", positions)
        }
        Forget::Everything => return Ok((train.clone(), train.labels.clone())),
        Forget::Nothing => return Ok((Subset::default(), Vec::new())),
        Forget::Files(_) => return Err(refuse("data.forget.files", "its files were not read".into())),
    };
    if positions.is_empty() {
        return Err(refuse(field, "no training sample would be forgotten".into()));
    }
    if positions.len() == train.len() {
        return Err(refuse(field, "every training sample would be forgotten".into()));
    }
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
    use rewind_job::IdxFiles;

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
        let partition =
            Partition::new(&data(Forget::Class { label: 1 }), 5, Some(pool.clone().into()), None).expect("splits");
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
        assert_eq!(test(noise()), test(Forget::Class { label: 1 }));
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
    fn one_class_is_forgotten_whole() {
        let partition = Partition::new(&data(Forget::Class { label: 2 }), 5, Some(pool(150)), None).expect("splits");
        assert!(partition.forget().ids.iter().all(|id| id % 5 == 2));
        assert_eq!(partition.forget().len(), 20);
        assert!(partition.remaining().unwrap().labels.iter().all(|&label| label != 2));
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
        assert!(refusal(Forget::Class { label: 7 }, 8, 150).starts_with("data.forget.class: no training sample"));
        assert!(refusal(noise(), 300, 150).starts_with("model.classes: must be from 2 to 256"));
    }
}
