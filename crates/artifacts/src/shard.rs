//! A rank's checkpoint at rest, and the whole that shards of any world size make.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use safetensors::SafeTensors;

use crate::{
    ArtifactError, Buffers,
    tensors::{Float32, float32, metadata, serialize},
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
    /// The same on every rank.
    pub counters: BTreeMap<String, u64>,
}

const COUNTER: &str = "counter.";
const OPTIMISER: &str = "optimiser.";
const BUFFER: &str = "buffer.";

impl Shard {
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.weights.len()
    }

    /// As safetensors.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        let flat = |values| Float32 { shape: vec![self.weights.len()], values };
        let mut tensors = vec![("weights".to_owned(), flat(&self.weights[..]))];
        for (name, values) in &self.optimiser {
            tensors.push((format!("{OPTIMISER}{name}"), flat(values)));
        }
        for (name, (shape, values)) in &self.buffers {
            let shape = shape.iter().map(|&side| side as usize).collect();
            tensors.push((format!("{BUFFER}{name}"), Float32 { shape, values }));
        }
        // One entry of JSON-free metadata, so that the bytes do not depend on a map's order.
        let counters: Vec<String> = self.counters.iter().map(|(name, count)| format!("{name}={count}")).collect();
        let text = format!("start={} {}", self.start, counters.join(" "));
        serialize(tensors, HashMap::from([(COUNTER.to_owned(), text)]))
    }

    /// # Errors
    /// When the bytes are no shard.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let broken = |problem: &str| ArtifactError::Shards(problem.to_owned());
        let text = metadata(bytes)?.remove(COUNTER).ok_or_else(|| broken("a shard lacks its counters"))?;
        let mut counters = BTreeMap::new();
        for pair in text.split_whitespace() {
            let (name, count) = pair.split_once('=').ok_or_else(|| broken("a counter has no value"))?;
            counters.insert(name.to_owned(), count.parse().map_err(|_| broken("a counter is not a number"))?);
        }
        let start = counters.remove("start").ok_or_else(|| broken("a shard lacks its start"))? as usize;
        let file = SafeTensors::deserialize(bytes)?;
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
            }
        }
        Ok(shard)
    }

    /// The part of a state that lies in `range`.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let local = range.start - self.start..range.end - self.start;
        let cut = |values: &Vec<f32>| values[local.clone()].to_vec();
        Self {
            start: range.start,
            weights: cut(&self.weights),
            optimiser: self.optimiser.iter().map(|(name, values)| (name.clone(), cut(values))).collect(),
            buffers: self.buffers.clone(),
            counters: self.counters.clone(),
        }
    }
}

/// Joins the shards of all ranks, in rank order, to the whole state.
///
/// # Errors
/// When there are none, they leave a gap or overlap, or they differ in their optimisers.
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
    fn shards_that_do_not_fit_are_refused() {
        let w = whole();
        assert!(assemble(vec![]).is_err());
        assert!(assemble(vec![w.slice(1..10)]).is_err());
        assert!(assemble(vec![w.slice(0..4), w.slice(5..10)]).is_err());
        assert!(assemble(vec![w.slice(0..4), w.slice(3..10)]).is_err());
        assert!(Shard::from_bytes(b"nothing").is_err());
    }
}
