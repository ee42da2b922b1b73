//! Round trips, of any run in any options.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

mod recordings;

use proptest::prelude::*;
use recordings::*;
use rewind_artifacts::ArtifactStore;
use rewind_histories::*;
use rewind_job::Layout;

#[test]
fn a_lossless_history_is_the_run_bit_for_bit() {
    let folder = Folder::new();
    for run in [unlearning(1), training(2)] {
        let digest = write(&folder.store, &run, LOSSLESS).unwrap();
        assert_eq!(read(&folder.store, &digest).unwrap(), run);
    }
}

#[test]
fn a_compact_history_keeps_all_but_the_last_bits_of_weights() {
    let folder = Folder::new();
    let run = unlearning(1);
    let digest = write(&folder.store, &run, Options::default()).unwrap();
    let mut back = read(&folder.store, &digest).unwrap();
    assert_eq!(back.weights[0], run.weights[0], "the first snapshot is exact");
    for (found, wanted) in back.weights.iter().flatten().zip(run.weights.iter().flatten()) {
        assert!((found - wanted).abs() <= 1.01e-3 / 256.0, "{found} {wanted}");
    }
    back.weights.clone_from(&run.weights);
    assert_eq!(back, run);
}

#[test]
fn a_header_is_read_without_the_chunks() {
    let folder = Folder::new();
    let run = unlearning(1);
    let digest = write(&folder.store, &run, Options::default()).unwrap();
    let whole = header(&folder.store, &digest).unwrap();
    for chunk in &whole.chunks {
        std::fs::remove_file(folder.path_of(&chunk.sha256)).unwrap();
    }
    let header = header(&folder.store, &digest).unwrap();
    assert_eq!(header, whole);
    assert_eq!(header.outline, run.outline);
    assert_eq!(header.encoding, Encoding::Bfloat16Differences);
}

#[test]
fn equal_runs_have_equal_names_and_runs_of_another_seed_have_not() {
    let (a, b) = (Folder::new(), Folder::new());
    let name = |folder: &Folder, seed| write(&folder.store, &unlearning(seed), Options::default()).unwrap();
    assert_eq!(name(&a, 1), name(&b, 1));
    assert_ne!(name(&a, 1), name(&a, 2));
}

#[test]
fn the_drift_scale_is_that_of_the_whole_tensor_although_few_coordinates_are_kept() {
    let layout = Layout::new([("fc.weight".into(), vec![100, 90])]);
    let snapshots = drifting(9_000, 7, 1e-3, 5);
    let moments = (0..7).map(|epoch| Moment::new(Phase::Training, epoch)).collect();
    let run = record(&layout, moments, &snapshots, Sample::AtMost { coordinates: 10, seed: 1 });
    let folder = Folder::new();
    let run = read(&folder.store, &write(&folder.store, &run, Options::default()).unwrap()).unwrap();
    for window in [0..2, 0..7, 2..5, 5..7] {
        let mut squares = 0.0;
        for pair in snapshots[window.clone()].windows(2) {
            squares += pair[0].iter().zip(&pair[1]).map(|(a, b)| f64::from(b - a).powi(2)).sum::<f64>();
        }
        let expected = (squares / (9_000 * (window.len() - 1)) as f64).sqrt();
        let found = run.drift_scale(0, window);
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
    }
}

#[test]
fn a_tensor_that_does_not_move_has_drift_scale_0_and_stays() {
    let layout = Layout::new([("bias".into(), vec![3])]);
    let snapshots = vec![vec![0.1, -0.0, 3e-40]; 4];
    let moments = (0..4).map(|epoch| Moment::new(Phase::Training, epoch)).collect();
    let run = record(&layout, moments, &snapshots, Sample::All);
    let folder = Folder::new();
    let back = read(&folder.store, &write(&folder.store, &run, Options::default()).unwrap()).unwrap();
    assert_eq!(back.drift_scale(0, 0..4), 0.0);
    assert_eq!(back.weights, run.weights);
}

#[test]
fn phases_and_tensors_are_found() {
    let run = unlearning(1);
    assert_eq!(run.outline.during(Phase::Remaining), 0..3);
    assert_eq!(run.outline.during(Phase::Both), 3..5);
    assert_eq!(run.outline.during(Phase::Forward), 5..9);
    assert!(run.outline.during(Phase::Training).is_empty());
    assert_eq!(run.outline.range(1), 100..108);
    assert_eq!(run.values(2, 1), &run.weights[2][100..108]);
}

#[test]
fn the_sample_is_seeded_ascends_and_differs_from_tensor_to_tensor() {
    let layout = Layout::new([("a".into(), vec![1000]), ("b".into(), vec![1000]), ("c".into(), vec![50])]);
    let snapshot: Vec<f32> = (0..2050).map(|at| at as f32).collect();
    let positions = |seed| {
        let moments = (0..2).map(|epoch| Moment::new(Phase::Training, epoch)).collect();
        let sample = Sample::AtMost { coordinates: 50, seed };
        let run = record(&layout, moments, &[snapshot.clone(), snapshot.clone()], sample);
        assert_eq!(run.weights[0][50] as u32, 1000 + run.positions[1][0], "what is kept lies at its position");
        run.positions
    };
    let kept = positions(1);
    assert_eq!(kept, positions(1));
    assert_ne!(kept, positions(2));
    assert_ne!(kept[0], kept[1]);
    assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 0], "all of the small tensor are kept");
}

fn any_run() -> impl Strategy<Value = (Run, Options)> {
    let shapes = prop::collection::vec(prop::collection::vec(1i64..7, 0..5), 1..5);
    let phases = (0u32..4, 0u32..4, 2u32..5);
    let sample = prop_oneof![Just(None), (1usize..40, any::<u64>()).prop_map(Some)];
    let options = (1usize..3_000, any::<bool>());
    (shapes, phases, sample, options, any::<u64>(), -6i32..4).prop_map(
        |(shapes, (remaining, both, forward), sample, (chunk_bytes, is_lossless), seed, size)| {
            let layout = Layout::new(shapes.into_iter().enumerate().map(|(i, shape)| (format!("tensor.{i}"), shape)));
            let moments = moments(remaining, both, forward);
            let snapshots = drifting(layout.coordinates(), moments.len(), 10f32.powi(size), seed);
            let sample = sample.map_or(Sample::All, |(coordinates, seed)| Sample::AtMost { coordinates, seed });
            let encoding = if is_lossless { Encoding::Float32Snapshots } else { Encoding::Bfloat16Differences };
            (record(&layout, moments, &snapshots, sample), Options { encoding, chunk_bytes })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_run_comes_back_in_chunks_of_any_size((run, options) in any_run()) {
        let store = Memory::default();
        let digest = write(&store, &run, options).unwrap();
        let mut back = read(&store, &digest).unwrap();
        prop_assert!(verify(&store, &digest).unwrap().damage.is_empty());
        for (j, (found, wanted)) in back.weights.iter().zip(&run.weights).enumerate() {
            for (found, wanted) in found.iter().zip(wanted) {
                let is_exact = j == 0 || options.encoding == Encoding::Float32Snapshots;
                prop_assert!(found == wanted || (!is_exact && (found - wanted).abs() <= wanted.abs().max(1e4) / 256.0));
            }
        }
        back.weights.clone_from(&run.weights);
        prop_assert_eq!(&back, &run);
        let header = header(&store, &digest).unwrap();
        for chunk in &header.chunks {
            prop_assert!(chunk.bytes <= options.chunk_bytes.max(8) as u64 + 200, "{:?}", chunk);
            prop_assert_eq!(chunk.bytes % 2, 0, "no chunk has the length of a record");
        }
        prop_assert_eq!(store.get(&digest).unwrap().len() % 64, 61);
        let listed = list(&store, &Filter::default()).unwrap();
        prop_assert_eq!(listed.histories.len(), 1);
        prop_assert!(listed.unreadable.is_empty());
    }
}
