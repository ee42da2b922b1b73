//! Fleets whose workers compute on GPUs: on real ones where `REWIND_TEST_DEVICE` is `cuda`, else on pretended ones, which
//! run every operation by the CPU's kernel and refuse what a GPU refuses: tensors on different devices, and reading a
//! GPU's memory from the host. They say nothing of a GPU's numerics, speed, or NCCL.

use std::process::Command;

use rewind_job::Report;
use rewind_tests::{Fleet, cluster::bits, complaint, program, repository, small_job};

fn has_gpus() -> bool {
    std::env::var("REWIND_TEST_DEVICE").is_ok_and(|word| word == "cuda")
}

/// How many GPUs there are, and the variables by which programs find them.
fn gpus() -> (u32, Vec<(&'static str, String)>) {
    if !has_gpus() {
        let library = rewind_pretend_cuda::library().display().to_string();
        let collective = "gloo".to_owned();
        return (
            2,
            vec![
                ("REWIND_CUDA_LIBRARY", library),
                ("PRETEND_CUDA_DEVICES", "2".to_owned()),
                ("REWIND_COLLECTIVE", collective),
            ],
        );
    }
    let seen = Command::new(program("rewind-worker")).args(["devices", "--json"]).output().expect("runs");
    let seen: serde_json::Value = serde_json::from_slice(&seen.stdout).expect("JSON");
    (seen["gpus"].as_array().map_or(0, Vec::len) as u32, Vec::new())
}

/// A fleet with a GPU a worker, two workers where there are two GPUs, and these variables more.
fn fleet(more: &[(&'static str, &str)]) -> (u32, Fleet) {
    let (gpus, variables) = gpus();
    let workers = gpus.min(2);
    let variables = variables.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied());
    let fleet = Fleet::start_with(workers, &["--device", "cuda"], &variables.collect::<Vec<_>>());
    (workers, fleet)
}

/// `small_job` with the other methods, and everything that an evaluation can measure.
fn large_job(world: u32) -> String {
    let methods = [
        ("random-label", "random-label = { wrong-only = true, labels = \"once\", remaining = \"mixed\" }"),
        ("random-label-forget-only", "random-label-forget-only = {}"),
        ("salun", "salun = { share = 0.3 }"),
        ("salun-forget-only", "salun-forget-only = { share = 0.3 }"),
        ("boundary-shrink", "boundary-shrink = { step = 0.1 }"),
        ("boundary-expand", "boundary-expand = {}"),
        ("weight-noise", "weight-noise = { share = 0.1, sigma = 0.05 }"),
        ("fine-tune", "fine-tune = {}"),
        ("fisher", "fisher = { form = \"empirical\", alpha = 1e-6, samples = 40 }"),
        ("fisher-expected", "fisher = { form = \"expected\", alpha = 1e-6, samples = 10 }"),
        ("scrub", "scrub = { ascent-rounds = 1, gamma = 0.9, alpha = 0.1, temperature = 4.0 }"),
    ];
    let steps = methods.map(|(name, method)| {
        format!(
            r#"
[[step]]
name = "{name}"
[step.unlearn]
from = "pretrained"
method = {{ {method} }}
forward = {{ optimiser = {{ adam = {{ learning-rate = 1e-3 }} }}, batch-size = 32, augment = {{ crop = 2, flip = true }} }}
stop = {{ rounds = 1 }}
"#
        )
    });
    let evaluation = r#"
[[step]]
name = "closely"
[step.evaluate]
relearning = { epochs = 1, batch-size = 32, optimiser = { adam = { learning-rate = 1e-3 } }, forget-samples = 5 }
line = { from = "pretrained", points = 3 }
activation-maps = { samples = 2 }
landscape = { points = 3 }
"#;
    small_job(world) + &steps.concat() + evaluation
}

fn on_cpus(job: &str, world: u32) -> Report {
    let fleet = Fleet::start(world);
    let job = fleet.submit(job);
    fleet.report(&job)
}

#[test]
fn every_method_and_measurement_runs_on_gpus_and_gives_the_same_bits_again() {
    let (world, fleet) = fleet(&[]);
    fleet.eventually("it says what it computes on", || {
        fleet.log("worker-1").contains("computes on cuda:0").then_some(())
    });
    let job = large_job(world);
    let first = fleet.submit(&job);
    let first = fleet.report(&first);
    assert_ne!(first.machine.device, "cpu");
    let costs = first.measured().filter_map(|measured| measured.rounds.last());
    costs.for_each(|round| assert!(round.peak_memory > 0 && round.device_seconds > 0.0, "{round:?}"));
    // A killed worker's shard of the GPU goes on elsewhere, to the same bits.
    let second = fleet.submit(&job);
    fleet.eventually("a round is committed", || fleet.status(&second).committed);
    fleet.kill(fleet.worker(1));
    let second = fleet.report(&second);
    assert_eq!(bits(&first), bits(&second));
    if !has_gpus() {
        // The same kernels: on a real GPU they are others.
        assert_eq!(bits(&first), bits(&on_cpus(&job, world)));
    }
}

#[test]
fn trajectories_in_the_hosts_memory_change_no_bit() {
    let (world, on_device) = fleet(&[("REWIND_TRAJECTORY", "device")]);
    let job = on_device.submit(&small_job(world));
    let expected = bits(&on_device.report(&job));
    let (_, on_host) = fleet(&[("REWIND_TRAJECTORY", "host")]);
    let job = on_host.submit(&small_job(world));
    assert_eq!(bits(&on_host.report(&job)), expected);
}

#[test]
fn a_job_that_the_budget_has_no_room_for_is_refused_before_it_trains() {
    let (world, fleet) = fleet(&[("REWIND_DEVICE_MEMORY", "100KiB")]);
    let job = fleet.submit(&small_job(world));
    let reason = fleet.failure(&job);
    for words in ["fleet: weights, gradients and optimiser take", "on cuda:", "budget is 100.0 KiB", "world-size"] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    assert!(fleet.status(&job).committed.is_none());
}

#[test]
fn a_job_that_runs_out_of_memory_fails_and_says_what_takes_less() {
    // Enough for the weights, and not for what a batch leaves on its way.
    let bounded: &[(&'static str, &str)] =
        if has_gpus() { &[("REWIND_DEVICE_MEMORY", "256MiB")] } else { &[("PRETEND_CUDA_MEMORY", "24000000")] };
    let (world, fleet) = fleet(bounded);
    let job = fleet.submit(
        &small_job(world).replace("train = 600", "train = 3000").replace("batch-size = 32", "batch-size = 3000"),
    );
    let reason = fleet.failure(&job);
    for words in ["ran out of memory", "smaller batch-size", "CUDA out of memory"] {
        assert!(reason.contains(words), "{words}: {reason}");
    }
    // The worker lives, and does what it has room for.
    let fits = fleet
        .submit(&small_job(world).replace("batch-size = 32", "batch-size = 4").replace("epochs = 6", "epochs = 1"));
    fleet.report(&fits);
}

#[test]
fn more_workers_than_gpus_are_refused_and_doctor_shows_what_there_is() {
    let (gpus, variables) = gpus();
    let rewind = |arguments: &[&str]| {
        let mut command = Command::new(program("rewind"));
        command.args(arguments).envs(variables.iter().cloned()).current_dir(repository()).output().expect("runs")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("fleet").display().to_string();
    let refused = rewind(&["up", "--workers", &(gpus + 1).to_string(), "--device", "cuda", "--dir", &dir]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(complaint(&refused).contains("a worker takes a GPU of its own"), "{}", complaint(&refused));
    let doctor = String::from_utf8(rewind(&["doctor"]).stdout).expect("text");
    for words in ["cuda:0: ", "GiB free of", "a worker would use  cuda:0"] {
        assert!(doctor.contains(words), "{words}: {doctor}");
    }
}

#[test]
fn a_worker_that_is_told_to_use_a_gpu_that_is_not_there_does_not_start() {
    let (gpus, variables) = gpus();
    let output = Command::new(program("rewind-worker"))
        .args(["--coordinator", "http://127.0.0.1:1", "--artifacts", "/nowhere", "--name", "worker-1"])
        .args(["--device", &format!("cuda:{gpus}")])
        .envs(variables)
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("--device cuda:{gpus}: there is no cuda:{gpus}: {gpus} GPU");
    assert!(complaint(&output).contains(&expected), "{}", complaint(&output));
}

#[test]
fn without_a_gpu_the_cpu_is_used_and_asking_for_one_says_what_is_missing() {
    let devices = |device: &str| {
        let mut command = Command::new(program("rewind-worker"));
        command.args(["devices", "--device", device]).env_remove("REWIND_CUDA_LIBRARY").output().expect("runs")
    };
    let seen = devices("auto");
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    if text.contains("cuda:0") {
        println!("this libtorch sees GPUs: what is said without them is not seen here");
        return;
    }
    assert!(seen.status.success() && text.contains("would use cpu"), "{text}");
    let refused = devices("cuda");
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text.contains("would not start: --device cuda:0: "), "{text}");
    assert!(text.contains("make cuda") || text.contains("no NVIDIA driver") || text.contains("sees no GPU"), "{text}");
}
