//! Whatever is wrong with a history at rest is found, and the error names it.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

mod recordings;

use proptest::prelude::*;
use recordings::*;
use rewind_artifacts::{ArtifactError, ArtifactStore, digest_of};
use rewind_histories::*;
use rewind_job::Digest;

const SMALL: Options = Options { encoding: Encoding::Bfloat16Differences, chunk_bytes: 500 };

#[test]
fn a_flipped_byte_of_any_chunk_is_found_and_the_chunk_is_named() {
    let folder = Folder::new();
    let digest = write(&folder.store, &unlearning(1), SMALL).unwrap();
    let header = header(&folder.store, &digest).unwrap();
    assert!(header.chunks.len() >= 10, "{}", header.chunks.len());
    for chunk in &header.chunks {
        folder.alter(&chunk.sha256, |bytes| *bytes.last_mut().unwrap() ^= 1);
        let error = read(&folder.store, &digest).unwrap_err();
        assert!(matches!(&error, HistoryError::Unreadable { chunk: named, .. } if *named == chunk.sha256), "{error}");
        assert!(error.to_string().contains(chunk.part.name()) && error.to_string().contains("was altered"), "{error}");
        folder.alter(&chunk.sha256, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    read(&folder.store, &digest).unwrap();
}

#[test]
fn verification_names_every_damaged_chunk_not_only_the_first() {
    let folder = Folder::new();
    let digest = write(&folder.store, &unlearning(1), SMALL).unwrap();
    let header = header(&folder.store, &digest).unwrap();
    let sound = verify(&folder.store, &digest).unwrap();
    assert_eq!((sound.chunks, sound.bytes, sound.damage.len()), (header.chunks.len(), header.bytes(), 0));

    let (altered, missing) = (&header.chunks[1].sha256, &header.chunks[4].sha256);
    folder.alter(altered, |bytes| bytes[90] ^= 4);
    std::fs::remove_file(folder.path_of(missing)).unwrap();
    let damage = verify(&folder.store, &digest).unwrap().damage;
    let named: Vec<_> = damage
        .iter()
        .map(|error| match error {
            HistoryError::Unreadable { chunk, source, .. } => (chunk, matches!(**source, ArtifactError::Missing(_))),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(named, [(altered, false), (missing, true)]);
}

#[test]
fn an_altered_record_is_found() {
    let folder = Folder::new();
    let digest = write(&folder.store, &unlearning(1), SMALL).unwrap();
    folder.alter(&digest, |bytes| bytes[200] ^= 1);
    assert!(matches!(header(&folder.store, &digest), Err(HistoryError::Artifact(ArtifactError::Altered { .. }))));
    assert_eq!(verify(&folder.store, &digest).unwrap().damage.len(), 1);
    let listing = list(&folder.store, &Filter::default()).unwrap();
    assert_eq!((listing.histories.len(), listing.unreadable.len()), (0, 1));
    assert_eq!(listing.unreadable[0].digest, digest);
}

/// Stores a record in which a text was replaced.
fn with(folder: &Folder, record: &Digest, old: &str, new: &str) -> Digest {
    let text = String::from_utf8(folder.store.get(record).unwrap()).unwrap();
    assert!(text.contains(old), "{old} is in {text}");
    folder.store.put(text.replacen(old, new, 1).as_bytes()).unwrap()
}

#[test]
fn a_record_with_a_wrong_field_is_refused_by_the_fields_name() {
    let folder = Folder::new();
    let record = write(&folder.store, &unlearning(1), Options::default()).unwrap();
    let first = header(&folder.store, &record).unwrap().chunks[0].sha256.clone();
    for (old, new, named) in [
        (r#""version":1"#, r#""version":2"#, "is of version 2, but only version 1"),
        (r#""version":1"#, r#""version":"x""#, "record: invalid type"),
        (r#""format":"#, r#""shape":"#, "is no history"),
        (r#""kind":"unlearning""#, r#""kind":"cooking""#, "outline.provenance.kind: unknown variant `cooking`"),
        (r#""kind":"unlearning""#, r#""kind":"training""#, "provenance.forward: is there for unlearning"),
        (r#""threads":1"#, r#""threads":1,"colour":2"#, "outline.provenance.colour: unknown field `colour`"),
        (r#""threads":1,"#, "", "outline.provenance: missing field `threads`"),
        (r#""threads":1"#, r#""threads":0"#, "provenance.threads: must be at least 1"),
        (r#""wrong-labels":0.2"#, r#""wrong-labels":1.5"#, "provenance.wrong-labels: 1.5 is no share"),
        (r#""batch-size":32"#, r#""batch-size":0"#, "provenance.training.batch-size: must be at least 1"),
        (r#""shape":[8,3,3,3]"#, r#""shape":[8,3,3,0]"#, "tensors[0].shape: [8, 3, 3, 0] of `conv.weight`"),
        (r#""shape":[8,3,3,3]"#, r#""shape":[4294967296,4294967296]"#, "tensors[0].shape"),
        (r#""kept":100"#, r#""kept":99"#, "tensors[0].kept: 99 of 216"),
        (r#""name":"conv.bias""#, r#""name":"conv.weight""#, "tensors[1].name"),
        (r#""phase":"both""#, r#""phase":"forward""#, "snapshots[4].phase: `both` comes after `forward`"),
        (r#""epoch":1"#, r#""epoch":0"#, "snapshots[1].epoch: 0 does not come after 0"),
        (r#""loss":2.0"#, r#""loss":1e999"#, "outline.snapshots[0].train.loss"),
        (r#""accuracy":80.0"#, r#""accuracy":180.0"#, "snapshots[0].train: an accuracy of 180 %"),
        (r#""encoding":"bfloat16-differences""#, r#""encoding":"float32-snapshots""#, "chunks of `differences`"),
        (r#""part":"base","rows":[0,1]"#, r#""part":"base","rows":[0,2]"#, "chunks of `base`"),
        (r#""columns":[0,"#, r#""columns":[1,"#, "chunks of `base`: rows 0..1, columns 1..208 do not follow"),
    ] {
        let error = header(&folder.store, &with(&folder, &record, old, new)).unwrap_err().to_string();
        assert!(error.contains(named), "{new}: {error}");
    }
    // What only the chunk itself can tell.
    for (old, new, named) in [
        (r#""bytes":904"#.to_owned(), r#""bytes":905"#.to_owned(), "but the record says 905"),
        (first.0.clone(), digest_of(b"nothing").0, "is not in the store"),
    ] {
        let error = read(&folder.store, &with(&folder, &record, &old, &new)).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("(base)"), "{new}: {error}");
    }
}

#[test]
fn a_chunk_of_other_numbers_is_refused_although_its_digest_is_right() {
    let folder = Folder::new();
    let record = write(&folder.store, &training(1), LOSSLESS).unwrap();
    let chunk = header(&folder.store, &record).unwrap().chunks[0].clone();
    let bytes = folder.store.get(&chunk.sha256).unwrap();
    let numbers = bytes.len() - 4 * 5824;
    let replace = |at: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let other = folder.store.put(&bytes).unwrap();
        let error = read(&folder.store, &with(&folder, &record, &chunk.sha256.0, &other.0)).unwrap_err();
        assert!(matches!(&error, HistoryError::Chunk { chunk, .. } if *chunk == other), "{error}");
        error.to_string()
    };
    let place = |text: &str| bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    assert!(replace(numbers + 8, &f32::NAN.to_le_bytes()).contains("number 2 is not finite"));
    assert!(replace(place("base"), b"bass").contains("has no tensor `base`"));
    assert!(replace(place("F32"), b"I32").contains("is I32 of shape [1, 5824], but F32"));
    assert!(replace(0, &[255]).contains("is no safetensors file"));
}

#[test]
fn a_run_that_makes_no_sense_is_not_stored() {
    let folder = Folder::new();
    let refusal = |change: &dyn Fn(&mut Run)| {
        let mut run = unlearning(1);
        change(&mut run);
        let error = write(&folder.store, &run, SMALL).unwrap_err();
        assert!(folder.store.list().unwrap().is_empty());
        error.to_string()
    };
    for (change, said) in [
        (&(|run: &mut Run| run.weights[2][7] = f32::NAN) as &dyn Fn(&mut Run), "weights[2][7]: is NaN"),
        (&|run| run.weights[2].truncate(7), "weights[2]: 7, but 208 are expected"),
        (&|run| run.weights.truncate(7), "weights: 7, but 9 are expected"),
        (&|run| run.squares[1][2] = -1.0, "squares[1][2]: -1 is no sum of squares"),
        (&|run| run.squares[1].truncate(1), "squares[1]: 1, but 3 are expected"),
        (&|run| run.positions[0][5] = run.positions[0][4], "positions[0]: they do not ascend"),
        (&|run| run.positions[2][99] = 5600, "positions[2]: they do not ascend within the 5600 of `fc.weight`"),
        (&|run| run.outline.snapshots.truncate(1), "snapshots: 1, but two are needed"),
        (&|run| run.outline.provenance.forward = None, "provenance.forward"),
        (&|run| run.outline.provenance.training.optimiser = adam(f64::NAN), "provenance.training.optimiser"),
        (&|run| run.outline.provenance.data.digest = Digest("x".into()), "provenance.data.digest: `x`"),
        (&|run| run.outline.provenance.architecture = "a\nb".into(), "provenance.architecture"),
        (&|run| run.outline.sample = Sample::AtMost { coordinates: 0, seed: 0 }, "sample: keeps no coordinate"),
    ] {
        let error = refusal(change);
        assert!(error.starts_with(said), "{said}: {error}");
    }
}

#[test]
fn a_difference_beyond_bfloat16_is_refused_where_differences_are_kept() {
    let folder = Folder::new();
    let mut run = unlearning(1);
    (run.weights[3][0], run.weights[4][0]) = (3e38, -3e38);
    let error = write(&folder.store, &run, SMALL).unwrap_err().to_string();
    assert_eq!(error, "weights[4][0]: its difference to the snapshot before is beyond bfloat16");
    let digest = write(&folder.store, &run, LOSSLESS).unwrap();
    assert_eq!(read(&folder.store, &digest).unwrap(), run);
}

#[test]
fn snapshots_of_another_network_are_refused() {
    let mut recorder = Recorder::new(&layout(), Sample::All);
    let moment = Moment::new(Phase::Training, 0);
    let short = recorder.record(moment.clone(), &[0.0; 3]).unwrap_err().to_string();
    assert_eq!(short, "weights[0]: 3 of them, but the network has 5824");
    let mut weights = vec![0.0; 5824];
    weights[9] = f32::INFINITY;
    assert_eq!(recorder.record(moment, &weights).unwrap_err().to_string(), "weights[0]: coordinate 9 is inf");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bytes that begin as a record does give an error or a header, never a panic.
    #[test]
    fn no_record_makes_the_reader_panic(at in 0usize..3000, new in any::<u8>(), length in 0usize..3000) {
        let store = Memory::default();
        let record = write(&store, &unlearning(1), Options::default()).unwrap();
        let mut bytes = store.get(&record).unwrap();
        let at = at % bytes.len();
        bytes[at] = new;
        bytes.truncate(bytes.len() - length % bytes.len() / 4);
        let altered = store.put(&bytes).unwrap();
        let _ = read(&store, &altered);
        let _ = list(&store, &Filter::default()).unwrap();
    }
}
