//! Listing among other artifacts, filters, and beginnings of digests.

#![allow(clippy::unwrap_used, reason = "a test's failure is its answer")]

mod recordings;

use std::collections::BTreeSet;

use recordings::*;
use rewind_artifacts::ArtifactStore;
use rewind_histories::*;
use rewind_job::{Digest, Optimiser};

#[test]
fn a_list_reads_records_and_nothing_else() {
    let store = Memory::default();
    let options = Options { chunk_bytes: 200, ..Options::default() };
    let written: BTreeSet<Digest> = (0..4).map(|seed| write(&store, &unlearning(seed), options).unwrap()).collect();
    // No record is as long as this.
    store.put(&vec![0; (2 << 20) + 61]).unwrap();
    let listing = list(&store, &Filter::default()).unwrap();
    assert_eq!(listing.histories.into_iter().map(|listed| listed.digest).collect::<BTreeSet<_>>(), written);
    assert_eq!(*store.read.lock().unwrap(), written);
    assert!(store.list().unwrap().len() > 50);
}

#[test]
fn artifacts_of_a_records_length_are_not_taken_for_one() {
    let folder = Folder::new();
    folder.store.put(&[b' '; 61]).unwrap();
    folder.store.put(&[b'{'; 125]).unwrap();
    let listing = list(&folder.store, &Filter::default()).unwrap();
    assert!(listing.histories.is_empty() && listing.unreadable.is_empty());
}

#[test]
fn filters_admit_what_fits_all_of_them() {
    let folder = Folder::new();
    let store = |change: &dyn Fn(&mut Provenance)| {
        let mut run = unlearning(1);
        change(&mut run.outline.provenance);
        write(&folder.store, &run, Options::default()).unwrap()
    };
    let lenet = store(&|_| {});
    let mlp = store(&|provenance| {
        provenance.architecture = "mlp".into();
        provenance.training.optimiser = sgd(0.1);
    });
    let other = store(&|provenance| {
        provenance.data.name = "blobs".into();
        provenance.data.digest = Digest("ab".repeat(32));
        let Optimiser::Adam(rule) = adam(1e-4) else { unreachable!() };
        provenance.training.optimiser = Optimiser::Adamw(rule.into());
    });
    let ordinary = write(&folder.store, &training(1), Options::default()).unwrap();
    let found = |filter: Filter| {
        let mut found: Vec<Digest> =
            list(&folder.store, &filter).unwrap().histories.into_iter().map(|listed| listed.digest).collect();
        found.sort();
        found
    };
    let all = |digests: &[&Digest]| {
        let mut digests: Vec<Digest> = digests.iter().map(|&digest| digest.clone()).collect();
        digests.sort();
        digests
    };
    let nothing = Filter::default;
    assert_eq!(found(nothing()), all(&[&lenet, &mlp, &other, &ordinary]));
    assert_eq!(found(Filter { kind: Some(Kind::Training), ..nothing() }), all(&[&ordinary]));
    assert_eq!(found(Filter { architecture: Some("mlp".into()), ..nothing() }), all(&[&mlp]));
    assert_eq!(found(Filter { optimiser: Some("adamw".into()), ..nothing() }), all(&[&other]));
    assert_eq!(found(Filter { data: Some("blobs".into()), ..nothing() }), all(&[&other]));
    assert_eq!(found(Filter { data: Some("abab".into()), ..nothing() }), all(&[&other]));
    assert_eq!(found(Filter { data: Some("aba".into()), ..nothing() }), all(&[]));
    assert_eq!(found(Filter { learning_rate: Some(1e-3..=0.1), ..nothing() }), all(&[&lenet, &mlp, &ordinary]));
    assert_eq!(
        found(Filter { kind: Some(Kind::Unlearning), learning_rate: Some(0.0..=1e-4), ..nothing() }),
        all(&[&other])
    );
}

#[test]
fn the_beginning_of_a_digest_is_enough_where_it_is_the_only_one() {
    let folder = Folder::new();
    let digests: Vec<Digest> =
        (0..3).map(|seed| write(&folder.store, &unlearning(seed), Options::default()).unwrap()).collect();
    for digest in &digests {
        assert_eq!(find(&folder.store, &digest.0[..16]).unwrap(), *digest);
        assert_eq!(find(&folder.store, &format!("sha256:{digest}")).unwrap(), *digest);
    }
    assert!(matches!(find(&folder.store, &digests[0].0[..3]), Err(HistoryError::BadPrefix(_))));
    assert!(matches!(find(&folder.store, "no digest"), Err(HistoryError::BadPrefix(_))));
    // Not even the beginning of a chunk's digest.
    let chunk = header(&folder.store, &digests[0]).unwrap().chunks[0].sha256.clone();
    assert!(matches!(find(&folder.store, &chunk.0[..16]), Err(HistoryError::NoHistory(_))));
}

#[test]
fn several_histories_that_begin_alike_are_named() {
    let store = Memory::default();
    let (mut seen, mut run) = (BTreeSet::new(), training(1));
    // Of a few hundred digests two begin with the same four digits, as birthdays do.
    let alike = (0..).find_map(|seed| {
        run.outline.provenance.seed = seed;
        let digest = write(&store, &run, Options::default()).unwrap();
        (!seen.insert(digest.0[..4].to_owned())).then(|| digest.0[..4].to_owned())
    });
    let error = find(&store, &alike.unwrap()).unwrap_err();
    assert!(matches!(&error, HistoryError::Ambiguous { matches, .. } if matches.len() == 2), "{error}");
}
