//! A report and a record of samples, as a finished job leaves them.

use rewind_job::{
    Digest, Figure, Measured, Part, Reader, Report, Round, RoundRecord, SampleDigest, SampleRecord, Scores, StepReads,
};

use crate::{parse, text};

fn measured(name: &str, method: &str, group: &str) -> Measured {
    let round = |round| RoundRecord {
        round: Round(round),
        loss: 0.5.into(),
        scores: Scores::from([(Figure::FORGET_ACCURACY, 90.0)]),
        ..RoundRecord::default()
    };
    Measured {
        name: name.into(),
        method: method.into(),
        group: group.into(),
        ua: Some(97.5),
        ta: Some(93.3),
        mia: Some(1.0 / 3.0),
        weights: Digest("1".repeat(64)),
        selected: Round(2),
        rounds: (0..3).map(round).collect(),
        ..Measured::default()
    }
}

pub fn report() -> Report {
    let example = std::fs::read(rewind_tests::repository().join("examples/quick.toml")).expect("reads");
    let report = serde_json::json!({
        "version": "0.1.0",
        "job": "job-7",
        "world_size": 1,
        "specification": parse(text(&example).expect("text")).expect("is valid"),
        "data": { "forget": 3, "remaining": 9, "files": [["/data/images", "ab".repeat(32)]] },
        "machine": { "threads": 1, "libtorch": "2.13.0", "cpu_capability": "AVX2", "device": "cpu" },
        "pretrained": measured("pretrained", "pretrain", "retain-using"),
        "methods": [measured("task-vector", "task-vector", "forget-only")],
        "stop": [{ "name": "task-vector", "rule": "rounds", "text": "all rounds", "selected": 2, "rounds": 3 }],
        "recovered": [],
        "events": [{ "sequence": 1, "at": 1_795_415_545_456_u64, "generation": 0, "text": "submitted" }],
        "warnings": ["one seed"],
        "search": null,
    });
    serde_json::from_value(report).expect("is a report")
}

pub fn record() -> SampleRecord {
    let sample = |id: u32| SampleDigest { id, digest: Digest(format!("{id:064x}")) };
    let reads = |step: &str, by, part, ids: &[u32]| StepReads {
        step: step.into(),
        by,
        part,
        ids: ids.iter().copied().collect(),
    };
    SampleRecord {
        forget: [2, 17, 40].map(sample).to_vec(),
        reads: vec![
            reads("pretrained", Reader::Method, Part::Train, &[2, 3, 17, 40, 41]),
            reads("task-vector", Reader::Method, Part::Forget, &[2, 17, 40]),
        ],
    }
}
