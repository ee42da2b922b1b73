//! Which samples the job was about and which it read: from the notes of committed rounds and of measuring.

use std::collections::BTreeMap;

use rewind_datasets::{Partition, Subset};
use rewind_job::{Digest, Manifest, Part, Ranges, Read, Reader, SampleDigest, SampleRecord, StepReads};

/// The ids behind the positions of every part.
pub type Ids = BTreeMap<Part, Vec<u32>>;

/// The parts of a job's samples, by name. Samples of a class that lies apart follow what is left of their part; test
/// samples that are read once more with a trigger follow the test part.
pub fn ids_of(partition: &Partition) -> Ids {
    let parts = [
        (Part::Forget, Some(partition.forget())),
        (Part::Train, partition.train()),
        (Part::Remaining, partition.remaining()),
        (Part::Validation, partition.validation()),
        (Part::Test, partition.test()),
        (Part::Attack, partition.attack()),
    ];
    let mut ids: Ids = parts.into_iter().filter_map(|(part, subset)| Some((part, subset?.ids.clone()))).collect();
    if let Some(apart) = partition.class_apart() {
        let apart = [(Part::Test, &apart.test), (Part::Validation, &apart.validation), (Part::Attack, &apart.attack)];
        apart.into_iter().for_each(|(part, subset)| ids.entry(part).or_default().extend(&subset.ids));
    }
    if let Some(triggered) = partition.triggered() {
        ids.entry(Part::Test).or_default().extend(triggered.ids);
    }
    ids
}

/// The samples of a subset: SHA-256 over the label that was trained with (four bytes, big-endian), then the pixels.
pub fn digests_of(partition: &Partition, subset: &Subset) -> Vec<SampleDigest> {
    let digest = |(&id, &label): (&u32, &u8)| SampleDigest { id, digest: digest_of(label, partition.image(id)) };
    subset.ids.iter().zip(&subset.labels).map(digest).collect()
}

fn digest_of(label: u8, pixels: &[u8]) -> Digest {
    rewind_artifacts::digest_of(&[&u32::from(label).to_be_bytes(), pixels].concat())
}

/// Positions in each part, by who read them.
type ByReader = BTreeMap<(Reader, Part), Ranges>;

/// What was read in each step, while the report is made.
#[derive(Default)]
pub struct Notes {
    /// In the steps' order.
    steps: Vec<(String, ByReader)>,
    incomplete: bool,
}

impl Notes {
    /// Takes up a step: what its rounds noted, and what was read to measure it.
    pub fn add(&mut self, step: &str, rounds: &[Manifest], measuring: &[Read]) {
        // Every round reads something, if only to measure the forget data.
        self.incomplete |= rounds.iter().any(|manifest| manifest.record.reads.is_empty());
        let mut read = ByReader::new();
        for reads in rounds.iter().flat_map(|manifest| &manifest.record.reads).chain(measuring) {
            let positions = read.entry((reads.by, reads.part)).or_default();
            if *positions != reads.positions {
                *positions = positions.union(&reads.positions);
            }
        }
        self.steps.push((step.to_owned(), read));
    }

    /// None: rounds were done by a program that took no notes.
    pub fn into_record(self, ids: &Ids, forget: &[SampleDigest]) -> Option<SampleRecord> {
        if self.incomplete {
            return None;
        }
        let mut reads = Vec::new();
        for (step, read) in self.steps {
            for ((by, part), positions) in read {
                let ids = positions.iter().map(|position| ids[&part][position as usize]).collect();
                reads.push(StepReads { step: step.clone(), part, by, ids });
            }
        }
        Some(SampleRecord { forget: forget.to_vec(), reads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rewind_job::{Generation, Round, RoundRecord, StepIndex};

    fn round(number: u32, reads: Vec<Read>) -> Manifest {
        Manifest {
            step: StepIndex(0),
            round: Round(number),
            generation: Generation(1),
            shards: Vec::new(),
            record: RoundRecord { reads, ..RoundRecord::default() },
            best: Round(number),
            outcome: None,
        }
    }

    fn read(part: Part, by: Reader, first: u32, end: u32) -> Read {
        Read { part, by, positions: Ranges(vec![[first, end]]) }
    }

    #[test]
    fn positions_of_all_rounds_become_ids_by_step_and_reader() {
        let ids = Ids::from([(Part::Forget, vec![30, 4, 17]), (Part::Test, vec![8, 9])]);
        let rounds = [
            round(1, vec![read(Part::Forget, Reader::Method, 0, 1)]),
            round(2, vec![read(Part::Forget, Reader::Method, 2, 3), read(Part::Forget, Reader::Rules, 0, 3)]),
        ];
        let mut notes = Notes::default();
        notes.add("a", &rounds, &[read(Part::Test, Reader::Evaluation, 0, 2)]);
        notes.add("b", &[], &[]);
        let record = notes.into_record(&ids, &[]).expect("every round took notes");
        let found: Vec<(&str, Reader, Part, Vec<u32>)> = record
            .reads
            .iter()
            .map(|reads| (reads.step.as_str(), reads.by, reads.part, reads.ids.iter().collect()))
            .collect();
        assert_eq!(
            found,
            [
                ("a", Reader::Method, Part::Forget, vec![17, 30]),
                ("a", Reader::Rules, Part::Forget, vec![4, 17, 30]),
                ("a", Reader::Evaluation, Part::Test, vec![8, 9]),
            ]
        );
    }

    #[test]
    fn a_round_without_notes_leaves_no_record() {
        let mut notes = Notes::default();
        notes.add("a", &[round(1, vec![read(Part::Forget, Reader::Method, 0, 1)]), round(2, vec![])], &[]);
        assert_eq!(notes.into_record(&Ids::from([(Part::Forget, vec![1])]), &[]), None);
    }
}
