//! Spoilt files that a worker reads itself are refused by their name, or read.

use std::path::Path;

use rewind_artifacts::{ArtifactStore, SharedDirectory};
use rewind_hostile_bytes::Parser;
use rewind_job::{Digest, HistoryPack, HistorySource, SkippedNetwork, Specification};

use crate::{inputs::search_log, train_predictor::names_of};

#[test]
fn spoilt_search_logs_are_refused_by_their_name_or_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.json");
    let example = include_str!("../../examples/quick.toml");
    let text = format!("search-log = \"{}\"\n{example}", path.display());
    let specification = Specification::parse(&text, Path::new("/data")).expect("is valid");
    let seed = br#"[{"settings": {"forward.epochs": 3, "lambda": 0.25}, "score": 91.5, "note": "a \"note\""}]"#;
    Parser::of("search logs").memory(8 << 20).run(&[seed.to_vec()], |bytes| {
        std::fs::write(&path, bytes).expect("writes");
        let read = search_log(&specification).map_err(|error| error.to_string());
        let refused =
            read.as_ref().err().is_none_or(|text| text.starts_with("search-log: ") && text.contains("log.json"));
        assert!(refused, "{read:?}");
        read.map(drop)
    });
}

/// What is no pack is taken for one history, so that a spoilt pack is refused by the name of its artifact.
#[test]
fn spoilt_packs_of_histories_name_nothing_outside_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SharedDirectory::open(folder.path()).expect("opens");
    let pack = HistoryPack {
        histories: vec![Digest("ab".repeat(32)), Digest("cd".repeat(32))],
        skipped: vec![SkippedNetwork { network: 7, reason: "it did not learn".into() }],
    };
    let seed = serde_json::to_vec(&pack).expect("writes");
    Parser::of("packs of histories").memory(4 << 20).run(&[seed], |bytes| {
        let digest = store.put(bytes).expect("is stored");
        let names = names_of(&[HistorySource::Artifact(digest.clone())], &store).map_err(|error| error.to_string())?;
        if names == [digest.clone()] {
            let refusal = rewind_histories::read(&store, &digest).map(drop).expect_err("is no history").to_string();
            return Err(refusal);
        }
        for name in names {
            rewind_histories::read(&store, &name).map(drop).expect_err("there is no such history");
        }
        Ok(())
    });
}
