//! What users ask of running jobs: cancel, pause, resume, a deadline; and who may ask.

use rewind_job::JobState;
use rewind_tests::{
    cluster::{Cluster, artifacts_in, bits},
    complaint, small_job,
};

#[test]
fn jobs_are_cancelled_paused_and_resumed_and_the_workers_are_free_again() {
    let mut cluster = Cluster::start(1, 1, 2);
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));

    // Paused before anything is committed: it waits behind another.
    let first = cluster.submit(&small_job(2));
    let job = cluster.submit(&small_job(2));
    let paused = cluster.rewind(&["pause", &job]);
    assert!(paused.status.success(), "{}", complaint(&paused));
    let ended = |cluster: &Cluster, state: JobState| cluster.status(&job).filter(|status| status.state == state);
    let status = cluster.eventually("it pauses", |cluster| ended(cluster, JobState::Paused));
    assert_eq!(status.committed, None);
    assert_eq!(bits(&cluster.report(&first)), expected);
    assert!(cluster.rewind(&["resume", &job]).status.success());
    assert_eq!(bits(&cluster.report(&job)), expected);

    // Paused in the middle, and resumed on another leader.
    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    assert!(cluster.rewind(&["pause", &job]).status.success());
    cluster.eventually("it pauses", |cluster| cluster.status(&job).filter(|status| status.state == JobState::Paused));
    cluster.terminate("coordinator-1");
    cluster.restart("coordinator-1");
    cluster.eventually("it is asked", |cluster| cluster.rewind(&["resume", &job]).status.success().then_some(()));
    assert_eq!(bits(&cluster.report(&job)), expected);

    // Cancelled with committed rounds: their checkpoints are let go.
    let before = artifacts_in(&cluster.artifacts());
    let job = cluster.submit(&small_job(2).replace("name = \"small\"\n", "name = \"small\"\nseed = 2\n"));
    cluster.wait_for_round(&job, 0, 3);
    let mut its = artifacts_in(&cluster.artifacts());
    its.retain(|artifact| !before.contains(artifact));
    assert!(its.len() >= 4, "{its:?}");
    assert!(cluster.rewind(&["cancel", &job]).status.success());
    let refused = cluster.rewind(&["resume", &job]);
    assert!(!refused.status.success(), "what is cancelled does not go on");

    // A deadline; the workers are free for the next job.
    let hurried = small_job(2).replace("name = \"small\"", "name = \"small\"\ndeadline = \"2s\"");
    let job = cluster.submit(&hurried);
    let next = cluster.submit(&small_job(2));
    let status = cluster.eventually("it ends", |cluster| cluster.status(&job).filter(|s| s.state.is_final()));
    assert_eq!(status.state, JobState::Failed);
    assert_eq!(bits(&cluster.report(&next)), expected);
    // But for a shard of each worker that it could not speak of any more.
    cluster.eventually("the checkpoints of what was cancelled are deleted", |_| {
        (its.iter().filter(|(path, _)| path.exists()).count() <= 2).then_some(())
    });
}

#[test]
fn who_submits_must_be_an_operator() {
    let mut cluster = Cluster::start(1, 1, 1);
    let file = cluster.folder.path().join("small.toml");
    std::fs::write(&file, small_job(1)).expect("writes");
    let submit = ["submit", file.to_str().expect("printable")];
    for role in ["viewer", "worker"] {
        let refused = cluster.rewind_with_token(&cluster.token_file(role), &submit);
        assert!(!refused.status.success() && complaint(&refused).contains(role), "{}", complaint(&refused));
        let refused = cluster.rewind_as(Some(role), &submit);
        assert!(!refused.status.success() && complaint(&refused).contains(role), "{}", complaint(&refused));
    }
    let submitted = cluster.rewind_with_token(&cluster.token_file("operator"), &submit);
    assert!(submitted.status.success(), "{}", complaint(&submitted));
    let job = String::from_utf8(submitted.stdout).expect("text").trim().to_owned();
    assert_eq!(job, "job-1", "what was refused left nothing");
    cluster.report(&job);
}
