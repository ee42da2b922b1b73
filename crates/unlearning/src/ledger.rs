//! Who read which samples: what [`LabelledSamples`] noted, told apart by reader and joined over the ranks.

use std::{collections::BTreeMap, ops::Range};

use rewind_job::{Part, Ranges, Read, Reader};

use crate::{Gang, LabelledSamples, UnlearningError};

/// A set of positions below a bound, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Positions(Vec<u32>);

impl Positions {
    /// Of so many samples none.
    pub fn none(samples: usize) -> Self {
        Self(vec![0; samples.div_ceil(32)])
    }

    pub fn insert_range(&mut self, range: Range<usize>) {
        range.for_each(|position| self.insert(position));
    }

    /// Positions are within the bound: libtorch refuses to read others.
    pub fn insert(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 32) {
            *word |= 1 << (position % 32);
        }
    }

    fn add(&mut self, others: &Self) {
        let len = self.0.len().max(others.0.len());
        self.0.resize(len, 0);
        self.0.iter_mut().zip(&others.0).for_each(|(word, other)| *word |= other);
    }

    fn ranges(&self) -> Ranges {
        let bits = self.0.iter().zip(0_u32..).flat_map(|(&word, index)| {
            (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| 32 * index + bit)
        });
        bits.collect()
    }
}

/// The books of some samples: every reading is put down to a reader.
pub struct Ledger<'a> {
    samples: &'a [(Part, &'a LabelledSamples)],
    entries: BTreeMap<(Reader, Part), Positions>,
}

impl<'a> Ledger<'a> {
    /// Samples that belong to the same part are the same ones, with other labels perhaps, or others that follow them
    /// ([`LabelledSamples::after`]).
    pub fn new(samples: &'a [(Part, &'a LabelledSamples)]) -> Self {
        Self { samples, entries: BTreeMap::new() }
    }

    /// What was read since the last call, `reader` has read.
    pub fn put_down_to(&mut self, reader: Reader) {
        for (part, samples) in self.samples {
            let read = samples.take_read();
            self.entries.entry((reader, *part)).or_insert_with(|| Positions::none(0)).add(&read);
        }
    }

    /// Everything that was put down since the last call, by all ranks together: the same on every rank. Parts of which
    /// nothing was read are left out.
    ///
    /// # Errors
    /// A lost peer.
    pub fn close(&mut self, gang: &mut Gang) -> Result<Vec<Read>, UnlearningError> {
        let entries = std::mem::take(&mut self.entries);
        // A word is exact as float64.
        let words: Vec<f64> =
            entries.values().flat_map(|positions| &positions.0).map(|&word| f64::from(word)).collect();
        let rows = gang.gather_rows(&words, words.len())?;
        let mut reads = Vec::new();
        let mut start = 0;
        for ((by, part), own) in entries {
            let end = start + own.0.len();
            let mut all = own;
            for row in &rows {
                all.add(&Positions(row[start..end].iter().map(|&word| word as u32).collect()));
            }
            start = end;
            let positions = all.ranges();
            if !positions.is_empty() {
                reads.push(Read { part, by, positions });
            }
        }
        Ok(reads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind_collective::Solo;
    use rewind_job::{Layout, ShardPlan, WorldSize};
    use tch::{Device, Kind, Tensor};

    fn alone() -> Gang {
        let layout = Layout::new([("w".to_owned(), vec![4])]);
        let plan = ShardPlan::balanced(&layout, WorldSize(1));
        Gang::new(Box::new(Solo::new()), layout, plan)
    }

    fn samples(count: i64) -> LabelledSamples {
        let images = Tensor::zeros([count, 1, 2, 2], (Kind::Float, Device::Cpu));
        LabelledSamples::new(images, Tensor::zeros([count], (Kind::Int64, Device::Cpu)))
    }

    #[test]
    fn samples_that_follow_others_of_their_part_are_noted_behind_them() {
        let (test, apart) = (samples(40), samples(30).after(40));
        let parts = [(Part::Test, &test), (Part::Test, &apart)];
        let mut ledger = Ledger::new(&parts);
        let _ = (test.range(38..40), apart.select(&[2, 29]), apart.range(0..1));
        ledger.put_down_to(Reader::Evaluation);
        let _ = apart.labels();
        ledger.put_down_to(Reader::Rules);
        let read = |by, ranges: &[[u32; 2]]| Read { part: Part::Test, by, positions: Ranges(ranges.to_vec()) };
        assert_eq!(
            ledger.close(&mut alone()).expect("is alone"),
            [read(Reader::Rules, &[[40, 70]]), read(Reader::Evaluation, &[[38, 41], [42, 43], [69, 70]])]
        );
    }

    #[test]
    fn every_way_to_read_is_noted_and_put_down_to_whoever_read() {
        let (forget, test) = (samples(70), samples(40));
        let parts = [(Part::Forget, &forget), (Part::Test, &test)];
        let mut ledger = Ledger::new(&parts);
        let _ = forget.select(&[69, 3, 4, 3]);
        ledger.put_down_to(Reader::Method);
        let _ = forget.range(30..35);
        ledger.put_down_to(Reader::Rules);
        let _ = test.images();
        ledger.put_down_to(Reader::Method);
        let _ = (forget.len(), forget.shape());
        let read = |part, by, ranges: &[[u32; 2]]| Read { part, by, positions: Ranges(ranges.to_vec()) };
        assert_eq!(
            ledger.close(&mut alone()).expect("is alone"),
            [
                read(Part::Forget, Reader::Method, &[[3, 5], [69, 70]]),
                read(Part::Test, Reader::Method, &[[0, 40]]),
                read(Part::Forget, Reader::Rules, &[[30, 35]]),
            ]
        );
        let _ = forget.with(&test);
        ledger.put_down_to(Reader::Evaluation);
        let both = ledger.close(&mut alone()).expect("is alone");
        assert_eq!(both.iter().map(|read| read.positions.len()).collect::<Vec<_>>(), [70, 40]);
        assert!(ledger.close(&mut alone()).expect("is alone").is_empty(), "closed books are empty");
    }
}
