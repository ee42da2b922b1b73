//! A job that makes histories, on a real fleet: packed, killed, and the same bits.

use std::{collections::BTreeSet, fs, path::Path};

use rewind_job::{HistoryPack, JobState};
use rewind_tests::{Fleet, complaint, repository};
use serde_json::Value;

/// The example with fewer networks, packed otherwise.
fn specification(networks: u32, pack: u32, threads: u32) -> String {
    let folder = repository().join("examples");
    let text = fs::read_to_string(folder.join("histories.toml")).expect("reads");
    text.replace("../.data", &repository().join(".data").display().to_string())
        .replace("networks = 24", &format!("networks = {networks}"))
        .replace("pack = 2", &format!("pack = {pack}"))
        .replace("threads = 1", &format!("threads = {threads}"))
}

/// What the tasks of a finished job left, in the order of the networks.
fn packs(fleet: &Fleet, job: &str) -> HistoryPack {
    let listed = fleet.ask(&["tasks", job, "--json"]);
    let tasks: Vec<Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    let mut all = HistoryPack::default();
    for task in tasks {
        let digest = task["output"].as_str().expect("it is done");
        let file = fleet.dir().join("artifacts").join(&digest[..2]).join(digest);
        let pack: HistoryPack = serde_json::from_slice(&fs::read(file).expect("is there")).expect("a pack");
        all.histories.extend(pack.histories);
        all.skipped.extend(pack.skipped);
    }
    all
}

fn ends_well(fleet: &Fleet, job: &str) {
    let state =
        fleet.eventually("all histories are made", || Some(fleet.status(job)).filter(|status| status.state.is_final()));
    assert_eq!(state.state, JobState::Finished, "{}", state.reason);
}

#[test]
fn histories_do_not_depend_on_packing_threads_or_a_killed_worker() {
    let fleet = Fleet::start(2);
    let job = fleet.submit(&specification(8, 1, 1));
    fleet.eventually("a history is made", || fleet.status(&job).tasks.filter(|tasks| tasks.done >= 1));
    fleet.kill(fleet.worker(1));
    ends_well(&fleet, &job);
    let one_by_one = packs(&fleet, &job);
    assert_eq!((one_by_one.histories.len(), one_by_one.skipped.len()), (8, 0));
    assert_eq!(one_by_one.histories.iter().collect::<BTreeSet<_>>().len(), 8);

    let job = fleet.submit(&specification(8, 4, 2));
    ends_well(&fleet, &job);
    assert_eq!(packs(&fleet, &job), one_by_one);

    let artifacts = fleet.dir().join("artifacts");
    let rewind = |arguments: &[&str]| {
        let output =
            rewind_tests::rewind(&[arguments, &["--artifacts", artifacts.to_str().expect("printable")]].concat());
        assert!(output.status.success(), "{}", complaint(&output));
        output.stdout
    };
    let listed: Vec<Value> = serde_json::from_slice(&rewind(&["histories", "list", "--json"])).expect("JSON");
    assert_eq!(listed.len(), 8, "{listed:?}");
    let unlearning = String::from_utf8(rewind(&["histories", "list", "--kind", "unlearning"])).expect("text");
    assert_eq!(unlearning.lines().count(), 9, "a head and eight rows:\n{unlearning}");
    rewind(&["histories", "verify"]);
    let out = fleet.folder.path().join("exported");
    rewind(&["histories", "export", &one_by_one.histories[0].0, "--out", out.to_str().expect("printable")]);
    assert!(Path::new(&out).join("history.safetensors").exists());
}
