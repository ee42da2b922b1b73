//! What histories have in common is stored once, and how much space they take.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

mod recordings;

use std::collections::BTreeSet;

use recordings::*;
use rewind_artifacts::ArtifactStore;
use rewind_histories::*;
use rewind_job::{Digest, Layout};

fn chunks(folder: &Folder, digest: &Digest, part: Part) -> BTreeSet<Digest> {
    let header = header(&folder.store, digest).unwrap();
    header.chunks.into_iter().filter(|chunk| chunk.part == part).map(|chunk| chunk.sha256).collect()
}

#[test]
fn runs_that_share_their_initialisation_share_its_chunks() {
    let folder = Folder::new();
    let layout = layout();
    let moments = || (0..5).map(|epoch| Moment::new(Phase::Training, epoch)).collect::<Vec<_>>();
    let one = drifting(layout.coordinates(), 5, 1e-2, 1);
    let mut other = drifting(layout.coordinates(), 5, 1e-2, 2);
    other[0] = one[0].clone();
    for options in [Options::default(), LOSSLESS] {
        let write = |snapshots| write(&folder.store, &record(&layout, moments(), snapshots, Sample::All), options);
        let (one, other) = (write(&one).unwrap(), write(&other).unwrap());
        assert_eq!(chunks(&folder, &one, Part::Base), chunks(&folder, &other, Part::Base));
        let changed = if options == LOSSLESS { Part::Snapshots } else { Part::Differences };
        assert!(chunks(&folder, &one, changed).is_disjoint(&chunks(&folder, &other, changed)));
    }
}

#[test]
fn runs_that_part_after_a_phase_share_its_chunks() {
    let folder = Folder::new();
    let layout = layout();
    let one = drifting(layout.coordinates(), 9, 1e-2, 1);
    let mut other = drifting(layout.coordinates(), 9, 1e-2, 2);
    other[..3].clone_from_slice(&one[..3]);
    let write = |snapshots: &[Vec<f32>]| {
        let run = record(&layout, moments(3, 2, 4), snapshots, Sample::AtMost { coordinates: 50, seed: 1 });
        write(&folder.store, &run, Options::default()).unwrap()
    };
    let (one, other) = (write(&one), write(&other));
    for (part, shared, of) in
        [(Part::Base, 1, 1), (Part::Differences, 1, 3), (Part::Squares, 1, 3), (Part::Positions, 1, 1)]
    {
        let (one, other) = (chunks(&folder, &one, part), chunks(&folder, &other, part));
        assert_eq!((one.intersection(&other).count(), one.len()), (shared, of), "{part}");
    }
}

#[test]
fn a_run_stored_twice_takes_no_more_space() {
    let folder = Folder::new();
    let run = unlearning(1);
    write(&folder.store, &run, Options::default()).unwrap();
    let before: Vec<_> = folder.store.list().unwrap().into_iter().map(|stored| stored.digest).collect();
    write(&folder.store, &run, Options::default()).unwrap();
    let after: Vec<_> = folder.store.list().unwrap().into_iter().map(|stored| stored.digest).collect();
    assert_eq!(before, after);
}

/// 30 snapshots of 20 tensors, of each of which 2,048 of 9,216 coordinates are kept.
#[test]
fn a_coordinate_takes_its_numbers_and_little_more() {
    let layout = Layout::new((0..20).map(|i| (format!("conv{i}.weight"), vec![32, 32, 3, 3])));
    let moments: Vec<Moment> = (0..30).map(|epoch| Moment::new(Phase::Training, epoch)).collect();
    let snapshots = drifting(layout.coordinates(), 30, 1e-3, 1);
    let run = record(&layout, moments, &snapshots, Sample::AtMost { coordinates: 2048, seed: 1 });
    for (options, numbers) in [(Options::default(), 4 + 2 * 29), (LOSSLESS, 4 * 30)] {
        let folder = Folder::new();
        let digest = write(&folder.store, &run, options).unwrap();
        let stored: u64 = folder.store.list().unwrap().iter().map(|stored| stored.bytes).sum();
        let header = header(&folder.store, &digest).unwrap();
        assert_eq!(stored, header.bytes() + folder.store.get(&digest).unwrap().len() as u64);
        let kept = run.outline.kept() as f64;
        let a_coordinate = stored as f64 / kept;
        println!("{}: {a_coordinate:.3} bytes a coordinate, of them positions 4", options.encoding.name());
        assert!(a_coordinate < f64::from(numbers + 4) + 0.4, "{a_coordinate}");
    }
}
