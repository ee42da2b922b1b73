//! A rank's checkpoint at rest, and the whole that shards of any world size make.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    ArtifactError, Buffers,
    tensors::{Float32, float32, metadata, open_safetensors, serialize},
};

/// The state of a run of coordinates: `start..start + weights.len()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shard {
    /// First flat coordinate.
    pub start: usize,
    pub weights: Vec<f32>,
    /// The optimiser's state by name; each as long as `weights`.
    pub optimiser: BTreeMap<String, Vec<f32>>,
    /// Whole on every rank.
    pub buffers: Buffers,
    /// What a method keeps beside the network; whole on every rank.
    pub aside: Buffers,
    /// The same on every rank.
    pub counters: BTreeMap<String, u64>,
}

const START: &str = "start";
const COUNTER: &str = "counter.";
const OPTIMISER: &str = "optimiser.";
const BUFFER: &str = "buffer.";
const ASIDE: &str = "aside.";

impl Shard {
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.weights.len()
    }

    /// As safetensors; the bytes are a function of the state.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        let flat = |values| Float32 { shape: vec![self.weights.len()], values };
        let mut tensors = vec![("weights".to_owned(), flat(&self.weights[..]))];
        for (name, values) in &self.optimiser {
            tensors.push((format!("{OPTIMISER}{name}"), flat(values)));
        }
        for (prefix, whole) in [(BUFFER, &self.buffers), (ASIDE, &self.aside)] {
            for (name, (shape, values)) in whole {
                let shape = shape.iter().map(|&side| side as usize).collect();
                tensors.push((format!("{prefix}{name}"), Float32 { shape, values }));
            }
        }
        let mut metadata: BTreeMap<String, String> =
            self.counters.iter().map(|(name, count)| (format!("{COUNTER}{name}"), count.to_string())).collect();
        metadata.insert(START.to_owned(), self.start.to_string());
        serialize(tensors, &metadata)
    }

    /// # Errors
    /// When the bytes are no shard.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let broken = |problem: &str| ArtifactError::Shards(problem.to_owned());
        let metadata = metadata(bytes)?;
        let start = metadata.get(START).ok_or_else(|| broken("one lacks its start"))?;
        let start = start.parse().map_err(|_| broken("the start of one is not a number"))?;
        let mut counters = BTreeMap::new();
        for (entry, count) in &metadata {
            if let Some(name) = entry.strip_prefix(COUNTER) {
                let count = count.parse().map_err(|_| broken("a counter is not a number"))?;
                counters.insert(name.to_owned(), count);
            }
        }
        let file = open_safetensors(bytes)?;
        let mut shard = Self { start, weights: float32(&file, "weights")?.1, counters, ..Self::default() };
        for name in file.names() {
            if let Some(state) = name.strip_prefix(OPTIMISER) {
                let (_, values) = float32(&file, name)?;
                if values.len() != shard.weights.len() {
                    return Err(broken("an optimiser's state is not as long as the weights"));
                }
                shard.optimiser.insert(state.to_owned(), values);
            } else if let Some(buffer) = name.strip_prefix(BUFFER) {
                shard.buffers.insert(buffer.to_owned(), float32(&file, name)?);
            } else if let Some(kept) = name.strip_prefix(ASIDE) {
                shard.aside.insert(kept.to_owned(), float32(&file, name)?);
            }
        }
        Ok(shard)
    }

    /// # Errors
    /// When this is not the state of all `coordinates` of a model.
    pub fn expect_whole(self, coordinates: usize) -> Result<Self, ArtifactError> {
        if self.range() == (0..coordinates) {
            return Ok(self);
        }
        let Range { start, end } = self.range();
        Err(ArtifactError::Shards(format!("they cover coordinates {start}..{end} of a model that has {coordinates}")))
    }

    /// `self + share · (other − self)` for weights and buffers; what `self` lacks is the other's. Both ends are exact.
    pub fn towards(&self, other: &Self, share: f64) -> Self {
        let between = |from: &[f32], to: &[f32]| -> Vec<f32> {
            let way = |(&from, &to): (&f32, &f32)| {
                if share == 1.0 { to } else { (f64::from(from) + share * (f64::from(to) - f64::from(from))) as f32 }
            };
            from.iter().zip(to).map(way).collect()
        };
        let buffers = other.buffers.iter().map(|(name, (shape, to))| {
            let from = self.buffers.get(name).map_or(to, |(_, from)| from);
            (name.clone(), (shape.clone(), between(from, to)))
        });
        Self { weights: between(&self.weights, &other.weights), buffers: buffers.collect(), ..other.clone() }
    }

    /// Euclidean distance of the weights.
    pub fn distance(&self, other: &Self) -> f64 {
        let differences = self.weights.iter().zip(&other.weights).map(|(a, b)| f64::from(*a) - f64::from(*b));
        differences.map(|difference| difference * difference).sum::<f64>().sqrt()
    }

    /// The part of a state that lies in `range`. Panics if the state does not cover it.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let local = range.start - self.start..range.end - self.start;
        let cut = |values: &Vec<f32>| values[local.clone()].to_vec();
        Self {
            start: range.start,
            weights: cut(&self.weights),
            optimiser: self.optimiser.iter().map(|(name, values)| (name.clone(), cut(values))).collect(),
            buffers: self.buffers.clone(),
            aside: self.aside.clone(),
            counters: self.counters.clone(),
        }
    }
}

/// Joins the shards of all ranks, in rank order, to the whole state. What is whole on every rank is the first one's.
///
/// # Errors
/// When there are none, they leave a gap or overlap, or they differ in optimiser, counters or names of buffers.
/// Whether the last ones are there too, [`Shard::expect_whole`] says.
pub fn assemble(shards: Vec<Shard>) -> Result<Shard, ArtifactError> {
    let mut shards = shards.into_iter();
    let mut whole = shards.next().ok_or_else(|| ArtifactError::Shards("there are none".into()))?;
    if whole.start != 0 {
        return Err(ArtifactError::Shards(format!("the first starts at {}", whole.start)));
    }
    for shard in shards {
        if shard.start != whole.weights.len() {
            let end = whole.weights.len();
            return Err(ArtifactError::Shards(format!("one starts at {} where {end} is expected", shard.start)));
        }
        if !shard.optimiser.keys().eq(whole.optimiser.keys()) {
            return Err(ArtifactError::Shards("they come from different optimisers".into()));
        }
        if shard.counters != whole.counters {
            let problem = format!("their counters differ: {:?} and {:?}", whole.counters, shard.counters);
            return Err(ArtifactError::Shards(problem));
        }
        if !shard.buffers.keys().eq(whole.buffers.keys()) {
            return Err(ArtifactError::Shards("they have different buffers".into()));
        }
        whole.weights.extend(shard.weights);
        for (name, values) in shard.optimiser {
            whole.optimiser.entry(name).or_default().extend(values);
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Shard {
        Shard {
            start: 0,
            weights: (0..10).map(|i| i as f32).collect(),
            optimiser: BTreeMap::from([("momentum".into(), (0..10).map(|i| -(i as f32)).collect())]),
            buffers: Buffers::from([("bn.running_var".into(), (vec![2], vec![1.0, 2.0]))]),
            aside: Buffers::from([("extra-class".into(), (vec![1, 3], vec![1.0, 2.0, 3.0]))]),
            counters: BTreeMap::from([("epochs".into(), 3), ("optimiser-steps".into(), 12)]),
        }
    }

    #[test]
    fn shards_survive_rest_and_make_the_whole_again_at_any_world_size() {
        for cuts in [vec![0, 10], vec![0, 4, 10], vec![0, 3, 3, 10]] {
            let shards = cuts
                .windows(2)
                .map(|cut| Shard::from_bytes(&whole().slice(cut[0]..cut[1]).to_bytes().expect("writes")))
                .collect::<Result<Vec<_>, _>>()
                .expect("reads");
            assert_eq!(assemble(shards).expect("fits"), whole());
        }
    }

    #[test]
    fn the_same_state_has_the_same_bytes() {
        assert_eq!(whole().to_bytes().expect("writes"), whole().to_bytes().expect("writes"));
    }

    #[test]
    fn states_lie_on_a_straight_line_with_exact_ends() {
        let (from, mut to) = (whole(), whole());
        to.weights = from.weights.iter().map(|weight| weight + 0.3).collect();
        to.buffers.insert("bn.running_var".into(), (vec![2], vec![3.0, 2.5]));
        assert_eq!(from.towards(&to, 0.0), from);
        assert_eq!(from.towards(&to, 1.0), to);
        let middle = from.towards(&to, 0.25);
        assert_eq!(middle.buffers["bn.running_var"].1, [1.5, 2.125]);
        assert!(middle.weights.iter().zip(&from.weights).all(|(a, b)| (a - b - 0.075).abs() < 1e-6));
    }

    #[test]
    fn the_distance_is_that_of_weights_alone() {
        let mut moved = whole();
        (moved.weights[2], moved.weights[9]) = (moved.weights[2] - 3.0, moved.weights[9] + 4.0);
        moved.buffers.clear();
        assert_eq!((whole().distance(&moved), moved.distance(&whole()), moved.distance(&moved)), (5.0, 5.0, 0.0));
    }

    #[test]
    fn shards_that_do_not_fit_are_refused() {
        let w = whole();
        assert!(assemble(vec![]).is_err());
        assert!(assemble(vec![w.slice(1..10)]).is_err());
        assert!(assemble(vec![w.slice(0..4), w.slice(5..10)]).is_err());
        assert!(assemble(vec![w.slice(0..4), w.slice(3..10)]).is_err());
        assert!(Shard::from_bytes(b"nothing").is_err());
        let mut later = w.slice(4..10);
        later.counters.insert("epochs".into(), 4);
        let refusal = assemble(vec![w.slice(0..4), later]).expect_err("refused").to_string();
        assert!(refusal.contains("their counters differ"), "{refusal}");
    }

    #[test]
    fn a_whole_that_lacks_its_last_shards_is_refused() {
        let first = assemble(vec![whole().slice(0..4), whole().slice(4..7)]).expect("they fit");
        let refusal = first.expect_whole(10).expect_err("refused").to_string();
        assert!(refusal.ends_with("they cover coordinates 0..7 of a model that has 10"), "{refusal}");
        assert_eq!(whole().expect_whole(10).expect("whole"), whole());
        assert!(whole().expect_whole(9).is_err());
    }
}
