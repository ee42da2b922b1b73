//! Workers that are killed, frozen, drained or missing; checkpoints that are altered; a disk that is full.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use rewind_job::{JobState, Report};
use rewind_tests::{
    cluster::{Cluster, artifacts_in, bits},
    complaint, repository, small_job,
};

fn last_generation(report: &Report) -> u64 {
    report.events.iter().map(|event| event.generation.0).max().unwrap_or(0)
}

/// How often a program has logged this.
fn count(cluster: &Cluster, name: &str, text: &str) -> usize {
    cluster.log(name).matches(text).count()
}

#[test]
fn lost_workers_are_replaced_and_bits_stay() {
    let mut cluster = Cluster::start(1, 1, 3);
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));

    // Killed: the survivor leaves at once, and the spare takes its place.
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    let left = count(&cluster, "worker-1", "left:") + count(&cluster, "worker-1", "failed:");
    let begun = Instant::now();
    cluster.kill("worker-2");
    cluster.eventually("the survivor leaves", |cluster| {
        (count(cluster, "worker-1", "left:") + count(cluster, "worker-1", "failed:") > left).then_some(())
    });
    println!("SIGKILL of a worker to its survivor having left: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5));
    cluster.eventually("the gang trains again", |cluster| {
        let status = cluster.status(&job)?;
        (status.generation.0 == 2 && status.state == JobState::Running).then_some(())
    });
    println!("SIGKILL of a worker to training again with a spare: {:?}", begun.elapsed());
    cluster.restart("worker-2");
    let report = cluster.report(&job);
    assert_eq!((bits(&report), last_generation(&report)), (expected.clone(), 2), "{}", cluster.events(&job));

    // Frozen: nobody closes a socket; silence is what tells.
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    let begun = Instant::now();
    cluster.freeze("worker-2");
    cluster.eventually("the gang trains again", |cluster| {
        let status = cluster.status(&job)?;
        (status.generation.0 == 2 && status.state == JobState::Running).then_some(())
    });
    println!("SIGSTOP of a worker to training again with a spare: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30));
    cluster.thaw("worker-2");
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    let said: Vec<&str> = report.events.iter().map(|event| event.text.as_str()).collect();
    assert!(said.iter().any(|text| text.contains("worker-2 was silent")), "{said:#?}");
    let verdict = said.iter().find(|text| text.starts_with("flight recorders: "));
    assert!(verdict.is_some_and(|text| text.contains("worker-2")), "the missing rank is named: {said:#?}");
    let flights = fs::read_dir(cluster.folder.path().join("flights")).expect("dumps").count();
    assert!(flights > 0, "the flight recorder is dumped");

    // Drained: it finishes its round and goes, with exit code 0; the spare takes its place.
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    let took = cluster.terminate("worker-2");
    println!("SIGTERM of a working worker to its end: {took:?}");
    assert!(took < Duration::from_secs(15));
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    cluster.restart("worker-2");

    // An altered checkpoint: its round never happened. (Another seed: equal bits are one file, whichever job wrote them.)
    let other = small_job(2).replace("name = \"small\"", "name = \"small\"\nseed = 7");
    let job = cluster.submit(&other);
    cluster.wait_for_round(&job, 0, 3);
    let paused = cluster.rewind(&["pause", &job]);
    assert!(paused.status.success(), "{}", complaint(&paused));
    cluster.eventually("the job is paused", |cluster| {
        cluster.status(&job).filter(|status| status.state == JobState::Paused).map(drop)
    });
    // The last round's two shards, and those of the round that was on its way.
    let mut stored: Vec<_> = artifacts_in(&cluster.artifacts()).into_iter().map(|(path, _)| path).collect();
    stored.sort_by_key(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).expect("it is there"));
    for path in stored.iter().rev().take(4) {
        let mut bytes = fs::read(path).expect("reads");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).expect("alters");
    }
    let resumed = cluster.rewind(&["resume", &job]);
    assert!(resumed.status.success(), "{}", complaint(&resumed));
    let report = cluster.report(&job);
    let undisturbed = cluster.submit(&other);
    assert_eq!(bits(&report), bits(&cluster.report(&undisturbed)));
    let warned = report.warnings.iter().any(|text| text.contains("cannot be used; the job"));
    assert!(warned, "{:?}", report.warnings);

    // Old checkpoints are let go: of the training steps' rounds only those that are needed stay.
    let job = cluster.submit(&small_job(2));
    cluster.report(&job);
    let stored = artifacts_in(&cluster.artifacts()).len();
    cluster.eventually("old checkpoints are deleted", |cluster| {
        (artifacts_in(&cluster.artifacts()).len() < stored).then_some(())
    });
}

#[test]
fn a_gang_goes_on_with_fewer_workers_if_its_specification_says_so() {
    let mut cluster = Cluster::start(1, 1, 2);
    let smaller = small_job(2).replace("world-size = 2", "world-size = 2\nat-least = 1\ngrace = \"2s\"");
    let job = cluster.submit(&smaller);
    cluster.wait_for_round(&job, 0, 2);
    cluster.kill("worker-2");
    let report = cluster.report(&job);
    assert!(report.warnings.iter().any(|text| text.contains("ran on 1 instead of 2 workers")), "{:?}", report.warnings);
    assert_eq!(report.world_size.0, 1);
    cluster.restart("worker-2");

    // Histories fill idle workers, and give way.
    let root = repository();
    let histories = format!(
        r#"
name = "histories"
priority = "low"
model = {{ architecture = "mlp" }}
[data]
pool = {{ images = "{root}/.data/digits/images-idx3-ubyte", labels = "{root}/.data/digits/labels-idx1-ubyte" }}
split = {{ train = 800, test = 100, validation = 100, attack = 0 }}
forget = {{ random = {{ share = 0.2, seed = 3 }} }}
[[step]]
name = "histories"
[step.collect]
networks = 12
architectures = ["lenet", "depthwise-small"]
optimisers = [{{ adam = {{ learning-rate = 1e-3 }} }}]
epochs = [6]
samples = [300]
[step.collect.unlearning]
horizons = [8]
forget = [100]
forward = [{{ adam = {{ learning-rate = 1e-3 }} }}]
snapshots = 5
"#,
        root = root.display()
    );
    let collecting = cluster.submit(&histories);
    cluster.eventually("histories are made", |cluster| {
        cluster.status(&collecting)?.tasks.filter(|tasks| tasks.done >= 1 && tasks.running == 2).map(drop)
    });
    let job = cluster.submit(&small_job(2));
    let report = cluster.report(&job);
    assert_eq!(last_generation(&report), 1);
    let status = cluster.eventually("all histories are made", |cluster| {
        cluster.status(&collecting).filter(|status| status.state.is_final())
    });
    assert_eq!(status.state, JobState::Finished, "{}", status.reason);
    assert!(cluster.events(&collecting).contains("is wanted by"), "{}", cluster.events(&collecting));
    let listed = cluster.rewind(&["tasks", &collecting, "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert!(rows.len() == 12 && rows.iter().all(|row| row["output"].is_string()));

    // A deadline is kept.
    let hurried = small_job(2).replace("name = \"small\"", "name = \"small\"\ndeadline = \"2s\"");
    let job = cluster.submit(&hurried);
    let status = cluster.eventually("it ends", |cluster| cluster.status(&job).filter(|s| s.state.is_final()));
    assert_eq!(status.state, JobState::Failed);
    assert!(status.reason.contains("deadline"), "{}", status.reason);
}

#[test]
fn a_full_disk_costs_no_committed_round() {
    let mut cluster = Cluster::start(1, 1, 1);
    let undisturbed = cluster.submit(&small_job(1));
    let expected = bits(&cluster.report(&undisturbed));
    // A file system of its own over the artifacts, which one file fills.
    let artifacts = cluster.artifacts();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(&artifacts).status();
    assert!(mount.expect("mount runs").success(), "this test mounts a file system and must run as root");
    let _mounted = Mounted(artifacts.clone());
    let job = cluster.submit(&small_job(1));
    cluster.wait_for_round(&job, 0, 2);
    let filler = artifacts.join("filler");
    // Until nothing more fits.
    let _ = fs::write(&filler, vec![0_u8; 64 << 20]);
    cluster
        .eventually("the full disk is noticed", |cluster| cluster.events(&job).contains("No space left").then_some(()));
    fs::remove_file(&filler).expect("makes room");
    if cluster.eventually("it goes on or fails", |cluster| cluster.status(&job)).state == JobState::Failed {
        cluster.rewind(&["resume", &job]);
    }
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    let committed = report.events.iter().find(|event| event.generation.0 == 2).map(|event| event.text.clone());
    assert!(committed.is_some_and(|text| text.contains("goes on after round")), "{}", cluster.events(&job));
}

/// Unmounts, also when a test fails.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
